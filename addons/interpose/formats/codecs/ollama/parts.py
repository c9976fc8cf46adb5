"""Images and tool calls <-> blocks: what a message of Ollama's has beside its text.

https://docs.ollama.com/capabilities/vision and https://docs.ollama.com/capabilities/tool-calling: images are base64
without a type, sound rides among them where a model hears, arguments are objects, and only newer servers give ids.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, arguments_object, dumps, loads
from interpose.formats.codecs.leftovers import INTEGER, STRING, prefixed, take
from interpose.ir import Block, Losses, Media, Source, ToolCall

from .facts import NAME, lay_over, leftover, marks_of

# How the base64 of each type begins, which other formats want to be told.
SIGNATURES = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)

# Images


def read_images(message: Json, at: str, blocks: list[Block]) -> None:
    images = message.get("images")
    if isinstance(images, list) and images and all(isinstance(image, str) for image in images):
        del message["images"]
        blocks += [read_image(image, f"{at}.images[{place}]") for place, image in enumerate(images)]


def read_image(data: str, at: str) -> Media:
    kind = next((kind for start, kind in SIGNATURES if data.startswith(start)), "")
    return Media("image", Source("base64", data), kind, at=at)


def write_image(block: Media, losses: Losses, kinds: frozenset[str] | None) -> str | None:
    """The base64 of an image, or of sound; None for what is told instead. `kinds` are those that the model takes, None
    for Ollama's own.
    """
    if block.kind not in ("image", "audio"):
        losses.impossible(block.at, f"Ollama takes no {block.kind}")
        return None
    if kinds is not None and block.kind not in kinds:
        losses.impossible(block.at, f"the model is not known to take {block.kind}")
        return None
    if block.source.kind != "base64":
        losses.impossible(block.at, f"Ollama takes {block.kind} as bytes alone")
        return None
    if block.detail not in (None, "auto"):
        losses.dropped(block.at, f"Ollama looks at no image with detail {block.detail}")
    around(block, losses)
    return block.source.value


def around(block: Any, losses: Losses) -> None:
    """What a block has beside what it says, of which Ollama has nothing."""
    if block.cache is not None:
        losses.dropped(block.at, "Ollama takes no marks of a prompt cache")
    if block.opaque is not None:
        losses.bound(block.opaque, block.at, NAME)
    losses.own(block.own, block.at, NAME)


# Calls


def read_calls(message: Json, at: str, blocks: list[Block]) -> None:
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls and all(is_call(call) for call in calls):
        del message["tool_calls"]
        blocks += [read_call(call, f"{at}.tool_calls[{place}]") for place, call in enumerate(calls)]


def is_call(call: Any) -> bool:
    return (
        isinstance(call, dict)
        and isinstance(inner := call.get("function"), dict)
        and isinstance(inner.get("name"), str)
        and isinstance(inner.get("arguments"), dict)
    )


def read_call(call: Json, at: str) -> ToolCall:
    marks: list[str] = []
    inner = call.pop("function")
    name, arguments = inner.pop("name"), dumps(inner.pop("arguments"))
    if call.get("type") == "function":
        # Said by clients, and not by the server.
        del call["type"]
        marks.append("type")
    if (index := take(inner, "index", INTEGER)) is not None:
        marks.append(f"index:{index}")
    id_ = take(call, "id", STRING)
    if id_ is not None:
        marks.append("id")
    prefixed(inner, "function", call)
    return ToolCall(id_ or "", name, arguments, at=at, own=leftover(call, marks))


def write_call(block: ToolCall, losses: Losses, *, native: bool) -> Json:
    """A call; `native` says that it is Ollama's own."""
    marks = marks_of(block.own)
    arguments: Any
    if block.kind == "custom":
        arguments = {"input": block.arguments}
        losses.approximated(block.at, "a call of a custom tool is one of a function with the parameter `input`")
    elif native:
        arguments = loads(block.arguments)
    else:
        arguments = arguments_object(block.arguments, losses, block.at)
    inner: Json = {"name": block.name, "arguments": arguments}
    written: Json = {"function": inner}
    if block.id if not native else "id" in marks:
        written["id"] = block.id
    if "type" in marks:
        written["type"] = "function"
    for mark in marks:
        if mark.startswith("index:"):
            inner["index"] = int(mark[6:])
    around(block, losses)
    lay_over(written, block.own, "function")
    return written
