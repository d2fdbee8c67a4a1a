-- Usage added up. What every block takes: $1 org, $2 and $3 from and until before (instants), $4 granularity (`top`: one
-- step, the dearest groups first), $5 first day of the week (0: Monday), $6 zone, $7 dimensions, $8 beyond which key,
-- $9 at most so many groups, $10 providers, $11 models, $12 operations. A key, here `place`, is the step and the names of
-- a group; it never changes, so that pages lose and repeat nothing.

-- name: tune
-- Plans are made for the values at hand: a generic plan knows neither which index a filter calls for nor which months
-- are asked about. Groups of a month fit into the memory, of which a few readers at most have a share; with less they
-- would be sorted on disk.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('work_mem', '32MB', true)

-- name: calendar
SELECT time_zone, week_start FROM org_calendars WHERE org_id = $1

-- name: from_hours
WITH grouped AS (
    SELECT CASE $4::text
               WHEN 'none' THEN NULL
               WHEN 'top' THEN NULL
               WHEN 'hour' THEN hour_start AT TIME ZONE 'UTC'
               WHEN 'day' THEN date_trunc('day', hour_start AT TIME ZONE $6::text)
               WHEN 'week' THEN date_trunc('day', hour_start AT TIME ZONE $6::text) - make_interval(days =>
                   (extract(isodow FROM hour_start AT TIME ZONE $6::text)::integer + 6 - $5::integer) % 7)
               ELSE date_trunc('month', hour_start AT TIME ZONE $6::text)
           END AS step,
           CASE WHEN 'provider' = ANY ($7::text[]) THEN provider END AS provider,
           CASE WHEN 'model' = ANY ($7::text[]) THEN model END AS model,
           CASE WHEN 'operation' = ANY ($7::text[]) THEN operation END AS operation,
           sum(requests)::bigint AS requests, sum(errors)::bigint AS errors, sum(estimated)::bigint AS estimated,
           sum(unpriced)::bigint AS unpriced, sum(input_tokens)::bigint AS input_tokens,
           sum(cached_input_tokens)::bigint AS cached_input_tokens,
           sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(output_tokens)::bigint AS output_tokens,
           sum(reasoning_tokens)::bigint AS reasoning_tokens,
           sum(credits_microcredits)::bigint AS credits_microcredits
    FROM usage_hours
    WHERE org_id = $1 AND hour_start >= $2 AND hour_start < $3
      AND ($10::text[] IS NULL OR provider = ANY ($10::text[]))
      AND ($11::text[] IS NULL OR model = ANY ($11::text[]))
      AND ($12::text[] IS NULL OR operation = ANY ($12::text[]))
    GROUP BY 1, 2, 3, 4
),
keyed AS (
    SELECT *, NULL::text AS team, NULL::text AS "user", NULL::text AS key, NULL::text AS conversation,
           NULL::text AS tag,
           ARRAY [coalesce(to_char(step, 'YYYY-MM-DD"T"HH24:MI'), ''), '', '', '', coalesce(provider, ''),
                  coalesce(model, ''), coalesce(operation, ''), '', ''] COLLATE "C" AS place
    FROM grouped
)
SELECT * FROM keyed WHERE $8::text[] IS NULL OR place > $8::text[]
ORDER BY CASE WHEN $4::text = 'top' THEN -credits_microcredits END, place LIMIT $9

