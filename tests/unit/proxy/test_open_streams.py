"""Streams of a key that is no good any more end, whenever it was that this became known."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from gateway.errors import RevokedKey, TollgateError
from gateway.identity.keyring import Keyring
from gateway.identity.keys import KeyRecord, digest_of
from gateway.proxy.open_streams import OpenStreams

KEY = "tg-a-key-of-the-file"


class Nowhere:
    """Stores that know nothing."""

    async def find(self, digest: str) -> None:
        return None

    async def offer(self, digest: str, record: KeyRecord) -> KeyRecord:
        return record

    async def generation(self) -> None:
        return None


class Stream:
    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.why: TollgateError | None = None

    def stop(self, why: TollgateError | None) -> None:
        self.why = why
        self.stopped.set()


def record(key_id: str) -> KeyRecord:
    return KeyRecord(key_id, "acme", None, None, "file")


def declared() -> tuple[Keyring, OpenStreams]:
    """A keyring that knows the key from limits.yaml, and what watches streams for it."""
    keyring = Keyring(Nowhere(), Nowhere(), now=lambda: datetime.now(UTC))
    keyring.declare({digest_of(KEY): record("laptop")})
    streams = OpenStreams(keyring)
    keyring.on_forget(streams.check)
    return keyring, streams


@pytest.mark.parametrize("opened", [False, True])
async def test_a_stream_ends_whose_key_is_taken_out_of_the_file(opened: bool) -> None:
    keyring, streams = declared()
    stream, changes = Stream(), streams.changes
    if not opened:  # the request is still on its way to the provider
        keyring.declare({})
    with streams.opened(KEY, stream, changes):
        if opened:
            keyring.declare({})
        async with asyncio.timeout(5):
            await stream.stopped.wait()
    assert isinstance(stream.why, RevokedKey)
    await streams.close()


async def test_a_stream_of_another_key_goes_on() -> None:
    keyring, streams = declared()
    keyring.declare({digest_of(KEY): record("laptop"), digest_of("another"): record("other")})
    leaked, own = Stream(), Stream()
    with streams.opened("another", leaked, streams.changes), streams.opened(KEY, own, streams.changes):
        keyring.declare({digest_of(KEY): record("laptop")})
        async with asyncio.timeout(5):
            await leaked.stopped.wait()
        assert not own.stopped.is_set()
    await streams.close()
