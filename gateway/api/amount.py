"""Credits in replies: the exact integer for programs, the decimal for people."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pricing.money import format_credits


class Amount(BaseModel):
    """An amount of credits, said twice: exact, and as people write it."""

    model_config = ConfigDict(frozen=True)

    microcredits: Annotated[int, Field(description="1e-6 credits; exact.", examples=[1234567])]
    credits: Annotated[str, Field(description="The same, in credits.", examples=["1.234567"])]

    @classmethod
    def of(cls, microcredits: int) -> Amount:
        return cls(microcredits=microcredits, credits=format_credits(microcredits))
