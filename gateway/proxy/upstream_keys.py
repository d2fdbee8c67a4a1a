"""Which of a provider's own keys a request goes out with.

Keys are shared by weight; one that the provider answered with 429 rests until its ``retry-after``. When all of
them rest, the one that rests least is used: whether to refuse is the provider's decision, not ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.settings.providers import UpstreamKey

REST_S_DEFAULT = 5.0
REST_S_MAX = 120.0
"""A provider may name any ``retry-after``; a key that rests longer than this is tried again anyway."""


class _Slot:
    __slots__ = ("credit", "key", "rests_until", "weight")

    def __init__(self, key: UpstreamKey) -> None:
        self.key = key.api_key.get_secret_value()
        self.weight = key.weight
        self.credit = 0
        self.rests_until = 0.0


class UpstreamKeys:
    """The keys of one provider. ``clock`` is monotonic seconds."""

    def __init__(self, keys: Sequence[UpstreamKey], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shared = [_Slot(key) for key in keys if not key.orgs]
        self._of_org: dict[str, list[_Slot]] = {}
        for key in keys:
            for org in key.orgs:
                self._of_org.setdefault(org, []).append(_Slot(key))

    def choose(self, org: str) -> str | None:
        """The key for the next request of ``org``; None when the provider needs none."""
        slots = self._of_org.get(org, self._shared)
        if not slots:
            return None
        if len(slots) == 1:
            return slots[0].key
        now = self._clock()
        awake = [slot for slot in slots if slot.rests_until <= now]
        if not awake:
            return min(slots, key=lambda slot: slot.rests_until).key
        total = 0
        for slot in awake:  # smooth weighted round robin
            slot.credit += slot.weight
            total += slot.weight
        best = max(awake, key=lambda slot: slot.credit)
        best.credit -= total
        return best.key

    def rest(self, key: str | None, retry_after: bytes | None) -> None:
        """The provider said 429 to ``key``."""
        try:
            wish_s = float(retry_after) if retry_after is not None else REST_S_DEFAULT
        except ValueError:
            wish_s = REST_S_DEFAULT
        # In this order: of a wish that is not a number max() makes 0.
        until = self._clock() + max(0.0, min(wish_s, REST_S_MAX))
        for slots in (self._shared, *self._of_org.values()):
            for slot in slots:
                if slot.key == key:
                    slot.rests_until = until