-- name: from_days
WITH grouped AS (
    SELECT CASE $4::text
               WHEN 'none' THEN NULL
               WHEN 'top' THEN NULL
               WHEN 'day' THEN day
               WHEN 'week' THEN day - (extract(isodow FROM day)::integer + 6 - $5::integer) % 7
               ELSE date_trunc('month', day::timestamp)::date
           END AS step,
           CASE WHEN 'team' = ANY ($7::text[]) THEN team_id END AS team,
           CASE WHEN 'user' = ANY ($7::text[]) THEN user_id END AS "user",
           CASE WHEN 'key' = ANY ($7::text[]) THEN key_id END AS key,
           CASE WHEN 'provider' = ANY ($7::text[]) THEN provider END AS provider,
           CASE WHEN 'model' = ANY ($7::text[]) THEN model END AS model,
           CASE WHEN 'operation' = ANY ($7::text[]) THEN operation END AS operation,
           sum(requests)::bigint AS requests, sum(errors)::bigint AS errors, sum(estimated)::bigint AS estimated,
           sum(unpriced)::bigint AS unpriced, sum(input_tokens)::bigint AS input_tokens,
           sum(cached_input_tokens)::bigint AS cached_input_tokens,
           sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(output_tokens)::bigint AS output_tokens,
           sum(reasoning_tokens)::bigint AS reasoning_tokens,
           sum(credits_microcredits)::bigint AS credits_microcredits
    FROM usage_days
    WHERE org_id = $1
      AND day >= ($2::timestamptz AT TIME ZONE $6::text)::date
      AND day < ($3::timestamptz AT TIME ZONE $6::text)::date
      AND ($10::text[] IS NULL OR provider = ANY ($10::text[]))
      AND ($11::text[] IS NULL OR model = ANY ($11::text[]))
      AND ($12::text[] IS NULL OR operation = ANY ($12::text[]))
      AND ($13::text[] IS NULL OR team_id = ANY ($13::text[]))
      AND ($14::text[] IS NULL OR user_id = ANY ($14::text[]))
      AND ($15::text[] IS NULL OR key_id = ANY ($15::text[]))
      AND ($16::boolean OR team_id = ANY ($17::text[]) OR user_id = ANY ($18::text[]) OR key_id = ANY ($19::text[]))
    GROUP BY 1, 2, 3, 4, 5, 6, 7
),
keyed AS (
    SELECT *, NULL::text AS conversation, NULL::text AS tag,
           ARRAY [coalesce(step::text, ''), coalesce(team, ''), coalesce("user", ''), coalesce(key, ''),
                  coalesce(provider, ''), coalesce(model, ''), coalesce(operation, ''), '', ''] COLLATE "C" AS place
    FROM grouped
)
SELECT * FROM keyed WHERE $8::text[] IS NULL OR place > $8::text[]
ORDER BY CASE WHEN $4::text = 'top' THEN -credits_microcredits END, place LIMIT $9

-- name: from_quarters
WITH grouped AS (
    SELECT CASE $4::text
               WHEN 'none' THEN NULL
               WHEN 'top' THEN NULL
               WHEN 'hour' THEN local_hour_start(quarter_start, $6::text) AT TIME ZONE 'UTC'
               WHEN 'day' THEN date_trunc('day', quarter_start AT TIME ZONE $6::text)
               WHEN 'week' THEN date_trunc('day', quarter_start AT TIME ZONE $6::text) - make_interval(days =>
                   (extract(isodow FROM quarter_start AT TIME ZONE $6::text)::integer + 6 - $5::integer) % 7)
               ELSE date_trunc('month', quarter_start AT TIME ZONE $6::text)
           END AS step,
           CASE WHEN 'team' = ANY ($7::text[]) THEN team_id END AS team,
           CASE WHEN 'user' = ANY ($7::text[]) THEN user_id END AS "user",
           CASE WHEN 'key' = ANY ($7::text[]) THEN key_id END AS key,
           CASE WHEN 'provider' = ANY ($7::text[]) THEN provider END AS provider,
           CASE WHEN 'model' = ANY ($7::text[]) THEN model END AS model,
           CASE WHEN 'operation' = ANY ($7::text[]) THEN operation END AS operation,
           sum(requests)::bigint AS requests, sum(errors)::bigint AS errors, sum(estimated)::bigint AS estimated,
           sum(unpriced)::bigint AS unpriced, sum(input_tokens)::bigint AS input_tokens,
           sum(cached_input_tokens)::bigint AS cached_input_tokens,
           sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(output_tokens)::bigint AS output_tokens,
           sum(reasoning_tokens)::bigint AS reasoning_tokens,
           sum(credits_microcredits)::bigint AS credits_microcredits
    FROM usage_rollups
    WHERE org_id = $1 AND quarter_start >= $2 AND quarter_start < $3
      AND ($10::text[] IS NULL OR provider = ANY ($10::text[]))
      AND ($11::text[] IS NULL OR model = ANY ($11::text[]))
      AND ($12::text[] IS NULL OR operation = ANY ($12::text[]))
      AND ($13::text[] IS NULL OR team_id = ANY ($13::text[]))
      AND ($14::text[] IS NULL OR user_id = ANY ($14::text[]))
      AND ($15::text[] IS NULL OR key_id = ANY ($15::text[]))
      AND ($16::boolean OR team_id = ANY ($17::text[]) OR user_id = ANY ($18::text[]) OR key_id = ANY ($19::text[]))
    GROUP BY 1, 2, 3, 4, 5, 6, 7
),
keyed AS (
    SELECT *, NULL::text AS conversation, NULL::text AS tag,
           ARRAY [coalesce(to_char(step, 'YYYY-MM-DD"T"HH24:MI'), ''), coalesce(team, ''), coalesce("user", ''),
                  coalesce(key, ''), coalesce(provider, ''), coalesce(model, ''), coalesce(operation, ''), '', '']
               COLLATE "C" AS place
    FROM grouped
)
SELECT * FROM keyed WHERE $8::text[] IS NULL OR place > $8::text[]
ORDER BY CASE WHEN $4::text = 'top' THEN -credits_microcredits END, place LIMIT $9

