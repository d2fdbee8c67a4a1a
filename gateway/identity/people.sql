-- name: lock_org
-- People and roles of one organisation change one after the other: what is counted (its owners) stays true.
SELECT pg_advisory_xact_lock(hashtextextended('tollgate.people/' || $1::text, 0))

-- name: find
SELECT p.*,
       (SELECT array_agg(m.role ORDER BY m.team_id, m.role) FROM memberships m
        WHERE (m.org_id, m.user_id) = (p.org_id, p.user_id)) AS roles,
       (SELECT array_agg(m.team_id ORDER BY m.team_id, m.role) FROM memberships m
        WHERE (m.org_id, m.user_id) = (p.org_id, p.user_id)) AS teams
FROM people p
WHERE p.org_id = $1 AND p.user_id = $2

-- name: page
-- Those within reach, by id, after $2. $7: of one kind; $8: with this e-mail address; $9: of one team.
SELECT p.*,
       (SELECT array_agg(m.role ORDER BY m.team_id, m.role) FROM memberships m
        WHERE (m.org_id, m.user_id) = (p.org_id, p.user_id)) AS roles,
       (SELECT array_agg(m.team_id ORDER BY m.team_id, m.role) FROM memberships m
        WHERE (m.org_id, m.user_id) = (p.org_id, p.user_id)) AS teams
FROM people p
WHERE p.org_id = $1
  AND ($2::text IS NULL OR p.user_id COLLATE "C" > $2)
  AND ($3::boolean OR p.user_id = ANY ($4::text[]) OR EXISTS (
      SELECT FROM memberships m
      WHERE (m.org_id, m.user_id) = (p.org_id, p.user_id) AND m.team_id = ANY ($5::text[])))
  AND ($6::text IS NULL OR p.kind = $6)
  AND ($7::text IS NULL OR p.email_digest = $7)
  AND ($8::text IS NULL OR EXISTS (
      SELECT FROM memberships m
      WHERE (m.org_id, m.user_id) = (p.org_id, p.user_id) AND m.team_id = $8))
ORDER BY p.user_id COLLATE "C"
LIMIT $9

-- name: insert
INSERT INTO people (org_id, user_id, kind) VALUES ($1, $2, $3) ON CONFLICT (org_id, user_id) DO NOTHING
RETURNING user_id

-- name: set_profile
UPDATE people
SET name_sealed = $3, email_sealed = $4, phone_sealed = $5, email_digest = $6, changed_at = now()
WHERE org_id = $1 AND user_id = $2

-- name: set_state
UPDATE people SET state = $3, changed_at = now() WHERE org_id = $1 AND user_id = $2

-- name: memberships
SELECT team_id, role FROM memberships WHERE org_id = $1 AND user_id = $2 ORDER BY team_id, role

-- name: in_team
SELECT EXISTS (SELECT FROM memberships WHERE org_id = $1 AND user_id = $2 AND team_id = $3)

-- name: grant
INSERT INTO memberships (org_id, user_id, team_id, role, granted_by) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (org_id, user_id, team_id, role) DO NOTHING
RETURNING role

-- name: withdraw
DELETE FROM memberships WHERE (org_id, user_id, team_id, role) = ($1, $2, $3, $4) RETURNING role

-- name: owners
SELECT m.user_id FROM memberships m JOIN people p USING (org_id, user_id)
WHERE m.org_id = $1 AND m.role = 'owner' AND p.state = 'active'

-- name: being_erased
SELECT EXISTS (SELECT FROM erasures WHERE org_id = $1 AND user_id = $2)

-- name: delete
DELETE FROM people WHERE org_id = $1 AND user_id = $2 RETURNING user_id
