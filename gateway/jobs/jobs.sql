-- name: plan
-- What is not done yet moves to its new time: its organisation may have changed its zone or its hour. Only such rows
-- are written, as everything is planned again every minute.
WITH named AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS n (kind, org_id, period, run_at)
),
moved AS (
    UPDATE jobs j SET run_at = n.run_at FROM named n
    WHERE (j.kind, j.org_id, j.period) = (n.kind, n.org_id, n.period)
      AND j.done_at IS NULL AND j.run_at <> n.run_at
)
INSERT INTO jobs (kind, org_id, period, run_at) SELECT * FROM named ON CONFLICT (kind, org_id, period) DO NOTHING

-- name: lease
UPDATE jobs
SET lease_until = $2, lease_token = $3, attempts = attempts + 1
WHERE job_id IN (
    SELECT job_id FROM jobs
    WHERE done_at IS NULL AND run_at <= $1 AND (lease_until IS NULL OR lease_until <= $1) AND kind = ANY($4::text[])
    ORDER BY run_at, job_id LIMIT $5
    FOR UPDATE SKIP LOCKED
)
RETURNING job_id, kind, org_id, period, run_at, attempts

-- name: finish
UPDATE jobs SET done_at = $3, failure = NULL WHERE job_id = $1 AND lease_token = $2 AND done_at IS NULL
RETURNING job_id

-- name: fail
UPDATE jobs SET lease_until = $3, lease_token = NULL, failure = $4, done_at = $5
WHERE job_id = $1 AND lease_token = $2 AND done_at IS NULL

-- name: postpone
-- As if it had not been begun.
UPDATE jobs SET run_at = $3, lease_until = NULL, lease_token = NULL, attempts = attempts - 1
WHERE job_id = $1 AND lease_token = $2 AND done_at IS NULL

-- name: forget
DELETE FROM jobs WHERE done_at < $1
