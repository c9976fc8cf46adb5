"""What is generated, as one table: each kind of call, with the published schemas of its request, reply and events."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
import pydantic
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming
from tests.corpus import SPECS, serialise
from tests.formats.codecs.published import CLIENTS, COHERE_TYPES, _plain, _Wire, openapi

from interpose.wire.eventstream import encode_message

Schema = dict[str, Any]
Named = Mapping[str, Schema]


@dataclass(frozen=True)
class Family:
    """A kind of call. `named` gives the schemas that those of its request, reply and events (of a stream) stand in.
    `counted` is the family of recordings by whose rules its tokens are counted.
    """

    name: str
    url: str
    wire: str
    named: Callable[[], Named]
    request: str
    reply: str
    event: str = ""
    framing: str = "sse"
    counted: str = ""

    def framed(self, events: Sequence[Any]) -> bytes:
        return _FRAMED[self.framing]([each for each in events if isinstance(each, dict)])

    @property
    def stream_type(self) -> str:
        return _TYPES[self.framing]


def _sse(events: list[Schema]) -> bytes:
    made = b""
    for event in events:
        kind = event.get("type")
        made += f"event: {kind}\n".encode() if isinstance(kind, str) and kind.isascii() else b""
        made += b"data: " + serialise(event) + b"\n\n"
    return made


def _done(events: list[Schema]) -> bytes:
    return _sse(events) + b"data: [DONE]\n\n"


def _frames(events: list[Schema]) -> bytes:
    return b"".join(
        encode_message({":message-type": "event", ":event-type": name}, serialise(value))
        for event in events
        for name, value in event.items()
    )


_FRAMED: Mapping[str, Callable[[list[Schema]], bytes]] = {
    "sse": _sse,
    "sse, done": _done,
    "ndjson": lambda events: b"".join(serialise(event) + b"\n" for event in events),
    "array": lambda events: b"[" + b",\n".join(map(serialise, events)) + b"]",
    "eventstream": _frames,
}
_TYPES = {
    "sse": "text/event-stream",
    "sse, done": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "array": "application/json",
    "eventstream": "application/vnd.amazon.eventstream",
}


def openai() -> Named:
    return openapi("openai-openapi.json.gz")


def mistral() -> Named:
    return openapi("mistral-openapi.yaml.gz")


def ollama() -> Named:
    return openapi("ollama-openapi.yaml")


@cache
def google() -> Named:
    with gzip.open(SPECS / "aiplatform.v1.discovery.json.gz") as file:
        named = json.load(file)["schemas"]
    return {name.removeprefix("GoogleCloudAiplatformV1"): _plain(each) for name, each in named.items()} | {
        name: _plain(each) for name, each in named.items()
    }


@cache
def anthropic() -> Named:
    """The SDK's types of the beta, which has all that the API has."""
    named: Schema = {}
    kinds = {"Message": BetaMessage, "Event": BetaRawMessageStreamEvent, "Request": MessageCreateParamsNonStreaming}
    for name, kind in kinds.items():
        schema = pydantic.TypeAdapter(kind).json_schema(schema_generator=_Wire)
        named |= {**schema.pop("$defs", {}), name: schema}
    return {name: _shut(each) for name, each in named.items()}


def _shut(schema: Any) -> Any:
    """Without "any other key", which the types have so as to outlive their release."""
    if isinstance(schema, list):
        return [_shut(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _shut(value) for key, value in schema.items() if key != "additionalProperties" or value is not True}


@cache
def cohere() -> Named:
    told = subprocess.run([CLIENTS, COHERE_TYPES, "all"], capture_output=True, check=True, text=True).stdout
    return dict(json.loads(told))


@cache
def bedrock() -> Named:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    return {name: _of_shape(model.shape_for(name)) for name in model.shape_names}


_SIMPLE: Mapping[str, Schema] = {
    "blob": {"type": "string", "format": "byte"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "long": {"type": "integer"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "timestamp": {"type": "string", "format": "date-time"},
}
_DOCUMENT: Schema = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "string"}}},
    "required": ["a"],
}


def _of_shape(shape: Any) -> Schema:
    """JSON Schema of one of botocore's shapes."""
    if shape.type_name == "structure":
        if getattr(shape, "is_document_type", False):
            return _DOCUMENT
        members = {
            name: {"$ref": each.name}
            for name, each in shape.members.items()
            if each.serialization.get("location") is None
        }
        if (
            getattr(shape, "is_tagged_union", False)
            or getattr(shape, "is_eventstream", False)
            or shape.metadata.get("eventstream")
        ):
            return {"oneOf": [{"properties": {name: each}, "required": [name]} for name, each in members.items()]}
        return {"type": "object", "properties": members, "required": shape.required_members}
    if shape.type_name == "list":
        return {"type": "array", "items": {"$ref": shape.member.name}}
    if shape.type_name == "map":
        return {"type": "object", "additionalProperties": {"$ref": shape.value.name}}
    if shape.type_name == "string":
        return {"type": "string", **({"enum": shape.enum} if shape.enum else {})}
    return _SIMPLE[shape.type_name]


