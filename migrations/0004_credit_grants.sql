-- Credits added to a prepaid balance. Rows are only ever added; a correction is a row of its own.

CREATE TABLE credit_grants (
    grant_id             text        PRIMARY KEY,
    org_id               text        NOT NULL,
    -- Given by the caller, so that a retry answers with the first grant.
    idempotency_key      text        NOT NULL,
    amount_microcredits  bigint      NOT NULL CHECK (amount_microcredits <> 0),
    reason               text        NOT NULL,
    granted_by           text        NOT NULL,
    granted_at           timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, idempotency_key)
);

CREATE TRIGGER credit_grants_append_only BEFORE UPDATE OR DELETE ON credit_grants
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER credit_grants_no_truncate BEFORE TRUNCATE ON credit_grants
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
