"""When an attempt that failed is made again (Standard Webhooks, "Deliverability and reliability")."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

WAITS_S = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
"""After the first attempt, the second, and so on: ten attempts in some three days."""
ATTEMPTS_MAX = len(WAITS_S) + 1
JITTER = 0.1
"""Waits are up to a tenth longer, so that what failed together does not come again together."""
RETRY_AFTER_MAX = timedelta(hours=24)


def wait_after(
    attempts: int, retry_after_s: float | None = None, jitter: Callable[[], float] = random.random
) -> timedelta | None:
    """How long to wait after so many attempts; None: that was the last. A receiver may ask for longer, not shorter."""
    if attempts >= ATTEMPTS_MAX:
        return None
    wait = timedelta(seconds=WAITS_S[attempts - 1] * (1 + JITTER * jitter()))
    if retry_after_s is not None:
        wait = max(wait, min(timedelta(seconds=retry_after_s), RETRY_AFTER_MAX))
    return wait
