-- name: find
SELECT * FROM api_keys WHERE digest = $1

-- name: find_by_id
SELECT * FROM api_keys WHERE key_id = $1 FOR UPDATE

-- name: list
SELECT * FROM api_keys WHERE $1::text IS NULL OR org_id = $1 ORDER BY created_at, key_id

-- name: insert
INSERT INTO api_keys (
    key_id, name, org_id, team_id, user_id, digest, prefix, allowed_models, allowed_operations,
    requests_per_minute, open_calls_max, trusted_attribution, expires_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
RETURNING *

-- name: revoke
UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL RETURNING *

-- name: audit
INSERT INTO audit_log (actor, action, object, before, after) VALUES ($1, $2, $3, $4::text::jsonb, $5::text::jsonb)
