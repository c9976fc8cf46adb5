"""Parts read: what a content is made of (https://ai.google.dev/api/caching#Part), as blocks.

A part that nothing here stands for is a Foreign, whole: executable code and its result, calls of Google's own tools.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable
from typing import Any

from interpose.formats.codecs import ids, opaque
from interpose.formats.codecs.codec import Json, Malformed, dumps
from interpose.ir import Block, Foreign, Media, Opaque, Source, Text, Thinking, ToolCall, ToolResult

from .spelling import NAME, leave, own_of, respell, snake, unify

PART_NAMES = snake(
    "functionCall",
    "functionResponse",
    "inlineData",
    "fileData",
    "thoughtSignature",
    "executableCode",
    "codeExecutionResult",
    "videoMetadata",
    "mediaResolution",
    "toolCall",
    "toolResponse",
)
CALL_NAMES = snake("partialArgs", "willContinue")
DATA_NAMES = snake("mimeType", "fileUri", "displayName")
META = frozenset(("thought", "thoughtSignature", "videoMetadata", "mediaResolution"))

# An SDK reads a thoughtSignature as base64, so what is packed for it has to be that: the beginning of
# opaque.PREFIX is twelve bytes, which in base64 are sixteen characters whatever follows.
PACKED = base64.b64encode(opaque.PREFIX.encode()).decode()

# A response with one of these keys alone is that value. "output" and "error" are the API's own
# (https://ai.google.dev/api/caching#FunctionResponse), the others are what SDKs put around what a function returned.
WRAPPERS = frozenset(("output", "error", "result", "return_value"))

_KINDS = {"image": "image", "audio": "audio", "video": "video"}
_VIDEO_HOSTS = ("https://www.youtube.com/", "https://youtube.com/", "https://m.youtube.com/", "https://youtu.be/")
# Files that only Google can read: https://ai.google.dev/gemini-api/docs/files
STORES = ("https://generativelanguage.googleapis.com/", "gs://")


class Calls:
    """Function calls so far, for the ids that the wire leaves out: made from content and position, and found again for
    a result by its function's name, in the order of the calls, in no time however many there are.
    """

    __slots__ = ("_by_id", "_by_name", "_closed", "_count", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0
        self._by_id: dict[str, deque[tuple[int, ToolCall]]] = {}
        self._by_name: dict[str, deque[tuple[int, ToolCall]]] = {}
        self._closed: set[int] = set()

    def made(self, name: str, arguments: str) -> str:
        return ids.make(f"{self._seed}\n{self._count}\n{name}\n{arguments}", ids.CHAT)

    def called(self, call: ToolCall) -> None:
        self._count += 1
        self._by_id.setdefault(call.id, deque()).append((self._count, call))
        self._by_name.setdefault(call.name, deque()).append((self._count, call))

    def answered(self, name: str | None, id_: str | None) -> str:
        """The id of the call that a result answers."""
        waiting = self._by_id.get(id_) if id_ is not None else None if name is None else self._by_name.get(name)
        while waiting:
            number, call = waiting.popleft()
            if number not in self._closed:
                self._closed.add(number)
                return call.id
        if id_ is not None:
            return id_
        self._count += 1
        return self.made(name or "", "")


def read_parts(parts: list[Any], at: str, calls: Calls) -> list[Block]:
    return [read_part(part, f"{at}[{place}]", calls) for place, part in enumerate(parts)]


def read_part(part: Any, at: str, calls: Calls, model: str | None = None) -> Block:
    """Raises Malformed. `model` is the one that wrote it, if known."""
    if type(part) is not dict:
        raise Malformed(at, "a part must be an object")
    if len(part) == 1 and type(text := part.get("text")) is str:
        return Text(text, at=at)
    marks: set[str] = set()
    unify(part, PART_NAMES, marks)
    for key in part:
        reader = _READERS.get(key)
        if reader is not None:
            block = reader(part, at, marks, calls, model)
            if block is not None:
                return block
    if part and META.issuperset(part) and ("thought" in part or "thoughtSignature" in part):
        marks.add("text:none")
        if (empty := _text(part, at, marks, calls, model)) is not None:
            return empty
    respell(part, PART_NAMES, marks)
    return Foreign(NAME, next((key for key in part if key not in META), "part"), part, at=at)


def _text(part: Json, at: str, marks: set[str], _: Calls, model: str | None) -> Text | Thinking | None:
    text = part.get("text", "")
    if type(text) is not str:
        return None
    part.pop("text", None)
    signature = _signature(part, model)
    thought = part.get("thought")
    if thought is True:
        del part["thought"]
        return Thinking(text, summary=True, opaque=signature, at=at, own=own_of(part, marks))
    _no_thought(part, marks)
    return Text(text, opaque=signature, at=at, own=own_of(part, marks))


def _call(part: Json, at: str, marks: set[str], calls: Calls, model: str | None) -> ToolCall | None:
    call = part["functionCall"]
    if type(call) is not dict:
        return None
    unify(call, CALL_NAMES, marks)
    if type(name := call.get("name")) is not str:
        raise Malformed(f"{at}.functionCall.name", "a function call must have a name")
    del part["functionCall"], call["name"]
    arguments = "{}"
    if type(given := call.get("args")) is dict:
        del call["args"]
        arguments = dumps(given)
    elif "args" not in call:
        marks.add("args:none")
    id_ = _id(call, marks) or calls.made(name, arguments)
    signature = _signature(part, model)
    _no_thought(part, marks)
    leave(part, "functionCall", call)
    block = ToolCall(id_, name, arguments, opaque=signature, at=at, own=own_of(part, marks))
    calls.called(block)
    return block


def _id(node: Json, marks: set[str]) -> str | None:
    """The id, taken; what is no text is left over, and overwrites none when it is written."""
    id_ = node.get("id")
    if type(id_) is str and id_:
        del node["id"]
        return id_
    if "id" not in node:
        marks.add("id:none")
    return None


def _result(part: Json, at: str, marks: set[str], calls: Calls, _: str | None) -> ToolResult | None:
    result = part["functionResponse"]
    if type(result) is not dict:
        return None
    unify(result, CALL_NAMES, marks)
    del part["functionResponse"]
    name = result.get("name")
    if type(name) is str:
        del result["name"]
    else:
        name = None
        marks.add("name:none")
    id_ = calls.answered(name, _id(result, marks))
    content: list[Block] = []
    error = None
    response = result.get("response")
    if type(response) is dict:
        del result["response"]
        error = _returned(response, at, marks, content)
    elif "response" not in result:
        marks.add("response:none")
    else:
        marks.add("response:")
    media = result.get("parts")
    if type(media) is list and media:
        del result["parts"]
        content += read_parts(media, f"{at}.functionResponse.parts", calls)
    _no_thought(part, marks)
    leave(part, "functionResponse", result)
    return ToolResult(id_, content, name, error, at=at, own=own_of(part, marks))


def _returned(response: Json, at: str, marks: set[str], content: list[Block]) -> bool | None:
    """What a function returned, as one text; whether it says that it is an error."""
    path = f"{at}.functionResponse.response"
    if not response:
        marks.add("response:empty")
        return None
    if len(response) == 1:
        ((key, value),) = response.items()
        if key in WRAPPERS:
            if type(value) is str:
                marks.add(f"response:{key}")
            else:
                marks.add(f"response:{key}:json")
                value = dumps(value)
            content.append(Text(value, at=f"{path}.{key}"))
            return True if key == "error" else None
    marks.add("response:json")
    content.append(Text(dumps(response), at=path))
    return None


def _inline(part: Json, at: str, marks: set[str], _: Calls, model: str | None) -> Media | None:
    """https://ai.google.dev/api/caching#Blob; SDKs write the data in base64's URL alphabet as well."""
    blob = part["inlineData"]
    if type(blob) is not dict or type(data := blob.get("data")) is not str:
        return None
    unify(blob, DATA_NAMES, marks)
    del part["inlineData"], blob["data"]
    if ("-" in data or "_" in data) and not ("+" in data or "/" in data):
        data = data.replace("-", "+").replace("_", "/")
        marks.add("data:url")
    if (missing := -len(data) % 4) in (1, 2) and not data.endswith("="):
        data += "=" * missing
        marks.add("data:unpadded")
    return _media(part, "inlineData", blob, Source("base64", data), at, marks, model)


