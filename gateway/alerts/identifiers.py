"""Ids of what is made here: opaque to everybody else, and ascending in time, so that indexes stay compact."""

from __future__ import annotations

import secrets
from datetime import datetime

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id(prefix: str, now: datetime) -> str:
    """``al_`` and such, then the millisecond in base 36 and 80 random bits."""
    number, text = int(now.timestamp() * 1000), ""
    while number:
        number, digit = divmod(number, 36)
        text = _ALPHABET[digit] + text
    return f"{prefix}_{text}{secrets.token_hex(10)}"
