-- Which teams, people and keys that were made here something is about. limits.yaml has others, which are not here.

-- name: teams
SELECT team_id FROM teams WHERE org_id = $1 AND team_id = ANY ($2::text[])

-- name: users
-- A user that nobody made may still have keys.
SELECT user_id, array_remove(array_agg(DISTINCT team_id), NULL) AS teams
FROM (
    SELECT p.user_id, nullif(m.team_id, '') AS team_id
    FROM people p LEFT JOIN memberships m ON (m.org_id, m.user_id) = (p.org_id, p.user_id)
    WHERE p.org_id = $1 AND p.user_id = ANY ($2::text[])
    UNION ALL
    SELECT user_id, team_id FROM api_keys WHERE org_id = $1 AND user_id = ANY ($2::text[])
) AS found
GROUP BY user_id

-- name: keys
SELECT key_id, team_id, user_id FROM api_keys WHERE org_id = $1 AND key_id = ANY ($2::text[])
