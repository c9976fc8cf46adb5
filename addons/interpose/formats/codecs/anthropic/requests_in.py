"""Requests read: https://platform.claude.com/docs/en/api/messages, and count_tokens, which is one without a limit."""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Asked, Malformed
from interpose.ir import (
    Block,
    Message,
    Output,
    Reasoning,
    Request,
    Sampling,
    Text,
    Tool,
    ToolChoice,
)

from .blocks_in import READERS, read_blocks
from .envelopes import Envelope
from .names import COUNTING, FORMAT, TEXT, TOP, Json, hush, own, take_cache

# Marks of a request.
STREAM_TOLD = "stream:told"  # that there be none
STREAM_BY_URL = "stream:url"  # alone
OLD_OUTPUT = "output_format"
VERSION = "version:"
CUSTOM = "type:custom"  # of a tool
# Features that are asked for: what they are about is told where it is.
FEATURES = frozenset(("anthropic_beta",))


def read_request(body: Json, asked: Asked, envelope: Envelope) -> Request:
    named = envelope.read_path(asked.path)
    marks: list[str] = []
    model = _model(body, named.model, envelope)
    inside = envelope.version_inside
    version = _text(body, "anthropic_version") if inside else asked.headers.get("anthropic-version")
    if version is not None and version != envelope.version:
        marks.append(f"{VERSION}{envelope.name}:{version}")
    if not envelope.betas_inside and (betas := asked.headers.get("anthropic-beta")):
        body["anthropic_beta"] = [beta for part in betas.split(",") if (beta := part.strip())]
    max_tokens = _integer(body, "max_tokens")
    if named.counting:
        marks.append(COUNTING)
    elif max_tokens is None:
        raise Malformed("max_tokens", "is required, and is an integer")
    messages = _messages(body)
    stream = named.stream
    if isinstance(told := body.get("stream"), bool):
        del body["stream"]
        stream = stream or told
        if not told:
            marks.append(STREAM_TOLD)
    elif stream and envelope.stream_inside:
        marks.append(STREAM_BY_URL)
    reasoning, output = _thinking(body, marks)
    return Request(
        FORMAT,
        model,
        messages,
        _tools(body),
        _tool_choice(body),
        max_tokens,
        Sampling(_number(body, "temperature"), _number(body, "top_p"), _integer(body, "top_k")),
        _stop(body),
        reasoning,
        output,
        stream=bool(stream),
        user=_user(body),
        service_tier=_text(body, "service_tier"),
        own=own(body, *marks, silent=hush(body, FEATURES)),
    )


def _model(body: Json, named: str, envelope: Envelope) -> str:
    if not envelope.model_inside and named:
        return named
    model = body.pop("model", None)
    if not isinstance(model, str) or not model:
        raise Malformed("model", "is required, and is text")
    return model


def _messages(body: Json) -> list[Message]:
    told = body.pop("messages", None)
    if not isinstance(told, list):
        raise Malformed("messages", "is required, and is a list")
    messages: list[Message] = []
    system = body.get("system")
    if isinstance(system, str):
        del body["system"]
        messages.append(Message("system", [Text(system, [], None, None, "system")], None, "system", own({}, TOP, TEXT)))
    elif isinstance(system, list):
        del body["system"]
        messages.append(Message("system", read_blocks(system, "system", READERS), None, "system", own({}, TOP)))
    elif system is not None:
        raise Malformed("system", "is text or a list of text blocks")
    for place, node in enumerate(told):
        messages.append(_message(node, f"messages[{place}]"))
    return messages


def _message(node: Any, at: str) -> Message:
    if not isinstance(node, dict):
        raise Malformed(at, "a message is an object")
    role = node.get("role")
    if role not in ("user", "assistant", "system"):
        raise Malformed(f"{at}.role", "a role is user, assistant or system")
    del node["role"]
    content = node.pop("content", None)
    if isinstance(content, str):
        block: Block = Text(content, [], None, None, f"{at}.content")
        return Message(role, [block], None, at, own(node, TEXT))
    if not isinstance(content, list):
        raise Malformed(f"{at}.content", "content is text or a list of blocks")
    return Message(role, read_blocks(content, f"{at}.content", READERS, sent_back=True), None, at, own(node))


def _tools(body: Json) -> list[Tool]:
    told = body.get("tools")
    if told is None:
        return []
    if not isinstance(told, list):
        raise Malformed("tools", "is a list")
    tools = [_tool(node, f"tools[{place}]") for place, node in enumerate(told)]
    if tools:  # an empty list says nothing, but is written back
        del body["tools"]
    return tools


