-- name: versions
SELECT org_id, version FROM managed_limit_versions

-- name: limits
SELECT * FROM managed_limits WHERE org_id = ANY ($1::text[])

-- name: find
SELECT * FROM managed_limits
WHERE (org_id, scope, scope_id, limit_window, operation, model) = ($1, $2, $3, $4, $5, $6)
FOR UPDATE

-- name: set
INSERT INTO managed_limits (org_id, scope, scope_id, limit_window, operation, model, amount_microcredits,
                            grace_percent, grace_minutes, enforce, alerts, changed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (org_id, scope, scope_id, limit_window, operation, model) DO UPDATE
SET amount_microcredits = excluded.amount_microcredits, grace_percent = excluded.grace_percent,
    grace_minutes = excluded.grace_minutes, enforce = excluded.enforce, alerts = excluded.alerts, changed_at = now(),
    changed_by = excluded.changed_by

-- name: remove
DELETE FROM managed_limits
WHERE (org_id, scope, scope_id, limit_window, operation, model) = ($1, $2, $3, $4, $5, $6)

-- name: bump
INSERT INTO managed_limit_versions (org_id, version)
VALUES ($1, greatest($2::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint))
ON CONFLICT (org_id) DO UPDATE SET version = greatest(managed_limit_versions.version + 1, excluded.version)

-- name: orgs
SELECT org_id, time_zone, week_start, balance_required, allowed_models, allowed_operations FROM orgs
WHERE org_id = ANY ($1::text[])

-- name: alerts
SELECT org_id, levels, low_balance_microcredits FROM alert_settings
WHERE org_id = ANY ($1::text[]) AND (levels IS NOT NULL OR low_balance_microcredits IS NOT NULL)

-- name: teams
SELECT org_id, team_id, allowed_models, allowed_operations FROM teams WHERE org_id = ANY ($1::text[])
