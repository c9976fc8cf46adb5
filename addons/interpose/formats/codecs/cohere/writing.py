"""The neutral conversation -> Cohere's requests: any format's, told where Cohere has no field.

https://docs.cohere.com/v2/reference/chat. Append-only: what is written for a message depends on it and on those before
it.

What is said before a call of tools is its plan: Cohere refuses text beside calls
(https://github.com/vercel/ai/issues/5794).
"""

from __future__ import annotations

from interpose.formats.codecs.codec import Json, Target, Written
from interpose.formats.codecs.waiting import Waiting
from interpose.ir import Block, Foreign, Losses, Media, Message, Refused, Request, Text, Thinking, ToolCall, ToolResult

from .calls import call_id, planned, split_plan, write_call
from .citations import write_citations
from .facts import DOCUMENTS, NAME, PATH, lay_over, marks_of
from .parts import PartWriter, write_document
from .settings import write_settings

SYSTEM = ("system", "developer")


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    native = request.format == NAME
    body: Json = {}
    if target.model:
        body["model"] = target.model
    parts = PartWriter(losses, native=native, kinds=target.capabilities.media)
    conversation = _Conversation(parts, losses, native=native)
    for message in request.messages:
        if DOCUMENTS in marks_of(message.own):
            body["documents"] = [write_document(block) for block in message.blocks if isinstance(block, Media)]
        else:
            conversation.add(message)
    written = body["messages"] = conversation.finish()
    if not native and written and written[-1]["role"] == "assistant" and "tool_calls" not in written[-1]:
        # It is taken, and answered by a turn of its own: https://github.com/SillyTavern/SillyTavern/issues/3692
        losses.approximated(request.messages[-1].at, "Cohere does not go on with a message of the assistant's")
    write_settings(request, body, target, losses)
    return Written(PATH, body)


