"""Where a page ended, as text that clients hand back without looking inside."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.errors import BadRequest

_ID = re.compile(r"[\x21-\x7e]{1,200}")


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
    if not isinstance(position, list) or len(position) != length or not all(map(_is_part, position)):
        raise BadRequest("cursor: is of another list", param="cursor")
    return tuple(position)


def _is_part(part: object) -> bool:
    """Whether Postgres can take it."""
    if isinstance(part, str):
        return "\0" not in part
    return part is None or (type(part) is int and -(2**63) <= part < 2**63)


def read_instant_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """An instant (aware, UTC) and an id: where a page of a list by time ended. Raises `BadRequest`."""
    position = read_cursor(cursor, 2)
    if position is None:
        return None
    at, last_id = position
    try:
        instant = datetime.fromisoformat(at)
        if not isinstance(last_id, str) or instant.tzinfo is None:
            raise ValueError(position)
        return instant.astimezone(UTC), last_id
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest("cursor: is of another list", param="cursor") from error


def read_id_cursor(cursor: str | None) -> str | None:
    """The id that the page before ended with. Raises `BadRequest`."""
    position = read_cursor(cursor, 1)
    if position is None:
        return None
    return checked_id(position[0])


def checked_id(value: object) -> str:
    """An id out of a cursor, if it is one."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise BadRequest("cursor: is not one that a page before gave out", param="cursor")
    return value
