"""The audit log: written in the transaction of what it records, so that neither is without the other."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from gateway.stores.postgres import Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "keys.sql")


async def record(
    session: Session,
    *,
    actor: str,
    action: str,
    object: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Who did what to which object, e.g. actor ``cli:root``, action ``key.revoke``, object
    ``key:ada-laptop``.

    ``before`` and ``after`` are the parts that changed; never a key, a prompt or a password.
    """
    await session.execute(_SQL["audit"], actor, action, object, _json(before), _json(after))


def _json(part: Mapping[str, object] | None) -> str | None:
    return None if part is None else orjson.dumps(part).decode()
