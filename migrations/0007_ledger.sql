-- The credit ledger: double entry in microcredits. What was written stays; a mistake is mended by writing its opposite.
-- An amount is positive where an account is given credits and negative where it gives them; each transaction sums to 0.

CREATE TABLE ledger_transactions (
    -- Grows with every transaction of an org in the order in which they commit: they are written under a lock.
    id                         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id                     text        NOT NULL,
    kind                       text        NOT NULL CHECK (kind IN (
        'purchase', 'promotion', 'adjustment', 'refund', 'usage', 'postpaid_usage', 'expiry', 'expiry_reversal')),
    idempotency_key            text        NOT NULL,
    -- What the key was used for; it may not be used for anything else.
    payload                    jsonb       NOT NULL DEFAULT '{}',
    -- When it came to pass, which may be before it was recorded: usage, expiry.
    occurred_at                timestamptz NOT NULL,
    recorded_at                timestamptz NOT NULL DEFAULT now(),
    actor                      text        NOT NULL,
    reason                     text        NOT NULL,
    -- What it is about: a top-up, a transaction that is refunded, a grant that expired.
    ref                        text,
    balance_after_microcredits bigint      NOT NULL,
    -- The database transaction that wrote it: lines are added in that one or never.
    written_in                 xid8        NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (org_id, idempotency_key)
);

CREATE INDEX ledger_transactions_by_org ON ledger_transactions (org_id, id);
CREATE INDEX ledger_transactions_by_kind ON ledger_transactions (org_id, kind, id);
CREATE INDEX ledger_transactions_by_time ON ledger_transactions (org_id, occurred_at);
CREATE INDEX ledger_transactions_by_ref ON ledger_transactions (org_id, ref) WHERE ref IS NOT NULL;

CREATE TABLE ledger_grants (
    grant_id            text        PRIMARY KEY,
    org_id              text        NOT NULL,
    transaction_id      bigint      NOT NULL UNIQUE REFERENCES ledger_transactions (id),
    kind                text        NOT NULL CHECK (kind IN ('purchase', 'promotion', 'adjustment', 'refund')),
    amount_microcredits bigint      NOT NULL CHECK (amount_microcredits > 0),
    -- Lower ones are used first.
    priority            integer     NOT NULL CHECK (priority BETWEEN 0 AND 1000),
    -- Whole minutes, as usage is posted by the minute. NULL: never.
    expires_at          timestamptz CHECK (date_trunc('minute', expires_at, 'UTC') = expires_at),
    created_at          timestamptz NOT NULL
);

CREATE INDEX ledger_grants_by_org ON ledger_grants (org_id, created_at, grant_id);

CREATE TABLE ledger_lines (
    transaction_id      bigint   NOT NULL REFERENCES ledger_transactions (id),
    line                smallint NOT NULL,
    account             text     NOT NULL CHECK (account IN (
        'customer_credit', 'receivable', 'usage_revenue', 'cash_clearing', 'promo_expense', 'breakage', 'refunds',
        'adjustments')),
    -- Whose credits. customer_credit without a grant is what was used beyond all grants.
    grant_id            text     REFERENCES ledger_grants (grant_id),
    amount_microcredits bigint   NOT NULL CHECK (amount_microcredits <> 0),
    PRIMARY KEY (transaction_id, line),
    CHECK (grant_id IS NULL OR account IN ('customer_credit', 'breakage'))
);

CREATE INDEX ledger_lines_by_grant ON ledger_lines (grant_id) WHERE grant_id IS NOT NULL;

-- Sums of lines, kept by a trigger so that they cannot be anything else.
CREATE TABLE ledger_balances (
    org_id                   text   PRIMARY KEY,
    -- customer_credit by all transactions but usage, and by usage with its sign turned: the balance is their difference.
    granted_microcredits     bigint NOT NULL DEFAULT 0,
    spent_microcredits       bigint NOT NULL DEFAULT 0,
    -- customer_credit without a grant: zero, or negative.
    debt_microcredits        bigint NOT NULL DEFAULT 0,
    receivable_microcredits  bigint NOT NULL DEFAULT 0,
    last_transaction_id      bigint NOT NULL
);

