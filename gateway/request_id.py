"""Ids of requests: UUID version 7 (RFC 9562), so that rows written together lie together."""

from __future__ import annotations

import os
import time

VARIANT = "89ab"
"""The first digit of the fourth group: two bits that are fixed, two that are random."""


def new_request_id() -> str:
    """36 characters, ordered by time to the millisecond, unguessable."""
    at_ms = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10)
    digits = random.hex()
    return f"{at_ms[:8]}-{at_ms[8:]}-7{digits[:3]}-{VARIANT[random[9] & 3]}{digits[3:6]}-{digits[6:18]}"
