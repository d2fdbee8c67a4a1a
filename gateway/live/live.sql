-- What listeners missed, and what was charged before they listened.

-- name: between
-- Settlements of one partition by their numbers. They are told in that order, so they are read in it.
SELECT request_id, started_at, finished_at, org_id, team_id, user_id, key_id, conversation_id, end_user,
       end_user_trusted, '' AS tags, provider, model, model_served, operation, route, tier, streamed, input_tokens,
       cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, '' AS buckets, price_ref,
       '' AS cost_femtousd, credits_microcredits, held_microcredits, usage_source, status, flags, upstream_status,
       first_byte_ms, provider_request_id, gateway_id, partition, sequence, from_balance
FROM usage_events
WHERE partition = $1 AND sequence > $2 AND sequence <= $3 AND org_id = ANY ($4::text[])
ORDER BY sequence
LIMIT $5

-- name: cells
-- What one listener may see ($3 everything, else teams, users, keys), by operation and stretch of time, less the rows
-- beyond the settlement ($8) up to which it is asked for. Stretches: local hours (whose everything) or days (whose not)
-- from $2 until $9, quarters of an hour from there on; $9 is the start of a local day, $10 the zone.
SELECT operation, start_at, sum(microcredits)::bigint AS microcredits
FROM (
    SELECT operation, hour_start AS start_at, credits_microcredits AS microcredits
    FROM usage_hours
    WHERE $3::boolean AND org_id = $1 AND hour_start >= $2::timestamptz AND hour_start < $9::timestamptz
    UNION ALL
    SELECT operation, day::timestamp AT TIME ZONE $10::text, credits_microcredits
    FROM usage_days
    WHERE NOT $3::boolean AND org_id = $1 AND day >= ($2::timestamptz AT TIME ZONE $10::text)::date AND day < ($9::timestamptz AT TIME ZONE $10::text)::date
      AND (team_id = ANY ($4::text[]) OR user_id = ANY ($5::text[]) OR key_id = ANY ($6::text[]))
    UNION ALL
    SELECT operation, quarter_start, credits_microcredits
    FROM usage_rollups
    WHERE org_id = $1 AND quarter_start >= $9::timestamptz
      AND ($3 OR team_id = ANY ($4::text[]) OR user_id = ANY ($5::text[]) OR key_id = ANY ($6::text[]))
    UNION ALL
    SELECT operation, date_bin('15 minutes', started_at, 'epoch'), -credits_microcredits
    FROM usage_events
    WHERE partition = $7 AND sequence > $8 AND org_id = $1 AND started_at >= $2
      AND ($3 OR team_id = ANY ($4::text[]) OR user_id = ANY ($5::text[]) OR key_id = ANY ($6::text[]))
) AS charged
GROUP BY operation, start_at

-- name: recorded
SELECT DISTINCT request_id FROM usage_events WHERE request_id = ANY ($1::text[])
