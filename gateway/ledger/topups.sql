-- name: find_key
SELECT * FROM top_ups WHERE org_id = $1 AND idempotency_key = $2

-- name: pending
SELECT count(*) AS of_org, count(*) FILTER (WHERE requested_by = $2) AS of_buyer
FROM top_ups WHERE org_id = $1 AND status = 'pending'

-- name: insert
INSERT INTO top_ups (
    top_up_id, org_id, requested_by, requested_by_user, idempotency_key, amount_microcredits, price_minor, currency,
    status, provider, created_at, changed_at, changed_by
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', $9, $10, $10, $3)
RETURNING *

-- name: begun
UPDATE top_ups SET reference = $3, url = $4, instructions = $5 WHERE org_id = $1 AND top_up_id = $2
RETURNING *

-- name: org_of
SELECT org_id FROM top_ups WHERE top_up_id = $1

-- name: one
SELECT * FROM top_ups WHERE org_id = $1 AND top_up_id = $2

-- name: move
UPDATE top_ups SET status = $3, changed_at = $4, changed_by = $5, reason = $6, grant_id = $7
WHERE org_id = $1 AND top_up_id = $2
RETURNING *

-- name: page
-- Newest first, after ($2, $3). $5: only those that this user asked for.
SELECT * FROM top_ups
WHERE ($1::text IS NULL OR org_id = $1)
  AND ($2::timestamptz IS NULL OR (created_at, top_up_id) < ($2, $3::text))
  AND ($4::text IS NULL OR status = $4)
  AND ($5::text[] IS NULL OR requested_by = ANY ($5))
ORDER BY created_at DESC, top_up_id DESC
LIMIT $6

-- name: grant_of
SELECT grant_id FROM ledger_grants WHERE transaction_id = $1
