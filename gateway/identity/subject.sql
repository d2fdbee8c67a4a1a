-- What is kept of one person ($1 org, $2 user id), one JSON object a row. Every block is a member of the export.

-- name: keys
SELECT jsonb_build_object(
    'id', key_id, 'name', name, 'prefix', prefix, 'team', team_id, 'access', access, 'allowed_models', allowed_models,
    'allowed_operations', allowed_operations, 'requests_per_minute', requests_per_minute,
    'open_calls', open_calls_max, 'created_at', created_at, 'created_by', created_by, 'rotated_at', rotated_at,
    'expires_at', expires_at, 'revoked_at', revoked_at)::text AS item
FROM api_keys WHERE org_id = $1 AND user_id = $2 ORDER BY created_at, key_id

-- name: limits
SELECT (to_jsonb(l) - 'org_id')::text AS item
FROM managed_limits l WHERE org_id = $1 AND scope IN ('user', 'user end users') AND scope_id = $2
ORDER BY limit_window, operation, model

-- name: conversations
SELECT (to_jsonb(c) - 'org_id')::text AS item
FROM conversations c WHERE org_id = $1 AND user_id = $2 ORDER BY first_at, conversation_id

-- name: alerts
SELECT (to_jsonb(a) - 'org_id' - 'news_key')::text AS item
FROM alerts a WHERE org_id = $1 AND user_id = $2 ORDER BY occurred_at, alert_id

-- name: subscriptions
SELECT (to_jsonb(s) - 'org_id')::text AS item
FROM alert_subscriptions s WHERE org_id = $1 AND user_id = $2 ORDER BY kind

-- name: addresses
SELECT address_id, channel, address_sealed, kinds, created_at
FROM alert_addresses WHERE org_id = $1 AND user_id = $2 ORDER BY address_id

-- name: deliveries
SELECT jsonb_build_object('id', delivery_id, 'alert_id', alert_id, 'channel', channel, 'subject', subject,
                          'state', state, 'created_at', created_at, 'ended_at', ended_at)::text AS item
FROM deliveries WHERE org_id = $1 AND target = 'user:' || $2::text ORDER BY sequence

-- name: top_ups
SELECT (to_jsonb(t) - 'org_id' - 'url')::text AS item
FROM top_ups t WHERE org_id = $1 AND requested_by_user = $2 ORDER BY created_at, top_up_id

-- name: audit
-- From where somebody else did something is personal to them.
SELECT jsonb_build_object('place', place, 'at', audit_instant(at), 'actor', actor, 'action', action, 'object', object,
                          'address', CASE WHEN actor = 'user:' || $1::text || '/' || $2::text THEN address END,
                          'before', before, 'after', after)::text AS item
FROM audit_log
WHERE actor = 'user:' || $1::text || '/' || $2::text OR object = 'person:' || $1::text || '/' || $2::text
ORDER BY place

-- name: usage_by_day
SELECT (to_jsonb(d) - 'org_id' - 'user_id')::text AS item
FROM usage_days d WHERE org_id = $1 AND user_id = $2
ORDER BY day, team_id, key_id, provider, model, operation

-- name: usage
-- Single requests, oldest first, a page after ($3, $4).
SELECT e.started_at, e.request_id,
       (to_jsonb(e) - 'org_id' - 'user_id' - 'partition' - 'sequence' - 'gateway_id')::text AS item
FROM usage_events e
WHERE org_id = $1 AND user_id = $2 AND (started_at, request_id) > ($3::timestamptz, $4::text)
ORDER BY started_at, request_id
LIMIT $5
