-- Writing usage: rows are staged by COPY, then moved; sums are made of the rows that were new.

-- name: create_stage
CREATE TEMPORARY TABLE IF NOT EXISTS usage_stage (
    request_id text, started_at timestamptz, finished_at timestamptz, org_id text, team_id text, user_id text,
    key_id text, conversation_id text, end_user text, tags text, provider text, model text, model_served text,
    operation text, route text, tier text, streamed boolean, input_tokens bigint, cached_input_tokens bigint,
    cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint, buckets text, price_ref text,
    cost_femtousd text, credits_microcredits bigint, held_microcredits bigint, usage_source text, status text,
    flags text[], upstream_status integer, first_byte_ms bigint, provider_request_id text, gateway_id text,
    partition integer, sequence bigint, from_balance boolean DEFAULT false,
    end_user_trusted boolean DEFAULT false
) ON COMMIT DELETE ROWS

-- name: move_stage
-- Both inserts go in the order of their keys, so that two writers with the same rows wait and do not deadlock.
WITH inserted AS (
    INSERT INTO usage_events (
        request_id, started_at, finished_at, org_id, team_id, user_id, key_id, conversation_id, end_user, tags,
        provider, model, model_served, operation, route, tier, streamed, input_tokens, cached_input_tokens,
        cache_write_tokens, output_tokens, reasoning_tokens, buckets, price_ref, cost_usd, credits_microcredits,
        held_microcredits, usage_source, status, flags, upstream_status, first_byte_ms, provider_request_id,
        gateway_id, partition, sequence, from_balance, end_user_trusted
    )
    SELECT request_id, started_at, finished_at, org_id, team_id, user_id, key_id, conversation_id, end_user,
           tags::jsonb, provider, model, model_served, operation, route, tier, streamed, input_tokens,
           cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, buckets::jsonb, price_ref,
           cost_femtousd::numeric * 0.000000000000001, credits_microcredits, held_microcredits, usage_source,
           status, flags, upstream_status, first_byte_ms, provider_request_id, gateway_id, partition, sequence,
           from_balance, end_user_trusted
    FROM usage_stage
    ORDER BY request_id, started_at
    ON CONFLICT (request_id, started_at) DO NOTHING
    RETURNING *
),
quarters AS MATERIALIZED (
    SELECT date_bin('15 minutes', started_at, 'epoch') AS quarter_start, org_id, coalesce(team_id, '') AS team_id,
           coalesce(user_id, '') AS user_id, key_id, provider, model, operation, count(*) AS requests,
           count(*) FILTER (WHERE usage_failed(status)) AS errors,
           count(*) FILTER (WHERE usage_estimated(usage_source)) AS estimated,
           count(*) FILTER (WHERE usage_unpriced(flags)) AS unpriced, sum(input_tokens) AS input_tokens,
           sum(cached_input_tokens) AS cached_input_tokens, sum(cache_write_tokens) AS cache_write_tokens,
           sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens, sum(cost_usd) AS cost_usd,
           sum(credits_microcredits) AS credits_microcredits
    FROM inserted
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
),
summed AS (
    INSERT INTO usage_rollups AS r (
        quarter_start, org_id, team_id, user_id, key_id, provider, model, operation, requests, errors, estimated,
        unpriced, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
        credits_microcredits
    )
    SELECT quarter_start, org_id, team_id, user_id, key_id, provider, model, operation, requests, errors, estimated,
           unpriced, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
           credits_microcredits
    FROM quarters
    ORDER BY 2, 1, 3, 4, 5, 6, 7, 8
    ON CONFLICT (org_id, quarter_start, team_id, user_id, key_id, provider, model, operation) DO UPDATE SET
        requests             = r.requests             + excluded.requests,
        errors               = r.errors               + excluded.errors,
        estimated            = r.estimated            + excluded.estimated,
        unpriced             = r.unpriced             + excluded.unpriced,
        input_tokens         = r.input_tokens         + excluded.input_tokens,
        cached_input_tokens  = r.cached_input_tokens  + excluded.cached_input_tokens,
        cache_write_tokens   = r.cache_write_tokens   + excluded.cache_write_tokens,
        output_tokens        = r.output_tokens        + excluded.output_tokens,
        reasoning_tokens     = r.reasoning_tokens     + excluded.reasoning_tokens,
        cost_usd             = r.cost_usd             + excluded.cost_usd,
        credits_microcredits = r.credits_microcredits + excluded.credits_microcredits
),
-- Shared with other writers; kept from a recut, which changes the zone together with all that was cut by it.
zones AS MATERIALIZED (
    SELECT org_id, time_zone FROM org_calendars
    WHERE org_id IN (SELECT org_id FROM quarters)
    ORDER BY org_id
    FOR SHARE
),
local_quarters AS MATERIALIZED (
    SELECT q.*, coalesce(z.time_zone, 'UTC') AS time_zone FROM quarters q LEFT JOIN zones z USING (org_id)
),
days AS (
    INSERT INTO usage_days AS r (
        org_id, day, team_id, user_id, key_id, provider, model, operation, requests, errors, estimated, unpriced,
        input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
        credits_microcredits
    )
    SELECT org_id, (quarter_start AT TIME ZONE time_zone)::date, team_id, user_id, key_id, provider, model, operation,
           sum(requests), sum(errors), sum(estimated), sum(unpriced), sum(input_tokens), sum(cached_input_tokens),
           sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens), sum(cost_usd),
           sum(credits_microcredits)
    FROM local_quarters
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (org_id, day, team_id, user_id, key_id, provider, model, operation) DO UPDATE SET
        requests             = r.requests             + excluded.requests,
        errors               = r.errors               + excluded.errors,
        estimated            = r.estimated            + excluded.estimated,
        unpriced             = r.unpriced             + excluded.unpriced,
        input_tokens         = r.input_tokens         + excluded.input_tokens,
        cached_input_tokens  = r.cached_input_tokens  + excluded.cached_input_tokens,
        cache_write_tokens   = r.cache_write_tokens   + excluded.cache_write_tokens,
        output_tokens        = r.output_tokens        + excluded.output_tokens,
        reasoning_tokens     = r.reasoning_tokens     + excluded.reasoning_tokens,
        cost_usd             = r.cost_usd             + excluded.cost_usd,
        credits_microcredits = r.credits_microcredits + excluded.credits_microcredits
),
hours AS (
    INSERT INTO usage_hours AS r (
        org_id, hour_start, provider, model, operation, requests, errors, estimated, unpriced, input_tokens,
        cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd, credits_microcredits
    )
    SELECT org_id, local_hour_start(quarter_start, time_zone), provider, model, operation, sum(requests), sum(errors),
           sum(estimated), sum(unpriced), sum(input_tokens), sum(cached_input_tokens), sum(cache_write_tokens),
           sum(output_tokens), sum(reasoning_tokens), sum(cost_usd), sum(credits_microcredits)
    FROM local_quarters
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (org_id, hour_start, provider, model, operation) DO UPDATE SET
        requests             = r.requests             + excluded.requests,
        errors               = r.errors               + excluded.errors,
        estimated            = r.estimated            + excluded.estimated,
        unpriced             = r.unpriced             + excluded.unpriced,
        input_tokens         = r.input_tokens         + excluded.input_tokens,
        cached_input_tokens  = r.cached_input_tokens  + excluded.cached_input_tokens,
        cache_write_tokens   = r.cache_write_tokens   + excluded.cache_write_tokens,
        output_tokens        = r.output_tokens        + excluded.output_tokens,
        reasoning_tokens     = r.reasoning_tokens     + excluded.reasoning_tokens,
        cost_usd             = r.cost_usd             + excluded.cost_usd,
        credits_microcredits = r.credits_microcredits + excluded.credits_microcredits
),
begun AS (
    INSERT INTO conversations (org_id, conversation_id, team_id, user_id, key_id, first_at)
    SELECT DISTINCT ON (org_id, conversation_id) org_id, conversation_id, team_id, user_id, key_id, started_at
    FROM inserted
    WHERE conversation_id IS NOT NULL
    ORDER BY org_id, conversation_id, started_at
    ON CONFLICT (org_id, conversation_id) DO NOTHING
)
SELECT count(*) FROM inserted

