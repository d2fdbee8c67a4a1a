-- What listeners missed, and what was charged before they listened.

-- name: between
-- Settlements of one partition by their numbers. They are told in that order, so they are read in it.
SELECT request_id, started_at, finished_at, org_id, team_id, user_id, key_id, conversation_id, NULL AS end_user,
       '' AS tags, provider, model, model_served, operation, route, tier, streamed, input_tokens,
       cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, '' AS buckets, price_ref,
       '' AS cost_femtousd, credits_microcredits, held_microcredits, usage_source, status, flags, upstream_status,
       first_byte_ms, provider_request_id, gateway_id, partition, sequence
FROM usage_events
WHERE partition = $1 AND sequence > $2 AND sequence <= $3 AND org_id = ANY ($4::text[])
ORDER BY sequence
LIMIT $5

-- name: quarters
-- Sums by quarter of an hour of what one listener may see ($3 everything, else teams, users, keys): rollups, less the
-- rows beyond the settlement ($8) up to which they are asked for.
SELECT quarter_start, sum(microcredits)::bigint AS microcredits
FROM (
    SELECT quarter_start, credits_microcredits AS microcredits
    FROM usage_rollups
    WHERE org_id = $1 AND quarter_start >= $2
      AND ($3 OR team_id = ANY ($4::text[]) OR user_id = ANY ($5::text[]) OR key_id = ANY ($6::text[]))
    UNION ALL
    SELECT date_bin('15 minutes', started_at, 'epoch'), -credits_microcredits
    FROM usage_events
    WHERE partition = $7 AND sequence > $8 AND org_id = $1 AND started_at >= $2
      AND ($3 OR team_id = ANY ($4::text[]) OR user_id = ANY ($5::text[]) OR key_id = ANY ($6::text[]))
) AS charged
GROUP BY quarter_start

-- name: recorded
SELECT DISTINCT request_id FROM usage_events WHERE request_id = ANY ($1::text[])
