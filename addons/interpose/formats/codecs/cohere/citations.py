"""Citations <-> what texts rest on.

https://docs.cohere.com/v2/docs/rag-citations: a message's list beside its content, each with its place in one of the
parts (`content_index`) or in the plan of tool calls, and with the documents and tool results that it rests on.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.ir import Block, Citation, Foreign, Losses, Own, Refused, Text, Thinking

from .calls import is_planned
from .facts import NAME, marks_of


def read_citation(citation: Any, place: int) -> Citation:
    """Of its sources the first is told to others; its place among all the message's is a mark."""
    url = title = quoted = None
    sources = citation.get("sources")
    if isinstance(sources, list) and sources and isinstance(sources[0], dict):
        found = sources[0].get("document") or sources[0].get("tool_output")
        if isinstance(found, dict):
            url, title = _text(found.get("url")), _text(found.get("title"))
            quoted = _text(found.get("snippet")) or _text(found.get("text"))
    return Citation(url, title, quoted, Own(NAME, citation, frozenset((f"place:{place}",))))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def cited(citation: Any) -> int | bool | None:
    """Which of a message's parts a citation is for: an index, None for the plan, False for what is no text."""
    if not isinstance(citation, dict):
        return False
    kind = citation.get("type", "TEXT_CONTENT")
    if kind == "PLAN":
        return None
    index = citation.get("content_index", -1)
    return index if kind == "TEXT_CONTENT" and type(index) is int else False


def read_citations(message: Json, content: list[Block], plan: Text | None) -> None:
    """Puts a message's citations on the texts that they are for; the others stay left over."""
    citations = message.get("citations")
    if not isinstance(citations, list) or not citations:
        return
    first = next((block for block in content if isinstance(block, Text)), None)
    rest = []
    for place, citation in enumerate(citations):
        index = cited(citation)
        block: Block | None = None
        if index is None:
            block = plan
        elif index is not False:
            block = first if index == -1 else content[index] if 0 <= index < len(content) else None
        if isinstance(block, Text):
            block.citations.append(read_citation(citation, place))
        else:
            rest.append(citation)
    del message["citations"]
    if rest:
        message["citations"] = rest


def write_citations(blocks: list[Block], message: Json, losses: Losses) -> None:
    """Cohere's own in the order in which they came, with those that were left over in between; others' behind."""
    placed: dict[int, Json] = {}
    others: list[Json] = []
    index = -1
    for block in blocks:
        plan = is_planned(block)
        index += not plan and is_part(block)
        for citation in block.citations if isinstance(block, Text) else ():
            place = place_of(citation)
            if place is None:
                others.append(write_citation(citation, None if plan else index, losses, block.at))
            else:
                assert citation.own is not None
                placed[place] = citation.own.fields
    if not placed and not others:
        return
    rest = list(left) if isinstance(left := message.get("citations"), list) else []
    written: list[Any] = []
    for place in sorted(placed):
        missing = place - len(written)
        written += rest[:missing]
        rest = rest[missing:] if missing > 0 else rest
        written.append(placed[place])
    message["citations"] = written + rest + others


def is_part(block: Block) -> bool:
    """Whether a block is one of the parts that are counted."""
    return isinstance(block, Text | Thinking | Refused) or (isinstance(block, Foreign) and block.format == NAME)


def place_of(citation: Citation) -> int | None:
    """Where Cohere had it; None for another format's."""
    marks = marks_of(citation.own)
    return next((int(mark[6:]) for mark in marks if mark.startswith("place:")), None)


def write_citation(citation: Citation, index: int | None, losses: Losses, at: str) -> Json:
    """Another format's citation: what it is for is the whole of its text."""
    losses.own(citation.own, at, NAME)
    document = {
        key: value
        for key, value in (("url", citation.url), ("title", citation.title), ("text", citation.quoted))
        if value is not None
    }
    written: Json = {"sources": [{"type": "document", "document": document}], "type": "TEXT_CONTENT"}
    if index is not None:
        written["content_index"] = index
    else:
        written["type"] = "PLAN"
    return written
