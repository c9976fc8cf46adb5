"""The envelopes in which Anthropic Messages travels, as data: its own API, Bedrock's InvokeModel, Vertex.

They differ in where the model, the version and the beta features are told, in the framing of streams, and in the shape
of errors. Within, all of them say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from .names import VERSION_2023

SSE = "text/event-stream"
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
EVENT_STREAM = "application/vnd.amazon.eventstream"
MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"


@dataclass(frozen=True, slots=True)
class Named:
    """What a URL says: which model, and whether to stream. None and "" where it does not."""

    model: str = ""
    stream: bool | None = None
    counting: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """`version` is what is said where the client said nothing. `model_inside`, `version_inside`, `stream_inside` and
    `betas_inside` say what stands in the body; what does not is in the URL or in a header. `urls` says whether media
    may be given as URLs, `system_inside` whether a system message may stand among the messages.
    """

    name: str
    stream_type: str
    version: str
    read_path: Callable[[str], Named]
    write_path: Callable[[Named], str]
    model_inside: bool
    version_inside: bool
    stream_inside: bool
    betas_inside: bool
    urls: bool
    system_inside: bool
    overloaded: int = 529
    """The status that clients know for what Anthropic answers with 529."""


def _read_anthropic(path: str) -> Named:
    return Named(counting=path.rstrip("/").endswith("/count_tokens"))


def _write_anthropic(named: Named) -> str:
    return COUNT_TOKENS if named.counting else MESSAGES


def _read_bedrock(path: str) -> Named:
    head, _, action = path.rpartition("/")
    return Named(unquote(head.rpartition("/")[2]), action == "invoke-with-response-stream")


def _write_bedrock(named: Named) -> str:
    """An inference profile's ARN holds slashes, which must not part the path."""
    action = "invoke-with-response-stream" if named.stream else "invoke"
    return f"/model/{quote(named.model, safe=':')}/{action}"


def _read_vertex(path: str) -> Named:
    model, _, action = unquote(path).rpartition("/models/")[2].partition(":")
    if model == "count-tokens":
        return Named(counting=True)
    return Named(model, action == "streamRawPredict")


def _write_vertex(named: Named) -> str:
    """Behind `/v1/projects/{project}/locations/{location}`, which belongs to the provider's address."""
    if named.counting:
        return "/publishers/anthropic/models/count-tokens:rawPredict"
    action = "streamRawPredict" if named.stream else "rawPredict"
    return f"/publishers/anthropic/models/{quote(named.model, safe='@')}:{action}"


ANTHROPIC = Envelope(
    "anthropic",
    SSE,
    VERSION_2023,
    _read_anthropic,
    _write_anthropic,
    model_inside=True,
    version_inside=False,
    stream_inside=True,
    betas_inside=False,
    urls=True,
    system_inside=True,
)
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
BEDROCK = Envelope(
    "bedrock-anthropic",
    EVENT_STREAM,
    "bedrock-2023-05-31",
    _read_bedrock,
    _write_bedrock,
    model_inside=False,
    version_inside=True,
    stream_inside=False,
    betas_inside=True,
    urls=False,  # "URL sources are not supported", it answers
    system_inside=False,
    overloaded=503,
)
# https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai
VERTEX = Envelope(
    "vertex-anthropic",
    SSE,
    "vertex-2023-10-16",
    _read_vertex,
    _write_vertex,
    model_inside=False,
    version_inside=True,
    stream_inside=True,
    betas_inside=False,
    urls=False,
    system_inside=False,
)