def _file(part: Json, at: str, marks: set[str], _: Calls, model: str | None) -> Media | None:
    """https://ai.google.dev/api/caching#FileData"""
    file = part["fileData"]
    if type(file) is not dict:
        return None
    unify(file, DATA_NAMES, marks)
    if type(uri := file.get("fileUri")) is not str:
        respell(file, DATA_NAMES, marks)
        return None
    del part["fileData"], file["fileUri"]
    kept = uri.startswith(STORES) or not uri.startswith(("https://", "http://"))
    return _media(part, "fileData", file, Source("file" if kept else "url", uri), at, marks, model)


def _media(part: Json, key: str, data: Json, source: Source, at: str, marks: set[str], model: str | None) -> Media:
    media_type, name = data.get("mimeType"), data.get("displayName")
    if type(media_type) is str:
        del data["mimeType"]
    else:
        media_type = ""
        marks.add("mimeType:none")
    if type(name) is str:
        del data["displayName"]
    else:
        name = None
    kind: Any = _KINDS.get(media_type.partition("/")[0], "document")
    if not media_type and source.value.startswith(_VIDEO_HOSTS):
        kind = "video"
    signature = _signature(part, model)
    _no_thought(part, marks)
    leave(part, key, data)
    return Media(kind, source, media_type, name, opaque=signature, at=at, own=own_of(part, marks))


def _signature(part: Json, model: str | None) -> Opaque | None:
    """The part's thoughtSignature, taken: Gemini's own, or what we had packed for a client of Gemini's."""
    signature = part.get("thoughtSignature")
    if type(signature) is not str:
        return None
    del part["thoughtSignature"]
    return unpacked(signature) or Opaque(NAME, "thought_signature", signature, model=model)


def unpacked(signature: str) -> Opaque | None:
    if not signature.startswith(PACKED):
        return None
    try:
        text = base64.urlsafe_b64decode(signature.replace("+", "-").replace("/", "_") + "=" * (-len(signature) % 4))
        return opaque.unpack(text.decode())
    except (binascii.Error, ValueError):
        return None


def packed(state: Opaque) -> str:
    return base64.b64encode(opaque.pack(state).encode()).decode()


def _no_thought(part: Json, marks: set[str]) -> None:
    """SDKs write `thought: false` on what is none; only true says something."""
    if part.get("thought") is False:
        del part["thought"]
        marks.add("thought:false")


_READERS: dict[str, Callable[[Json, str, set[str], Calls, str | None], Block | None]] = {
    "text": _text,
    "functionCall": _call,
    "functionResponse": _result,
    "inlineData": _inline,
    "fileData": _file,
}
