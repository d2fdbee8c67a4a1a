"""Where a page ended, as text that clients hand back without looking inside."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.errors import BadRequest


def write_cursor(*position: object) -> str:
    """The position after the last item: JSON values, instants included."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).rstrip(b"=").decode()


def read_cursor(cursor: str | None, length: int) -> tuple[Any, ...] | None:
    """The ``length`` values that `write_cursor` was given; None for the first page. Raises `BadRequest`.

    What is inside comes from the client: it has to be checked like everything else that does.
    """
    if cursor is None:
        return None
    try:
        position = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise BadRequest("cursor: is not one that a page before gave out", param="cursor") from error
    if not isinstance(position, list) or len(position) != length:
        raise BadRequest("cursor: is of another list", param="cursor")
    return tuple(position)


def read_instant_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """An instant (aware, UTC) and an id: where a page of a list by time ended. Raises `BadRequest`."""
    position = read_cursor(cursor, 2)
    if position is None:
        return None
    at, last_id = position
    try:
        instant = datetime.fromisoformat(at)
    except (TypeError, ValueError) as error:
        raise BadRequest("cursor: is of another list", param="cursor") from error
    if not isinstance(last_id, str) or instant.tzinfo is None:
        raise BadRequest("cursor: is of another list", param="cursor")
    return instant.astimezone(UTC), last_id
