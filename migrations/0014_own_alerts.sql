-- What people chose for themselves: it tells them no more than they may see.
ALTER TABLE alert_subscriptions ADD COLUMN own boolean NOT NULL DEFAULT false;

-- Whose mailbox or telephone it is; NULL: the organisation's, which is told everything.
ALTER TABLE alert_addresses ADD COLUMN user_id text;

CREATE INDEX alert_addresses_by_user ON alert_addresses (org_id, user_id) WHERE user_id IS NOT NULL;
