-- Erasing a person: $1 org, $2 user id, $3 the id that their usage stands under from then on.

-- name: request
INSERT INTO erasures (erasure_id, org_id, user_id, erased_id, requested_by, requested_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (org_id, user_id) WHERE user_id IS NOT NULL DO NOTHING
RETURNING *

-- name: find
SELECT * FROM erasures WHERE org_id = $1 AND user_id = $2

-- name: under_way
SELECT * FROM erasures WHERE user_id IS NOT NULL ORDER BY requested_at, erasure_id

-- name: known
-- Whether anything is kept of a user whom nobody made here: keys or usage.
SELECT EXISTS (SELECT FROM api_keys WHERE org_id = $1 AND user_id = $2)
    OR EXISTS (SELECT FROM usage_events WHERE org_id = $1 AND user_id = $2)
    OR EXISTS (SELECT FROM usage_rollups WHERE org_id = $1 AND user_id = $2)

-- name: complete
UPDATE erasures SET completed_at = coalesce(completed_at, $2) WHERE erasure_id = $1 RETURNING *

-- name: forget
UPDATE erasures SET user_id = NULL, forgotten_at = $2 WHERE erasure_id = $1

-- name: keys
-- Revoked already, but for one that a gateway of before made meanwhile.
UPDATE api_keys SET user_id = $3, name = 'erased', revoked_at = coalesce(revoked_at, now())
WHERE org_id = $1 AND user_id = $2

-- name: actors
-- Who did what, in tables that say so beside what they are about.
WITH own AS (SELECT 'user:' || $1::text || '/' || $2::text AS actor, 'user:' || $1::text || '/' || $3::text AS erased),
made AS (UPDATE api_keys SET created_by = own.erased FROM own WHERE created_by = own.actor),
granted AS (UPDATE memberships SET granted_by = own.erased FROM own WHERE granted_by = own.actor),
limited AS (UPDATE managed_limits SET changed_by = own.erased FROM own WHERE changed_by = own.actor),
set_alerts AS (UPDATE alert_settings SET changed_by = own.erased FROM own WHERE changed_by = own.actor),
addressed AS (UPDATE alert_addresses SET created_by = own.erased FROM own WHERE created_by = own.actor),
hooked AS (UPDATE webhook_endpoints SET created_by = own.erased FROM own WHERE created_by = own.actor),
read AS (DELETE FROM alert_reads USING own WHERE reader = own.actor),
begun AS (UPDATE erasures SET requested_by = own.erased FROM own WHERE requested_by = own.actor),
-- Their own, and those that told somebody else of something that is theirs, a top-up that was confirmed say.
answered AS (DELETE FROM api_answers USING own WHERE caller = own.actor OR strpos(answer, to_json(own.actor)::text) > 0),
bought AS (
    UPDATE top_ups SET
        requested_by = CASE WHEN requested_by = own.actor THEN own.erased ELSE requested_by END,
        requested_by_user = CASE WHEN requested_by_user = $2 THEN $3 ELSE requested_by_user END,
        changed_by = CASE WHEN changed_by = own.actor THEN own.erased ELSE changed_by END
    FROM own
    WHERE org_id = $1 AND (requested_by = own.actor OR requested_by_user = $2 OR changed_by = own.actor)
)
SELECT 1

-- name: inbox
WITH subscribed AS (DELETE FROM alert_subscriptions WHERE org_id = $1 AND user_id = $2),
addressed AS (DELETE FROM alert_addresses WHERE org_id = $1 AND user_id = $2 RETURNING 'address:' || address_id AS target),
attempted AS (
    UPDATE delivery_attempts a SET reason = ''
    FROM deliveries d
    WHERE a.delivery_id = d.delivery_id AND d.org_id = $1
      AND (d.target = 'user:' || $2::text OR d.target IN (SELECT target FROM addressed))
),
-- Of news that reach others, only those of the person's own limits name them.
own AS (SELECT alert_id FROM alerts WHERE org_id = $1 AND user_id = $2 AND data #>> '{limit,scope}' = 'user'),
delivered AS (
    UPDATE deliveries
    SET target = CASE target WHEN 'user:' || $2::text THEN 'user:' || $3::text ELSE target END,
        subject = CASE WHEN alert_id IN (SELECT alert_id FROM own) THEN 'limit|' || $3::text ELSE subject END,
        state = CASE WHEN target = 'user:' || $2::text AND state = 'pending' THEN 'cancelled' ELSE state END
    WHERE org_id = $1 AND (target = 'user:' || $2::text OR alert_id IN (SELECT alert_id FROM own))
)
UPDATE alerts
SET user_id = $3,
    news_key = CASE data #>> '{limit,scope}' WHEN 'user' THEN 'erased|' || alert_id ELSE news_key END,
    data = CASE data #>> '{limit,scope}' WHEN 'user' THEN jsonb_set(data, '{limit,id}', to_jsonb($3::text)) ELSE data END
WHERE org_id = $1 AND user_id = $2

-- name: conversations
UPDATE conversations SET title = NULL, user_id = $3 WHERE org_id = $1 AND user_id = $2

-- name: days
-- UTC days of which sums or events are still the user's. Every event is in a sum.
SELECT DISTINCT date_trunc('day', quarter_start AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS day
FROM usage_rollups WHERE org_id = $1 AND user_id = $2
ORDER BY 1

-- name: lock_calendar
-- Kept from a recut, which makes days and hours anew: it would not see rows that are being moved. Shared with writers.
SELECT FROM org_calendars WHERE org_id = $1 FOR SHARE

-- name: lock_sums
-- Who writes usage waits for the few milliseconds of one day: events and sums move together.
LOCK TABLE usage_rollups IN SHARE ROW EXCLUSIVE MODE

-- name: move_events
UPDATE usage_events SET user_id = $3
WHERE org_id = $1 AND user_id = $2 AND started_at >= $4 AND started_at < $4 + interval '1 day'

-- name: move_rollups
WITH moved AS (
    DELETE FROM usage_rollups
    WHERE org_id = $1 AND user_id = $2 AND quarter_start >= $4 AND quarter_start < $4 + interval '1 day'
    RETURNING *
)
INSERT INTO usage_rollups AS r (
    quarter_start, org_id, team_id, user_id, key_id, provider, model, operation, requests, errors, estimated, unpriced,
    input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
    credits_microcredits
)
SELECT quarter_start, org_id, team_id, $3, key_id, provider, model, operation, requests, errors, estimated, unpriced,
       input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
       credits_microcredits
FROM moved
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

-- name: move_days
WITH moved AS (DELETE FROM usage_days WHERE org_id = $1 AND user_id = $2 RETURNING *)
INSERT INTO usage_days AS r (
    org_id, day, team_id, user_id, key_id, provider, model, operation, requests, errors, estimated, unpriced,
    input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
    credits_microcredits
)
SELECT org_id, day, team_id, $3, key_id, provider, model, operation, requests, errors, estimated, unpriced,
       input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
       credits_microcredits
FROM moved
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
