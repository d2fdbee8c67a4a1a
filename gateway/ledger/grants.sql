-- name: insert
INSERT INTO credit_grants (grant_id, org_id, idempotency_key, amount_microcredits, reason, granted_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (org_id, idempotency_key) DO NOTHING
RETURNING *

-- name: find
SELECT * FROM credit_grants WHERE org_id = $1 AND idempotency_key = $2

-- name: of_org
SELECT * FROM credit_grants WHERE $1::text IS NULL OR org_id = $1 ORDER BY granted_at, grant_id

-- name: audit
INSERT INTO audit_log (actor, action, object, after) VALUES ($1, $2, $3, $4::text::jsonb)
