"""Every recorded request, read by its format's codec and written by every other: as that format's publisher has it.

The descriptions and types are those of `published`, which take no key that they do not name.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from tests.corpus import Line, lines
from tests.formats.codecs.published import CHECKS, flaws

from interpose.formats.codecs import CODECS, Asked, Codec, Malformed, Target
from interpose.ir import Losses

# By family: its codec, and how many requests any other codec writes at least.
FAMILIES = {
    "openai_chat": ("openai-chat", 1590),
    "chat_compat": ("openai-chat", 975),
    "openai_responses": ("openai-responses", 1220),
    "anthropic_messages": ("anthropic", 1140),
    "bedrock_invoke": ("bedrock-anthropic", 60),
    "gemini_generate": ("gemini", 975),
    "bedrock_converse": ("bedrock-converse", 265),
    "cohere_chat": ("cohere", 80),
    "mistral_chat": ("mistral", 195),
    "ollama": ("ollama", 40),
}
OWN: dict[str, Callable[[Line], bool]] = {
    "bedrock_invoke": lambda line: "anthropic_version" in line.request,
    "cohere_chat": lambda line: line.path == "/v2/chat",
    "ollama": lambda line: line.path == "/api/chat",
}
# Formats to which fewer can be converted: Ollama takes no documents, and images as bytes alone; Cohere takes no sound.
FEWER = {"ollama": 40, "cohere": 40}
# What the client itself had out of its range (`temperature: 99`, `top_p: -1`): the provider is to say so.
OUT_OF_RANGE = re.compile(r"is (greater|less) than the (maximum|minimum)")
# Where a codec writes another version than the one that it writes by itself.
VERSIONS = {"anthropic 2026-10-21": ("anthropic", "2026-10-21")}
# Claude's envelopes are one format; what one of them reads, beta features included, the other writes back.
CLAUDE = frozenset(("anthropic", "anthropic 2026-10-21", "bedrock-anthropic", "vertex-anthropic"))


@cache
def recorded(family: str) -> list[Line]:
    """The requests that are of the family's format: InvokeModel has those of other makers, Ollama other endpoints."""
    found = [line for line in lines(family) if isinstance(line.request, dict)]
    return [line for line in found if OWN.get(family, lambda line: True)(line)]


def written(codec: Codec, line: Line, to: str) -> Any:
    """The body that goes to a provider of that format; None if the request is malformed or cannot be converted."""
    name, version = VERSIONS.get(to, (to, None))
    try:
        request = codec.read_request(copy.deepcopy(line.request), Asked(line.path, line.query, line.request_headers))
    except Malformed:
        return None
    losses = Losses()
    body = CODECS[name].write_request(request, Target(request.model or "m", version=version), losses).body
    return None if losses.impossibilities else body


PAIRS = [
    (family, to)
    for family, (name, _) in FAMILIES.items()
    for to in CHECKS
    if to != name and not {name, to} <= CLAUDE and VERSIONS.get(to, (to,))[0] in CODECS
]


@pytest.mark.parametrize(("family", "to"), PAIRS)
def test_a_request_from_elsewhere_is_as_published(family: str, to: str) -> None:
    """No key that the other format does not know, no value that it does not take, nothing missing."""
    name, least = FAMILIES[family]
    counted: Counter[str] = Counter()
    for line in recorded(family):
        body = written(CODECS[name], line, to)
        if body is None:
            counted["refused"] += 1
            continue
        counted["written"] += 1
        found = flaws(to, body)
        if all(OUT_OF_RANGE.search(flaw) for flaw in found):
            counted["out of range"] += bool(found)
        else:
            raise AssertionError(f"{line.id}: {found}")
    assert counted["written"] >= least - FEWER.get(to, 0)
    assert counted["out of range"] <= 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_request_to_its_own_format_gets_no_flaw(family: str) -> None:
    """What was recorded may hold what is not published (beta features, servers of their own); we add nothing to it."""
    name, least = FAMILIES[family]
    counted = 0
    for line in recorded(family):
        body = written(CODECS[name], line, name)
        if body is not None:
            assert not set(flaws(name, body)) - set(flaws(name, line.request)), line.id
            counted += 1
    assert counted >= least


@pytest.mark.parametrize(
    ("to", "body", "flaw"),
    [
        ("openai-chat", {"model": "m", "messages": [{"role": "user", "content": 1}]}, "$.messages[0].content"),
        ("openai-chat", {"model": "m", "messages": [{"role": "user", "content": "", "x": 1}]}, "$.messages[0]"),
        ("openai-responses", {"model": "m", "input": "", "x": 1}, "$:"),
        ("anthropic", {"model": "m", "messages": []}, "$:"),
        ("anthropic 2026-10-21", {"model": "m", "max_tokens": 1, "messages": [], "temperature": 1}, "$:"),
        ("anthropic", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{}]}]}, "$.messages"),
        ("vertex-anthropic", {"model": "m", "max_tokens": 1, "messages": []}, "$:"),
        ("gemini", {"contents": [{"parts": [{"text": 1}]}]}, "$.contents[0].parts[0].text"),
        ("gemini", {"contents": [{"parts": [{"text": "", "x": 1}]}]}, "$.contents[0].parts[0]"),
        ("bedrock-converse", {"messages": [{"role": "user", "content": [{"x": 1}]}]}, "messages[0].content[0]"),
        ("mistral", {"model": "m", "messages": [{"role": "user", "content": "", "x": 1}]}, "$.messages[0]"),
        ("cohere", {"model": "m", "messages": [{"role": "tool", "content": ""}]}, "$.messages[0]"),
        ("cohere", {"model": "m", "messages": [], "tool_choice": "SOME"}, "$.tool_choice"),
        ("ollama", {"model": "m", "messages": [{"role": "user", "content": []}]}, "$.messages[0].content"),
    ],
)
def test_the_check_finds_flaws(to: str, body: Any, flaw: str) -> None:
    """The check itself: a wrong type, a key too many, one too few, a word that is none of the choice."""
    found = flaws(to, body)
    assert found
    assert all(flaw in each for each in found), found
