"""OpenAI's tokenizer encodings from rank files that come with this package: no network, no cache directory.

Ranks are checked against the SHA-256 that tiktoken demands. Loading o200k_base took 0.28 s and 81 MB,
cl100k_base 0.11 s and 29 MB, and for half of that time tiktoken holds the interpreter lock: call
`Encodings.get` at start, before serving, for what must not stall a request later.
"""

from __future__ import annotations

import binascii
import gzip
import hashlib
import threading
from dataclasses import dataclass
from importlib import resources

import tiktoken

from gateway.errors import TollgateError

_CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_O200K_PATTERN = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


class DamagedRanks(TollgateError):
    """A tokenizer rank file of this installation is damaged. Reinstall Tollgate."""

    code = "damaged_installation"


@dataclass(frozen=True, slots=True)
class _Source:
    pattern: str
    sha256: str


_SOURCES = {
    "cl100k_base": _Source(
        _CL100K_PATTERN, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    ),
    "o200k_base": _Source(_O200K_PATTERN, "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
}
NAMES = tuple(_SOURCES)


class Encodings:
    """Loads each encoding once, on first use, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, tiktoken.Encoding] = {}

    def loaded(self, name: str) -> bool:
        """Whether `get` returns at once."""
        return name in self._loaded

    def get(self, name: str) -> tiktoken.Encoding:
        """The encoding ``name``, one of `NAMES`. Raises `DamagedRanks`."""
        encoding = self._loaded.get(name)
        if encoding is None:
            with self._lock:
                encoding = self._loaded.get(name) or _load(name, _SOURCES[name])
                self._loaded[name] = encoding
        return encoding


def _load(name: str, source: _Source) -> tiktoken.Encoding:
    packed = resources.files(__package__).joinpath("ranks", f"{name}.tiktoken.gz").read_bytes()
    try:
        lines = gzip.decompress(packed)
    except (OSError, EOFError) as error:
        raise DamagedRanks(detail={"file": name}) from error
    if hashlib.sha256(lines).hexdigest() != source.sha256:
        raise DamagedRanks(detail={"file": name})
    ranks: dict[bytes, int] = {}
    for line in lines.splitlines():
        token, _, rank = line.partition(b" ")
        ranks[binascii.a2b_base64(token)] = int(rank)
    # text is only ever counted as ordinary text, so special tokens are left out
    return tiktoken.Encoding(name, pat_str=source.pattern, mergeable_ranks=ranks, special_tokens={})
