"""`tollgate migrate`, and the check that it was run."""

from __future__ import annotations

from gateway.errors import ConfigError
from gateway.ledger.migrate import outstanding
from gateway.settings.config import Settings


async def require_current_schema(settings: Settings) -> None:
    """Raises `ConfigError` when Postgres answers and its schema is older than this program."""
    missing = await outstanding(settings.postgres.dsn.get_secret_value())
    if missing:
        raise ConfigError(
            f"the database lacks {len(missing)} migrations ({missing[0]} ...): run `tollgate migrate` first"
        )
