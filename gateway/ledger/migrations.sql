-- name: create_register
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: lock
SELECT pg_advisory_lock(hashtext('tollgate.migrations'))

-- name: unlock
SELECT pg_advisory_unlock(hashtext('tollgate.migrations'))

-- name: applied
SELECT version, name, checksum FROM schema_migrations ORDER BY version

-- name: record
INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)

-- name: register_exists
SELECT to_regclass('schema_migrations') IS NOT NULL
