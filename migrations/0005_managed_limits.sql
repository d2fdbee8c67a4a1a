-- Limits that were set by command rather than declared in limits.yaml, which may not declare the same ones.

CREATE TABLE managed_limits (
    org_id               text        NOT NULL,
    scope                text        NOT NULL CHECK (scope IN ('org', 'team', 'user', 'key')),
    scope_id             text        NOT NULL,
    limit_window         text        NOT NULL CHECK (limit_window IN ('day', 'week', 'month', 'total')),
    -- Empty: all.
    operation            text        NOT NULL DEFAULT '',
    model                text        NOT NULL DEFAULT '',
    amount_microcredits  bigint      NOT NULL CHECK (amount_microcredits >= 0),
    grace_percent        integer,
    grace_minutes        integer,
    enforce              boolean     NOT NULL DEFAULT true,
    changed_at           timestamptz NOT NULL DEFAULT now(),
    changed_by           text        NOT NULL,
    PRIMARY KEY (org_id, scope, scope_id, limit_window, operation, model),
    CHECK ((grace_percent IS NULL) = (grace_minutes IS NULL))
);

-- Which of two gateways has the newer limits of an org: grows with every change, removals included.
CREATE TABLE managed_limit_versions (
    org_id   text   PRIMARY KEY,
    version  bigint NOT NULL
);
