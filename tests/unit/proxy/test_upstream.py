"""What comes back from a provider is handed on whole and in order, and every way it can break is told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.errors import UpstreamError, UpstreamTimeout
from gateway.proxy.upstream import HEAD_BYTES_MAX, UpstreamBroke
from gateway.proxy.upstream_pool import UpstreamPool
from gateway.settings.providers import ProviderSettings, TimeoutSettings

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\n"


class Heard:
    """A sink that writes down what it hears."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.named: Mapping[bytes, bytes] = {}
        self.body = b""
        self.error: UpstreamError | None = None
        self.ends = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got_body = asyncio.Event()

    def on_head(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], named: Mapping[bytes, bytes]
    ) -> None:
        self.status, self.headers, self.named = status, headers, named

    def on_body(self, data: bytes) -> None:
        self.body += data
        self.got_body.set()

    def on_end(self) -> None:
        self.ends += 1
        self.over.set_result(None)

    def on_failure(self, error: UpstreamError) -> None:
        self.error = error
        self.over.set_result(None)


@asynccontextmanager
async def provider(script: Script, **timeouts: float) -> AsyncIterator[tuple[UpstreamPool, list[int]]]:
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = UpstreamPool(
        ProviderSettings(
            kind="openai", base_url=f"http://127.0.0.1:{port}", timeouts=TimeoutSettings(**timeouts)
        )
    )
    try:
        yield pool, connections
    finally:
        pool.close()
        server.close()


async def ask(pool: UpstreamPool) -> Heard:
    connection = await pool.acquire()
    heard = Heard()
    await connection.send(REQUEST, [b"{}"], heard)
    await heard.over
    return heard


