-- name: plan
INSERT INTO jobs (kind, org_id, period, run_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
ON CONFLICT (kind, org_id, period) DO NOTHING

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

-- name: forget
DELETE FROM jobs WHERE done_at < $1
