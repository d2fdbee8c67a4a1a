-- What reports and charts are answered from: usage by the local day and hour of each org, and conversations.

-- The calendar by which an org's usage is cut. A wanted zone that differs from the zone in force is put in force by
-- a recut, which rewrites the org's sums and moves the zone in one transaction: both always belong together.
CREATE TABLE org_calendars (
    org_id           text     PRIMARY KEY,
    time_zone        text     NOT NULL DEFAULT 'UTC',
    wanted_time_zone text     NOT NULL DEFAULT 'UTC',
    -- 0: Monday
    week_start       smallint NOT NULL DEFAULT 0 CHECK (week_start BETWEEN 0 AND 6),
    changed_at       timestamptz NOT NULL DEFAULT now()
);

-- errors: the call failed or never ended (not: its client left). estimated: the count is not the provider's own.
-- unpriced: something used had no price, so the hold was charged.
ALTER TABLE usage_rollups
    ADD COLUMN errors    bigint NOT NULL DEFAULT 0,
    ADD COLUMN estimated bigint NOT NULL DEFAULT 0,
    ADD COLUMN unpriced  bigint NOT NULL DEFAULT 0;

CREATE FUNCTION usage_failed(status text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT status IN ('upstream_error', 'reaped') $$;

CREATE FUNCTION usage_estimated(usage_source text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT usage_source IN ('counted', 'bound') $$;

CREATE FUNCTION usage_unpriced(flags text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT flags && ARRAY ['unpriced_unit', 'unknown_tier', 'cost_unknown'] $$;

-- The instant at which the local hour of an instant began. Offsets from UTC need not be whole hours, and an hour that
-- clocks show twice is two hours.
CREATE FUNCTION local_hour_start(instant timestamptz, zone text) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT instant - ((instant AT TIME ZONE zone) - date_trunc('hour', instant AT TIME ZONE zone)) $$;

CREATE TABLE usage_days (
    org_id               text    NOT NULL,
    day                  date    NOT NULL,
    team_id              text    NOT NULL DEFAULT '',
    user_id              text    NOT NULL DEFAULT '',
    key_id               text    NOT NULL,
    provider             text    NOT NULL,
    model                text    NOT NULL,
    operation            text    NOT NULL,
    requests             bigint  NOT NULL,
    errors               bigint  NOT NULL,
    estimated            bigint  NOT NULL,
    unpriced             bigint  NOT NULL,
    input_tokens         bigint  NOT NULL,
    cached_input_tokens  bigint  NOT NULL,
    cache_write_tokens   bigint  NOT NULL,
    output_tokens        bigint  NOT NULL,
    reasoning_tokens     bigint  NOT NULL,
    cost_usd             numeric NOT NULL,
    credits_microcredits bigint  NOT NULL,
    PRIMARY KEY (org_id, day, team_id, user_id, key_id, provider, model, operation)
) WITH (fillfactor = 80);

CREATE TABLE usage_hours (
    org_id               text        NOT NULL,
    hour_start           timestamptz NOT NULL,
    provider             text        NOT NULL,
    model                text        NOT NULL,
    operation            text        NOT NULL,
    requests             bigint      NOT NULL,
    errors               bigint      NOT NULL,
    estimated            bigint      NOT NULL,
    unpriced             bigint      NOT NULL,
    input_tokens         bigint      NOT NULL,
    cached_input_tokens  bigint      NOT NULL,
    cache_write_tokens   bigint      NOT NULL,
    output_tokens        bigint      NOT NULL,
    reasoning_tokens     bigint      NOT NULL,
    cost_usd             numeric     NOT NULL,
    credits_microcredits bigint      NOT NULL,
    PRIMARY KEY (org_id, hour_start, provider, model, operation)
) WITH (fillfactor = 80);

-- What people call a conversation, and when it began. It is of the team, user and key of its first request recorded.
-- What it cost, and when it was last heard of, is read from its requests.
CREATE TABLE conversations (
    org_id          text        NOT NULL,
    conversation_id text        NOT NULL,
    title           text,
    team_id         text,
    user_id         text,
    key_id          text        NOT NULL,
    first_at        timestamptz NOT NULL,
    PRIMARY KEY (org_id, conversation_id)
);

CREATE INDEX conversations_by_start ON conversations (org_id, first_at, conversation_id);

-- Reconciling looks at what is recent of all orgs; rows lie about in the order of time, so these cost next to nothing.
CREATE INDEX usage_rollups_by_time ON usage_rollups USING brin (quarter_start) WITH (pages_per_range = 32);
CREATE INDEX usage_days_by_time ON usage_days USING brin (day) WITH (pages_per_range = 32);
CREATE INDEX usage_hours_by_time ON usage_hours USING brin (hour_start) WITH (pages_per_range = 32);

-- History, newest first, of one user, key or conversation. An index on the parent reaches every partition, and every
-- one that is made later.
CREATE INDEX usage_events_by_user ON usage_events (org_id, user_id, started_at, request_id);
CREATE INDEX usage_events_by_key ON usage_events (org_id, key_id, started_at, request_id);
CREATE INDEX usage_events_by_conversation ON usage_events (org_id, conversation_id, started_at, request_id)
    WHERE conversation_id IS NOT NULL;

-- All of an org's days and hours, made again from its quarters of an hour, which outlive the requests.
CREATE FUNCTION recut_usage(org text, zone text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM usage_days d WHERE d.org_id = org;
    DELETE FROM usage_hours h WHERE h.org_id = org;
    INSERT INTO usage_days
    SELECT r.org_id, (r.quarter_start AT TIME ZONE zone)::date, r.team_id, r.user_id, r.key_id, r.provider, r.model,
           r.operation, sum(r.requests), sum(r.errors), sum(r.estimated), sum(r.unpriced), sum(r.input_tokens),
           sum(r.cached_input_tokens), sum(r.cache_write_tokens), sum(r.output_tokens), sum(r.reasoning_tokens),
           sum(r.cost_usd), sum(r.credits_microcredits)
    FROM usage_rollups r
    WHERE r.org_id = org
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
    INSERT INTO usage_hours
    SELECT r.org_id, local_hour_start(r.quarter_start, zone), r.provider, r.model, r.operation, sum(r.requests),
           sum(r.errors), sum(r.estimated), sum(r.unpriced), sum(r.input_tokens), sum(r.cached_input_tokens),
           sum(r.cache_write_tokens), sum(r.output_tokens), sum(r.reasoning_tokens), sum(r.cost_usd),
           sum(r.credits_microcredits)
    FROM usage_rollups r
    WHERE r.org_id = org
    GROUP BY 1, 2, 3, 4, 5;
$$;

-- What there is already.
UPDATE usage_rollups r
SET errors = e.errors, estimated = e.estimated, unpriced = e.unpriced
FROM (
    SELECT org_id, date_bin('15 minutes', started_at, 'epoch') AS quarter_start, coalesce(team_id, '') AS team_id,
           coalesce(user_id, '') AS user_id, key_id, provider, model, operation,
           count(*) FILTER (WHERE usage_failed(status)) AS errors,
           count(*) FILTER (WHERE usage_estimated(usage_source)) AS estimated,
           count(*) FILTER (WHERE usage_unpriced(flags)) AS unpriced
    FROM usage_events
    WHERE usage_failed(status) OR usage_estimated(usage_source) OR usage_unpriced(flags)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
) e
WHERE (r.org_id, r.quarter_start, r.team_id, r.user_id, r.key_id, r.provider, r.model, r.operation)
    = (e.org_id, e.quarter_start, e.team_id, e.user_id, e.key_id, e.provider, e.model, e.operation);

INSERT INTO org_calendars (org_id) SELECT DISTINCT org_id FROM usage_rollups;

SELECT recut_usage(org_id, time_zone) FROM org_calendars;

INSERT INTO conversations (org_id, conversation_id, team_id, user_id, key_id, first_at)
SELECT DISTINCT ON (org_id, conversation_id) org_id, conversation_id, team_id, user_id, key_id, started_at
FROM usage_events
WHERE conversation_id IS NOT NULL
ORDER BY org_id, conversation_id, started_at;
