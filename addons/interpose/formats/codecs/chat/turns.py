"""An assistant's message <-> blocks: reasoning, text, refusal, sound and tool calls, in a history and in a reply alike.

Chat keeps them in fields beside each other, so that their order is lost: it is thinking, text, refusal, calls. Where
something of another format would be lost with it (signed thinking between texts), a layout in `extra_content` says it.
"""

from __future__ import annotations

from typing import Any

import orjson

from interpose.formats.codecs.codec import Json, dumps
from interpose.formats.codecs.content import read_url
from interpose.formats.codecs.ids import CHAT, make
from interpose.formats.codecs.leftovers import INTEGER, STRING, prefixed, take
from interpose.formats.codecs.opaque import unpack
from interpose.ir import Block, Citation, Media, Opaque, Own, Refused, Source, Text, Thinking, ToolCall

from .facts import (
    DETAIL_TEXTS,
    EXTRA,
    NAME,
    OURS,
    REASONING_DETAILS,
    REASONING_FIELDS,
    leftover,
    read_cache,
)
from .layout import laid_out
from .parts import read_content


def read_turn(message: Json, at: str, marks: list[str], *, reply: bool = False) -> list[Block]:
    """Takes what an assistant has said out of its message. `marks` gets how it was spelled.

    What we put into a reply is looked for in histories alone: a provider's reply that holds it came through another of
    us, and is for its client.
    """
    layout = None if reply else take_ours(message)
    thinking: list[Block] = []
    if len(message) > 1 or "content" not in message:
        thinking = read_thinking(message, at, marks)
    said = read_content(message, at, marks)
    blocks = thinking + said if thinking else said
    if message:
        _beside(message, at, marks, blocks, reply=reply)
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls and all(_is_call(call) for call in calls):
        del message["tool_calls"]
        for place, call in enumerate(calls):
            blocks.append(read_call(call, f"{at}.tool_calls[{place}]"))
    if "function_call" in message:
        call = message["function_call"]
        if (
            isinstance(call, dict)
            and isinstance(call.get("name"), str)
            and call["name"]
            and isinstance(call.get("arguments"), str)
        ):
            del message["function_call"]
            blocks.append(_read_function_call(call, f"{at}.function_call"))
    if isinstance(layout, list):
        return laid_out(layout, blocks)
    return blocks


def take_ours(node: Json) -> Any:
    """What we once put into `extra_content`, taken out of it; None if there is nothing."""
    extra = node.get(EXTRA)
    if not isinstance(extra, dict) or OURS not in extra:
        return None
    ours = extra.pop(OURS)
    if not extra:
        del node[EXTRA]
    return ours


def _beside(message: Json, at: str, marks: list[str], blocks: list[Block], *, reply: bool) -> None:
    """What stands beside `content`: a refusal, citations, sound, pictures."""
    refusal = message.get("refusal")
    if isinstance(refusal, str):
        del message["refusal"]
        if refusal:
            blocks.append(Refused(refusal, at=f"{at}.refusal"))
        else:
            marks.append("refusal:empty")
    if "annotations" in message:
        read_annotations(message, blocks)
    sound = message.get("audio")
    if isinstance(sound, dict) and isinstance(sound.get("id"), str):
        block = _read_sound(sound, f"{at}.audio", reply=reply)
        if block is not None:
            del message["audio"]
            blocks.append(block)
    images = message.get("images")
    if reply and isinstance(images, list) and images and all(is_image(image) for image in images):
        # OpenRouter's: https://openrouter.ai/docs/features/multimodal/image-generation
        del message["images"]
        for place, image in enumerate(images):
            blocks.append(read_image(image, f"{at}.images[{place}]"))


# Reasoning


def read_thinking(message: Json, at: str, marks: list[str]) -> list[Block]:
    """Reasoning in plain words, or in OpenRouter's pieces with their signatures; `marks` names the fields."""
    blocks: list[Block] = []
    details = message.get(REASONING_DETAILS)
    if isinstance(details, list) and details and all(is_detail(detail) for detail in details):
        del message[REASONING_DETAILS]
        marks.append(REASONING_DETAILS)
        for place, detail in enumerate(details):
            blocks.append(read_detail(detail, f"{at}.{REASONING_DETAILS}[{place}]"))
    said = "".join(block.text for block in blocks if isinstance(block, Thinking))
    for field in REASONING_FIELDS:
        text = message.get(field)
        if not isinstance(text, str):
            continue
        if not said and text:
            blocks.insert(0, Thinking(text, opaque=Opaque(NAME, "signature", field), at=f"{at}.{field}"))
            said = text
        if text == said:
            del message[field]
            marks.append(field)
    return blocks


