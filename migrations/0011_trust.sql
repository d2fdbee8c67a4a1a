-- The audit log as a chain: every row carries a hash of itself and of the row before it, so that none can be changed,
-- removed or put in between unnoticed. Then: what was erased, and from when on the events of an organisation are kept.

ALTER TABLE audit_log
    -- 1, 2, 3 and so on, in the order of the chain.
    ADD COLUMN place         bigint,
    ADD COLUMN org_id        text,
    -- Where it was asked for: an IP address, and the request id of the API call. NULL: on the command line.
    ADD COLUMN address       text,
    ADD COLUMN request_id    text,
    ADD COLUMN previous_hash bytea,
    ADD COLUMN hash          bytea;

-- One value with its length before it, so that no two rows can look alike.
CREATE FUNCTION audit_part(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN value IS NULL THEN '-' ELSE octet_length(convert_to(value, 'UTF8'))::text || ':' || value END
$$;

CREATE FUNCTION audit_instant(instant timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

CREATE FUNCTION audit_hash(entry audit_log) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(entry.previous_hash || convert_to(
        audit_part(entry.place::text) || audit_part(audit_instant(entry.at)) || audit_part(entry.actor)
        || audit_part(entry.action) || audit_part(entry.object) || audit_part(entry.org_id)
        || audit_part(entry.address) || audit_part(entry.request_id) || audit_part(entry.before::text)
        || audit_part(entry.after::text), 'UTF8'))
$$;

ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only;
DO $$
DECLARE
    entry     audit_log;
    last_hash bytea  := decode(repeat('00', 32), 'hex');
    last      bigint := 0;
BEGIN
    FOR entry IN SELECT * FROM audit_log ORDER BY id LOOP
        last := last + 1;
        entry.place := last;
        entry.previous_hash := last_hash;
        last_hash := audit_hash(entry);
        UPDATE audit_log SET place = last, previous_hash = entry.previous_hash, hash = last_hash WHERE id = entry.id;
    END LOOP;
END
$$;
ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only;

-- A gateway of the version before names none of these: the trigger below fills them for it too.
ALTER TABLE audit_log
    ADD CONSTRAINT audit_log_chained CHECK (num_nulls(place, previous_hash, hash) = 0),
    ADD CONSTRAINT audit_log_place UNIQUE (place);

CREATE INDEX audit_log_by_org ON audit_log (org_id, place);

-- One at a time, until the end of the transaction: the next row's hash depends on this one. What is audited is done
-- rarely, and this comes last in its transaction.
CREATE FUNCTION chain_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('tollgate.audit'));
    SELECT place, hash INTO last FROM audit_log ORDER BY place DESC LIMIT 1;
    NEW.place := coalesce(last.place, 0) + 1;
    NEW.previous_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
    NEW.hash := audit_hash(NEW);
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_log_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION chain_audit_log();

-- Who was erased. The user id is forgotten too when nothing of it can arrive any more.
CREATE TABLE erasures (
    erasure_id   text        PRIMARY KEY,
    org_id       text        NOT NULL,
    user_id      text,
    -- What usage stands under from then on: random, so that it says nothing.
    erased_id    text        NOT NULL UNIQUE,
    requested_by text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- Usage of before was moved to the erased id.
    completed_at timestamptz,
    forgotten_at timestamptz,
    CHECK ((user_id IS NULL) = (forgotten_at IS NOT NULL))
);

CREATE UNIQUE INDEX erasures_under_way ON erasures (org_id, user_id) WHERE user_id IS NOT NULL;

-- Events of an organisation from before this instant were removed; their sums stay.
CREATE TABLE usage_kept_since (
    org_id text        PRIMARY KEY,
    at     timestamptz NOT NULL
);
