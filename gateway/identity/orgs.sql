-- name: find_org
SELECT * FROM orgs WHERE org_id = $1

-- name: org_is_made
SELECT EXISTS (SELECT FROM orgs WHERE org_id = $1)

-- name: org_has_a_past
-- Keys can be made by command for an organisation of which there is nothing else yet.
SELECT EXISTS (SELECT FROM orgs WHERE org_id = $1)
    OR EXISTS (SELECT FROM org_calendars WHERE org_id = $1)
    OR EXISTS (SELECT FROM usage_days WHERE org_id = $1)
    OR EXISTS (SELECT FROM api_keys WHERE org_id = $1)
    OR EXISTS (SELECT FROM ledger_transactions WHERE org_id = $1)

-- name: orgs
SELECT * FROM orgs WHERE ($1::text IS NULL OR org_id COLLATE "C" > $1) ORDER BY org_id COLLATE "C" LIMIT $2

-- name: insert_org
INSERT INTO orgs (org_id, name, time_zone, week_start, balance_required, allowed_models, allowed_operations,
                  events_kept_months)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (org_id) DO NOTHING
RETURNING *

-- name: lock_org
SELECT * FROM orgs WHERE org_id = $1 FOR UPDATE

-- name: update_org
UPDATE orgs
SET name = $2, time_zone = $3, week_start = $4, balance_required = $5, allowed_models = $6, allowed_operations = $7,
    events_kept_months = $8, changed_at = now()
WHERE org_id = $1
RETURNING *

-- name: find_team
SELECT * FROM teams WHERE org_id = $1 AND team_id = $2

-- name: teams
SELECT * FROM teams
WHERE org_id = $1
  AND ($2::text IS NULL OR team_id COLLATE "C" > $2)
  AND ($3::text[] IS NULL OR team_id = ANY ($3))
ORDER BY team_id COLLATE "C"
LIMIT $4

-- name: insert_team
INSERT INTO teams (org_id, team_id, name, allowed_models, allowed_operations)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (org_id, team_id) DO NOTHING
RETURNING *

-- name: lock_team
SELECT * FROM teams WHERE org_id = $1 AND team_id = $2 FOR UPDATE

-- name: update_team
UPDATE teams SET name = $3, allowed_models = $4, allowed_operations = $5, changed_at = now()
WHERE org_id = $1 AND team_id = $2
RETURNING *

-- name: kept_months
SELECT org_id, events_kept_months FROM orgs WHERE events_kept_months IS NOT NULL
