"""The neutral conversation -> Ollama's requests: any format's, told where Ollama has no field.

Append-only: what is written for a message depends on it and on those before it.
"""

from __future__ import annotations

from interpose.formats.codecs.codec import Json, Target, Written
from interpose.formats.codecs.waiting import Waiting
from interpose.ir import Block, Foreign, Losses, Media, Message, Refused, Request, Text, Thinking, ToolCall, ToolResult

from .facts import CHAT_PATH, GENERATE, GENERATE_PATH, NAME, lay_over, marks_of
from .parts import around, write_call, write_image
from .settings import write_settings


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    native = request.format == NAME
    body: Json = {}
    if target.model:
        body["model"] = target.model
    if native and GENERATE in marks_of(request.own):
        _write_prompt(request, body, losses)
        write_settings(request, body, target, losses)
        return Written(GENERATE_PATH, body)
    conversation = _Conversation(losses, None if native else target.capabilities.media)
    for message in request.messages:
        conversation.add(message)
    body["messages"] = conversation.written
    write_settings(request, body, target, losses)
    return Written(CHAT_PATH, body)


def _write_prompt(request: Request, body: Json, losses: Losses) -> None:
    marks = marks_of(request.own)
    for key in ("system", "prompt"):
        if f"{key}:empty" in marks:
            body[key] = ""
    for message in request.messages:
        said = _Said(message.blocks, losses, None, "")
        if "top" in marks_of(message.own):
            body["system"] = said.text
            continue
        if said.texts:
            body["prompt"] = said.text
        if said.images:
            body["images"] = said.images


class _Said:
    """What blocks say, in Ollama's fields: texts, images and thinking, with calls kept apart."""

    __slots__ = ("_glue", "calls", "images", "texts", "thoughts")

    def __init__(self, blocks: list[Block], losses: Losses, kinds: frozenset[str] | None, glue: str) -> None:
        self.texts: list[str] = []
        self.images: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self._glue = glue
        for block in blocks:
            match block:
                case Text(text):
                    if block.citations:
                        losses.dropped(block.at, "Ollama takes no citations back")
                    around(block, losses)
                    if self.images and text and kinds is not None:
                        losses.approximated(block.at, "images are beside the text: which stood first is not said")
                    self.texts.append(text)
                case Refused(text):
                    losses.approximated(block.at, "a refusal is said as text")
                    losses.own(block.own, block.at, NAME)
                    self.texts.append(text)
                case Thinking():
                    self._think(block, losses)
                case ToolCall():
                    self.calls.append(block)
                case Media():
                    self._show(block, losses, kinds)
                case Foreign(format_, kind):
                    losses.dropped(block.at, f"only {format_} has {kind}")
                case ToolResult():
                    losses.dropped(block.at, "a result of a tool cannot stand here")

    @property
    def text(self) -> str:
        return self._glue.join([text for text in self.texts if text])

    def _think(self, block: Thinking, losses: Losses) -> None:
        if block.opaque is not None and block.opaque.format == NAME:
            self.thoughts.append(block.text)
            losses.own(block.own, block.at, NAME)
        elif block.opaque is not None:
            losses.bound(block.opaque, block.at, NAME)
        elif block.text:
            losses.dropped(block.at, "models take back their own thinking alone")

    def _show(self, block: Media, losses: Losses, kinds: frozenset[str] | None) -> None:
        if block.source.kind == "text":
            losses.approximated(block.at, "a text document is sent as text")
            title = f"{block.name}\n\n" if block.name else ""
            self.texts.append(title + block.source.value)
        elif (image := write_image(block, losses, kinds)) is not None:
            self.images.append(image)


class _Conversation:
    """Messages written one after the other. `_open` are the names of the functions whose results are waited for, which
    are told with these. `kinds` are the media that the model takes, None for Ollama's own conversation.
    """

    def __init__(self, losses: Losses, kinds: frozenset[str] | None) -> None:
        self.written: list[Json] = []
        self._losses = losses
        self._kinds = kinds
        self._native = kinds is None
        self._open = Waiting()

    def add(self, message: Message) -> None:
        rest: list[Block] = []
        for block in message.blocks:
            if isinstance(block, ToolResult):
                self._result(block, message)
            else:
                rest.append(block)
        if rest or not message.blocks:
            self._say(message, rest)

    def _say(self, message: Message, blocks: list[Block]) -> None:
        # Ollama's models know no developer: it is the system that speaks.
        role = message.role if self._native else {"developer": "system", "tool": "user"}.get(message.role, message.role)
        said = _Said(blocks, self._losses, self._kinds, "" if self._native or role == "assistant" else "\n\n")
        written: Json = {"role": role}
        self._put(said, message, written)
        if role == "assistant":
            self._open = Waiting()
            for call in said.calls:
                self._open.add(call, call.name)
        if message.name is not None:
            self._losses.dropped(f"{message.at}.name", "Ollama's messages bear no names")
        self._losses.own(message.own, message.at, NAME)
        lay_over(written, message.own)
        if self._native or role == "user" or len(written) > 2 or written.get("content"):
            self.written.append(written)

    def _put(self, said: _Said, message: Message, written: Json) -> None:
        marks = marks_of(message.own)
        for mark in marks:
            if mark.startswith("role:"):
                written["role"] = mark[5:]
        # The field is required.
        if said.texts or "content:empty" in marks or not self._native:
            written["content"] = said.text
        if said.thoughts or "thinking:empty" in marks:
            written["thinking"] = "".join(said.thoughts)
        if said.images:
            written["images"] = said.images
        if said.calls:
            written["tool_calls"] = [write_call(call, self._losses, native=self._native) for call in said.calls]

    def _result(self, result: ToolResult, message: Message) -> None:
        marks = marks_of(message.own)
        said = _Said(result.content, self._losses, self._kinds, "" if self._native else "\n\n")
        written: Json = {"role": "tool"}
        self._put(said, message, written)
        if result.error:
            self._losses.approximated(result.at, "that it is an error is said in its text")
            written["content"] = f"Error: {said.text}"
        # Older servers know results by the name of their function alone.
        called = self._open.close(result)
        name = result.name if self._native else result.name or called
        if name is not None:
            written["tool_name"] = name
        if result.id if not self._native else "id" in marks:
            written["tool_call_id"] = result.id
        if result.cache is not None:
            self._losses.dropped(result.at, "Ollama takes no marks of a prompt cache")
        self._losses.own(result.own, result.at, NAME)
        self._losses.own(message.own, message.at, NAME)
        lay_over(written, message.own)
        self.written.append(written)