-- name: from_events
WITH grouped AS (
    SELECT CASE $4::text
               WHEN 'none' THEN NULL
               WHEN 'top' THEN NULL
               WHEN 'hour' THEN local_hour_start(started_at, $6::text) AT TIME ZONE 'UTC'
               WHEN 'day' THEN date_trunc('day', started_at AT TIME ZONE $6::text)
               WHEN 'week' THEN date_trunc('day', started_at AT TIME ZONE $6::text) - make_interval(days =>
                   (extract(isodow FROM started_at AT TIME ZONE $6::text)::integer + 6 - $5::integer) % 7)
               ELSE date_trunc('month', started_at AT TIME ZONE $6::text)
           END AS step,
           CASE WHEN 'team' = ANY ($7::text[]) THEN team_id END AS team,
           CASE WHEN 'user' = ANY ($7::text[]) THEN user_id END AS "user",
           CASE WHEN 'key' = ANY ($7::text[]) THEN key_id END AS key,
           CASE WHEN 'provider' = ANY ($7::text[]) THEN provider END AS provider,
           CASE WHEN 'model' = ANY ($7::text[]) THEN model END AS model,
           CASE WHEN 'operation' = ANY ($7::text[]) THEN operation END AS operation,
           CASE WHEN 'conversation' = ANY ($7::text[]) THEN conversation_id END AS conversation,
           CASE WHEN 'tag' = ANY ($7::text[]) THEN nullif(tags ->> $20::text, '') END AS tag,
           count(*) AS requests, count(*) FILTER (WHERE usage_failed(status)) AS errors,
           count(*) FILTER (WHERE usage_estimated(usage_source)) AS estimated,
           count(*) FILTER (WHERE usage_unpriced(flags)) AS unpriced, sum(input_tokens)::bigint AS input_tokens,
           sum(cached_input_tokens)::bigint AS cached_input_tokens,
           sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(output_tokens)::bigint AS output_tokens,
           sum(reasoning_tokens)::bigint AS reasoning_tokens,
           sum(credits_microcredits)::bigint AS credits_microcredits
    FROM usage_events
    WHERE org_id = $1 AND started_at >= $2 AND started_at < $3
      AND ($10::text[] IS NULL OR provider = ANY ($10::text[]))
      AND ($11::text[] IS NULL OR model = ANY ($11::text[]))
      AND ($12::text[] IS NULL OR operation = ANY ($12::text[]))
      AND ($13::text[] IS NULL OR team_id = ANY ($13::text[]))
      AND ($14::text[] IS NULL OR user_id = ANY ($14::text[]))
      AND ($15::text[] IS NULL OR key_id = ANY ($15::text[]))
      AND ($16::boolean OR team_id = ANY ($17::text[]) OR user_id = ANY ($18::text[]) OR key_id = ANY ($19::text[]))
      AND ($21::text[] IS NULL OR conversation_id = ANY ($21::text[]))
      AND ($22::text IS NULL OR tags ->> $22::text = $23::text)
      AND ($24::text[] IS NULL OR status = ANY ($24::text[]))
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
),
keyed AS (
    SELECT *, ARRAY [coalesce(to_char(step, 'YYYY-MM-DD"T"HH24:MI'), ''), coalesce(team, ''), coalesce("user", ''),
                     coalesce(key, ''), coalesce(provider, ''), coalesce(model, ''), coalesce(operation, ''),
                     coalesce(conversation, ''), coalesce(tag, '')] COLLATE "C" AS place
    FROM grouped
)
SELECT * FROM keyed WHERE $8::text[] IS NULL OR place > $8::text[]
ORDER BY CASE WHEN $4::text = 'top' THEN -credits_microcredits END, place LIMIT $9
