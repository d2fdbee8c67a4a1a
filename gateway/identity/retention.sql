-- name: months
-- The monthly tables of usage_events: name and UTC month.
SELECT c.relname AS name, to_timestamp(right(c.relname, 7), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC' AS month
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'usage_events'::regclass AND c.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
ORDER BY 1

-- name: orgs_of_month
SELECT DISTINCT org_id FROM {month}

-- name: keep_since
-- Before anything is removed: from here on reconcile compares an organisation's sums with its events only since then.
INSERT INTO usage_kept_since AS k (org_id, at) VALUES ($1, $2)
ON CONFLICT (org_id) DO UPDATE SET at = greatest(k.at, excluded.at)

-- name: remove_batch
WITH old AS (SELECT ctid FROM {month} WHERE org_id = $1 LIMIT $2)
DELETE FROM {month} WHERE ctid = ANY (ARRAY (SELECT ctid FROM old)) RETURNING 1

-- name: lock_timeout
-- Detaching waits for everybody who reads usage_events, and everybody else waits behind it: not for long, then.
SET LOCAL lock_timeout = '2s'

-- name: detach
ALTER TABLE usage_events DETACH PARTITION {month}

-- name: drop
DROP TABLE {month}

-- name: empty_for_others
SELECT NOT EXISTS (SELECT FROM {month} WHERE NOT (org_id = ANY ($1::text[])))
