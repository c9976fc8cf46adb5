"""What is asked of a model: messages, tools and settings. None means that the client did not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .blocks import CacheMark, Message, Own


@dataclass(slots=True)
class Tool:
    """A function of the client's that the model may call.

    `parameters` is a JSON Schema as the client wrote it. A `custom` tool takes free text: `grammar` is its format, as
    its own format writes it. A tool that the provider runs (web search …) is `server`: `own.fields` is all of it.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    kind: Literal["function", "custom", "server"] = "function"
    grammar: dict[str, Any] | None = None
    cache: CacheMark | None = None
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class ToolChoice:
    """Which tools the model may or must call. `names` narrows them down; `parallel` says whether several at once."""

    mode: Literal["auto", "any", "none"] | None = None
    names: tuple[str, ...] = ()
    parallel: bool | None = None
    own: Own | None = None


@dataclass(slots=True)
class Sampling:
    """How tokens are drawn, in the ranges of the format that said it (`Request.format`)."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(slots=True)
class Reasoning:
    """How much the model is to think. `effort` is none, minimal, low, medium, high, xhigh or max; `budget` is in
    tokens; `adaptive` leaves it to the model; `enabled` False switches it off. `shown` is how thoughts are shown:
    "summary", "omitted" … as the format says.
    """

    enabled: bool | None = None
    effort: str | None = None
    budget: int | None = None
    adaptive: bool | None = None
    shown: str | None = None
    own: Own | None = None


@dataclass(slots=True)
class Output:
    """The form that the answer must have: any JSON object, or JSON by a schema."""

    kind: Literal["text", "json", "schema"]
    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    own: Own | None = None


@dataclass(slots=True)
class Request:
    """One request for an answer, of whatever format. `format` is the codec's name that read it.

    System messages stand among `messages` where they stood: those that a format keeps on top of the request come first
    and are marked "top" in their `own`. `stop` are the sequences that end the answer.
    """

    format: str
    model: str
    messages: list[Message]
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: list[str] = field(default_factory=list)
    reasoning: Reasoning | None = None
    output: Output | None = None
    answers: int | None = None
    """How many answers are asked for (Chat's n)."""
    stream: bool = False
    include_usage: bool | None = None
    """Whether usage is asked for in a stream, where a format leaves that to the client."""
    user: str | None = None
    """An end user's name, for the provider's abuse checks."""
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    own: Own | None = None
