-- Days, hours and conversations against what they are made from, and how they are cut anew.

-- name: tune
-- All sums are grouped and joined: in memory where they fit, and by plans for the span that is asked about.
SELECT set_config('work_mem', '128MB', true), set_config('plan_cache_mode', 'force_custom_plan', true)

-- name: day_differences
-- $1: only days and hours that began wholly after this; NULL: all.
WITH expected AS (
    SELECT r.org_id, (r.quarter_start AT TIME ZONE coalesce(c.time_zone, 'UTC'))::date AS day, r.team_id, r.user_id,
           r.key_id, r.provider, r.model, r.operation, sum(r.requests) AS requests, sum(r.errors) AS errors,
           sum(r.estimated) AS estimated, sum(r.unpriced) AS unpriced, sum(r.input_tokens) AS input_tokens,
           sum(r.cached_input_tokens) AS cached_input_tokens, sum(r.cache_write_tokens) AS cache_write_tokens,
           sum(r.output_tokens) AS output_tokens, sum(r.reasoning_tokens) AS reasoning_tokens,
           sum(r.cost_usd) AS cost_usd, sum(r.credits_microcredits) AS microcredits
    FROM usage_rollups r LEFT JOIN org_calendars c USING (org_id)
    WHERE $1::timestamptz IS NULL OR r.quarter_start >= $1::timestamptz
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
SELECT org_id, 'day ' || day AS cut, key_id, model, coalesce(e.microcredits, 0)::bigint AS of_rollups,
       coalesce(d.credits_microcredits, 0) AS of_cut
FROM (
    -- A zone is at most 14 hours ahead of UTC and 12 behind it.
    SELECT * FROM expected WHERE $1::timestamptz IS NULL OR day > ($1::timestamptz AT TIME ZONE 'UTC')::date + 1
) e
FULL JOIN (
    SELECT * FROM usage_days WHERE $1::timestamptz IS NULL OR day > ($1::timestamptz AT TIME ZONE 'UTC')::date + 1
) d USING (org_id, day, team_id, user_id, key_id, provider, model, operation)
WHERE (e.requests, e.errors, e.estimated, e.unpriced, e.input_tokens, e.cached_input_tokens, e.cache_write_tokens,
       e.output_tokens, e.reasoning_tokens, e.cost_usd, e.microcredits)
    IS DISTINCT FROM
      (d.requests, d.errors, d.estimated, d.unpriced, d.input_tokens, d.cached_input_tokens, d.cache_write_tokens,
       d.output_tokens, d.reasoning_tokens, d.cost_usd, d.credits_microcredits)
ORDER BY 1, day, 3, 4
LIMIT 1000

-- name: hour_differences
WITH expected AS (
    SELECT r.org_id, local_hour_start(r.quarter_start, coalesce(c.time_zone, 'UTC')) AS hour_start, r.provider, r.model,
           r.operation, sum(r.requests) AS requests, sum(r.errors) AS errors, sum(r.estimated) AS estimated,
           sum(r.unpriced) AS unpriced, sum(r.input_tokens) AS input_tokens,
           sum(r.cached_input_tokens) AS cached_input_tokens, sum(r.cache_write_tokens) AS cache_write_tokens,
           sum(r.output_tokens) AS output_tokens, sum(r.reasoning_tokens) AS reasoning_tokens,
           sum(r.cost_usd) AS cost_usd, sum(r.credits_microcredits) AS microcredits
    FROM usage_rollups r LEFT JOIN org_calendars c USING (org_id)
    WHERE $1::timestamptz IS NULL OR r.quarter_start >= $1::timestamptz
    GROUP BY 1, 2, 3, 4, 5
)
SELECT org_id, 'hour ' || to_char(hour_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS cut, provider AS key_id,
       model, coalesce(e.microcredits, 0)::bigint AS of_rollups, coalesce(h.credits_microcredits, 0) AS of_cut
FROM (
    SELECT * FROM expected WHERE $1::timestamptz IS NULL OR hour_start >= $1::timestamptz + interval '1 hour'
) e
FULL JOIN (
    SELECT * FROM usage_hours WHERE $1::timestamptz IS NULL OR hour_start >= $1::timestamptz + interval '1 hour'
) h USING (org_id, hour_start, provider, model, operation)
WHERE (e.requests, e.errors, e.estimated, e.unpriced, e.input_tokens, e.cached_input_tokens, e.cache_write_tokens,
       e.output_tokens, e.reasoning_tokens, e.cost_usd, e.microcredits)
    IS DISTINCT FROM
      (h.requests, h.errors, h.estimated, h.unpriced, h.input_tokens, h.cached_input_tokens, h.cache_write_tokens,
       h.output_tokens, h.reasoning_tokens, h.cost_usd, h.credits_microcredits)
ORDER BY 1, hour_start, 3, 4
LIMIT 1000

-- name: nameless_conversations
SELECT DISTINCT e.org_id, e.conversation_id
FROM usage_events e
WHERE e.conversation_id IS NOT NULL
  AND ($1::timestamptz IS NULL OR e.started_at >= $1::timestamptz)
  AND NOT EXISTS (
      SELECT FROM conversations c WHERE c.org_id = e.org_id AND c.conversation_id = e.conversation_id
  )
ORDER BY 1, 2
LIMIT 1000

-- name: add_calendars
INSERT INTO org_calendars (org_id) SELECT unnest($1::text[]) ON CONFLICT (org_id) DO NOTHING

-- name: keep_calendars
INSERT INTO org_calendars AS c (org_id, wanted_time_zone, week_start)
SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[]) AS kept (org_id, time_zone, week_start)
ORDER BY 1
ON CONFLICT (org_id) DO UPDATE
SET wanted_time_zone = excluded.wanted_time_zone, week_start = excluded.week_start, changed_at = now()
WHERE (c.wanted_time_zone, c.week_start) IS DISTINCT FROM (excluded.wanted_time_zone, excluded.week_start)

-- name: unlike_calendars
SELECT org_id FROM org_calendars WHERE time_zone <> wanted_time_zone ORDER BY org_id

-- name: all_calendars
SELECT org_id FROM org_calendars ORDER BY org_id

-- name: lock_calendar
-- From here on writers of this org wait, and will read what this transaction leaves. A zone unknown here is refused.
SELECT wanted_time_zone, now() AT TIME ZONE wanted_time_zone FROM org_calendars WHERE org_id = $1 FOR UPDATE

-- name: recut
SELECT recut_usage($1, $2)

-- name: move_zone
UPDATE org_calendars SET time_zone = $2, changed_at = now() WHERE org_id = $1
