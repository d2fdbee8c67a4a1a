"""A value that satisfies a simple JSON schema: what the model answers where structure is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPTH_MAX = 16
"""Recursive schemas end here; real requests nest about five deep."""


def example_of(schema: Mapping[str, Any], seed: int) -> Any:
    """An instance of ``schema``, the same for the same ``seed``. Optional properties are filled in too."""
    return _example(schema, schema, seed, 0)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step, {}) if step and isinstance(found, Mapping) else found
    return found if isinstance(found, Mapping) else {}


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((entry for entry in kind if entry != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "string"
    return str(kind).lower()


def _example(schema: Mapping[str, Any], root: Mapping[str, Any], seed: int, depth: int) -> Any:
    schema = _resolved(schema, root)
    if depth > DEPTH_MAX:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][seed % len(schema["enum"])]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return _example(schema[choice][0], root, seed, depth + 1)
    kind = _kind(schema)
    if kind == "object":
        properties = schema.get("properties") or {}
        return {
            name: _example(below, root, seed + index, depth + 1)
            for index, (name, below) in enumerate(properties.items())
        }
    if kind == "array":
        length = max(int(schema.get("minItems") or 0), 1)
        below = schema.get("items") or {}
        return [_example(below, root, seed + index, depth + 1) for index in range(length)]
    return _scalar(kind, schema, seed)


def _scalar(kind: str, schema: Mapping[str, Any], seed: int) -> Any:
    if kind == "integer":
        return int(schema.get("minimum", 0)) + seed % 10
    if kind == "number":
        return float(schema.get("minimum", 0)) + (seed % 20) / 2
    if kind == "boolean":
        return seed % 2 == 0
    if kind == "null":
        return None
    return f"value {seed % 1000}"
