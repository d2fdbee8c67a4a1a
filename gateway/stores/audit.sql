-- name: record
INSERT INTO audit_log (actor, action, object, org_id, address, request_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8::text::jsonb)

-- name: page
SELECT place, audit_instant(at) AS at, actor, action, object, org_id, address, request_id, before::text AS before,
       after::text AS after, previous_hash, hash
FROM audit_log
WHERE place > $1
ORDER BY place
LIMIT $2

-- name: newest_place
SELECT coalesce(max(place), 0) FROM audit_log

-- name: witness
-- The newest entry, and what the one at $1 says of itself.
SELECT newest.place, newest.hash, (SELECT hash FROM audit_log WHERE place = $1) AS noted_hash
FROM (SELECT) always LEFT JOIN (SELECT place, hash FROM audit_log ORDER BY place DESC LIMIT 1) newest ON true

-- name: search
SELECT place, audit_instant(at) AS at, actor, action, object, org_id, address, request_id, before::text AS before,
       after::text AS after, previous_hash, hash
FROM audit_log
WHERE ($1::text IS NULL OR org_id = $1)
  AND ($2::text IS NULL OR actor = $2)
  AND ($3::text IS NULL OR action = $3 OR action LIKE $3 || '.%')
  AND ($4::text IS NULL OR object = $4)
  AND ($5::timestamptz IS NULL OR at >= $5)
  AND ($6::timestamptz IS NULL OR at < $6)
  AND ($7::bigint IS NULL OR place < $7)
ORDER BY place DESC
LIMIT $8
