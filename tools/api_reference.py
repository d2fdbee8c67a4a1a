"""Writes the reference of the API into docs/api.md, from the description that a running gateway serves.

.venv/bin/python tools/api_reference.py http://127.0.0.1:8787
"""

from __future__ import annotations

import json
import shlex
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[1] / "docs" / "api.md"
BEGIN = "<!-- reference: begin; written by tools/api_reference.py -->"
END = "<!-- reference: end -->"


def main() -> None:
    with urllib.request.urlopen(f"{sys.argv[1]}/api/openapi.json", timeout=30) as answer:  # noqa: S310 - ours
        document = json.load(answer)
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8"), document), encoding="utf-8")


def renewed(text: str, document: dict[str, Any]) -> str:
    """``text`` with its reference made anew. Raises ValueError where it has no place for one."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError("the page has no place for the reference")
    return f"{before}{BEGIN}\n{reference(document)}{END}{after}"


def reference(document: dict[str, Any]) -> str:
    """All operations by tag, each with who may call it and a line that does."""
    lines: list[str] = []
    for tag in document["tags"]:
        lines += ["", f"### {tag['name']}", ""]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    lines += _operation(path, method.upper(), operation)
    return "\n".join(lines).lstrip("\n") + "\n"


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"**{operation['summary']}** · `{method} {path}`"
    yield ""
    if description := operation.get("description"):
        yield description
        yield ""
    yield f"Who: {_who(operation['x-tollgate-roles'])}.{_query(operation)}"
    yield ""
    yield "```sh"
    yield _curl(path, method, operation)
    yield "```"
    yield ""


def _who(roles: dict[str, str]) -> str:
    reach = {"self": "own", "team": "their teams", "org": "the organisation", "platform": "any organisation"}
    return ", ".join(f"{role} ({reach[extent]})" for role, extent in roles.items())


def _query(operation: dict[str, Any]) -> str:
    names = [f"`{one['name']}`" for one in operation["parameters"] if one["in"] == "query"]
    return f" Parameters: {', '.join(names)}." if names else ""


def _curl(path: str, method: str, operation: dict[str, Any]) -> str:
    query = [
        f"{one['name']}={_sample(one['schema'])}"
        for one in operation["parameters"]
        if one["in"] == "query" and one["required"]
    ]
    for one in operation["parameters"]:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(_sample(one["schema"])))
    address = f"$TOLLGATE{path}" + (f"?{'&'.join(query)}" if query else "")
    words = [f'curl "{address}"', '-H "Authorization: Bearer $KEY"']
    if method != "GET":
        words.insert(1, f"-X {method}")
    if any(one["name"] == "Idempotency-Key" for one in operation["parameters"]):
        words.append('-H "Idempotency-Key: $(date +%s%N)"')
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in content:
        words.append("-d " + shlex.quote(json.dumps(content["example"], ensure_ascii=False)))
    return " ".join(words)


def _sample(schema: dict[str, Any]) -> object:
    if examples := schema.get("examples"):
        return examples[0]
    if choices := schema.get("enum"):
        return choices[0]
    return schema.get("default", "ID")


if __name__ == "__main__":
    main()
