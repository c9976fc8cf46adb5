"""Names of tools, fitted to what a provider takes, and given back to the client as it knows them.

A name that is refused would end the whole call; so it is made into one that is taken, the same for the tool, its calls
and the choice of it, by a stable hash: a longer conversation is written as its beginning was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from interpose.ir import BlockStart, Event, Losses, Reply, Request, ToolCall, ToolResult

DIGITS = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """Which names a format takes: matched as a whole; `longest` in characters."""

    pattern: re.Pattern[str]
    longest: int


_PLAIN = re.compile(r"[a-zA-Z0-9_-]+")
# By codec. https://platform.openai.com/docs/api-reference/chat/create, …/responses/create (name),
# https://docs.claude.com/en/api/messages (tools.name), https://ai.google.dev/api/caching#FunctionDeclaration,
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html,
# https://docs.mistral.ai/api/#tag/chat (function name). Cohere and Ollama say nothing of names.
RULES: Mapping[str, Rule] = {
    "openai-chat": Rule(_PLAIN, 64),
    "openai-responses": Rule(_PLAIN, 64),
    "anthropic": Rule(_PLAIN, 128),
    "gemini": Rule(re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]*"), 64),
    "bedrock-converse": Rule(_PLAIN, 64),
    "mistral": Rule(_PLAIN, 64),
}
_OTHER = re.compile(r"[^a-zA-Z0-9_-]")

Names = Mapping[str, str]


def fit(request: Request, provider: str, losses: Losses) -> Names:
    """Renames in place what that codec's provider would refuse; gives {fitted name: the client's own}."""
    rule = RULES.get(provider)
    if rule is None or request.format == provider:
        return {}
    names: dict[str, str] = {}
    for tool in request.tools:
        if tool.kind != "server" and (made := _fitted(tool.name, rule)) != tool.name:
            losses.carried(f"{tool.at}.name", f"the provider takes no such name: it is {made} there")
            names[made], tool.name = tool.name, made
    for block in _named(request):
        if block.name is not None and (made := _fitted(block.name, rule)) != block.name:
            names[made], block.name = block.name, made
    choice = request.tool_choice
    if choice is not None and choice.names:
        choice.names = tuple(_fitted(name, rule) for name in choice.names)
    return names


def give_back(request: Request, names: Names) -> None:
    """Undoes `fit`, once the request is written: replies repeat to some clients what they asked."""
    if not names:
        return
    for tool in request.tools:
        tool.name = names.get(tool.name, tool.name)
    for block in _named(request):
        if block.name is not None:
            block.name = names.get(block.name, block.name)
    choice = request.tool_choice
    if choice is not None:
        choice.names = tuple(names.get(name, name) for name in choice.names)


def _named(request: Request) -> Iterator[ToolCall | ToolResult]:
    for message in request.messages:
        for block in message.blocks:
            if isinstance(block, ToolCall | ToolResult):
                yield block


def _fitted(name: str, rule: Rule) -> str:
    if not name or (len(name) <= rule.longest and rule.pattern.fullmatch(name)):
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    begin = _OTHER.sub("_", name)[: rule.longest - DIGITS - 1]
    if not re.match(r"[a-zA-Z_]", begin):
        begin = f"_{begin[:-1]}"
    return f"{begin}_{digest}"


def restore(reply: Reply, names: Names) -> Reply:
    """The reply with the client's own names; in place."""
    for answer in reply.answers:
        for block in answer.blocks:
            if isinstance(block, ToolCall):
                block.name = names.get(block.name, block.name)
    return reply


def restored(events: Iterable[Event], names: Names) -> Iterable[Event]:
    """The events with the client's own names; in place."""
    if not names:
        return events
    events = list(events)
    for event in events:
        if isinstance(event, BlockStart) and isinstance(event.block, ToolCall):
            event.block.name = names.get(event.block.name, event.block.name)
    return events
