"""Reading image generations: priced by the image (DALL-E) or by output tokens (gpt-image)."""

from __future__ import annotations

from gateway.errors import BadRequest
from gateway.providers import ceilings, fields
from gateway.providers.base import Call, Route
from gateway.providers.body import Document
from gateway.providers.tally import Tally
from pricing.usage import Usage

MEMBERS = frozenset(["model", "prompt", "n", "size", "quality", "stream", "partial_images"])
IMAGES_MAX = 10
PARTIAL_IMAGES_MAX = 3
MODEL_DEFAULT = "dall-e-2"
"""What OpenAI takes when the request names no model and uses no member of a newer one."""

_SIZE_DEFAULT = "1024x1024"


def read_image(route: Route, body: bytes) -> Call:
    document = Document(body)
    document.check_names(MEMBERS)
    root = document.root
    if not isinstance(root.get("prompt"), str):
        raise BadRequest("'prompt' must be a string that describes the image.", param="prompt")
    model = MODEL_DEFAULT if root.get("model") is None else fields.model_name(root["model"])
    n = fields.positive(root, "n", IMAGES_MAX) or 1
    size = fields.word(root, "size")
    quality = fields.word(root, "quality")
    partial = fields.natural(root, "partial_images", PARTIAL_IMAGES_MAX) or 0
    by_tokens = priced_by_tokens(model)
    extra = (
        Usage(output_image=n * (_tokens(model, size, quality) + partial * ceilings.PARTIAL_IMAGE_TOKENS))
        if by_tokens
        else Usage(images=((label(model, size, quality), n),))
    )
    tally = Tally(document)
    return Call(
        route=route,
        model=model,
        streamed=fields.flag(root, "stream"),
        body=(body,),
        input_tokens_max=tally.input_tokens_max() if by_tokens else 0,
        output_cap=0,
        choices=n,
        elastic=False,
        extra=extra,
        hidden_output=True,
        text_bytes=tally.text_bytes if by_tokens else 0,
        image_label="" if by_tokens else label(model, size, quality),
    )


def priced_by_tokens(model: str) -> bool:
    name = model.rpartition("/")[2]
    return name.startswith(("gpt-image", "chatgpt-image"))


def label(model: str, size: str | None, quality: str | None) -> str:
    """ "quality size" as the price list names it; ``auto`` where the model's default is not known."""
    if model.startswith("dall-e"):
        return f"{_given(quality) or 'standard'} {_given(size) or _SIZE_DEFAULT}"
    return f"{_given(quality) or 'auto'} {_given(size) or 'auto'}"


def _given(value: str | None) -> str | None:
    return None if value == "auto" else value


def _tokens(model: str, size: str | None, quality: str | None) -> int:
    """The published figure where size and quality have one, else the dearest of the quality.

    A size beyond the published ones (newer models take any) is scaled by its area, at the dearest rate.
    """
    by_size = ceilings.IMAGE_OUTPUT_TOKENS.get(quality or "auto")
    known = ceilings.IMAGE_OUTPUT_TOKENS["high"] if by_size is None else by_size
    if size is None or size == "auto":
        return max(known.values())
    if size in known:
        return known[size]
    width, _, height = size.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise BadRequest("'size' must be WIDTHxHEIGHT in pixels, or auto.", param="size")
    area, base = int(width) * int(height), 1024 * 1024
    return max(*known.values(), -(-area * known[_SIZE_DEFAULT] * 2 // base))