def answering(*replies: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(reply)
            await writer.drain()
        await reader.read(1)

    return script


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Case: Kept\r\n\r\nhello"


async def test_a_reply_is_handed_over_with_its_headers_as_spelled() -> None:
    async with provider(answering(OK)) as (pool, _):
        heard = await ask(pool)
    assert (heard.status, heard.body, heard.ends) == (200, b"hello", 1)
    assert (b"X-Case", b"Kept") in heard.headers


async def test_of_a_header_given_twice_the_first_is_found_by_its_name() -> None:
    twice = OK.replace(b"X-Case: Kept", b"Content-Type: first\r\ncontent-type: later")
    async with provider(answering(twice)) as (pool, _):
        heard = await ask(pool)
    assert heard.named == {b"content-length": b"5", b"content-type": b"first"}
    assert heard.headers[1:] == [(b"Content-Type", b"first"), (b"content-type", b"later")]


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", 0),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", 200),
    ],
    ids=["headers", "trailers"],
)
@pytest.mark.parametrize("endless", [b"x-filler: %b\r\n" % (b"x" * 1000), b"x" * 1000], ids=["many", "one"])
async def test_headers_without_end_are_given_up(begun: bytes, status: int, endless: bytes) -> None:
    async with provider(answering(begun + b"x-filler: " + endless * (3 * HEAD_BYTES_MAX // 1000))) as (
        pool,
        _,
    ):
        heard = await ask(pool)
    assert isinstance(heard.error, UpstreamBroke)
    assert "more headers" in heard.error.message
    assert heard.status == status


async def test_a_body_may_come_in_more_small_chunks_than_headers_would_be_accepted() -> None:
    pieces = HEAD_BYTES_MAX // 5
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * pieces + b"0\r\n\r\n"
    async with provider(answering(chunked)) as (pool, _):
        assert (await ask(pool)).body == b"a" * pieces


async def test_trailers_are_no_headers() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-late: 1\r\n\r\n"
    async with provider(answering(chunked, OK)) as (pool, _):
        heard = await ask(pool)
        assert (heard.body, heard.headers) == (b"abc", [(b"transfer-encoding", b"chunked")])
        assert (await ask(pool)).named == {b"content-length": b"5"}


async def test_a_connection_is_used_again() -> None:
    async with provider(answering(OK, OK, OK)) as (pool, connections):
        for _ in range(3):
            assert (await ask(pool)).body == b"hello"
        assert len(connections) == 1


async def test_connection_close_is_obeyed() -> None:
    closing = OK.replace(b"X-Case", b"Connection: close\r\nX-Case")
    async with provider(answering(closing)) as (pool, connections):
        await ask(pool)
        await ask(pool)
        assert len(connections) == 2


async def test_an_interim_reply_is_not_taken_for_the_reply() -> None:
    async with provider(answering(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)) as (pool, _):
        heard = await ask(pool)
    assert (heard.status, heard.body) == (200, b"hello")


async def test_chunks_are_joined_without_their_framing() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with provider(answering(chunked)) as (pool, _):
        assert (await ask(pool)).body == b"abcde"


async def test_a_reply_without_length_ends_with_its_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil close")

    async with provider(script) as (pool, _):
        heard = await ask(pool)
    assert (heard.body, heard.ends, heard.error) == (b"until close", 1, None)


@pytest.mark.parametrize("cut", range(1, len(OK)))
async def test_a_reply_cut_at_any_byte_is_broken_never_complete(cut: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(OK[:cut])

    async with provider(script) as (pool, _):
        heard = await ask(pool)
    assert heard.ends == 0
    assert isinstance(heard.error, UpstreamBroke)


@pytest.mark.parametrize("cut", ["3\r\nab", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n"])
async def test_a_chunked_reply_without_its_last_chunk_is_broken(cut: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + cut.encode())

    async with provider(script) as (pool, _):
        assert isinstance((await ask(pool)).error, UpstreamBroke)


@pytest.mark.parametrize("reply", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"])
async def test_what_is_not_http_is_a_broken_reply(reply: bytes) -> None:
    async with provider(answering(reply)) as (pool, _):
        assert isinstance((await ask(pool)).error, UpstreamError)


async def test_bytes_after_a_reply_are_never_read_as_the_next_one() -> None:
    smuggled = OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    async with provider(answering(smuggled)) as (pool, connections):
        assert (await ask(pool)).body == b"hello"
        assert (await ask(pool)).body == b"hello"
        assert len(connections) == 2


async def test_silence_before_the_first_byte_times_out() -> None:
    async with provider(answering(b""), first_byte_s=0.05) as (pool, _):
        assert isinstance((await ask(pool)).error, UpstreamTimeout)


async def test_silence_within_a_reply_times_out() -> None:
    async with provider(answering(OK[:-1]), idle_s=0.05) as (pool, _):
        assert isinstance((await ask(pool)).error, UpstreamTimeout)


async def test_no_listener_at_the_address_is_an_upstream_error() -> None:
    async with provider(answering()) as (pool, _):
        base_url = pool.settings.base_url
    with pytest.raises(UpstreamError):
        await UpstreamPool(ProviderSettings(kind="openai", base_url=base_url)).acquire()


async def test_past_the_bound_callers_wait_for_a_connection() -> None:
    async with provider(answering(OK)) as (pool, connections):
        bounded = UpstreamPool(pool.settings.model_copy(update={"connections_max": 1}))
        first = await bounded.acquire()
        waiting = asyncio.create_task(bounded.acquire())
        await asyncio.sleep(0)
        assert not waiting.done()
        first.abort()
        assert await waiting is not first
        assert len(connections) == 2
        bounded.close()


async def test_a_slow_listener_holds_the_provider_back() -> None:
    sent = 0
    blocked = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n{}")
        size = 64 * 1024 * 1024
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        piece = bytes(1024 * 1024)
        for _ in range(size // len(piece)):
            writer.write(piece)
            if writer.transport.get_write_buffer_size() > 8 * len(piece):
                blocked.set()
            await writer.drain()
            sent += len(piece)

    async with provider(script) as (pool, _):
        connection = await pool.acquire()
        heard = Heard()
        await connection.send(REQUEST, [b"{}"], heard)
        await heard.got_body.wait()
        connection.pause_reading()
        before = len(heard.body)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(heard.body) == before
        assert sent < 32 * 1024 * 1024
        connection.resume_reading()
        await heard.over
        assert len(heard.body) == 64 * 1024 * 1024


async def test_a_connection_that_falls_idle_is_given_to_whoever_waits() -> None:
    async with provider(answering(OK, OK)) as (pool, connections):
        bounded = UpstreamPool(pool.settings.model_copy(update={"connections_max": 1}))
        first = await bounded.acquire()
        waiting = asyncio.create_task(bounded.acquire())
        await asyncio.sleep(0)
        heard = Heard()
        await first.send(REQUEST, [b"{}"], heard)
        await heard.over
        assert await waiting is first
        assert len(connections) == 1
        first.abort()


async def test_a_connection_that_was_paused_for_the_end_of_a_reply_is_heard_by_the_next() -> None:
    class Slow(Heard):
        def on_body(self, data: bytes) -> None:
            super().on_body(data)
            connection.pause_reading()

    ended = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with provider(answering(ended, OK)) as (pool, connections), asyncio.timeout(10):
        connection = await pool.acquire()
        slow = Slow()
        await connection.send(REQUEST, [b"{}"], slow)
        await slow.over
        assert (await ask(pool)).body == b"hello"
        assert len(connections) == 1


async def test_a_provider_that_answers_before_it_has_read_everything_holds_nobody_up() -> None:
    gone = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\n{}")
        await gone.wait()

    async with provider(script) as (pool, connections):
        connection = await pool.acquire()
        heard = Heard()
        body = bytes(32 * 1024 * 1024)
        head = b"POST /v1/x HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % len(body)
        await connection.send(head, [body], heard)
        assert (heard.status, heard.body, heard.ends) == (413, b"{}", 1)
        # The rest of that body is not sent any more, so nothing else may follow on its connection.
        assert await pool.acquire() is not connection
        assert len(connections) == 2
        gone.set()
