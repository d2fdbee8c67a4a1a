-- Which teams, people and keys that were made here something is about. limits.yaml has others, which are not here.

-- name: teams
SELECT team_id FROM teams WHERE org_id = $1 AND team_id = ANY ($2::text[])

-- name: users
-- One row for each role. A key in a team makes nobody its member: they may have left it. But of a user that nobody made,
-- keys that were not revoked are all that says where they are.
SELECT p.user_id, nullif(m.team_id, '') AS team_id, coalesce(m.role, 'member') AS role
FROM people p LEFT JOIN memberships m ON (m.org_id, m.user_id) = (p.org_id, p.user_id)
WHERE p.org_id = $1 AND p.user_id = ANY ($2::text[])
UNION
SELECT k.user_id, CASE WHEN k.revoked_at IS NULL THEN k.team_id END, 'member'
FROM api_keys k
WHERE k.org_id = $1 AND k.user_id = ANY ($2::text[])
  AND NOT EXISTS (SELECT FROM people p WHERE (p.org_id, p.user_id) = (k.org_id, k.user_id))

-- name: keys
SELECT key_id, team_id, user_id FROM api_keys WHERE org_id = $1 AND key_id = ANY ($2::text[])
