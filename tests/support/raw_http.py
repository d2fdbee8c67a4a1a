"""A client without manners: bytes go out as they are given, replies are taken apart strictly.

Nothing is corrected on the way, so that a test can send what no library would.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 20.0
READ_BYTES = 65_536


class CutShort(AssertionError):
    """The connection ended inside a reply. ``body`` is what came of it."""

    def __init__(self, body: bytes, received: bytes) -> None:
        self.body = body
        super().__init__(f"the reply was cut short after {received[-200:]!r}")


@dataclass(frozen=True)
class RawReply:
    """One reply, unframed."""

    version: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only header of that name (lower case). Fails the test where there are two."""
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """A blocking connection to ``port`` on this machine."""

    def __init__(self, port: int, *, timeout_s: float = TIMEOUT_S, receive_buffer_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def send_if_wanted(self, data: bytes) -> Self:
        """Send what a server may refuse to take."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def finish_sending(self) -> Self:
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reply(self, *, bodyless: bool = False) -> RawReply:
        """The next final reply (interim ones are in between). Raises `CutShort`."""
        while (reply := self._one(bodyless)).status < 200:
            pass
        return reply

    def interim(self) -> RawReply:
        """The next reply, which may be an interim one."""
        return self._one(False)

    def closed(self) -> bool:
        """Whether the server closes the connection without saying more (waits for it)."""
        try:
            return not self._received and not self._more()
        except TimeoutError:
            return False

    # -------------------------------------------------------------- inside

    def _one(self, bodyless: bool) -> RawReply:
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = head[0].split(" ", 2)
        headers = tuple(
            (name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:])
        )
        found = {name.lower(): value for name, value in headers}
        code = int(status)
        if bodyless or code < 200 or code in (204, 304):
            body = b""
        elif "chunked" in found.get("transfer-encoding", ""):
            assert "content-length" not in found, "both framings in one reply"
            body = self._chunks()
        elif "content-length" in found:
            body = self._exactly(int(found["content-length"]))
        else:
            body = self._rest()
        return RawReply(version, code, headers, body)

    def _more(self) -> bool:
        try:
            data = self.socket.recv(READ_BYTES)
        except ConnectionResetError:
            return False
        self._received += data
        return bool(data)

    def _until(self, end: bytes) -> bytes:
        while (at := self._received.find(end)) < 0:
            if not self._more():
                raise CutShort(b"", self._received)
        taken, self._received = self._received[:at], self._received[at + len(end) :]
        return taken

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._more():
                raise CutShort(self._received, self._received)
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _rest(self) -> bytes:
        while self._more():
            pass
        taken, self._received = self._received, b""
        return taken

    def _chunks(self) -> bytes:
        body: list[bytes] = []
        try:
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                body.append(self._exactly(size))
                assert self._exactly(2) == b"\r\n", "a chunk does not end where it says"
            assert self._until(b"\r\n") == b"", "trailers were not asked for"
        except CutShort as error:
            raise CutShort(b"".join(body) + error.body, self._received) from error
        return b"".join(body)


def request(
    path: str | bytes,
    body: bytes | None = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    version: str = "1.1",
    key: str | None = None,
) -> bytes:
    """The bytes of an orderly request. ``body`` None: no content-length either."""
    raw_path = path if isinstance(path, bytes) else path.encode()
    lines = [f"{method} ".encode() + raw_path + f" HTTP/{version}".encode(), b"host: tollgate.test"]
    if key is not None:
        lines.append(b"authorization: Bearer " + key.encode())
    if body is not None:
        lines.append(b"content-length: %d" % len(body))
    lines += [f"{name}: {value}".encode() for name, value in (headers or {}).items()]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def exchange(port: int, data: bytes, *, bodyless: bool = False) -> RawReply:
    """Send ``data`` on a connection of its own and take one reply."""
    with RawConnection(port) as connection:
        return connection.send_if_wanted(data).reply(bodyless=bodyless)
