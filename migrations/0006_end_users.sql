-- Limits of end users: those whom x-tollgate-user names on keys whose word for it is taken (trusted_attribution).

-- Whether the row counts towards the limits of its end_user. Gateways that know nothing of it write false.
ALTER TABLE usage_events ADD COLUMN end_user_trusted boolean NOT NULL DEFAULT false;

-- Counters of end users start from rows, not from rollups: those would grow by a row for each end user and quarter.
CREATE INDEX usage_events_by_end_user ON usage_events (org_id, end_user, started_at) WHERE end_user_trusted;

-- A limit of each end user within an org, team, user or key. It is a scope of its own here, so that a gateway that
-- does not know of it refuses the whole set instead of taking it for a limit of the org, team, user or key itself.
ALTER TABLE managed_limits DROP CONSTRAINT managed_limits_scope_check;
ALTER TABLE managed_limits ADD CONSTRAINT managed_limits_scope_check CHECK (
    scope IN ('org', 'team', 'user', 'key', 'org end users', 'team end users', 'user end users', 'key end users')
);