CREATE TABLE ledger_grant_balances (
    grant_id            text   PRIMARY KEY REFERENCES ledger_grants (grant_id),
    org_id              text   NOT NULL,
    left_microcredits   bigint NOT NULL DEFAULT 0 CHECK (left_microcredits >= 0),
    -- What expired unused.
    broken_microcredits bigint NOT NULL DEFAULT 0 CHECK (broken_microcredits >= 0)
);

CREATE INDEX ledger_grant_balances_open ON ledger_grant_balances (org_id)
    WHERE left_microcredits > 0 OR broken_microcredits > 0;

CREATE FUNCTION ledger_open_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_grant_balances (grant_id, org_id) VALUES (NEW.grant_id, NEW.org_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER ledger_grants_open AFTER INSERT ON ledger_grants FOR EACH ROW EXECUTE FUNCTION ledger_open_grant();

CREATE FUNCTION ledger_project() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger_grant_balances b SET
        left_microcredits   = b.left_microcredits   + s.credit,
        broken_microcredits = b.broken_microcredits + s.broken
    FROM (
        SELECT grant_id,
               coalesce(sum(amount_microcredits) FILTER (WHERE account = 'customer_credit'), 0) AS credit,
               coalesce(sum(amount_microcredits) FILTER (WHERE account = 'breakage'), 0) AS broken
        FROM new_lines WHERE grant_id IS NOT NULL GROUP BY grant_id
    ) s
    WHERE b.grant_id = s.grant_id;
    INSERT INTO ledger_balances AS b (
        org_id, granted_microcredits, spent_microcredits, debt_microcredits, receivable_microcredits, last_transaction_id
    )
    SELECT t.org_id,
           coalesce(sum(n.amount_microcredits) FILTER (WHERE n.account = 'customer_credit' AND t.kind <> 'usage'), 0),
           coalesce(-sum(n.amount_microcredits) FILTER (WHERE n.account = 'customer_credit' AND t.kind = 'usage'), 0),
           coalesce(sum(n.amount_microcredits) FILTER (WHERE n.account = 'customer_credit' AND n.grant_id IS NULL), 0),
           coalesce(sum(n.amount_microcredits) FILTER (WHERE n.account = 'receivable'), 0),
           max(t.id)
    FROM new_lines n JOIN ledger_transactions t ON t.id = n.transaction_id
    GROUP BY t.org_id
    ON CONFLICT (org_id) DO UPDATE SET
        granted_microcredits    = b.granted_microcredits    + excluded.granted_microcredits,
        spent_microcredits      = b.spent_microcredits      + excluded.spent_microcredits,
        debt_microcredits       = b.debt_microcredits       + excluded.debt_microcredits,
        receivable_microcredits = b.receivable_microcredits + excluded.receivable_microcredits,
        last_transaction_id     = greatest(b.last_transaction_id, excluded.last_transaction_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER ledger_lines_project AFTER INSERT ON ledger_lines
    REFERENCING NEW TABLE AS new_lines FOR EACH STATEMENT EXECUTE FUNCTION ledger_project();

-- Whole at commit: every transaction has lines that sum to zero, none is added to later.
CREATE FUNCTION ledger_check(checked bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lines integer;
    total numeric;
BEGIN
    PERFORM FROM ledger_transactions WHERE id = checked AND written_in = pg_current_xact_id();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'ledger transaction % is closed: lines are never added to it', checked
            USING ERRCODE = 'restrict_violation';
    END IF;
    SELECT count(*), sum(amount_microcredits) INTO lines, total FROM ledger_lines WHERE transaction_id = checked;
    IF lines < 2 OR total <> 0 THEN
        RAISE EXCEPTION 'ledger transaction % has % lines that sum to %, not to 0', checked, lines, total
            USING ERRCODE = 'check_violation';
    END IF;
END
$$;

CREATE FUNCTION ledger_check_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ledger_check(NEW.id);
    RETURN NULL;
END
$$;

CREATE FUNCTION ledger_check_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ledger_check(NEW.transaction_id);
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER ledger_transactions_zero_sum AFTER INSERT ON ledger_transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_transaction();
CREATE CONSTRAINT TRIGGER ledger_lines_zero_sum AFTER INSERT ON ledger_lines
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_line();

CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_grants_append_only BEFORE UPDATE OR DELETE ON ledger_grants
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_grants_no_truncate BEFORE TRUNCATE ON ledger_grants
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_lines_append_only BEFORE UPDATE OR DELETE ON ledger_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_lines_no_truncate BEFORE TRUNCATE ON ledger_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What Redis is still to be told of balances, in the transaction that changed them. Each change names the one before
-- it, so that one that was lost, with a Redis that went back in time say, is noticed.
CREATE TABLE balance_outbox (
    id                     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id                 text        NOT NULL,
    after_id               bigint      NOT NULL,
    granted_microcredits   bigint      NOT NULL,
    -- What is left in grants that expire: "instant_us:microcredits ..." in order of time.
    rungs                  text        NOT NULL,
    -- A top-up: the balance just after it, by which alerts measure what was used.
    reference_microcredits bigint,
    made_at                timestamptz NOT NULL DEFAULT now(),
    delivered_at           timestamptz
);

CREATE INDEX balance_outbox_by_org ON balance_outbox (org_id, id);
CREATE INDEX balance_outbox_due ON balance_outbox (org_id, id) WHERE delivered_at IS NULL;

-- Usage that is in usage_events and not in the ledger yet, by the minute in which it began.
CREATE TABLE ledger_pending (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id       text        NOT NULL,
    from_balance boolean     NOT NULL,
    minute       timestamptz NOT NULL,
    microcredits bigint      NOT NULL CHECK (microcredits > 0),
    requests     bigint      NOT NULL
);

CREATE INDEX ledger_pending_by_org ON ledger_pending (org_id, id);

-- Whether the call was charged to the org's prepaid balance.
ALTER TABLE usage_events ADD COLUMN from_balance boolean NOT NULL DEFAULT false;

-- A trigger, so that no row reaches the table without reaching the ledger, whoever writes it.
CREATE FUNCTION ledger_note_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_pending (org_id, from_balance, minute, microcredits, requests)
    SELECT org_id, from_balance, date_trunc('minute', started_at, 'UTC'), sum(credits_microcredits), count(*)
    FROM new_rows
    WHERE credits_microcredits > 0
    GROUP BY 1, 2, 3;
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_events_ledger AFTER INSERT ON usage_events
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ledger_note_usage();

-- Grants of before the ledger, and of a gateway of that time that still runs: each becomes a promotion, a negative one
-- an adjustment of what is left of the oldest. Their gateway tells Redis.
CREATE FUNCTION ledger_take_in(old credit_grants) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind_of       text   := CASE WHEN old.amount_microcredits > 0 THEN 'promotion' ELSE 'adjustment' END;
    counterpart   text   := CASE WHEN old.amount_microcredits > 0 THEN 'promo_expense' ELSE 'adjustments' END;
    owed          bigint := -old.amount_microcredits;
    place         smallint := 1;
    transaction   bigint;
    open_grant    record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tollgate.ledger.' || old.org_id, 0));
    INSERT INTO ledger_transactions (
        org_id, kind, idempotency_key, payload, occurred_at, actor, reason, ref, balance_after_microcredits)
    VALUES (
        old.org_id, kind_of, 'key:' || old.idempotency_key,
        jsonb_build_object('amount_microcredits', old.amount_microcredits), old.granted_at, old.granted_by, old.reason,
        old.grant_id,
        old.amount_microcredits
        + coalesce((SELECT granted_microcredits - spent_microcredits FROM ledger_balances WHERE org_id = old.org_id), 0))
    RETURNING id INTO transaction;
    INSERT INTO ledger_lines VALUES (transaction, 0, counterpart, NULL, owed);
    IF owed < 0 THEN
        INSERT INTO ledger_grants VALUES (
            old.grant_id, old.org_id, transaction, kind_of, old.amount_microcredits, 100, NULL, old.granted_at);
        INSERT INTO ledger_lines VALUES (transaction, 1, 'customer_credit', old.grant_id, -owed);
        RETURN;
    END IF;
    FOR open_grant IN
        SELECT b.grant_id, b.left_microcredits FROM ledger_grant_balances b JOIN ledger_grants g USING (grant_id)
        WHERE b.org_id = old.org_id AND b.left_microcredits > 0
        ORDER BY g.created_at, g.grant_id
    LOOP
        EXIT WHEN owed = 0;
        INSERT INTO ledger_lines VALUES (
            transaction, place, 'customer_credit', open_grant.grant_id, -least(owed, open_grant.left_microcredits));
        owed := owed - least(owed, open_grant.left_microcredits);
        place := place + 1;
    END LOOP;
    IF owed > 0 THEN
        INSERT INTO ledger_lines VALUES (transaction, place, 'customer_credit', NULL, -owed);
    END IF;
END
$$;

CREATE FUNCTION ledger_take_in_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ledger_take_in(NEW);
    RETURN NULL;
END
$$;

SELECT ledger_take_in(g) FROM (SELECT * FROM credit_grants ORDER BY granted_at, grant_id) g;

CREATE TRIGGER credit_grants_ledger AFTER INSERT ON credit_grants FOR EACH ROW EXECUTE FUNCTION ledger_take_in_grant();

-- Usage of before the ledger is posted like any other. An organisation that was ever granted credits is taken to have
-- paid by balance; that is not on record.
UPDATE usage_events SET from_balance = true WHERE org_id IN (SELECT org_id FROM credit_grants);

INSERT INTO ledger_pending (org_id, from_balance, minute, microcredits, requests)
SELECT org_id, org_id IN (SELECT org_id FROM credit_grants), quarter_start, sum(credits_microcredits), sum(requests)
FROM usage_rollups
GROUP BY org_id, quarter_start
HAVING sum(credits_microcredits) > 0;

-- Credits that somebody wants to buy: pending until whoever takes the money says that it came.
CREATE TABLE top_ups (
    top_up_id            text        PRIMARY KEY,
    org_id               text        NOT NULL,
    requested_by         text        NOT NULL,
    requested_by_user    text,
    idempotency_key      text        NOT NULL,
    amount_microcredits  bigint      NOT NULL CHECK (amount_microcredits > 0),
    -- In the smallest unit of the currency (cents).
    price_minor          bigint      NOT NULL CHECK (price_minor >= 0),
    currency             text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    status               text        NOT NULL CHECK (status IN ('pending', 'confirmed', 'cancelled', 'failed')),
    provider             text        NOT NULL,
    -- What the provider calls it.
    reference            text,
    url                  text,
    instructions         text        NOT NULL DEFAULT '',
    created_at           timestamptz NOT NULL,
    changed_at           timestamptz NOT NULL,
    changed_by           text        NOT NULL,
    reason               text        NOT NULL DEFAULT '',
    -- The grant that it became.
    grant_id             text        REFERENCES ledger_grants (grant_id),
    UNIQUE (org_id, idempotency_key),
    CHECK ((status = 'confirmed') = (grant_id IS NOT NULL))
);

CREATE INDEX top_ups_by_org ON top_ups (org_id, created_at, top_up_id);
CREATE INDEX top_ups_pending ON top_ups (org_id) WHERE status = 'pending';
