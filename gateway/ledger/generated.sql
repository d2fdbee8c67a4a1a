-- Made-up usage, staged for the writer's own statement.

-- name: stage_day
-- One org's requests of one local day. A conversation has one user, one model and a time of the day around which its
-- requests lie; requests without one share its traits all the same.
-- $1 org, $2 day, $3 zone, $4 rows, $5 users, $6 teams, $7 hours: cumulative weights of 0 to 23 o'clock,
-- $8 to $19 the models, one array for each trait, $8 being cumulative weights; $20, $21 credits for femto-USD, $22
-- whether a prepaid balance pays.
WITH talks AS MATERIALIZED (
    SELECT talk,
           floor(power(random(), 1.8) * $5::integer)::integer AS person,
           random() AS spread,
           random() < 0.7 AS named,
           width_bucket(random(), $7::float8[]) AS hour,
           1 + width_bucket(random(), $8::float8[]) AS pick
    FROM generate_series(0, $4::integer / 6) AS talk
),
drawn AS MATERIALIZED (
    SELECT number, t.*, random() AS luck, random() AS share,
           ($2::date + make_interval(hours => t.hour, secs => 3599 * random())) AT TIME ZONE $3::text AS at,
           least(90000, ceil(exp(6.6 + 1.2 * sqrt(-2 * ln(1 - random())) * cos(6.283185 * random()))))::bigint AS read,
           least(16000, ceil(exp(5.4 + 1.0 * sqrt(-2 * ln(1 - random())) * cos(6.283185 * random()))))::bigint AS written
    FROM generate_series(1, $4::integer) AS number
    JOIN talks t ON t.talk = number % ($4::integer / 6 + 1)
),
outcome AS MATERIALIZED (
    SELECT d.*,
           ($9::text[])[pick] AS provider, ($10::text[])[pick] AS model, ($11::text[])[pick] AS operation,
           ($12::text[])[pick] AS route, nullif(($13::text[])[pick], '') AS tier, ($19::text[])[pick] AS price_ref,
           CASE WHEN luck < 0.008 THEN 'upstream_error' WHEN luck < 0.017 THEN 'client_gone'
                WHEN luck < 0.021 THEN 'cut' WHEN luck < 0.022 THEN 'reaped' ELSE 'ok' END AS status,
           CASE WHEN luck < 0.008 THEN 'none' WHEN luck < 0.012 THEN 'counted'
                WHEN luck BETWEEN 0.021 AND 0.022 THEN 'bound' ELSE 'provider' END AS source,
           CASE WHEN luck < 0.008 THEN 0 ELSE read END AS in_all,
           CASE WHEN luck < 0.008 OR share > 0.45 OR ($15::bigint[])[pick] = ($14::bigint[])[pick] THEN 0
                ELSE floor(read * (0.2 + 1.5 * share))::bigint END AS cached,
           CASE WHEN luck < 0.008 OR ($16::bigint[])[pick] = 0 THEN 0 ELSE written END AS out_all,
           CASE WHEN luck < 0.008 THEN 0 ELSE floor(written * ($18::float8[])[pick] * share)::bigint END AS thought
    FROM drawn d
),
costed AS (
    SELECT o.*,
           ((in_all - cached)::numeric * ($14::bigint[])[pick] + cached::numeric * ($15::bigint[])[pick]
            + (out_all - thought)::numeric * ($16::bigint[])[pick] + thought::numeric * ($17::bigint[])[pick])
           AS femtousd
    FROM outcome o
)
INSERT INTO usage_stage (
    request_id, started_at, finished_at, org_id, team_id, user_id, key_id, conversation_id, tags, provider, model,
    model_served, operation, route, tier, streamed, input_tokens, cached_input_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, buckets, price_ref, cost_femtousd, credits_microcredits, held_microcredits,
    usage_source, status, flags, upstream_status, first_byte_ms, provider_request_id, gateway_id, partition, sequence, from_balance
)
SELECT format('made-%s-%s-%s', to_char($2::date, 'YYYYMMDD'), $1::text, number),
       at, at + make_interval(secs => 0.4 + out_all / 90.0), $1::text,
       'team-' || (1 + person % $6::integer),
       CASE WHEN person < 2 THEN NULL ELSE 'user-' || person END,
       CASE WHEN person < 2 THEN 'service-' || person ELSE format('key-%s-%s', person, 1 + talk % 2) END,
       CASE WHEN named AND operation = 'chat' THEN format('talk-%s-%s', to_char($2::date, 'YYYYMMDD'), talk) END,
       CASE WHEN spread < 0.6
            THEN format('{"feature": "%s"}', (ARRAY ['search', 'support', 'drafts', 'review'])[1 + floor(spread * 6)::integer])
            ELSE '{}' END,
       provider, model, model, operation, route, tier, operation = 'chat' AND share > 0.2, in_all, cached, 0, out_all,
       thought,
       jsonb_strip_nulls(jsonb_build_object(
           'input', nullif(in_all - cached, 0), 'cache_read', nullif(cached, 0),
           'output', nullif(out_all - thought, 0), 'reasoning', nullif(thought, 0)
       ))::text,
       price_ref, femtousd::text, div(femtousd * $20::numeric + $21::numeric - 1, $21::numeric)::bigint,
       div(femtousd * (3 + 5 * share)::integer * $20::numeric + $21::numeric - 1, $21::numeric)::bigint,
       source, status, CASE WHEN source = 'bound' THEN ARRAY ['cost_unknown'] ELSE ARRAY []::text[] END,
       CASE WHEN status = 'upstream_error' THEN 500 WHEN status = 'reaped' THEN NULL ELSE 200 END,
       (200 + 900 * share)::bigint, NULL, 'generated', -1, number, $22::boolean
FROM costed
