"""Embedding vectors from a seed. Their values are whole 128ths, so that 32-bit floats carry them exactly."""

from __future__ import annotations

import random
from array import array

_BY_BYTE = [(byte - 128) / 128 for byte in range(256)]


def vector(seed: int, dimensions: int) -> list[float]:
    return [_BY_BYTE[byte] for byte in random.Random(seed).randbytes(dimensions)]  # noqa: S311 - not a secret


def packed(values: list[float]) -> bytes:
    """Little-endian 32-bit floats, as ``encoding_format: base64`` carries them."""
    return array("f", values).tobytes()
