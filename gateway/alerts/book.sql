-- name: record
INSERT INTO alerts (alert_id, org_id, kind, severity, news_key, team_id, user_id, key_id, occurred_at, recorded_at,
                    sent, data)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::jsonb)
ON CONFLICT (org_id, news_key) DO NOTHING
RETURNING alert_id

-- name: staff
-- Who has a role in the organisation as a whole, or leads the team ($2). Auditors see everything, and are told if
-- somebody wants them to be.
SELECT user_id, bool_or(role <> 'auditor') AS told FROM memberships
WHERE org_id = $1 AND (team_id = '' AND role IN ('owner', 'billing', 'auditor') OR team_id = $2 AND role = 'lead')
GROUP BY user_id

-- name: reachable
-- Of these users: which addresses they have, and what they said about this kind ($3). A suspended user is told nothing,
-- and who chose for themselves nothing beyond what they may see ($4).
SELECT p.user_id, p.email_sealed IS NOT NULL AS has_email, p.phone_sealed IS NOT NULL AS has_phone,
       coalesce(s.email, a.email) AS email, coalesce(s.sms, a.sms) AS sms,
       p.user_id = ANY($2::text[]) AS by_role
FROM people p
LEFT JOIN alert_subscriptions s ON (s.org_id, s.user_id, s.kind) = (p.org_id, p.user_id, $3)
LEFT JOIN alert_subscriptions a ON (a.org_id, a.user_id, a.kind) = (p.org_id, p.user_id, '*')
WHERE p.org_id = $1 AND p.state = 'active'
  AND (p.user_id = ANY($2::text[]) OR s.user_id IS NOT NULL OR a.user_id IS NOT NULL)
  AND (p.user_id = ANY($4::text[]) OR NOT coalesce(s.own, a.own))
ORDER BY p.user_id

-- name: addresses
-- The organisation's, and those of people who may see it ($3).
SELECT address_id, channel FROM alert_addresses
WHERE org_id = $1 AND (kinds IS NULL OR $2 = ANY(kinds)) AND (user_id IS NULL OR user_id = ANY($3::text[]))
ORDER BY address_id

-- name: endpoints
SELECT endpoint_id FROM webhook_endpoints
WHERE org_id = $1 AND disabled_reason IS NULL AND (kinds IS NULL OR $2 = ANY(kinds)) ORDER BY endpoint_id

-- name: deliver
INSERT INTO deliveries (delivery_id, org_id, alert_id, message_id, channel, target, subject, created_at, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)

-- name: page
SELECT a.alert_id, a.org_id, a.kind, a.severity, a.team_id, a.user_id, a.key_id, a.occurred_at, a.recorded_at, a.sent,
       a.data, r.read_at
FROM alerts a LEFT JOIN alert_reads r ON (r.alert_id, r.reader) = (a.alert_id, $2)
WHERE a.org_id = $1
  AND ($3::boolean OR a.team_id = ANY($4::text[]) OR a.user_id = ANY($5::text[]) OR a.key_id = ANY($6::text[]))
  AND ($7::text IS NULL OR a.kind = $7)
  AND ($8::boolean IS NOT TRUE OR r.read_at IS NULL)
  AND ($9::timestamptz IS NULL OR (a.occurred_at, a.alert_id) < ($9, $10))
ORDER BY a.occurred_at DESC, a.alert_id DESC
LIMIT $11

-- name: unread
SELECT count(*) FROM alerts a
WHERE a.org_id = $1 AND a.sent
  AND ($3::boolean OR a.team_id = ANY($4::text[]) OR a.user_id = ANY($5::text[]) OR a.key_id = ANY($6::text[]))
  AND NOT EXISTS (SELECT FROM alert_reads r WHERE (r.alert_id, r.reader) = (a.alert_id, $2))

-- name: find
SELECT alert_id FROM alerts a
WHERE a.org_id = $1 AND a.alert_id = $2
  AND ($3::boolean OR a.team_id = ANY($4::text[]) OR a.user_id = ANY($5::text[]) OR a.key_id = ANY($6::text[]))

-- name: read
INSERT INTO alert_reads (alert_id, reader, read_at) VALUES ($1, $2, $3) ON CONFLICT (alert_id, reader) DO NOTHING
