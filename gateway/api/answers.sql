-- name: find
SELECT asked, status, answer FROM api_answers WHERE caller = $1 AND operation = $2 AND idempotency_key = $3

-- name: keep
INSERT INTO api_answers (caller, operation, idempotency_key, asked, status, answer)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (caller, operation, idempotency_key) DO NOTHING

-- name: forget
DELETE FROM api_answers WHERE answered_at < $1
