-- name: get
SELECT levels, low_balance_microcredits, email, sms, daily_summary, monthly_statement, spend_anomaly, summary_hour
FROM alert_settings WHERE org_id = $1

-- name: all
SELECT org_id, levels, low_balance_microcredits, email, sms, daily_summary, monthly_statement, spend_anomaly,
       summary_hour
FROM alert_settings

-- name: orgs
SELECT org_id FROM org_calendars ORDER BY org_id

-- name: set
INSERT INTO alert_settings (org_id, levels, low_balance_microcredits, email, sms, daily_summary, monthly_statement,
                            spend_anomaly, summary_hour, changed_at, changed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (org_id) DO UPDATE SET
    levels = excluded.levels, low_balance_microcredits = excluded.low_balance_microcredits, email = excluded.email,
    sms = excluded.sms, daily_summary = excluded.daily_summary, monthly_statement = excluded.monthly_statement,
    spend_anomaly = excluded.spend_anomaly, summary_hour = excluded.summary_hour, changed_at = excluded.changed_at,
    changed_by = excluded.changed_by

-- name: subscriptions
SELECT user_id, kind, email, sms, own FROM alert_subscriptions
WHERE org_id = $1 AND ($2::text IS NULL OR user_id = $2) ORDER BY user_id, kind LIMIT 1000

-- name: subscribe
INSERT INTO alert_subscriptions (org_id, user_id, kind, email, sms, own) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (org_id, user_id, kind) DO UPDATE SET email = excluded.email, sms = excluded.sms, own = excluded.own

-- name: unsubscribe
DELETE FROM alert_subscriptions WHERE (org_id, user_id, kind) = ($1, $2, $3) RETURNING kind

-- name: addresses
-- Of one user ($2), or of the organisation.
SELECT address_id, channel, address_sealed, kinds, created_at FROM alert_addresses
WHERE org_id = $1 AND user_id IS NOT DISTINCT FROM $2 ORDER BY address_id LIMIT 1000

-- name: lock_addresses
-- Until the end of the transaction nobody else adds any.
SELECT pg_advisory_xact_lock(hashtextextended('alert_addresses ' || $1::text, 0))

-- name: count_addresses
SELECT count(*) FROM alert_addresses WHERE org_id = $1 AND user_id IS NOT DISTINCT FROM $2

-- name: add_address
INSERT INTO alert_addresses (address_id, org_id, channel, address_sealed, kinds, created_at, created_by, user_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: remove_address
DELETE FROM alert_addresses WHERE org_id = $1 AND address_id = $2 AND user_id IS NOT DISTINCT FROM $3
RETURNING address_id

-- name: address
-- Nothing of somebody who is suspended.
SELECT address_sealed FROM alert_addresses a
WHERE address_id = $1 AND NOT EXISTS (
    SELECT FROM people p WHERE (p.org_id, p.user_id) = (a.org_id, a.user_id) AND p.state <> 'active')

-- name: person
SELECT email_sealed, phone_sealed FROM people WHERE org_id = $1 AND user_id = $2 AND state = 'active'
