"""Requests read: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html

The model stands in the URL, and so does whether to stream: `/model/{id}/converse` and `/model/{id}/converse-stream`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from interpose.formats.codecs.codec import Asked, Malformed, loads
from interpose.ir import Message, Output, Own, Request, Sampling, Tool, ToolChoice

from .blocks_in import READERS, read_blocks
from .names import (
    FORMAT,
    MORE,
    NO_MESSAGES,
    NOVA_TOP_K,
    SPELLINGS,
    TOP,
    Json,
    own,
    read_point,
    speaks,
    take_integer,
    take_number,
    take_text,
)
from .reasoning import take_reasoning

STREAMED = "converse-stream"
# Where understood things stand beside others: what is left over there may say nothing any more.
CONFIGS = ("inferenceConfig", "toolConfig", "outputConfig", MORE)
# Without these variables the prompt that the provider keeps is another one.
VITAL = frozenset(("promptVariables",))
# Features that are asked for (what they are about is told where it is), who pays, and how fast it is to be.
QUIET = frozenset(("anthropic_beta", "projectIdentifier", "performanceConfig"))


def read_request(body: Json, asked: Asked) -> Request:
    model, stream = read_path(asked.path)
    if not model:
        raise Malformed("modelId", "the model stands in the URL: /model/{modelId}/converse")
    marks: list[str] = []
    empty = {name for name in CONFIGS if body.get(name) == {}}
    if "messages" not in body and "promptVariables" in body:
        marks.append(NO_MESSAGES)
    messages = [*_system(body), *([] if marks else _messages(body))]
    tools, choice = _tools(body)
    inference = body.get("inferenceConfig")
    inference = inference if isinstance(inference, dict) else {}
    reasoning = take_reasoning(body)
    request = Request(FORMAT, model, messages, tools, choice, stream=stream, reasoning=reasoning)
    request.max_tokens = take_integer(inference, "maxTokens")
    request.sampling = Sampling(
        take_number(inference, "temperature"), take_number(inference, "topP"), _top_k(body, marks)
    )
    request.stop = _stop(inference)
    request.output = _output(body)
    request.metadata = _metadata(body)
    request.service_tier = _tier(body)
    quiet = {name: body.pop(name) for name in (*CONFIGS, *QUIET) if name in body and _is_quiet(name, body[name])}
    for name in CONFIGS:
        if quiet.get(name) == {} and name not in empty:
            del quiet[name]  # all of it was understood
    request.own = own(body, *marks, silent=quiet)
    if request.own is not None:
        request.own.vital = VITAL
    return request


def _is_quiet(name: str, value: Any) -> bool:
    return name in QUIET or (isinstance(value, dict) and not speaks(value))


def read_path(path: str) -> tuple[str, bool]:
    """The model and whether to stream. An ARN holds slashes, which some clients escape and some do not."""
    head, _, action = path.rstrip("/").rpartition("/")
    _, _, model = head.partition("/model/")
    return (unquote(model), action == STREAMED) if action in ("converse", STREAMED) else ("", False)


def _system(body: Json) -> list[Message]:
    told = body.get("system")
    if not told and (told is None or isinstance(told, list)):
        return []  # an empty list is left where it is
    del body["system"]
    return [Message("system", read_blocks(told, "system", READERS), None, "system", own({}, TOP))]


def _messages(body: Json) -> list[Message]:
    told = body.pop("messages", None)
    if not isinstance(told, list):
        raise Malformed("messages", "is required, and is a list")
    return [_message(node, f"messages[{place}]") for place, node in enumerate(told)]


def _message(node: Any, at: str) -> Message:
    if not isinstance(node, dict):
        raise Malformed(at, "a message is an object")
    role = node.get("role")
    if role not in ("user", "assistant", "system"):
        raise Malformed(f"{at}.role", "a role is user, assistant or system")
    blocks = read_blocks(node.get("content"), f"{at}.content", READERS, sent_back=True)
    del node["role"], node["content"]
    return Message(role, blocks, None, at, own(node))


def _tools(body: Json) -> tuple[list[Tool], ToolChoice | None]:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html"""
    config = body.get("toolConfig")
    if config is None:
        return [], None
    if not isinstance(config, dict):
        raise Malformed("toolConfig", "is an object")
    told = config.get("tools")
    if told is not None and not isinstance(told, list):
        raise Malformed("toolConfig.tools", "is a list")
    tools: list[Tool] = []
    for place, node in enumerate(told or ()):
        at = f"toolConfig.tools[{place}]"
        if not isinstance(node, dict) or not node:
            raise Malformed(at, "a tool is an object with one member")
        if len(node) == 1 and "cachePoint" in node and tools and _takes_point(tools[-1]):
            tools[-1].cache = read_point(node["cachePoint"])
            if tools[-1].cache is not None:
                continue
        tools.append(_tool(node, at))
    if tools:
        del config["tools"]
    return tools, _choice(config)


