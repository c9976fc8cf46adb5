"""What a strict provider asks of a conversation in which tools were called: read from its request, format by format.

`steps` is the conversation in order, each step one block; the checks on it are the same for every provider. Nothing of
the program's is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """`kind` is said, thought, call or result. A format without ids has None there. `text` is what was said or
    returned, or the arguments as canonical JSON.
    """

    kind: str
    role: str
    text: str
    id: str | None = None
    name: str | None = None


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _chat(body: Json) -> Iterator[Step]:
    for message in body["messages"]:
        role = message["role"]
        if role == "tool":
            yield Step("result", role, canonical(message["content"]), message["tool_call_id"])
            continue
        if message.get("content"):
            yield Step("said", role, canonical(message["content"]))
        for call in message.get("tool_calls") or ():
            arguments = canonical(json.loads(call["function"]["arguments"]))
            yield Step("call", role, arguments, call["id"], call["function"]["name"])


def _responses(body: Json) -> Iterator[Step]:
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "function_call":
            yield Step("call", "assistant", canonical(json.loads(item["arguments"])), item["call_id"], item["name"])
        elif kind == "function_call_output":
            yield Step("result", "tool", canonical(item["output"]), item["call_id"])
        else:
            yield Step("said" if kind == "message" else "thought", item.get("role", "assistant"), canonical(item))


def _anthropic(body: Json) -> Iterator[Step]:
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if block["type"] == "tool_use":
                yield Step("call", role, canonical(block["input"]), block["id"], block["name"])
            elif block["type"] == "tool_result":
                yield Step("result", role, canonical(block["content"]), block["tool_use_id"])
            else:
                kind = "thought" if "thinking" in block["type"] else "said"
                yield Step(kind, role, canonical(block))


def _gemini(body: Json) -> Iterator[Step]:
    for content in body["contents"]:
        role = content["role"]
        for part in content["parts"]:
            if (call := part.get("functionCall")) is not None:
                yield Step("call", role, canonical(call.get("args") or {}), call.get("id"), call["name"])
            elif (result := part.get("functionResponse")) is not None:
                yield Step("result", role, canonical(result["response"]), result.get("id"), result["name"])
            elif part != {"text": ""}:
                yield Step("thought" if part.get("thought") else "said", role, canonical(part))


def _converse(body: Json) -> Iterator[Step]:
    for message in body["messages"]:
        role = message["role"]
        for block in message["content"]:
            if (call := block.get("toolUse")) is not None:
                yield Step("call", role, canonical(call["input"]), call["toolUseId"], call["name"])
            elif (result := block.get("toolResult")) is not None:
                yield Step("result", role, canonical(result["content"]), result["toolUseId"])
            else:
                yield Step("thought" if "reasoningContent" in block else "said", role, canonical(block))


def _ollama(body: Json) -> Iterator[Step]:
    for message in body["messages"]:
        role = message["role"]
        if role == "tool":
            yield Step("result", role, canonical(message["content"]), None, message["tool_name"])
            continue
        if message.get("content"):
            yield Step("said", role, canonical([message["content"], message.get("images")]))
        for call in message.get("tool_calls") or ():
            yield Step("call", role, canonical(call["function"]["arguments"]), None, call["function"]["name"])


STEPS: Mapping[str, Callable[[Json], Iterator[Step]]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic": _anthropic,
    "bedrock-anthropic": _anthropic,
    "gemini": _gemini,
    "bedrock-converse": _converse,
    "mistral": _chat,
    "cohere": _chat,
    "ollama": _ollama,
}
# What each provider takes as an id; Gemini's and Ollama's are as anybody likes, if there are any.
IDS: Mapping[str, re.Pattern[str]] = {
    "openai-chat": re.compile(r".{1,40}"),
    "openai-responses": re.compile(r".{1,64}"),
    "anthropic": re.compile(r"[a-zA-Z0-9_-]+"),
    "bedrock-anthropic": re.compile(r"[a-zA-Z0-9_-]+"),
    "bedrock-converse": re.compile(r"[a-zA-Z0-9_.:-]{1,64}"),
    "mistral": re.compile(r"[a-zA-Z0-9]{9}"),
}
CONVERSATION = frozenset(("messages", "input", "contents"))


def refused(
    codec: str, first: Json, second: Json, calls: tuple[tuple[str, Any], ...], results: list[str], *, ids: bool = True
) -> list[str]:
    """Why such a provider would refuse the second request; empty if it would not. Ids that were recorded are not always
    as the provider makes them: without `ids` they may be as they are.
    """
    asked, again = list(STEPS[codec](first)), list(STEPS[codec](second))
    problems = [
        f"{key} differs between the turns"
        for key in sorted((first.keys() | second.keys()) - CONVERSATION)
        if canonical(first.get(key)) != canonical(second.get(key))
    ]
    if again[: len(asked)] != asked:
        problems.append(f"the conversation does not begin as before: {again[: len(asked)]}, not {asked}")
    added = again[len(asked) :]
    called = [step for step in added if step.kind == "call"]
    returned = [step for step in added if step.kind == "result"]
    if [(step.name, step.text) for step in called] != [(name, canonical(given)) for name, given in calls]:
        problems.append(f"the calls are {called}, not {calls}")
    if added[-2 * len(calls) :] != called + returned:
        problems.append(f"the results do not follow their calls: {[step.kind for step in added]}")
    if [step.id for step in returned] != [step.id for step in called]:
        problems.append(f"the ids of results {returned} are not those of the calls {called}")
    if len({step.id for step in called if step.id is not None}) not in (0, len(called)):
        problems.append(f"calls share an id: {called}")
    pattern = IDS.get(codec) if ids else None
    if pattern is not None and not all(pattern.fullmatch(step.id or "") for step in called):
        problems.append(f"an id is none that it takes: {called}")
    if any(step.name not in (None, call.name) for step, call in zip(returned, called, strict=False)):
        problems.append(f"the results are named otherwise than the calls: {returned}, {called}")
    if not all(text in step.text for text, step in zip(results, returned, strict=False)):
        problems.append(f"the results are {returned}, not {results}")
    return problems
