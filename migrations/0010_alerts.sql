-- Jobs that run by the clock, alerts, and their way to people: settings, subscriptions, webhooks, deliveries.
-- Instants come from the gateways' clock, not from now(), so that they can be compared with each other.
-- Columns called ..._sealed hold text encrypted with the vault's keys and bound to table, column and primary key.

CREATE TABLE jobs (
    job_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text        NOT NULL,
    -- Empty: of the installation as a whole.
    org_id      text        NOT NULL DEFAULT '',
    -- What makes it this one and no other: a day, an hour, a month.
    period      text        NOT NULL,
    run_at      timestamptz NOT NULL,
    lease_until timestamptz,
    lease_token text,
    attempts    integer     NOT NULL DEFAULT 0,
    done_at     timestamptz,
    -- Why the last attempt failed; with done_at, why it was given up.
    failure     text,
    UNIQUE (kind, org_id, period)
);

CREATE INDEX jobs_due ON jobs (run_at) WHERE done_at IS NULL;

-- Levels of limits set by command; NULL: those of the organisation.
ALTER TABLE managed_limits ADD COLUMN alerts integer[];

CREATE TABLE alerts (
    alert_id     text        PRIMARY KEY,
    org_id       text        NOT NULL,
    kind         text        NOT NULL,
    severity     text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- The same news is recorded once, whoever brings it how often.
    news_key     text        NOT NULL,
    -- Whom it is about, where it is not the organisation as a whole.
    team_id      text,
    user_id      text,
    key_id       text,
    occurred_at  timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL,
    -- False: recorded beside a higher level of the same crossing, which was the one that was sent.
    sent         boolean     NOT NULL,
    data         jsonb       NOT NULL,
    UNIQUE (org_id, news_key)
);

CREATE INDEX alerts_by_org ON alerts (org_id, occurred_at DESC, alert_id DESC);

CREATE TABLE alert_reads (
    alert_id text        NOT NULL REFERENCES alerts ON DELETE CASCADE,
    reader   text        NOT NULL,
    read_at  timestamptz NOT NULL,
    PRIMARY KEY (alert_id, reader)
);

-- What an organisation said about its alerts; without a row, or NULL: the defaults.
CREATE TABLE alert_settings (
    org_id                   text        PRIMARY KEY,
    levels                   integer[],
    low_balance_microcredits bigint,
    email                    boolean     NOT NULL DEFAULT true,
    sms                      boolean     NOT NULL DEFAULT false,
    daily_summary            boolean     NOT NULL DEFAULT true,
    monthly_statement        boolean     NOT NULL DEFAULT true,
    spend_anomaly            boolean     NOT NULL DEFAULT true,
    -- The hour, in the organisation's zone, at which summaries and statements are made; NULL: the installation's.
    summary_hour             smallint    CHECK (summary_hour BETWEEN 0 AND 23),
    changed_at               timestamptz NOT NULL,
    changed_by               text        NOT NULL
);

-- What somebody wants to be told or not, beside what their role brings. kind '*': everything that is not named.
CREATE TABLE alert_subscriptions (
    org_id   text    NOT NULL,
    user_id  text    NOT NULL,
    kind     text    NOT NULL,
    email    boolean NOT NULL,
    sms      boolean NOT NULL,
    PRIMARY KEY (org_id, user_id, kind)
);

-- Addresses that belong to nobody with an account: a mailbox of the finance department, a phone on call.
CREATE TABLE alert_addresses (
    address_id     text        PRIMARY KEY,
    org_id         text        NOT NULL,
    channel        text        NOT NULL CHECK (channel IN ('email', 'sms')),
    address_sealed text        NOT NULL,
    -- NULL: everything.
    kinds          text[],
    created_at     timestamptz NOT NULL,
    created_by     text        NOT NULL
);

CREATE INDEX alert_addresses_by_org ON alert_addresses (org_id, address_id);

CREATE TABLE webhook_endpoints (
    endpoint_id     text        PRIMARY KEY,
    org_id          text        NOT NULL,
    url             text        NOT NULL,
    description     text        NOT NULL DEFAULT '',
    -- NULL: everything.
    kinds           text[],
    -- Why nothing is sent to it; NULL: it is in use.
    disabled_reason text,
    created_at      timestamptz NOT NULL,
    created_by      text        NOT NULL,
    changed_at      timestamptz NOT NULL
);

CREATE INDEX webhook_endpoints_by_org ON webhook_endpoints (org_id, endpoint_id);

-- Each signs until it expires; the newest does not.
CREATE TABLE webhook_secrets (
    secret_id     text        PRIMARY KEY,
    endpoint_id   text        NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    secret_sealed text        NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz
);

CREATE INDEX webhook_secrets_by_endpoint ON webhook_secrets (endpoint_id, created_at);

-- One row for each message to each target. Deliveries of one target and subject are made in the order of `sequence`.
CREATE TABLE deliveries (
    delivery_id  text        PRIMARY KEY,
    sequence     bigint      GENERATED ALWAYS AS IDENTITY,
    org_id       text        NOT NULL,
    -- NULL: a test, which is about nothing.
    alert_id     text        REFERENCES alerts ON DELETE CASCADE,
    -- What receivers know the message by: the same when it is replayed.
    message_id   text        NOT NULL,
    channel      text        NOT NULL CHECK (channel IN ('email', 'sms', 'webhook')),
    -- user:<id>, address:<id> or endpoint:<id>; never an address itself.
    target       text        NOT NULL,
    subject      text        NOT NULL,
    state        text        NOT NULL DEFAULT 'pending'
                             CHECK (state IN ('pending', 'delivered', 'failed', 'cancelled')),
    created_at   timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    lease_until  timestamptz,
    lease_token  text,
    attempts     integer     NOT NULL DEFAULT 0,
    ended_at     timestamptz,
    -- Of a replay: the delivery that is repeated.
    replay_of    text
);

CREATE UNIQUE INDEX deliveries_once ON deliveries (alert_id, channel, target) WHERE replay_of IS NULL;
CREATE INDEX deliveries_waiting ON deliveries (channel, target, subject, sequence) WHERE state = 'pending';
CREATE INDEX deliveries_by_target ON deliveries (target, sequence);

CREATE TABLE delivery_attempts (
    delivery_id text        NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    attempt     integer     NOT NULL,
    at          timestamptz NOT NULL,
    duration_ms integer     NOT NULL,
    -- delivered | failed (it is tried again) | refused (it is not)
    outcome     text        NOT NULL CHECK (outcome IN ('delivered', 'failed', 'refused')),
    status      integer,
    reason      text        NOT NULL DEFAULT '',
    PRIMARY KEY (delivery_id, attempt)
);
