-- name: find
-- By its secret, or by one that it had before it was rotated.
SELECT k.*, p.state = 'suspended' AS owner_suspended, f.valid_until
FROM api_keys k
LEFT JOIN people p ON (p.org_id, p.user_id) = (k.org_id, k.user_id)
LEFT JOIN api_key_former_secrets f ON f.key_id = k.key_id AND f.digest = $1
WHERE k.digest = $1 OR k.key_id = (SELECT key_id FROM api_key_former_secrets WHERE digest = $1)

-- name: lock
-- Always in this order, so that two who change several keys cannot each wait for the other.
SELECT * FROM api_keys WHERE key_id = ANY ($1::text[]) ORDER BY key_id FOR UPDATE

-- name: listed
-- A page: of one org or of all, what is within reach, after (created_at, key_id).
SELECT k.*, p.state = 'suspended' AS owner_suspended,
       (SELECT array_agg(f.digest ORDER BY f.valid_until) FROM api_key_former_secrets f
        WHERE f.key_id = k.key_id) AS former_digests,
       (SELECT array_agg(f.prefix ORDER BY f.valid_until) FROM api_key_former_secrets f
        WHERE f.key_id = k.key_id) AS former_prefixes,
       (SELECT array_agg(f.valid_until ORDER BY f.valid_until) FROM api_key_former_secrets f
        WHERE f.key_id = k.key_id) AS former_until
FROM api_keys k
LEFT JOIN people p ON (p.org_id, p.user_id) = (k.org_id, k.user_id)
WHERE ($1::text IS NULL OR k.org_id = $1)
  AND ($2::text IS NULL OR k.key_id = $2)
  AND ($3::text IS NULL OR k.user_id = $3)
  AND ($4::boolean OR k.team_id = ANY ($5::text[]) OR k.user_id = ANY ($6::text[]) OR k.key_id = ANY ($7::text[]))
  AND ($8::timestamptz IS NULL OR (k.created_at, k.key_id) > ($8, $9::text))
ORDER BY k.created_at, k.key_id
LIMIT $10

-- name: insert
INSERT INTO api_keys (
    key_id, name, org_id, team_id, user_id, digest, prefix, allowed_models, allowed_operations,
    requests_per_minute, open_calls_max, trusted_attribution, expires_at, access, created_by
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: revoke
UPDATE api_keys SET revoked_at = now() WHERE key_id = ANY ($1::text[]) AND revoked_at IS NULL

-- name: keep_former
INSERT INTO api_key_former_secrets (digest, key_id, prefix, valid_until)
SELECT digest, key_id, prefix, $2 FROM api_keys WHERE key_id = $1

-- name: drop_former
-- What ended before this rotation. Whoever still sends it is told that nobody knows it.
DELETE FROM api_key_former_secrets WHERE key_id = $1 AND valid_until <= $2

-- name: live_former
SELECT count(*) FROM api_key_former_secrets WHERE key_id = $1 AND valid_until > $2

-- name: shorten_former
-- A rotation never makes an older secret live longer than the one that it replaces.
UPDATE api_key_former_secrets SET valid_until = least(valid_until, $2) WHERE key_id = $1

-- name: rotate
UPDATE api_keys SET digest = $2, prefix = $3, rotated_at = $4 WHERE key_id = $1