_OPENAI = "https://api.openai.com/v1"
_GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro"
_BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1:0"
_MISTRAL = "https://api.mistral.ai/v1"
_OLLAMA = "http://localhost:11434/api"
_GENERATES = ("GenerateContentRequest", "GenerateContentResponse")

FAMILIES: tuple[Family, ...] = (
    Family(
        "openai chat", f"{_OPENAI}/chat/completions", "openai-chat", openai,
        "CreateChatCompletionRequest", "CreateChatCompletionResponse", "CreateChatCompletionStreamResponse",
        framing="sse, done", counted="openai_chat",
    ),
    Family(
        "openai responses", f"{_OPENAI}/responses", "openai-responses", openai,
        "CreateResponse", "Response", "ResponseStreamEvent", counted="openai_responses",
    ),
    Family(
        "openai completions", f"{_OPENAI}/completions", "openai-completions", openai,
        "CreateCompletionRequest", "CreateCompletionResponse", "CreateCompletionResponse",
        framing="sse, done", counted="completions_legacy",
    ),
    Family(
        "openai embeddings", f"{_OPENAI}/embeddings", "openai-embeddings", openai,
        "CreateEmbeddingRequest", "CreateEmbeddingResponse", counted="embeddings",
    ),
    Family(
        "openai images", f"{_OPENAI}/images/generations", "openai-other", openai,
        "CreateImageRequest", "ImagesResponse", "ImageGenStreamEvent",
    ),
    Family(
        "openai transcriptions", f"{_OPENAI}/audio/transcriptions", "openai-other", openai,
        "CreateTranscriptionRequest", "CreateTranscriptionResponseJson", "CreateTranscriptionResponseStreamEvent",
    ),
    Family(
        "openai speech", f"{_OPENAI}/audio/speech", "openai-other", openai,
        "CreateSpeechRequest", "ErrorResponse", "CreateSpeechResponseStreamEvent",
    ),
    Family(
        "openai moderations", f"{_OPENAI}/moderations", "openai-other", openai,
        "CreateModerationRequest", "CreateModerationResponse",
    ),
    Family(
        "anthropic messages", "https://api.anthropic.com/v1/messages", "anthropic", anthropic,
        "Request", "Message", "Event", counted="anthropic_messages",
    ),
    Family(
        "gemini", f"{_GEMINI}:streamGenerateContent?alt=sse", "gemini", google, *_GENERATES,
        "GenerateContentResponse", counted="gemini_generate",
    ),
    Family(
        "gemini array", f"{_GEMINI}:streamGenerateContent", "gemini", google, *_GENERATES,
        "GenerateContentResponse", "array", counted="gemini_generate",
    ),
    Family(
        "cohere chat", "https://api.cohere.com/v2/chat", "cohere", cohere,
        "Request", "Reply", "Event", counted="cohere_chat",
    ),
    Family(
        "mistral chat", f"{_MISTRAL}/chat/completions", "mistral", mistral,
        "ChatCompletionRequest", "ChatCompletionResponse", "CompletionChunk",
        framing="sse, done", counted="mistral_chat",
    ),
    Family(
        "mistral embeddings", f"{_MISTRAL}/embeddings", "openai-embeddings", mistral,
        "EmbeddingRequest", "EmbeddingResponse", counted="embeddings",
    ),
    Family(
        "mistral conversations", f"{_MISTRAL}/conversations", "openai-other", mistral,
        "ConversationRequest", "ConversationResponse", "ConversationEvents",
    ),
    Family(
        "bedrock converse", f"{_BEDROCK}/converse-stream", "bedrock-converse", bedrock,
        "ConverseStreamRequest", "ConverseResponse", "ConverseStreamOutput", "eventstream", counted="bedrock_converse",
    ),
    Family(
        "ollama chat", f"{_OLLAMA}/chat", "ollama", ollama,
        "ChatRequest", "ChatResponse", "ChatStreamEvent", "ndjson", counted="ollama",
    ),
    Family(
        "ollama generate", f"{_OLLAMA}/generate", "ollama", ollama,
        "GenerateRequest", "GenerateResponse", "GenerateStreamEvent", "ndjson", counted="ollama",
    ),
    Family("ollama embed", f"{_OLLAMA}/embed", "ollama", ollama, "EmbedRequest", "EmbedResponse"),
)  # fmt: skip