def is_detail(detail: Any) -> bool:
    return isinstance(detail, dict) and isinstance(detail.get("type"), str)


def read_detail(detail: Json, at: str) -> Thinking:
    """All but its text is the provider's to read: its opaque state is the JSON of the rest."""
    kind = detail["type"]
    text = take(detail, DETAIL_TEXTS[kind], STRING) if kind in DETAIL_TEXTS else None
    opaque = Opaque(NAME, "encrypted" if kind == "reasoning.encrypted" else "signature", dumps(detail))
    own = None if text is not None or kind not in DETAIL_TEXTS else Own(NAME, {}, frozenset(("text:absent",)))
    return Thinking(text or "", kind == "reasoning.summary", opaque, at=at, own=own)


def write_detail(block: Thinking, own: frozenset[str]) -> Json:
    """The piece that `block` was read from: its opaque state must be one."""
    assert block.opaque is not None
    try:
        detail = orjson.loads(block.opaque.payload)
    except orjson.JSONDecodeError:
        detail = None
    if not isinstance(detail, dict):
        # Damaged on its way through a client: what can still be told is the text.
        detail = {"type": "reasoning.text"}
    field = DETAIL_TEXTS.get(detail.get("type", ""))
    if field is not None and "text:absent" not in own:
        detail[field] = block.text
    return detail


def reasoning_field(block: Thinking) -> str | None:
    """Where a server of Chat showed this reasoning, and wants it back; None if it was another's, or nobody's."""
    opaque = block.opaque
    if opaque is None or opaque.format != NAME:
        return None
    return opaque.payload if opaque.payload in REASONING_FIELDS else REASONING_DETAILS


# Tool calls


def _is_call(call: Any) -> bool:
    if not isinstance(call, dict):
        return False
    for field, said in (("function", "arguments"), ("custom", "input")):
        inner = call.get(field)
        if isinstance(inner, dict):
            return isinstance(inner.get("name"), str) and isinstance(inner.get(said, ""), str)
    return False


def read_call(call: Json, at: str) -> ToolCall:
    marks: list[str] = []
    custom = not isinstance(call.get("function"), dict)
    field = "custom" if custom else "function"
    inner = call.pop(field)
    name = inner.pop("name")
    arguments = inner.pop("input" if custom else "arguments", None)
    if arguments is None:
        # Of a function without parameters, some servers give no arguments at all.
        arguments = ""
        marks.append("arguments:absent")
    if call.get("type") == field:
        del call["type"]
    else:
        marks.append("type:other")
    id_ = take(call, "id", STRING)
    if id_ is None:
        marks.append("id:absent")
    if not call and not inner:
        own = None if not marks else Own(NAME, {}, frozenset(marks))
        return ToolCall(id_ or "", name, arguments, "custom" if custom else "function", at=at, own=own)
    if (index := take(call, "index", INTEGER)) is not None:
        marks.append(f"index:{index}")
    opaque, cache = read_call_state(call), read_cache(call)
    prefixed(inner, field, call)
    return ToolCall(
        id_ or "", name, arguments, "custom" if custom else "function", opaque, cache, at, leftover(call, marks)
    )


def read_call_state(call: Json) -> Opaque | None:
    """Opaque state on a tool call: what we packed there, or Gemini's OpenAI endpoint's thought signature."""
    ours = take_ours(call)
    if isinstance(ours, str):
        return unpack(ours)
    extra = call.get(EXTRA)
    if not isinstance(extra, dict) or not isinstance(google := extra.get("google"), dict):
        return None
    signature = take(google, "thought_signature", STRING)
    if signature is None:
        return None
    if not google:
        del extra["google"]
    if not extra:
        del call[EXTRA]
    return Opaque(NAME, "thought_signature", signature)


