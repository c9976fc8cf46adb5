"""What is published of each format's requests, as one table: a codec's name to what is wrong with a body.

OpenAPI descriptions (OpenAI, Mistral, Ollama), Google's discovery document and the types of SDKs (Anthropic, Google,
Cohere) all become JSON Schemas that take no key which they do not name; Bedrock's is botocore's own validator. The
descriptions lie beside the recordings; types come from the SDKs that the tests have installed.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Literal

import botocore.session
import jsonschema_rs
import pydantic
import yaml
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from botocore.validate import ParamValidator
from google.genai import types
from pydantic.json_schema import GenerateJsonSchema
from tests.corpus import ROOT, SPECS
from tests.formats.codecs import converse_sdk

Schema = dict[str, Any]
Check = Callable[[Any], Iterator[str]]
CLIENTS = ROOT / ".venv" / "clients" / "bin" / "python"
COHERE_TYPES = ROOT / "tests" / "clients" / "python" / "cohere_types.py"


def flaws(codec: str, body: Any) -> list[str]:
    """Where a request's body is not what is published of that codec's format; empty if it is."""
    return [flaw for check in CHECKS[codec] for flaw in check(body)]


# Schemas, closed

_LISTS = ("anyOf", "oneOf")
_KEPT = (
    "type", "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems",
    "maxItems", "minLength", "maxLength", "pattern", "minProperties", "maxProperties",
)  # fmt: skip


# "shut" takes no key but those described, "part" is the same as a part of what is shut, "open" takes any key anywhere.
Mode = Literal["shut", "part", "open"]


def closed(root: Schema, named: Mapping[str, Schema], mode: Mode = "shut") -> jsonschema_rs.Draft202012Validator:
    """A validator by `root`, whose references end in names of `named`. An object that is described takes no key but
    those described, unless the description says that it takes any, or `mode` does. What is one of several that may
    match, and what must match but one, need match one.
    """
    wanted: dict[tuple[str, Mode], None] = {}
    made = _closed(root, wanted, mode)
    definitions: Schema = {}
    while wanted:
        (name, how), _ = wanted.popitem()
        if (key := f"{how}.{name}") not in definitions:
            definitions[key] = _closed(named[name], wanted, how)
    return jsonschema_rs.Draft202012Validator({**made, "$defs": definitions})


def _closed(schema: Any, wanted: dict[tuple[str, Mode], None], mode: Mode) -> Any:
    """That schema; the names that it refers to are added to `wanted`, each with its mode."""
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        wanted[name, mode] = None
        return {"$ref": f"#/$defs/{mode}.{name}"}
    made: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "required" in made:
        made["required"] = list(dict.fromkeys(made["required"]))
    inside: Mode = "open" if mode == "open" else "shut"
    part: Mode = "open" if mode == "open" else "part"
    described = "properties" in schema or "allOf" in schema
    more = schema.get("additionalProperties", False)
    if "properties" in schema:
        made["properties"] = {name: _closed(each, wanted, inside) for name, each in schema["properties"].items()}
    if "items" in schema:
        made["items"] = _closed(schema["items"], wanted, inside)
    if isinstance(more, dict):
        made["additionalProperties"] = _closed(more, wanted, inside)
    if "allOf" in schema:
        made["allOf"] = [_closed(each, wanted, part) for each in schema["allOf"]]
    alternatives = [each for key in _LISTS for each in schema.get(key, ())]
    if alternatives:
        made["anyOf"] = [_closed(each, wanted, part if described else mode) for each in alternatives]
    if mode == "shut" and described and more is False:
        made["unevaluatedProperties"] = False
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") else made


def by(validator: Callable[[], jsonschema_rs.Draft202012Validator]) -> Check:
    """A check by a schema that is made when it is first asked for."""

    def check(body: Any) -> Iterator[str]:
        found = [flaw for error in validator().iter_errors(body) for flaw in _found(error)]
        for path, message, key in found:
            # Where something lies deeper, all that stands around it counts as unexpected.
            if not key or not any(other[: len(path)] == path and len(other) > len(path) for other, _, _ in found):
                yield "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path) + message

    return check


_Flaw = tuple[list[str | int], str, bool]


def _found(error: Any) -> list[_Flaw]:
    """A flaw: where, what, and whether it is a key too many. Of alternatives, those of the one which comes nearest:
    whose first flaw lies deepest.
    """
    context = getattr(error.kind, "context", None)
    if not context:
        unknown = getattr(error.kind, "unexpected", None)
        told = error.message[:300] if unknown is None else f"unknown keys: {', '.join(sorted(unknown))}"
        return [(list(error.instance_path), f": {told}", unknown is not None)]
    branches = [[flaw for each in branch for flaw in _found(each)] for branch in context]
    return max(branches, key=lambda branch: (min(len(path) for path, _, _ in branch), -len(branch)))


# Where the descriptions are


@cache
def openapi(name: str) -> Mapping[str, Schema]:
    """The schemas of an OpenAPI description."""
    path = SPECS / name
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    document = json.loads(data) if ".json" in name else yaml.load(data, yaml.CSafeLoader)
    return dict(document["components"]["schemas"])


@cache
def openai_chat() -> jsonschema_rs.Draft202012Validator:
    return closed({"$ref": "CreateChatCompletionRequest"}, openapi("openai-openapi.json.gz"))


@cache
def openai(name: str) -> Check:
    """A check by one of OpenAI's schemas, which takes keys that it does not name: those of compatible servers."""
    return by(lambda: _openai(name))


@cache
def _openai(name: str) -> jsonschema_rs.Draft202012Validator:
    return closed({"$ref": name}, openapi("openai-openapi.json.gz"), "open")