-- name: ensure_partition
SELECT ensure_usage_partition($1)

-- name: bury
INSERT INTO usage_dead_letters (stream, entry_id, request_id, reason, fields)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (stream, entry_id, request_id) DO NOTHING

-- name: spent
-- One line per counter asked for, in their order: sums of rollups in the window, less the rows that the counter
-- has not seen yet; of all time, sums of hours or days, which are far fewer than quarters of an hour of years. Counters
-- of end users are sums of rows, as rollups do not tell end users apart. Models are compared as
-- `gateway.budgets.selection.plain` has them.
SELECT (coalesce(rolled.microcredits, 0) - coalesce(unseen.microcredits, 0) + coalesce(own.microcredits, 0))::bigint
       AS microcredits
FROM (
    SELECT *, end_at IS NULL AND start_at = 'epoch' AS whole
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
        $6::timestamptz[], $7::timestamptz[], $8::integer[], $9::bigint[], $10::text[]
    ) WITH ORDINALITY AS given (
        org_id, scope, scope_id, operation, model_pattern, start_at, end_at, partition, upto_sequence, end_user, place
    )
) AS asked
LEFT JOIN LATERAL (
    SELECT sum(microcredits) AS microcredits
    FROM (
        SELECT r.credits_microcredits AS microcredits
        FROM usage_rollups r
        WHERE NOT asked.whole
          AND r.org_id = asked.org_id
          AND r.quarter_start >= asked.start_at
          AND (asked.end_at IS NULL OR r.quarter_start < asked.end_at)
          AND asked.scope_id = CASE asked.scope
              WHEN 'org' THEN r.org_id WHEN 'team' THEN r.team_id WHEN 'user' THEN r.user_id ELSE r.key_id END
          AND (asked.operation IS NULL OR r.operation = asked.operation)
          AND (asked.model_pattern IS NULL
               OR regexp_replace(lower(r.model), '^(publishers/[^/]+/)?models/', '') LIKE asked.model_pattern)
        UNION ALL
        SELECT h.credits_microcredits
        FROM usage_hours h
        WHERE asked.whole AND asked.scope = 'org' AND h.org_id = asked.org_id AND asked.scope_id = h.org_id
          AND (asked.operation IS NULL OR h.operation = asked.operation)
          AND (asked.model_pattern IS NULL
               OR regexp_replace(lower(h.model), '^(publishers/[^/]+/)?models/', '') LIKE asked.model_pattern)
        UNION ALL
        SELECT d.credits_microcredits
        FROM usage_days d
        WHERE asked.whole AND asked.scope <> 'org' AND d.org_id = asked.org_id
          AND asked.scope_id = CASE asked.scope
              WHEN 'team' THEN d.team_id WHEN 'user' THEN d.user_id ELSE d.key_id END
          AND (asked.operation IS NULL OR d.operation = asked.operation)
          AND (asked.model_pattern IS NULL
               OR regexp_replace(lower(d.model), '^(publishers/[^/]+/)?models/', '') LIKE asked.model_pattern)
    ) sums
    WHERE asked.end_user IS NULL
) AS rolled ON true
LEFT JOIN LATERAL (
    SELECT sum(e.credits_microcredits) AS microcredits
    FROM usage_events e
    WHERE asked.end_user IS NULL
      AND e.partition = asked.partition
      AND e.sequence > asked.upto_sequence
      AND e.org_id = asked.org_id
      AND e.started_at >= asked.start_at
      AND (asked.end_at IS NULL OR e.started_at < asked.end_at)
      AND asked.scope_id = CASE asked.scope
          WHEN 'org' THEN e.org_id WHEN 'team' THEN e.team_id WHEN 'user' THEN e.user_id ELSE e.key_id END
      AND (asked.operation IS NULL OR e.operation = asked.operation)
      AND (asked.model_pattern IS NULL
           OR regexp_replace(lower(e.model), '^(publishers/[^/]+/)?models/', '') LIKE asked.model_pattern)
) AS unseen ON true
LEFT JOIN LATERAL (
    SELECT sum(e.credits_microcredits) AS microcredits
    FROM usage_events e
    WHERE asked.end_user IS NOT NULL
      AND e.org_id = asked.org_id
      AND e.end_user = asked.end_user
      AND e.end_user_trusted
      AND e.started_at >= asked.start_at
      AND (asked.end_at IS NULL OR e.started_at < asked.end_at)
      AND NOT (e.partition = asked.partition AND e.sequence > asked.upto_sequence)
      AND asked.scope_id = CASE asked.scope
          WHEN 'org' THEN e.org_id WHEN 'team' THEN e.team_id WHEN 'user' THEN e.user_id ELSE e.key_id END
      AND (asked.operation IS NULL OR e.operation = asked.operation)
      AND (asked.model_pattern IS NULL
           OR regexp_replace(lower(e.model), '^(publishers/[^/]+/)?models/', '') LIKE asked.model_pattern)
) AS own ON true
ORDER BY asked.place