def _tool(node: Any, at: str) -> Tool:
    """A tool without a type, or of type custom, is the client's; all others are the provider's or have its schema:
    https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-reference
    """
    if not isinstance(node, dict):
        raise Malformed(at, "a tool is an object")
    kind, name = node.get("type"), node.get("name")
    if kind is not None and not isinstance(kind, str):
        raise Malformed(f"{at}.type", "the type of a tool is text")
    if kind is not None and kind != "custom":
        return Tool(name if isinstance(name, str) else kind, kind="server", at=at, own=own(node))
    if not isinstance(name, str):
        raise Malformed(f"{at}.name", "a tool has a name")
    del node["name"]
    description, schema, strict = node.get("description"), node.get("input_schema"), node.get("strict")
    if isinstance(description, str):
        del node["description"]
    else:
        description = None
    if isinstance(schema, dict):
        del node["input_schema"]
    else:
        schema = None
    if isinstance(strict, bool):
        del node["strict"]
    else:
        strict = None
    cache = take_cache(node) if "cache_control" in node else None
    if kind is None:
        return Tool(name, description, schema, strict, "function", None, cache, at, own(node))
    del node["type"]
    return Tool(name, description, schema, strict, "function", None, cache, at, own(node, CUSTOM))


def _tool_choice(body: Json) -> ToolChoice | None:
    """https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools#controlling-claudes-output"""
    node = body.get("tool_choice")
    if not isinstance(node, dict):
        return None
    kind, name = node.get("type"), node.get("name")
    if kind not in ("auto", "any", "none", "tool") or (kind == "tool" and not isinstance(name, str)):
        return None
    del body["tool_choice"], node["type"]
    disabled = node.get("disable_parallel_tool_use")
    if isinstance(disabled, bool):
        del node["disable_parallel_tool_use"]
    parallel = not disabled if isinstance(disabled, bool) else None
    if kind == "tool":
        del node["name"]
        return ToolChoice("any", (str(name),), parallel, own(node))
    return ToolChoice(kind, (), parallel, own(node))


def _thinking(body: Json, marks: list[str]) -> tuple[Reasoning | None, Output | None]:
    """`thinking` and `output_config`, which tell how much to think and which form the answer has:
    https://platform.claude.com/docs/en/build-with-claude/thinking, …/effort, …/structured-outputs
    """
    reasoning = _thinking_of(body)
    output: Output | None = None
    config = body.get("output_config")
    if isinstance(config, dict):
        effort = config.get("effort")
        if isinstance(effort, str):
            del config["effort"]
            reasoning = reasoning or Reasoning()
            reasoning.effort = effort
        output = _output(config, "format")
        if not config and (output is not None or isinstance(effort, str)):
            del body["output_config"]
    if output is None and "output_format" in body:
        # As the beta of structured outputs had it.
        output = _output(body, "output_format")
        if output is not None:
            marks.append(OLD_OUTPUT)
    return reasoning, output


def _thinking_of(body: Json) -> Reasoning | None:
    node = body.get("thinking")
    if not isinstance(node, dict):
        return None
    kind, budget, shown = node.get("type"), node.get("budget_tokens"), node.get("display")
    if kind not in ("enabled", "adaptive", "disabled"):
        return None
    if budget is not None and not _is_integer(budget):
        return None
    del body["thinking"], node["type"]
    if budget is not None:
        del node["budget_tokens"]
    if isinstance(shown, str):
        del node["display"]
    else:
        shown = None
    adaptive = True if kind == "adaptive" else None
    return Reasoning(kind != "disabled", None, budget, adaptive, shown, own(node))


def _output(parent: Json, key: str) -> Output | None:
    node = parent.get(key)
    if not isinstance(node, dict) or node.get("type") != "json_schema" or not isinstance(node.get("schema"), dict):
        return None
    del parent[key], node["type"]
    return Output("schema", node.pop("schema"), own=own(node))


def _stop(body: Json) -> list[str]:
    told = body.get("stop_sequences")
    if not isinstance(told, list) or not told or not all(isinstance(one, str) for one in told):
        return []
    del body["stop_sequences"]
    return told


def _user(body: Json) -> str | None:
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(user, str):
        return None
    del metadata["user_id"]
    if not metadata:
        del body["metadata"]
    return user


def _text(body: Json, key: str) -> str | None:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        return None
    del body[key]
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(body: Json, key: str) -> int | None:
    value = body.get(key)
    if not _is_integer(value):
        return None
    del body[key]
    return int(value or 0)


def _number(body: Json, key: str) -> float | None:
    value = body.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    del body[key]
    return value