def write_call(block: ToolCall, id_: str) -> Json:
    """A tool call, with its own opaque state; another format's is the caller's to put there."""
    own = block.own
    custom = block.kind == "custom"
    field = "custom" if custom else "function"
    inner: Json = {"name": block.name, "input" if custom else "arguments": block.arguments}
    written: Json = {"id": id_, "type": field, field: inner}
    opaque = block.opaque
    if opaque is not None and opaque.format == NAME:
        written[EXTRA] = {"google": {"thought_signature": opaque.payload}}
    if own is None or own.format != NAME:
        return written
    if "type:other" in own.marks:
        del written["type"]
    if "id:absent" in own.marks:
        del written["id"]
    for mark in own.marks:
        if mark.startswith("index:"):
            # Streams number their calls, and many servers and clients keep the number.
            written["index"] = int(mark[6:])
    if "arguments:absent" in own.marks:
        del inner["input" if custom else "arguments"]
    for key, value in own.fields.items():
        name, dot, rest = key.partition(".")
        if dot and name == field:
            inner[rest] = value
        elif key == EXTRA and EXTRA in written and isinstance(value, dict):
            google = value.get("google", {})
            written[EXTRA] = {**value, "google": {**google, **written[EXTRA]["google"]}}
        else:
            written[key] = value
    return written


def with_arguments(call: Json) -> Json:
    """A whole call that another format has made: clients and servers parse its arguments, which may not be empty."""
    inner = call.get("function")
    if inner is not None and not inner.get("arguments", "").strip():
        inner["arguments"] = "{}"
    return call


def _read_function_call(call: Json, at: str) -> ToolCall:
    """The predecessor of tool_calls, which has no ids: one is made, for those formats that need it."""
    name, arguments = call.pop("name"), call.pop("arguments")
    return ToolCall(legacy_id(name), name, arguments, at=at, own=Own(NAME, call, frozenset(("function_call",))))


def legacy_id(name: str, number: int = 1) -> str:
    """One function is called at a time, and answered at once, so that its name tells which call is meant: `number` is
    how often it was called so far.
    """
    return make(f"function_call:{name}" if number == 1 else f"function_call:{name}:{number}", CHAT)


# Citations, sound, pictures


def read_annotations(message: Json, blocks: list[Block]) -> None:
    """URL citations, put on the text that they are about; of any other kind, all of them are left over."""
    annotations = message["annotations"]
    texts = [block for block in blocks if isinstance(block, Text)]
    if not isinstance(annotations, list) or not annotations or not texts:
        return
    if all(is_citation(annotation) for annotation in annotations):
        del message["annotations"]
        texts[-1].citations = [read_citation(annotation) for annotation in annotations]


def is_citation(annotation: Any) -> bool:
    """https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat"""
    return (
        isinstance(annotation, dict)
        and annotation.get("type") == "url_citation"
        and isinstance(inner := annotation.get("url_citation"), dict)
        and isinstance(inner.get("url"), str)
    )


def read_citation(annotation: Json) -> Citation:
    inner = annotation.pop("url_citation")
    del annotation["type"]
    url, title = inner.pop("url"), take(inner, "title", STRING)
    prefixed(inner, "url_citation", annotation)
    return Citation(url, title, own=leftover(annotation))


def _read_sound(sound: Json, at: str, *, reply: bool) -> Media | None:
    """A reply brings the bytes, a history names them by id: https://platform.openai.com/docs/guides/audio"""
    if not reply:
        return Media("audio", Source("file", sound.pop("id")), at=at, own=Own(NAME, sound, frozenset(("audio",))))
    if not isinstance(sound.get("data"), str) or not sound["data"]:
        return None
    return Media("audio", Source("base64", sound.pop("data")), at=at, own=Own(NAME, sound, frozenset(("audio",))))


def is_image(image: Any) -> bool:
    return (
        isinstance(image, dict)
        and image.get("type") == "image_url"
        and isinstance(inner := image.get("image_url"), dict)
        and isinstance(inner.get("url"), str)
    )


def read_image(image: Json, at: str) -> Media:
    inner = image.pop("image_url")
    del image["type"]
    source, media_type = read_url(inner.pop("url"))
    prefixed(inner, "image_url", image)
    return Media("image", source, media_type, at=at, own=Own(NAME, image, frozenset(("images",))))