-- name: recorded
SELECT DISTINCT request_id FROM usage_events WHERE request_id = ANY ($1::text[])

-- name: rollup_differences
-- Rollups outlive events, so the comparison begins with the oldest month that still has a table, whether or not any
-- events are left in it, and for an org that keeps its events for some months only where those begin. $1: from this
-- quarter of an hour on; NULL: from the beginning.
WITH since AS (
    SELECT greatest(
        $1::timestamptz, min(to_timestamp(right(c.relname, 7), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC')) AS at
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'usage_events'::regclass AND c.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
),
by_event AS (
    SELECT org_id, date_bin('15 minutes', started_at, 'epoch') AS quarter_start, coalesce(team_id, '') AS team_id,
           coalesce(user_id, '') AS user_id, key_id, provider, model, operation, count(*) AS requests,
           count(*) FILTER (WHERE usage_failed(status)) AS errors,
           count(*) FILTER (WHERE usage_estimated(usage_source)) AS estimated,
           count(*) FILTER (WHERE usage_unpriced(flags)) AS unpriced, sum(credits_microcredits) AS microcredits,
           sum(cost_usd) AS cost_usd, sum(input_tokens) AS input_tokens,
           sum(cached_input_tokens) AS cached_input_tokens, sum(cache_write_tokens) AS cache_write_tokens,
           sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens
    FROM usage_events LEFT JOIN usage_kept_since k USING (org_id)
    WHERE (k.at IS NULL OR started_at >= k.at) AND ($1::timestamptz IS NULL OR started_at >= $1::timestamptz)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
SELECT coalesce(e.org_id, r.org_id) AS org_id,
       coalesce(e.quarter_start, r.quarter_start) AS quarter_start,
       coalesce(e.key_id, r.key_id) AS key_id,
       coalesce(e.model, r.model) AS model,
       coalesce(e.microcredits, 0)::bigint AS of_rows,
       coalesce(r.credits_microcredits, 0) AS of_rollups,
       coalesce(e.requests, 0) AS row_requests,
       coalesce(r.requests, 0) AS rollup_requests
FROM by_event e
FULL JOIN (
    SELECT r.* FROM usage_rollups r CROSS JOIN since LEFT JOIN usage_kept_since k ON k.org_id = r.org_id
    WHERE r.quarter_start >= greatest(since.at, k.at)
      AND ($1::timestamptz IS NULL OR r.quarter_start >= $1::timestamptz)
) r
    ON (e.org_id, e.quarter_start, e.team_id, e.user_id, e.key_id, e.provider, e.model, e.operation)
     = (r.org_id, r.quarter_start, r.team_id, r.user_id, r.key_id, r.provider, r.model, r.operation)
WHERE (e.microcredits, e.requests, e.errors, e.estimated, e.unpriced, e.cost_usd, e.input_tokens,
       e.cached_input_tokens, e.cache_write_tokens, e.output_tokens, e.reasoning_tokens)
    IS DISTINCT FROM
      (r.credits_microcredits, r.requests, r.errors, r.estimated, r.unpriced, r.cost_usd, r.input_tokens,
       r.cached_input_tokens, r.cache_write_tokens, r.output_tokens, r.reasoning_tokens)
ORDER BY 1, 2, 3, 4
LIMIT 1000
