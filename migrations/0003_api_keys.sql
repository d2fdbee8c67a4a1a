-- Keys that were created here (those of limits.yaml live in that file alone). The key itself is never stored.

CREATE TABLE api_keys (
    key_id              text        PRIMARY KEY,
    name                text        NOT NULL,
    org_id              text        NOT NULL,
    team_id             text,
    user_id             text,
    -- SHA-256 of the key, in lower-case hex.
    digest              text        NOT NULL UNIQUE CHECK (digest ~ '^[0-9a-f]{64}$'),
    -- The first characters of the key, by which people recognise it.
    prefix              text        NOT NULL,
    -- NULL: everything that the key's team and org allow.
    allowed_models      text[],
    allowed_operations  text[],
    requests_per_minute integer     CHECK (requests_per_minute > 0),
    open_calls_max      integer     CHECK (open_calls_max > 0),
    trusted_attribution boolean     NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz,
    revoked_at          timestamptz
);

CREATE INDEX api_keys_by_org ON api_keys (org_id, created_at);