class _Conversation:
    """Messages written one after the other. `_open` are the calls that wait for their results, by their new ids;
    `_shown` is what results showed that only a user's message can hold, until the last of them is there.
    """

    def __init__(self, parts: PartWriter, losses: Losses, *, native: bool) -> None:
        self._written: list[Json] = []
        self._parts = parts
        self._losses = losses
        self._native = native
        self._open = Waiting()
        self._shown: list[Json] = []

    def add(self, message: Message) -> None:
        if message.role == "assistant":
            self._show()
            self._assistant(message)
            return
        rest: list[Block] = []
        for block in message.blocks:
            if isinstance(block, ToolResult):
                self._result(block, message)
            else:
                rest.append(block)
        if rest or not message.blocks:
            self._show()
            self._said(message, rest)

    def finish(self) -> list[Json]:
        self._show()
        return self._written

    def _show(self) -> None:
        if self._shown:
            self._written.append({"role": "user", "content": self._shown})
            self._shown = []

    # What system, developer and user say

    def _said(self, message: Message, blocks: list[Block]) -> None:
        # Cohere knows no developer: it is the system that speaks.
        role = {"developer": "system", "tool": "user"}.get(message.role, message.role)
        written: Json = {"role": role}
        content = self._parts.content(self._sayable(message, blocks), marks_of(message.own))
        if content is not None:
            written["content"] = content
        elif not self._native:
            if role != "user":
                # A message that says nothing is refused.
                self._rest(message, written)
                return
            written["content"] = ""
        self._rest(message, written)
        self._written.append(written)

    def _sayable(self, message: Message, blocks: list[Block]) -> list[Block]:
        if self._native:
            return blocks
        kept: list[Block] = []
        for block in blocks:
            if isinstance(block, Text) and block.citations:
                self._losses.dropped(block.at, "only what the assistant says has citations")
            if isinstance(block, Thinking):
                self._losses.dropped(block.at, "only what the assistant says has thinking")
            elif message.role in SYSTEM and isinstance(block, Media) and block.source.kind != "text":
                self._losses.impossible(block.at, "a system message of Cohere's takes text alone")
            elif not isinstance(block, Text) or block.text or len(blocks) == 1:
                kept.append(block)
            else:
                self._parts.around(block, {})
        return kept

    def _rest(self, message: Message, written: Json) -> None:
        if message.name is not None:
            self._losses.dropped(f"{message.at}.name", "Cohere's messages bear no names")
        if message.own is not None:
            self._losses.own(message.own, message.at, NAME)
            lay_over(written, message.own)

    # What the assistant said

    def _assistant(self, message: Message) -> None:
        written: Json = {"role": "assistant"}
        marks = marks_of(message.own)
        self._open = Waiting()
        calls: list[Json] = []
        for block in message.blocks:
            if isinstance(block, ToolCall):
                seed = f"call:{len(self._written)}:{len(calls)}:{block.name}"
                id_ = call_id(block.id, seed, native=self._native)
                calls.append(write_call(block, id_, self._losses, native=self._native, carries=False))
                self._open.add(block, id_)
        said = self._sayings(message, planning=bool(calls))
        plan, rest = split_plan(said)
        content = self._parts.content(rest, marks)
        if content is not None:
            written["content"] = content
        if plan or "plan:empty" in marks:
            written["tool_plan"] = "".join([block.text for block in plan])
        if calls:
            written["tool_calls"] = calls
        self._rest(message, written)
        write_citations(said, written, self._losses)
        if self._native or written.keys() & {"content", "tool_plan", "tool_calls"}:
            self._written.append(written)

    def _sayings(self, message: Message, *, planning: bool) -> list[Block]:
        """What stands beside calls; of another format, text is their plan."""
        if self._native:
            return [block for block in message.blocks if not isinstance(block, ToolCall)]
        kept: list[Block] = []
        called = False
        for block in message.blocks:
            match block:
                case ToolCall():
                    called = True
                case Thinking():
                    if block.opaque is not None and block.opaque.format == NAME:
                        kept.append(block)
                    else:
                        self._unthought(block)
                case Text(text) | Refused(text):
                    if text and called:
                        self._losses.approximated(block.at, "what is said behind a call is said before it")
                    kept += self._words(block, planning=planning)
                case Media() if block.source.kind != "text":
                    self._losses.impossible(block.at, f"Cohere takes no {block.kind} of the assistant's")
                case Foreign() | ToolResult() | Media():
                    if (part := self._parts.part(block)) is not None and part.get("type") == "text":
                        kept += self._words(Text(part["text"], at=block.at), planning=planning)
        return kept

    def _words(self, block: Text | Refused, *, planning: bool) -> list[Block]:
        if isinstance(block, Refused):
            block = Text(str((self._parts.part(block) or {})["text"]), at=block.at)
        if not block.text or planning:
            self._parts.around(block, {})
        if not block.text:
            return []
        if block.citations:
            self._losses.dropped(block.at, "Cohere takes back the citations of its own models alone")
        return [planned(block.text, block.at)] if planning else [Text(block.text, at=block.at)]

    def _unthought(self, block: Thinking) -> None:
        if block.opaque is not None:
            self._losses.dropped(block.at, f"{block.opaque.kind}: bound to its origin, {block.opaque.format}")
        elif block.text:
            self._losses.dropped(block.at, "Cohere takes back the thinking of its own models alone")

    # What tools returned

    def _result(self, result: ToolResult, message: Message) -> None:
        marks = marks_of(message.own)
        written: Json = {"role": "tool"}
        id_ = self._close(result)
        if "id:absent" not in marks:
            written["tool_call_id"] = id_
        if self._native:
            content = self._parts.content(result.content, marks)
            if content is not None:
                written["content"] = content
        else:
            written["content"] = self._returned(result, id_)
        if result.cache is not None:
            self._losses.dropped(result.at, "Cohere takes no marks of a prompt cache")
        self._losses.own(result.own, result.at, NAME)
        if message.own is not None:
            self._losses.own(message.own, message.at, NAME)
            lay_over(written, message.own)
        self._written.append(written)
        if not self._open:
            self._show()

    def _returned(self, result: ToolResult, id_: str) -> str | list[Json]:
        """A result's texts and documents; pictures follow in a user's message: a tool's takes none."""
        said: list[Json] = []
        shown: list[Json] = []
        for block in result.content:
            if isinstance(block, Media) and block.kind == "document" and block.source.kind == "text":
                self._parts.around(block, {})
                said.append({"type": "document", "document": write_document(block)})
            elif isinstance(block, Thinking):
                self._unthought(block)
            elif (part := self._parts.part(block)) is not None:
                if part["type"] != "text":
                    shown.append(part)
                    self._losses.approximated(block.at or result.at, "it is shown in a user message after the results")
                    part = {"type": "text", "text": f"[image {len(shown)}: see the message that follows]"}
                said.append(part)
        if shown:
            self._shown += [{"type": "text", "text": f"Returned by the tool call {id_}:"}, *shown]
        if result.error:
            self._losses.approximated(result.at, "that it is an error is said in its text")
            said.insert(0, {"type": "text", "text": "Error:"})
        if len(said) == 1 and said[0]["type"] == "text":
            return str(said[0]["text"])
        return said or ""

    def _close(self, result: ToolResult) -> str:
        """The id of the call that this result answers, as it was written."""
        id_ = self._open.close(result)
        if id_ is not None:
            return id_
        return call_id(result.id, f"result:{len(self._written)}:{result.name}", native=self._native)
