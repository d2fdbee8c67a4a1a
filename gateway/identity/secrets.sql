-- name: find
SELECT secret_sealed FROM org_secrets WHERE org_id = $1 AND purpose = $2

-- name: insert
INSERT INTO org_secrets (org_id, purpose, secret_sealed) VALUES ($1, $2, $3) ON CONFLICT (org_id, purpose) DO NOTHING

-- name: destroy
DELETE FROM org_secrets WHERE org_id = $1 AND purpose = $2
