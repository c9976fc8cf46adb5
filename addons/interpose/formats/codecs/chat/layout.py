"""The order of an assistant's blocks and their opaque state, as a list of strings that a Chat client carries for us.

A Chat message keeps its texts in one string, its reasoning in another, its calls beside them. The layout says how they
were parted and ordered: one string per block, `text 120`, `thinking 80 interpose.1.…`, `call`. It travels in
`extra_content.interpose` of the message; a client which changed the texts makes it void, and then it is not used.
"""

from __future__ import annotations

from interpose.formats.codecs.opaque import pack, unpack
from interpose.ir import Block, Opaque, Text, Thinking, ToolCall

from .facts import NAME


def needs_layout(blocks: list[Block]) -> bool:
    """Whether a block bears another format's opaque state, which has no place in Chat's fields."""
    return any(
        isinstance(block, Text | Thinking) and block.opaque is not None and block.opaque.format != NAME
        for block in blocks
    )


def layout_of(blocks: list[Block]) -> list[str]:
    """Nothing is said of what Chat holds in a field of its own: refusals, sound, pictures."""
    lines = []
    for block in blocks:
        match block:
            case Text(text):
                lines.append(line_of("text", len(text), block.opaque))
            case Thinking(text, summary):
                lines.append(line_of("summary" if summary else "thinking", len(text), block.opaque))
            case ToolCall():
                lines.append("call")
            case _:
                pass
    return lines


def line_of(kind: str, size: int, opaque: Opaque | None) -> str:
    packed = f" {pack(opaque)}" if opaque is not None and opaque.format != NAME else ""
    return f"{kind} {size}{packed}"


def laid_out(layout: list[object], blocks: list[Block]) -> list[Block]:
    """The blocks as the layout has them: `blocks` themselves if it does not fit them."""
    thought = "".join(block.text for block in blocks if isinstance(block, Thinking))
    said = "".join(block.text for block in blocks if isinstance(block, Text))
    calls = [block for block in blocks if isinstance(block, ToolCall)]
    first: dict[type, Block] = {}
    for block in blocks:
        first.setdefault(type(block), block)
    found: list[Block] = []
    thought_at = said_at = called = 0
    for line in layout:
        if not isinstance(line, str):
            return blocks
        kind, _, rest = line.partition(" ")
        number, _, packed = rest.partition(" ")
        opaque = unpack(packed) if packed else None
        if kind == "call":
            if called == len(calls):
                return blocks
            found.append(calls[called])
            called += 1
            continue
        if not number.isdecimal() or len(number) > 12:
            return blocks
        size = int(number)
        if kind == "text":
            found.append(Text(said[said_at : said_at + size], opaque=opaque, at=_at(first, Text)))
            said_at += size
        elif kind in ("thinking", "summary"):
            text = thought[thought_at : thought_at + size]
            found.append(Thinking(text, kind == "summary", opaque, at=_at(first, Thinking)))
            thought_at += size
        else:
            return blocks
    if (thought_at, said_at, called) != (len(thought), len(said), len(calls)):
        return blocks
    cited = [citation for block in blocks if isinstance(block, Text) for citation in block.citations]
    if cited:
        next(block for block in reversed(found) if isinstance(block, Text)).citations = cited
    return found + [block for block in blocks if not isinstance(block, Text | Thinking | ToolCall)]


def _at(first: dict[type, Block], kind: type) -> str:
    block = first.get(kind)
    return "" if block is None else block.at
