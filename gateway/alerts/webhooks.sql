-- name: insert
INSERT INTO webhook_endpoints (endpoint_id, org_id, url, description, kinds, created_at, created_by, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $6)

-- name: page
SELECT endpoint_id, org_id, url, description, kinds, disabled_reason, created_at, changed_at FROM webhook_endpoints
WHERE org_id = $1 AND ($2::text IS NULL OR endpoint_id > $2) ORDER BY endpoint_id LIMIT $3

-- name: find
SELECT endpoint_id, org_id, url, description, kinds, disabled_reason, created_at, changed_at FROM webhook_endpoints
WHERE org_id = $1 AND endpoint_id = $2

-- name: count
SELECT count(*) FROM webhook_endpoints WHERE org_id = $1

-- name: change
UPDATE webhook_endpoints SET url = $3, description = $4, kinds = $5, disabled_reason = $6, changed_at = $7
WHERE org_id = $1 AND endpoint_id = $2

-- name: disable
UPDATE webhook_endpoints SET disabled_reason = $2, changed_at = $3
WHERE endpoint_id = $1 AND disabled_reason IS NULL RETURNING org_id

-- name: remove
DELETE FROM webhook_endpoints WHERE org_id = $1 AND endpoint_id = $2 RETURNING endpoint_id

-- name: add_secret
INSERT INTO webhook_secrets (secret_id, endpoint_id, secret_sealed, created_at) VALUES ($1, $2, $3, $4)

-- name: expire_secrets
-- Those that had no end get one; a secret that ends earlier keeps its end.
UPDATE webhook_secrets SET expires_at = least(expires_at, $2) WHERE endpoint_id = $1

-- name: secrets
SELECT secret_id, secret_sealed, created_at, expires_at FROM webhook_secrets
WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY created_at DESC, secret_id DESC

-- name: forget_secrets
DELETE FROM webhook_secrets WHERE expires_at <= $1

-- name: sendable
SELECT url FROM webhook_endpoints WHERE endpoint_id = $1 AND disabled_reason IS NULL
