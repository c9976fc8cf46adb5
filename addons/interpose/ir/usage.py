"""Tokens under one accounting, and what a meter reads out of a body.

Every format's decoder translates into these; nothing here knows a wire format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

Terms = tuple[tuple[str, str], ...]
"""What the price of a call depends on beside its tokens: pairs of a name and a value."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens under one accounting for every provider. None means "not told"; an explicit zero stays zero.

    `input_tokens` is the whole input, cache reads and cache writes included; `output_tokens` includes reasoning.
    """

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __bool__(self) -> bool:
        return self.input_tokens is not None or self.output_tokens is not None


class UsageSource(StrEnum):
    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter read out of one reply body.

    `usage` is what the provider itself reported (the last cumulative values seen, partial if the reply was cut).
    `model` is the model that the reply names. `complete` says that the format's own end was seen: a terminal event or
    finish reason of a stream, a whole JSON document otherwise. `error` is the message of an error object found in a
    body, also in one with status 200. `text_bytes` counts UTF-8 bytes of generated content (text, reasoning, tool
    arguments), the base of an estimate. `units` are parts of the usage that have a price of their own, by genai-prices'
    names (tokens of sound, cache writes that last an hour, searches), or what is billed in place of what was used.
    `terms` are what else its price depends on, by genai-prices' names: (("service_tier", "flex"),).
    `flaw` says what about the body could not be parsed, if anything.
    """

    usage: Usage = Usage()
    model: str | None = None
    complete: bool = False
    error: str | None = None
    text_bytes: int = 0
    flaw: str | None = None
    units: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    terms: Terms = ()
