-- Organisations, teams and people that were made here, beside those that limits.yaml declares. Where the file declares
-- the same id, the file decides and what is personal (the profile) stays here.
-- Columns called ..._sealed hold text encrypted with the vault's keys and bound to table, column and primary key.

CREATE TABLE orgs (
    org_id             text        PRIMARY KEY,
    name               text        NOT NULL,
    time_zone          text        NOT NULL DEFAULT 'UTC',
    -- 0: Monday.
    week_start         smallint    NOT NULL DEFAULT 0 CHECK (week_start BETWEEN 0 AND 6),
    balance_required   boolean     NOT NULL DEFAULT false,
    -- NULL: everything.
    allowed_models     text[],
    allowed_operations text[],
    -- How many whole months of usage events are kept; NULL: all. Their sums are kept in any case.
    events_kept_months integer     CHECK (events_kept_months BETWEEN 1 AND 1200),
    created_at         timestamptz NOT NULL DEFAULT now(),
    changed_at         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE teams (
    org_id             text        NOT NULL,
    team_id            text        NOT NULL,
    name               text        NOT NULL,
    allowed_models     text[],
    allowed_operations text[],
    created_at         timestamptz NOT NULL DEFAULT now(),
    changed_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, team_id)
);

-- Users: people, and services that keys may belong to. A row of an id that limits.yaml declares holds its profile only.
CREATE TABLE people (
    org_id       text        NOT NULL,
    user_id      text        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('person', 'service')),
    state        text        NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    name_sealed  text,
    email_sealed text,
    phone_sealed text,
    -- HMAC-SHA256 of the lower-case address under a key of the organisation's own: finds it without reading it.
    email_digest text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    changed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id)
);

CREATE UNIQUE INDEX people_by_email ON people (org_id, email_digest) WHERE email_digest IS NOT NULL;

CREATE TABLE memberships (
    org_id     text        NOT NULL,
    user_id    text        NOT NULL,
    -- Empty: of the organisation as a whole.
    team_id    text        NOT NULL DEFAULT '',
    role       text        NOT NULL CHECK (role IN ('owner', 'billing', 'auditor', 'lead', 'member')),
    granted_by text        NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id, team_id, role),
    FOREIGN KEY (org_id, user_id) REFERENCES people ON DELETE CASCADE,
    CHECK ((role IN ('lead', 'member')) = (team_id <> ''))
);

CREATE INDEX memberships_by_team ON memberships (org_id, team_id);

-- Keys of an organisation that other things are derived with: pseudonyms, the digests of e-mail addresses.
CREATE TABLE org_secrets (
    org_id        text        NOT NULL,
    purpose       text        NOT NULL,
    secret_sealed text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, purpose)
);

-- What a key may do beyond metered calls: what any member may, or what the roles of its user allow.
ALTER TABLE api_keys ADD COLUMN access text NOT NULL DEFAULT 'calls' CHECK (access IN ('calls', 'role'));
ALTER TABLE api_keys ADD COLUMN created_by text;
ALTER TABLE api_keys ADD COLUMN rotated_at timestamptz;

-- Secrets that a key had before it was rotated. They stand for the key until their instant.
CREATE TABLE api_key_former_secrets (
    digest      text        PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
    key_id      text        NOT NULL REFERENCES api_keys,
    prefix      text        NOT NULL,
    valid_until timestamptz NOT NULL
);

CREATE INDEX api_key_former_secrets_by_key ON api_key_former_secrets (key_id);
CREATE INDEX api_keys_by_user ON api_keys (org_id, user_id);
