"""Tools of the OpenAI-like APIs: which the client runs, and what the others may cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.errors import BadRequest
from gateway.providers import ceilings, fields
from gateway.providers.tally import Tally, known_tool

_DATE = re.compile(r"_\d{4}_\d{2}_\d{2}\Z")
_USES_MAX = 1_000
_NAMESPACE_DEPTH_MAX = 4


def take_tools(root: Mapping[str, Any], tally: Tally) -> None:
    """Add the tools of a chat or responses request to its tally."""
    declared = fields.items(root, "tools")
    if declared or root.get("functions"):
        tally.tool_tokens += ceilings.OPENAI_TOOLS_PROMPT
    uses = fields.natural(root, "max_tool_calls", _USES_MAX)
    for index, tool in enumerate(declared):
        _take(tool, f"tools[{index}]", uses, tally, _NAMESPACE_DEPTH_MAX)


def _take(tool: object, where: str, uses: int | None, tally: Tally, depth: int) -> None:
    if not isinstance(tool, dict) or depth == 0:
        raise BadRequest(f"{where} must be an object that describes a tool.", param=where)
    name = tool.get("type")
    if name is None and ("function" in tool or "name" in tool):
        name = "function"  # some clients leave the type out, and servers take it as a function
    if isinstance(name, str):
        name = _DATE.sub("", name)
    ceiling = known_tool(ceilings.OPENAI_TOOLS, name, where + ".type")
    tally.tool(ceiling, uses)
    if name == "namespace":
        for index, inner in enumerate(fields.items(tool, "tools", where=where + ".")):
            _take(inner, f"{where}.tools[{index}]", uses, tally, depth - 1)
    elif name == "image_generation":
        tally.models.append(fields.model_name(tool.get("model") or "gpt-image-1", where + ".model"))
        tally.image(0, None)
    elif name == "openrouter:advisor":
        _take_advisor(tool, where, uses, tally)


def _take_advisor(tool: Mapping[str, Any], where: str, uses: int | None, tally: Tally) -> None:
    """OpenRouter's advisor asks another model, at that model's price."""
    parameters = fields.child(tool, "parameters", where=where + ".")
    inner = where + ".parameters."
    cap = fields.positive(parameters, "max_completion_tokens", fields.TOKENS_MAX, where=inner)
    if cap is None:
        raise BadRequest(
            f"{inner}max_completion_tokens is missing; without it the advisor's answer has no bound.",
            param=inner + "max_completion_tokens",
        )
    tally.models.append(fields.model_name(parameters.get("model"), inner + "model"))
    tally.output_tokens += cap * (ceilings.USES_DEFAULT if uses is None else uses)
