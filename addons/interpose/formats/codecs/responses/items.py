"""Items read into blocks: what an assistant said, thought and called, in a request's input and in a reply's output.

https://platform.openai.com/docs/api-reference/responses/object#responses-object-output
"""

from __future__ import annotations

from collections.abc import Callable

from interpose.formats.codecs.codec import Json
from interpose.formats.codecs.opaque import unpack
from interpose.ir import Block, Foreign, Media, Opaque, Own, Refused, Text, Thinking, ToolCall, ToolResult

from .names import EASY, ENDS, ITEM, NAME, STRING
from .parts import plain, read_content

CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
RESULTS = {"function_call_output": "function", "custom_tool_call_output": "custom"}
_ENDS = frozenset((ENDS,))

# Behind packed state that belongs to the block before it and not to a thought of its own (`turns.carried`).
PREVIOUS = ".previous"


def assistant_blocks(item: Json, at: str, model: str | None = None) -> list[Block]:
    """The blocks of one item of the assistant's, the last marked as its end. `model` is the one that said it."""
    kind = item.get("type")
    read = READERS.get(kind) if isinstance(kind, str) else _message if kind is None else None
    if read is not None:
        blocks = read(item, at, model)
        if blocks is not None:
            return blocks
    return [Foreign(NAME, kind if isinstance(kind, str) else "item", item, at=at)]


def attach(item: Json, blocks: list[Block]) -> bool:
    """Whether the item of a request is nothing but packed state of the block before it, which gets it back."""
    state = item.get("encrypted_content")
    if item.get("type") != "reasoning" or type(state) is not str or not state.endswith(PREVIOUS) or not blocks:
        return False
    opaque, last = unpack(state.removesuffix(PREVIOUS)), blocks[-1]
    if opaque is None or not isinstance(last, Text | ToolCall | Media) or last.opaque is not None:
        return False
    last.opaque = opaque
    return True


def unpacked(blocks: list[Block]) -> list[Block]:
    """The same blocks, with state that was packed for this client in its own words again."""
    last = blocks[-1]
    if isinstance(last, Thinking) and last.opaque is not None:
        last.opaque = unpack(last.opaque.payload) or last.opaque
    return blocks


def handles(item: Json) -> Json:
    """The item's id and status, taken: they say nothing to anybody but who keeps the item."""
    silent = {}
    if type(item.get("id")) is str:
        silent["id"] = item.pop("id")
    if type(item.get("status")) is str:
        silent["status"] = item.pop("status")
    return silent


def message_blocks(item: Json, at: str, model: str | None = None) -> list[Block] | None:
    """An assistant's message, with a type or without."""
    content = item.get("content")
    if type(content) is str:
        blocks: list[Block] = [plain(content, f"{at}.content")]
    elif isinstance(content, list) and content:
        blocks = read_content(content, "output_text", f"{at}.content")
    else:
        return None
    last = blocks[-1]
    assert isinstance(last, Text | Refused | Media | Foreign)
    if (own := last.own) is None:
        return None
    del item["content"], item["role"]
    marks = {ENDS}
    if item.get("type") is None:
        marks.add(EASY)
    else:
        del item["type"]
    own.marks = own.marks | marks
    own.silent = handles(item)
    for key, value in item.items():
        own.fields[ITEM + key] = value
    return blocks


def _message(item: Json, at: str, model: str | None) -> list[Block] | None:
    return message_blocks(item, at, model) if item.get("role") == "assistant" else None


def _texts(value: object, kind: str) -> list[str] | None:
    """The texts of a list of parts that have nothing but a type and a text; None for anything else."""
    if not isinstance(value, list):
        return None
    texts = []
    for part in value:
        if not isinstance(part, dict) or len(part) != 2 or part.get("type") != kind:
            return None
        if type(text := part.get("text")) is not str:
            return None
        texts.append(text)
    return texts


def _reasoning(item: Json, at: str, model: str | None) -> list[Block] | None:
    """One Thinking for each part of the summary, then of the words themselves; state and handles stand on the last."""
    summary, content = _texts(item.get("summary"), "summary_text"), _texts(item.get("content"), "reasoning_text")
    if summary is None or (content is None and item.get("content") is not None):
        return None
    blocks: list[Block] = [
        Thinking(text, summary=True, at=f"{at}.summary[{place}]", own=Own(NAME)) for place, text in enumerate(summary)
    ]
    for place, text in enumerate(content or ()):
        blocks.append(Thinking(text, at=f"{at}.content[{place}]", own=Own(NAME)))
    if not blocks:
        blocks.append(Thinking(at=at, own=Own(NAME, marks=frozenset(("empty",)))))
    last = blocks[-1]
    assert isinstance(last, Thinking)
    assert last.own is not None
    del item["type"], item["summary"]
    if content:
        del item["content"]
    own = last.own = Own(NAME, item, last.own.marks | _ENDS)
    own.silent = handles(item)
    state = item.get("encrypted_content")
    if type(state) is str and state:
        del item["encrypted_content"]
        last.opaque = Opaque(NAME, "encrypted", state, own.silent.get("id"), model)
    return blocks


def _call(item: Json, at: str, model: str | None) -> list[Block] | None:
    kind, key = CALLS[item["type"]]
    id_, name, arguments = item.get("call_id"), item.get("name"), item.get(key)
    if type(id_) is not str or type(name) is not str or type(arguments) is not str:
        return None
    del item["type"], item["call_id"], item["name"], item[key]
    silent = handles(item)
    own = Own(NAME, item, _ENDS, silent)
    return [ToolCall(id_, name, arguments, "custom" if kind == "custom" else "function", at=at, own=own)]


READERS: dict[str, Callable[[Json, str, str | None], list[Block] | None]] = {
    "message": _message,
    "reasoning": _reasoning,
    **dict.fromkeys(CALLS, _call),
}


def result_block(item: Json, at: str) -> ToolResult | None:
    """What the client's function returned: a text, or a list of texts, images and files."""
    kind, id_, output = RESULTS[item["type"]], item.get("call_id"), item.get("output")
    if type(id_) is not str:
        return None
    if type(output) is str:
        content: list[Block] = [Text(output, at=f"{at}.output")]
        marks = frozenset((STRING,))
    elif isinstance(output, list):
        content, marks = read_content(output, "input_text", f"{at}.output"), frozenset[str]()
    else:
        return None
    del item["type"], item["call_id"], item["output"]
    own = Own(NAME, item, marks, handles(item))
    return ToolResult(id_, content, kind="custom" if kind == "custom" else "function", at=at, own=own)
