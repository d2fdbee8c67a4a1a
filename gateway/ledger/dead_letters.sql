-- Entries of the usage stream that no row could be made of.

-- name: list
SELECT stream, entry_id, request_id, reason, fields, recorded_at FROM usage_dead_letters
ORDER BY recorded_at, stream, entry_id, request_id

-- name: remove
DELETE FROM usage_dead_letters WHERE (stream, entry_id, request_id) = ($1, $2, $3)

-- name: explain
UPDATE usage_dead_letters SET reason = $4 WHERE (stream, entry_id, request_id) = ($1, $2, $3)
