-- name: by_model
SELECT model, sum(credits_microcredits)::bigint AS spent, sum(requests)::bigint AS requests
FROM usage_rollups WHERE org_id = $1 AND quarter_start >= $2 AND quarter_start < $3
GROUP BY model ORDER BY spent DESC, model

-- name: spenders
SELECT org_id, sum(credits_microcredits)::bigint AS spent FROM usage_rollups
WHERE quarter_start >= $1 AND quarter_start < $2
GROUP BY org_id HAVING sum(credits_microcredits) >= $3 ORDER BY org_id

-- name: hours
-- What was spent in the hours that begin at these instants, in their order; and since when there is any usage at all.
SELECT coalesce(sum(r.credits_microcredits), 0)::bigint AS spent,
       (SELECT min(quarter_start) FROM usage_rollups WHERE org_id = $1) AS first_usage
FROM unnest($2::timestamptz[]) WITH ORDINALITY AS hour (start, place)
LEFT JOIN usage_rollups r
    ON r.org_id = $1 AND r.quarter_start >= hour.start AND r.quarter_start < hour.start + interval '1 hour'
GROUP BY hour.place ORDER BY hour.place

-- name: expiring
SELECT g.org_id, g.grant_id, g.expires_at, b.left_microcredits AS left
FROM ledger_grants g JOIN ledger_grant_balances b USING (grant_id)
WHERE g.expires_at > $1 AND g.expires_at <= $2 AND b.left_microcredits > 0
ORDER BY g.org_id, g.expires_at, g.grant_id