@cache
def openai_responses() -> jsonschema_rs.Draft202012Validator:
    return closed({"$ref": "CreateResponse"}, openapi("openai-openapi.json.gz"))


@cache
def mistral() -> jsonschema_rs.Draft202012Validator:
    return closed({"$ref": "ChatCompletionRequest"}, openapi("mistral-openapi.yaml.gz"))


@cache
def ollama() -> jsonschema_rs.Draft202012Validator:
    """With what Ollama's description leaves out of a message, and its reference has (https://docs.ollama.com/api/chat),
    and the ids of calls, which are in its server's types: https://github.com/ollama/ollama/blob/main/api/types.go
    """
    named = dict(openapi("ollama-openapi.yaml"))
    told = {"ChatMessage": ("thinking", "tool_name", "tool_call_id"), "ToolCall": ("id",)}
    for name, keys in told.items():
        more = {key: {"type": "string"} for key in keys}
        named[name] = {**named[name], "properties": {**named[name]["properties"], **more}}
    return closed({"$ref": "ChatRequest"}, named)


@cache
def vertex() -> jsonschema_rs.Draft202012Validator:
    """Google's discovery format: https://developers.google.com/discovery/v1/type-format"""
    with gzip.open(SPECS / "aiplatform.v1.discovery.json.gz") as file:
        named = json.load(file)["schemas"]
    return closed({"$ref": "GoogleCloudAiplatformV1GenerateContentRequest"}, {k: _plain(v) for k, v in named.items()})


def _plain(schema: Any) -> Any:
    """JSON Schema of Google's: "any" is anything, and an integer of 64 bits, which is a string, may be a number."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "any":
        return {}
    made = {key: _plain(value) for key, value in schema.items()}
    if schema.get("type") == "string" and schema.get("format") in ("int64", "uint64"):
        made["type"] = ["string", "integer"]
    return made


class _Wire(GenerateJsonSchema):
    """JSON Schema of types that also take what is no JSON (files to be read, classes): that is not for the wire."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:
        return {"not": {}}


def of_types(kind: Any) -> jsonschema_rs.Draft202012Validator:
    schema = pydantic.TypeAdapter(kind).json_schema(by_alias=True, schema_generator=_Wire)
    return closed(schema, schema.get("$defs", {}))


def messages() -> Schema:
    schema = pydantic.TypeAdapter(MessageCreateParamsStreaming).json_schema(schema_generator=_Wire)
    schema["properties"]["stream"] = {"type": "boolean"}
    schema["required"].remove("stream")
    return schema


# What the version 2026-10-21, whose types the SDK has, has no more: https://docs.anthropic.com/en/api/versioning
SAMPLING: Schema = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 0},
}


@cache
def anthropic() -> jsonschema_rs.Draft202012Validator:
    """The version 2026-10-21."""
    schema = messages()
    return closed(schema, schema["$defs"])


@cache
def anthropic_2023() -> jsonschema_rs.Draft202012Validator:
    schema = messages()
    schema["properties"] |= SAMPLING
    return closed(schema, schema["$defs"])


@cache
def enveloped() -> jsonschema_rs.Draft202012Validator:
    """Claude's request in a cloud's envelope, which names the model in its URL and the version in the body."""
    schema = messages()
    inside = {"anthropic_version": {"type": "string"}, "anthropic_beta": {"type": "array"}}
    schema["properties"] |= SAMPLING | inside
    schema["required"] = ["messages", "max_tokens", "anthropic_version"]
    del schema["properties"]["model"]
    return closed(schema, schema["$defs"])


@cache
def genai() -> jsonschema_rs.Draft202012Validator:
    """google-genai's own types, which name every key of the Gemini API."""
    fields: dict[str, Any] = {
        "contents": (list[types.Content], ...),
        "systemInstruction": (types.Content, None),
        "tools": (list[types.Tool], None),
        "toolConfig": (types.ToolConfig, None),
        "safetySettings": (list[types.SafetySetting], None),
        "generationConfig": (types.GenerationConfig, None),
        "cachedContent": (str, None),
        "labels": (dict[str, str], None),
        "serviceTier": (str, None),
    }
    return of_types(pydantic.create_model("GenerateContentRequest", **fields))


@cache
def cohere() -> jsonschema_rs.Draft202012Validator:
    """The types of Cohere's SDK, told by a program in the environment that has it."""
    told = subprocess.run([CLIENTS, COHERE_TYPES], capture_output=True, check=True, text=True).stdout
    schema = json.loads(told)
    return closed(schema, schema["$defs"])


@cache
def _converse() -> tuple[ParamValidator, Any]:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    return ParamValidator(), model.operation_model("Converse").input_shape


def converse(body: Any) -> Iterator[str]:
    """botocore's validator, which boto3 asks before it sends anything; and what it leaves to the service. The model
    stands in the URL.
    """
    validator, shape = _converse()
    report = validator.validate({**body, "modelId": "m"}, shape)
    yield from report.generate_report().splitlines() or converse_sdk.flaws(shape, body, "$")


CHECKS: Mapping[str, tuple[Check, ...]] = {
    "openai-chat": (by(openai_chat),),
    "openai-responses": (by(openai_responses),),
    "anthropic": (by(anthropic_2023),),
    "anthropic 2026-10-21": (by(anthropic),),
    "bedrock-anthropic": (by(enveloped),),
    "vertex-anthropic": (by(enveloped),),
    "gemini": (by(vertex), by(genai)),
    "bedrock-converse": (converse,),
    "mistral": (by(mistral),),
    "cohere": (by(cohere),),
    "ollama": (by(ollama),),
}
