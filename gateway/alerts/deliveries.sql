-- name: lease
-- The next of each target and subject that is due, a few of each target and of each organisation, counting those under
-- way. The organisation that has fewest comes first; half of what one may have is for targets that have none under way.
-- The conditions on the row itself are checked again when it is locked, so nobody else can have taken or ended it; what
-- stands before it has ended for good.
WITH heads AS (
    -- User ids are those of their organisation, so a target and its subjects are, too.
    SELECT DISTINCT ON (channel, target, subject, org_id) delivery_id, org_id, target, sequence, due_at, lease_until
    FROM deliveries WHERE state = 'pending' AND channel = $1
    ORDER BY channel, target, subject, org_id, sequence
),
placed AS (
    SELECT delivery_id, org_id, sequence, coalesce(lease_until > $2, false) AS under_way,
           row_number() OVER (PARTITION BY org_id, target ORDER BY lease_until > $2 DESC NULLS LAST, sequence) AS place
    FROM heads WHERE due_at <= $2 OR lease_until > $2
),
queued AS (
    SELECT delivery_id, place, row_number() OVER (PARTITION BY org_id ORDER BY under_way DESC, place, sequence) AS turn
    FROM placed WHERE place <= $5
)
UPDATE deliveries SET lease_until = $3, lease_token = $4, attempts = attempts + 1
WHERE delivery_id IN (
    SELECT d.delivery_id FROM deliveries d JOIN queued USING (delivery_id)
    WHERE queued.turn <= CASE queued.place WHEN 1 THEN $6 ELSE $6 / 2 END
      AND d.state = 'pending' AND d.due_at <= $2 AND (d.lease_until IS NULL OR d.lease_until <= $2)
    ORDER BY queued.turn, d.sequence LIMIT $7
    FOR UPDATE OF d SKIP LOCKED
)
RETURNING delivery_id, sequence, org_id, alert_id, message_id, channel, target, subject, created_at, attempts

-- name: alerts_of
SELECT alert_id, org_id, kind, severity, team_id, user_id, key_id, occurred_at, recorded_at, sent, data
FROM alerts WHERE alert_id = ANY($1::text[])

-- name: end
UPDATE deliveries SET state = $3, ended_at = $4, lease_until = NULL, lease_token = NULL
WHERE delivery_id = $1 AND lease_token = $2 AND state = 'pending' RETURNING delivery_id

-- name: again
UPDATE deliveries SET due_at = $3, lease_until = NULL, lease_token = NULL
WHERE delivery_id = $1 AND lease_token = $2 AND state = 'pending' RETURNING delivery_id

-- name: attempt
INSERT INTO delivery_attempts (delivery_id, attempt, at, duration_ms, outcome, status, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: cancel_target
UPDATE deliveries SET state = 'cancelled', ended_at = $2, lease_until = NULL, lease_token = NULL
WHERE target = $1 AND state = 'pending'

-- name: page
SELECT d.delivery_id, d.alert_id, d.message_id, d.channel, d.target, d.subject, d.state, d.created_at, d.due_at,
       d.attempts, d.ended_at, d.replay_of, a.kind, d.sequence
FROM deliveries d LEFT JOIN alerts a USING (alert_id)
WHERE d.org_id = $1 AND ($2::text IS NULL OR d.target = $2) AND ($3::text IS NULL OR d.state = $3)
  AND ($4::bigint IS NULL OR d.sequence < $4)
ORDER BY d.sequence DESC LIMIT $5

-- name: attempts
SELECT t.attempt, t.at, t.duration_ms, t.outcome, t.status, t.reason
FROM delivery_attempts t JOIN deliveries d USING (delivery_id)
WHERE d.org_id = $1 AND d.target = $2 AND d.delivery_id = $3 ORDER BY t.attempt

-- name: exists
SELECT delivery_id FROM deliveries WHERE org_id = $1 AND target = $2 AND delivery_id = $3

-- name: to_replay
SELECT delivery_id, alert_id, message_id, channel, target, subject FROM deliveries
WHERE org_id = $1 AND target = $2 AND alert_id IS NOT NULL AND replay_of IS NULL
  AND ($3::text IS NULL OR delivery_id = $3)
  AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5)
  AND ($6::text IS NULL OR state = $6)
ORDER BY sequence LIMIT $7

-- name: queue
INSERT INTO deliveries (delivery_id, org_id, alert_id, message_id, channel, target, subject, created_at, due_at,
                        replay_of)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)

-- name: forget
-- Their attempts go with them. The alerts stay: they are what people were told.
DELETE FROM deliveries WHERE state <> 'pending' AND coalesce(ended_at, created_at) < $1

-- name: due_next
SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND channel = $1
