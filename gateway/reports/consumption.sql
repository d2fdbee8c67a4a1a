-- What was used in units that are priced, for pricing it again.

-- name: consumed
-- By what makes prices linear: model, tier, and the band of context that the whole input falls into ($4: where bands
-- begin). $5 to $8 reach. Reaped and failed calls used nothing that is known. Most calls used text alone, whose units
-- follow from their counts of tokens; the units of others are taken apart one by one.
WITH wanted AS MATERIALIZED (
    SELECT provider, model, operation, coalesce(tier, '') AS tier, streamed,
           status IN ('client_gone', 'cut') AS abandoned, width_bucket(input_tokens, $4::bigint[]) AS band,
           input_tokens - cached_input_tokens - cache_write_tokens AS plain_input, cached_input_tokens,
           cache_write_tokens, output_tokens - reasoning_tokens AS plain_output, reasoning_tokens,
           CASE WHEN buckets - ARRAY ['input', 'cache_read', 'cache_write', 'output', 'reasoning'] <> '{}'
                THEN buckets END AS other_buckets,
           credits_microcredits, held_microcredits
    FROM usage_events
    WHERE org_id = $1 AND started_at >= $2 AND started_at < $3 AND usage_source IN ('provider', 'counted')
      AND ($5::boolean OR team_id = ANY ($6::text[]) OR user_id = ANY ($7::text[]) OR key_id = ANY ($8::text[]))
),
others AS (
    SELECT provider, model, operation, tier, streamed, abandoned, band, jsonb_object_agg(bucket, units) AS buckets
    FROM (
        SELECT provider, model, operation, tier, streamed, abandoned, band, bucket, sum(count::bigint)::bigint AS units
        FROM wanted CROSS JOIN LATERAL jsonb_each_text(other_buckets) AS b (bucket, count)
        WHERE other_buckets IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ) each_unit
    GROUP BY 1, 2, 3, 4, 5, 6, 7
),
calls AS (
    SELECT provider, model, operation, tier, streamed, abandoned, band, count(*) AS requests,
           sum(credits_microcredits)::bigint AS credits_microcredits,
           sum(greatest(0, held_microcredits - credits_microcredits))::bigint AS surplus_microcredits,
           coalesce(sum(plain_input) FILTER (WHERE other_buckets IS NULL), 0)::bigint AS input,
           coalesce(sum(cached_input_tokens) FILTER (WHERE other_buckets IS NULL), 0)::bigint AS cache_read,
           coalesce(sum(cache_write_tokens) FILTER (WHERE other_buckets IS NULL), 0)::bigint AS cache_write,
           coalesce(sum(plain_output) FILTER (WHERE other_buckets IS NULL), 0)::bigint AS output,
           coalesce(sum(reasoning_tokens) FILTER (WHERE other_buckets IS NULL), 0)::bigint AS reasoning
    FROM wanted
    GROUP BY 1, 2, 3, 4, 5, 6, 7
)
SELECT calls.*, coalesce(others.buckets, '{}') AS buckets
FROM calls LEFT JOIN others USING (provider, model, operation, tier, streamed, abandoned, band)
ORDER BY credits_microcredits DESC

-- name: repeated
-- Input that was sent again within five minutes in the same conversation to the same model, and was not read from a
-- cache: what a cache could have served, and what it would have had to be given for that: all of the call before the
-- first such one, and what each added. By band of context ($4), as what is consumed. Providers cache prefixes of 1,024
-- tokens or more.
WITH calls AS (
    SELECT conversation_id, provider, model, coalesce(tier, '') AS tier, started_at, input_tokens, cached_input_tokens,
           cache_write_tokens, lag(input_tokens) OVER talk AS before, lag(started_at) OVER talk AS before_at
    FROM usage_events
    WHERE org_id = $1 AND started_at >= $2 AND started_at < $3 AND conversation_id IS NOT NULL AND operation = 'chat'
      AND usage_source IN ('provider', 'counted')
      AND ($5::boolean OR team_id = ANY ($6::text[]) OR user_id = ANY ($7::text[]) OR key_id = ANY ($8::text[]))
    WINDOW talk AS (PARTITION BY conversation_id, provider, model ORDER BY started_at)
),
judged AS (
    SELECT *, coalesce(before >= 1024 AND started_at - before_at < interval '5 minutes'
                       AND least(before, input_tokens) - cached_input_tokens >= 1024, false) AS repeats
    FROM calls
),
followed AS (
    SELECT *, lead(repeats, 1, false) OVER (PARTITION BY conversation_id, provider, model ORDER BY started_at) AS repeated
    FROM judged
)
SELECT provider, model, tier, width_bucket(input_tokens, $4::bigint[]) AS band,
       coalesce(sum(least(before, input_tokens) - cached_input_tokens) FILTER (WHERE repeats), 0)::bigint
           AS repeated_tokens,
       sum(CASE WHEN repeats THEN greatest(0, input_tokens - before)
                ELSE input_tokens - cached_input_tokens - cache_write_tokens END)::bigint AS added_tokens,
       count(*) FILTER (WHERE repeats) AS requests
FROM followed
WHERE repeats OR repeated
GROUP BY 1, 2, 3, 4