def _takes_point(tool: Tool) -> bool:
    return tool.cache is None and not (
        tool.kind == "server" and tool.own is not None and "cachePoint" in tool.own.fields
    )


def _tool(node: Json, at: str) -> Tool:
    spec = node.get("toolSpec")
    if spec is None or len(node) != 1:  # a tool that Bedrock runs, or what is not known
        kind = next(iter(node))
        named = node[kind].get("name") if isinstance(node[kind], dict) else None
        return Tool(named if isinstance(named, str) else kind, kind="server", at=at, own=own(node))
    name = spec.get("name") if isinstance(spec, dict) else None
    if not isinstance(name, str):
        raise Malformed(f"{at}.toolSpec.name", "a tool has a name")
    del spec["name"]
    schema = spec.get("inputSchema")
    parameters = schema.get("json") if isinstance(schema, dict) else None
    if isinstance(parameters, dict):
        del schema["json"]
        if not schema:
            del spec["inputSchema"]
    else:
        parameters = None
    strict = spec.get("strict")
    if isinstance(strict, bool):
        del spec["strict"]
    else:
        strict = None
    description = take_text(spec, "description")
    return Tool(name, description, parameters, strict, "function", None, None, at, own(spec))


def _choice(config: Json) -> ToolChoice | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html"""
    told = config.get("toolChoice")
    if not isinstance(told, dict) or len(told) != 1:
        return None
    [(mode, rest)] = told.items()
    if mode not in ("auto", "any", "tool") or not isinstance(rest, dict):
        return None
    names: tuple[str, ...] = ()
    if mode == "tool":
        if (name := take_text(rest, "name")) is None:
            return None
        names = (name,)
    del config["toolChoice"]
    return ToolChoice("auto" if mode == "auto" else "any", names, None, own(rest))


def _top_k(body: Json, marks: list[str]) -> int | None:
    """The models' own: Claude's and others' beside each other, Nova's in a configuration of its own."""
    more = body.get(MORE)
    if not isinstance(more, dict):
        return None
    found = take_integer(more, "top_k")
    inner = more.get("inferenceConfig")
    if found is None and isinstance(inner, dict) and (found := take_integer(inner, NOVA_TOP_K)) is not None:
        marks.append(NOVA_TOP_K)
        if not inner:
            del more["inferenceConfig"]
    return found


def _stop(inference: Json) -> list[str]:
    told = inference.get("stopSequences")
    if not isinstance(told, list) or not told or not all(isinstance(one, str) for one in told):
        return []
    del inference["stopSequences"]
    return told


def _output(body: Json) -> Output | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_JsonSchemaDefinition.html: the schema is
    JSON as text.
    """
    config = body.get("outputConfig")
    form = config.get("textFormat") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(form, dict) or form.get("type") != "json_schema":
        return None
    structure = form.get("structure")
    told = structure.get("jsonSchema") if isinstance(structure, dict) and len(structure) == 1 else None
    if not isinstance(told, dict) or not isinstance(text := told.get("schema"), str) or len(form) != 2:
        return None
    try:
        schema = loads(text)
    except ValueError:
        return None
    if not isinstance(schema, dict):
        return None
    del config["textFormat"], told["schema"]
    name, description = take_text(told, "name"), take_text(told, "description")
    return Output("schema", schema, name, description, None, _spelt(told, schema, text))


def _spelt(left: Json, schema: Json, text: str) -> Own | None:
    """How the text of a schema is spaced says nothing; but it is what its client wrote."""
    for mark, spell in SPELLINGS.items():
        if spell(schema) == text:
            return own(left, mark) if mark else own(left)
    return own(left, silent={"schema": text})


def _metadata(body: Json) -> dict[str, Any] | None:
    told = body.get("requestMetadata")
    if not isinstance(told, dict) or not told or not all(isinstance(value, str) for value in told.values()):
        return None
    del body["requestMetadata"]
    return told


def _tier(body: Json) -> str | None:
    told = body.get("serviceTier")
    if not isinstance(told, dict) or len(told) != 1:
        return None
    tier = take_text(told, "type")
    if tier is not None:
        del body["serviceTier"]
    return tier
