-- What was used: one row per admitted request, its quarter-hourly sums, and what could not be written.

CREATE TABLE usage_events (
    request_id           text        NOT NULL,
    started_at           timestamptz NOT NULL,
    finished_at          timestamptz NOT NULL,
    org_id               text        NOT NULL,
    team_id              text,
    user_id              text,
    key_id               text        NOT NULL,
    conversation_id      text,
    end_user             text,
    tags                 jsonb       NOT NULL DEFAULT '{}',
    provider             text        NOT NULL,
    model                text        NOT NULL,
    model_served         text,
    operation            text        NOT NULL,
    route                text        NOT NULL,
    tier                 text,
    streamed             boolean     NOT NULL,
    -- Counts are inclusive: input contains cached reads and cache writes, output contains reasoning.
    input_tokens         bigint      NOT NULL DEFAULT 0,
    cached_input_tokens  bigint      NOT NULL DEFAULT 0,
    cache_write_tokens   bigint      NOT NULL DEFAULT 0,
    output_tokens        bigint      NOT NULL DEFAULT 0,
    reasoning_tokens     bigint      NOT NULL DEFAULT 0,
    -- The exclusive counts that were priced, by bucket.
    buckets              jsonb       NOT NULL DEFAULT '{}',
    price_ref            text,
    -- Before markup; exact to 1e-15 USD.
    cost_usd             numeric     NOT NULL DEFAULT 0 CHECK (cost_usd >= 0),
    credits_microcredits bigint      NOT NULL CHECK (credits_microcredits >= 0),
    held_microcredits    bigint      NOT NULL DEFAULT 0,
    usage_source         text        NOT NULL,
    status               text        NOT NULL,
    flags                text[]      NOT NULL DEFAULT '{}',
    upstream_status      integer,
    first_byte_ms        bigint,
    provider_request_id  text,
    gateway_id           text        NOT NULL,
    -- The Redis partition that settled this, and the place of the settlement in it.
    partition            integer     NOT NULL,
    sequence             bigint      NOT NULL,
    PRIMARY KEY (request_id, started_at)
) PARTITION BY RANGE (started_at);

CREATE INDEX usage_events_by_org ON usage_events (org_id, started_at);
CREATE INDEX usage_events_by_sequence ON usage_events (partition, sequence);

-- Makes the partition of the (UTC) month of an instant, if it is not there. A table is made beside and attached,
-- which locks the parent only against other schema changes: writers go on. Returns whether it made one.
CREATE FUNCTION ensure_usage_partition(instant timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    month_start timestamp := date_trunc('month', instant AT TIME ZONE 'UTC');
    month_name  text      := 'usage_events_' || to_char(month_start, 'YYYY_MM');
BEGIN
    FOR attempt IN 1..2 LOOP
        -- A query, as to_regclass() may answer from before the lock was granted.
        PERFORM FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'usage_events'::regclass AND c.relname = month_name;
        IF FOUND THEN
            RETURN false;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('tollgate.usage_partitions'));
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE usage_events INCLUDING ALL)', month_name);
    EXECUTE format(
        'ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        month_name,
        month_start AT TIME ZONE 'UTC',
        (month_start + interval '1 month') AT TIME ZONE 'UTC'
    );
    RETURN true;
END
$$;

-- Sums by quarter of an hour, so that the day of any time zone can be built from them. They outlive the events.
-- A scope that a request does not have is '', so that the key stays unique.
CREATE TABLE usage_rollups (
    quarter_start        timestamptz NOT NULL,
    org_id               text        NOT NULL,
    team_id              text        NOT NULL DEFAULT '',
    user_id              text        NOT NULL DEFAULT '',
    key_id               text        NOT NULL,
    provider             text        NOT NULL,
    model                text        NOT NULL,
    operation            text        NOT NULL,
    requests             bigint      NOT NULL,
    input_tokens         bigint      NOT NULL,
    cached_input_tokens  bigint      NOT NULL,
    cache_write_tokens   bigint      NOT NULL,
    output_tokens        bigint      NOT NULL,
    reasoning_tokens     bigint      NOT NULL,
    cost_usd             numeric     NOT NULL,
    credits_microcredits bigint      NOT NULL,
    PRIMARY KEY (org_id, quarter_start, team_id, user_id, key_id, provider, model, operation)
);

-- Stream entries that no row could be made of. They were charged, so they show as drift until someone mends them.
CREATE TABLE usage_dead_letters (
    stream      text        NOT NULL,
    entry_id    text        NOT NULL,
    request_id  text        NOT NULL,
    reason      text        NOT NULL,
    -- The entry's fields as JSON, their bytes read as Latin-1, so that nothing in them can be refused again.
    fields      bytea       NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, entry_id, request_id)
);

-- Usage that a provider lets be fetched again is metered for the first request that names its id.
CREATE TABLE provider_requests (
    provider    text        NOT NULL,
    upstream_id text        NOT NULL,
    request_id  text        NOT NULL,
    started_at  timestamptz NOT NULL,
    PRIMARY KEY (provider, upstream_id)
);

CREATE VIEW usage AS
SELECT request_id, started_at, finished_at, org_id, team_id, user_id, key_id, conversation_id, tags, provider,
       model, operation, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
       cost_usd, credits_microcredits, usage_source, status, streamed, end_user, provider_request_id
FROM usage_events;
