-- First answers to calls that move credits, so that a repetition is answered alike. The ledger has keys of its own:
-- nothing is done twice even after an answer was forgotten.

CREATE TABLE api_answers (
    -- Who asked (two callers may choose the same key), what for, and their key.
    caller          text        NOT NULL,
    operation       text        NOT NULL,
    idempotency_key text        NOT NULL,
    -- SHA-256 of parameters and body.
    asked           bytea       NOT NULL,
    status          integer     NOT NULL,
    answer          text,
    answered_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, operation, idempotency_key)
);

CREATE INDEX api_answers_by_age ON api_answers (answered_at);
