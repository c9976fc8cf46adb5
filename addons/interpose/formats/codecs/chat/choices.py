"""One answer of a Chat stream: its deltas, told as blocks.

What a delta holds beside the fields that are understood is collected, and told when the answer has ended.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, dumps
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Foreign,
    Media,
    Opaque,
    Own,
    Refused,
    Source,
    Stop,
    Text,
    Thinking,
)

from .calls import Calls
from .errors import failed_of
from .facts import DETAIL_TEXTS, NAME, REASONING_DETAILS, REASONING_FIELDS
from .replies import stop_of
from .turns import is_citation, is_detail, is_image, read_citation, read_image


class Choice:
    __slots__ = (
        "_at",
        "_beside",
        "_calls",
        "_detail",
        "_detailed",
        "_empty",
        "_fields",
        "_index",
        "_marks",
        "_message",
        "_next",
        "_open",
        "_open_at",
        "_said",
        "_sound",
        "_stop",
        "_thought",
        "finished",
    )

    def __init__(self, index: int) -> None:
        self._index = index
        self._at = f"choices[{index}].message"
        self._next = 0
        self._open: Any = None  # "text", "refusal", a reasoning field, or the (type, index) of a detail
        self._open_at = 0
        self._detail: Json | None = None
        self._detailed = False
        self._empty = False
        self._calls = Calls(index)
        self._sound: Json | None = None
        self._said = False
        self._thought: list[str] = []
        self._beside: dict[str, list[str]] = {}
        self._stop: str | None = None
        self._fields: Json = {}
        self._message: Json = {}
        self._marks: set[str] = set()
        self.finished = False

    def read(self, choice: Json, out: list[Event]) -> Failed | None:
        """One choice of one chunk. A failure that it tells ends the stream."""
        delta = choice.get("delta")
        if type(delta) is not dict:
            # Servers that know no streaming for a model send the whole message in one chunk.
            delta = choice.get("message")
        if type(delta) is dict and delta:
            content = delta.get("content")
            if len(delta) == 1 and type(content) is str:
                if content:
                    self._text(content, out)
            else:
                self._delta(delta, out)
        reason = choice.get("finish_reason")
        # The common case has an index, a delta, a reason, and null log probabilities.
        known = ("index" in choice) + ("delta" in choice) + ("finish_reason" in choice)
        if len(choice) > known + (choice.get("logprobs", choice) is None):
            self._rest(choice)
        if type(reason) is str and reason:
            if reason == "error":
                # https://openrouter.ai/docs/api-reference/errors
                return failed_of(
                    choice if choice.get("error") else {"message": "the provider's answer ended in an error"}
                )
            self._stop = reason
            self.finished = True
            self._close(out)
            self._next = self._calls.close(self._next, out)
        return None

    def end(self, out: list[Event]) -> None:
        """The stream has ended well: what is open is closed, and why the answer ended is told."""
        self._close(out)
        self._next = self._calls.close(self._next, out)
        if self._sound is not None:
            self._end_sound(self._sound, out)
        for field, texts in self._beside.items():
            if "".join(texts) == "".join(self._thought):
                self._marks.add(field)
            else:
                self._message.setdefault(field, "".join(texts))
        calls = bool(self._calls)
        if self._stop is None:
            stop = Stop("tool_calls" if calls else "end", None, NAME)
        else:
            stop = stop_of(self._stop, self._fields, calls=calls)
        fields = dict(self._fields)
        for key, value in self._message.items():
            fields[f"message.{key}"] = value
        if not self._said and self._empty:
            self._marks.add("content:empty")
        elif not self._said:
            fields["message.content"] = None
        self._marks.add("role")
        out.append(Finished(stop, self._index, Own(NAME, fields, frozenset(self._marks))))

    # Deltas

    def _delta(self, delta: Json, out: list[Event]) -> None:
        delta.pop("role", None)
        if REASONING_DETAILS in delta or "reasoning" in delta or "reasoning_content" in delta:
            self._reasoning(delta, out)
        content = delta.pop("content", None)
        if content is not None:
            if type(content) is str:
                self._empty = True
                if content:
                    self._text(content, out)
            elif type(content) is list:
                self._chunks(content, out)
            else:
                delta["content"] = content
        if not delta:
            return
        refusal = delta.pop("refusal", None)
        if type(refusal) is str and refusal:
            self._piece("refusal", Refused("", at=f"{self._at}.refusal"), refusal, out)
        calls = delta.pop("tool_calls", None)
        if type(calls) is list and calls:
            self._close(out)
            self._next = self._calls.read(calls, self._next, out)
        call = delta.pop("function_call", None)
        if type(call) is dict and call:
            self._close(out)
            self._next = self._calls.read_function(call, self._next, out)
        if delta:
            self._others(delta, out)

    def _others(self, delta: Json, out: list[Event]) -> None:
        annotations = delta.get("annotations")
        if type(annotations) is list and self._open == "text" and all(is_citation(one) for one in annotations):
            del delta["annotations"]
            at, index = self._open_at, self._index
            out += [BlockDelta(at, citation=read_citation(annotation), answer=index) for annotation in annotations]
        sound = delta.get("audio")
        if type(sound) is dict:
            del delta["audio"]
            self._sound = merged(self._sound, sound, joined=True)
        images = delta.get("images")
        if type(images) is list and images and all(is_image(image) for image in images):
            del delta["images"]
            self._close(out)
            for image in images:
                self._whole(read_image(image, f"{self._at}.images"), out)
        for key, value in delta.items():
            if value is not None:
                self._message[key] = merged(self._message.get(key), value, joined=True)

    def _text(self, text: str, out: list[Event]) -> None:
        if self._open != "text":
            self._said = True
            self._piece("text", Text("", at=f"{self._at}.content"), text, out)
            return
        out.append(BlockDelta(self._open_at, text, answer=self._index))

    def _chunks(self, chunks: list[Any], out: list[Event]) -> None:
        """Content in typed chunks, as Mistral's and what sits before it: https://docs.mistral.ai/api"""
        for chunk in chunks:
            kind = chunk.get("type") if isinstance(chunk, dict) else None
            if kind == "text" and isinstance(text := chunk.get("text"), str):
                if text:
                    self._text(text, out)
            elif kind == "thinking" and isinstance(thoughts := chunk.get("thinking"), list):
                text = "".join(
                    thought["text"]
                    for thought in thoughts
                    if isinstance(thought, dict) and isinstance(thought.get("text"), str)
                )
                if text:
                    self._plain("reasoning_content", text, out)
            else:
                self._close(out)
                self._whole(Foreign(NAME, kind if isinstance(kind, str) else "chunk", chunk, at=self._at), out)

    def _reasoning(self, delta: Json, out: list[Event]) -> None:
        details = delta.pop(REASONING_DETAILS, None)
        if type(details) is list and details and all(is_detail(detail) for detail in details):
            self._marks.add(REASONING_DETAILS)
            for detail in details:
                self._piece_of_detail(detail, out)
        shown = [(field, text) for field in REASONING_FIELDS if type(text := delta.pop(field, None)) is str and text]
        if not shown:
            return
        if not self._detailed:
            self._plain(shown[0][0], shown[0][1], out)
            self._thought.append(shown[0][1])
        for field, text in shown:
            self._beside.setdefault(field, []).append(text)

    def _plain(self, field: str, text: str, out: list[Event]) -> None:
        opaque = Opaque(NAME, "signature", field)
        self._piece(field, Thinking("", opaque=opaque, at=f"{self._at}.{field}"), text, out)

    def _piece_of_detail(self, detail: Json, out: list[Event]) -> None:
        """A piece of a reasoning detail: the pieces of one type and index that follow on each other are one."""
        kind = detail["type"]
        field = DETAIL_TEXTS.get(kind)
        text = detail.pop(field, None) if field is not None else None
        place = (kind, detail.get("index"))
        current = self._detail
        if current is None or self._open != place or field is None:
            self._close(out)
            self._detail = detail
            at = f"{self._at}.{REASONING_DETAILS}"
            if kind == "reasoning.encrypted":
                opaque = Opaque(NAME, "encrypted", dumps(detail))
            else:
                opaque = Opaque(NAME, "signature", dumps(detail))
            self._start(place, Thinking("", kind == "reasoning.summary", opaque, at=at), out)
        else:
            for key, value in detail.items():
                if value not in (None, "") or key not in current:
                    current[key] = value
            current["\0"] = True
        if isinstance(text, str):
            if text:
                self._detailed = True
                out.append(BlockDelta(self._open_at, text, answer=self._index))
                self._thought.append(text)
            if self._detail is not None:
                self._detail["\1"] = True

    def _end_detail(self, detail: Json, out: list[Event]) -> Own | None:
        changed = detail.pop("\0", False)
        said = detail.pop("\1", False)
        if changed:
            kind = self._open[0]
            opaque = Opaque(NAME, "encrypted" if kind == "reasoning.encrypted" else "signature", dumps(detail))
            out.append(BlockDelta(self._open_at, opaque=opaque, answer=self._index))
        silent = not said and detail["type"] in DETAIL_TEXTS
        return Own(NAME, {}, frozenset(("text:absent",))) if silent else None

    # Blocks

    def _piece(self, kind: Any, block: Block, text: str, out: list[Event]) -> None:
        if self._open != kind:
            self._close(out)
            self._start(kind, block, out)
        out.append(BlockDelta(self._open_at, text, answer=self._index))

    def _start(self, kind: Any, block: Block, out: list[Event]) -> None:
        self._open, self._open_at = kind, self._next
        self._next += 1
        out.append(BlockStart(self._open_at, block, self._index))

    def _close(self, out: list[Event]) -> None:
        if self._open is None:
            return
        own = None
        if self._detail is not None:
            own = self._end_detail(self._detail, out)
            self._detail = None
        out.append(BlockEnd(self._open_at, self._index, own))
        self._open = None

    def _whole(self, block: Block, out: list[Event]) -> None:
        out.append(BlockStart(self._next, block, self._index))
        out.append(BlockEnd(self._next, self._index))
        self._next += 1

    def _end_sound(self, sound: Json, out: list[Event]) -> None:
        """Sound comes in pieces of base64, which are one whole only when joined."""
        data = sound.pop("data", None)
        if not isinstance(data, str):
            self._message["audio"] = {**sound, **({} if data is None else {"data": data})}
            return
        own = Own(NAME, sound, frozenset(("audio",)))
        self._whole(Media("audio", Source("base64", data), at=f"{self._at}.audio", own=own), out)

    def _rest(self, choice: Json) -> None:
        """What a choice says beside its delta: log probabilities grow, of the rest the last counts."""
        for key, value in choice.items():
            if key not in _KNOWN and value is not None:
                self._fields[key] = merged(self._fields.get(key), value, joined=False)


_KNOWN = frozenset(("index", "delta", "message", "finish_reason", "text"))


def merged(before: Any, value: Any, *, joined: bool) -> Any:
    """A piece laid over what came before: objects by key, lists end to end, and texts too if they are `joined`."""
    if before is None:
        return value
    if isinstance(before, dict) and isinstance(value, dict):
        for key, inner in value.items():
            if inner is not None or key not in before:
                before[key] = merged(before.get(key), inner, joined=joined)
        return before
    if isinstance(before, list) and isinstance(value, list):
        return before + value
    if joined and isinstance(before, str) and isinstance(value, str) and before != value:
        return before + value
    return value
