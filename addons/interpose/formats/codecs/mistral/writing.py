"""The neutral conversation -> Mistral's requests: any format's, told where Mistral has no field.

Append-only: what is written for a message depends on it and on those before it. One field is the exception: `prefix`
on a last message of the assistant's, without which Mistral refuses it, and which is no content.

Mistral's servers check in which order roles follow on each other, and what is in them: the rules are those of
https://github.com/mistralai/mistral-common (protocol/instruct/validator.py).
"""

from __future__ import annotations

from interpose.formats.codecs.codec import Json, Target, Written
from interpose.formats.codecs.waiting import Waiting
from interpose.ir import Block, Losses, Media, Message, Request, Text, Thinking, ToolCall, ToolResult

from .calls import call_id, write_call
from .chunks import ChunkWriter
from .facts import AGENTS_PATH, FIM, FIM_PATH, NAME, PATH, lay_over, marks_of
from .settings import write_settings

SYSTEM = ("system", "developer")
# A system message may follow on nothing but these.
BEFORE_SYSTEM = frozenset(("system", "user"))


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    native = request.format == NAME
    body: Json = {}
    if target.model:
        body["model"] = target.model
    if native and FIM in marks_of(request.own):
        body["prompt"] = "".join([block.text for block in request.messages[0].blocks if isinstance(block, Text)])
        write_settings(request, body, target, losses)
        return Written(FIM_PATH, body)
    chunks = ChunkWriter(losses, native=native, kinds=target.capabilities.media)
    conversation = _Conversation(chunks, losses, native=native, system_inside=target.capabilities.system_inside)
    for message in request.messages:
        conversation.add(message)
    body["messages"] = conversation.finish()
    write_settings(request, body, target, losses)
    return Written(AGENTS_PATH if "agent_id" in body else PATH, body)


class _Conversation:
    """Messages written one after the other. `_open` are the calls that wait for their results, by their new ids;
    `_shown` is what results showed that only a user's message can hold, until the last of them is there.
    """

    def __init__(self, chunks: ChunkWriter, losses: Losses, *, native: bool, system_inside: bool) -> None:
        self._written: list[Json] = []
        self._chunks = chunks
        self._losses = losses
        self._native = native
        self._system_inside = system_inside
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
        written = self._written
        if not self._native and written and written[-1]["role"] == "assistant" and "tool_calls" not in written[-1]:
            written[-1]["prefix"] = True
        return written

    def _show(self) -> None:
        if self._shown:
            self._written.append({"role": "user", "content": self._shown})
            self._shown = []

    # What system, developer and user say

    def _said(self, message: Message, blocks: list[Block]) -> None:
        # Mistral knows no developer: it is the system that speaks.
        role = {"developer": "system", "tool": "user"}.get(message.role, message.role)
        before = self._written[-1]["role"] if self._written else "system"
        if role == "system" and before not in BEFORE_SYSTEM and not self._native and not self._system_inside:
            self._aside(message, blocks)
        else:
            self._say(message, blocks, {"role": role})

    def _aside(self, message: Message, blocks: list[Block]) -> None:
        """A system message in mid-conversation keeps its place, in the user's words."""
        texts = [block for block in self._sayable(message, blocks) if isinstance(block, Text)]
        for text in texts:
            self._chunks.around(text, {})
        self._losses.approximated(message.at, "a system message in mid-conversation is the user's words")
        said = "\n\n".join([text.text for text in texts])
        written: Json = {"role": "user", "content": f"<system>\n{said}\n</system>"}
        self._rest(message, written)
        if said:
            self._written.append(written)

    def _say(self, message: Message, blocks: list[Block], written: Json) -> None:
        content = self._chunks.content(self._sayable(message, blocks), marks_of(message.own))
        if content is not None or not self._native:
            written["content"] = "" if content is None else content
        self._rest(message, written)
        if not self._native and not content and written["role"] != "user" and "tool_calls" not in written:
            # Mistral refuses messages of the system's and the assistant's that say nothing.
            return
        self._written.append(written)

    def _sayable(self, message: Message, blocks: list[Block]) -> list[Block]:
        """System messages take text and thinking alone; nobody's thinking is sent but Mistral's own."""
        if self._native:
            return blocks
        kept: list[Block] = []
        for block in blocks:
            if isinstance(block, Thinking) and (block.opaque is None or block.opaque.format != NAME):
                self._losses.bound(block.opaque, block.at, NAME)
                if block.opaque is None:
                    self._losses.dropped(block.at, "Mistral takes back the thinking of its own models alone")
            elif message.role in SYSTEM and not isinstance(block, Text):
                self._losses.dropped(block.at, "a system message of Mistral's takes text alone")
            elif isinstance(block, Text) and not block.text and len(blocks) > 1:
                continue
            else:
                kept.append(block)
        return kept

    def _rest(self, message: Message, written: Json) -> None:
        if message.name is not None:
            if self._native:
                written["name"] = message.name
            else:
                self._losses.dropped(f"{message.at}.name", "Mistral's messages bear no names")
        if message.own is not None:
            self._losses.own(message.own, message.at, NAME)
            lay_over(written, message.own)

    # What the assistant said

    def _assistant(self, message: Message) -> None:
        written: Json = {"role": "assistant"}
        self._open = Waiting()
        said: list[Block] = [block for block in message.blocks if not isinstance(block, ToolCall)]
        calls: list[Json] = []
        for block in message.blocks:
            if isinstance(block, ToolCall):
                seed = f"call:{len(self._written)}:{len(calls)}:{block.name}"
                id_ = call_id(block.id, seed, native=self._native)
                calls.append(write_call(block, id_, self._losses, native=self._native))
                self._open.add(block, id_)
        marks = marks_of(message.own)
        if calls:
            written["tool_calls"] = calls
        if "prefix:true" in marks or "prefix:false" in marks:
            written["prefix"] = "prefix:true" in marks
        self._say(message, said, written)

    # What tools returned

    def _result(self, result: ToolResult, message: Message) -> None:
        marks = marks_of(message.own)
        written: Json = {"role": "tool"}
        id_ = self._close(result)
        if "id:absent" not in marks:
            written["tool_call_id"] = id_
        if self._native:
            content = self._chunks.content(result.content, marks)
            if content is not None:
                written["content"] = content
        else:
            written["content"] = self._returned(result, id_)
        if result.name is not None:
            written["name"] = result.name
        if result.cache is not None:
            self._losses.dropped(result.at, "Mistral takes no marks of a prompt cache")
        self._losses.own(result.own, result.at, NAME)
        if message.own is not None:
            self._losses.own(message.own, message.at, NAME)
            lay_over(written, message.own)
        self._written.append(written)
        if not self._open:
            self._show()

    def _returned(self, result: ToolResult, id_: str) -> str | list[Json]:
        """A result's text; pictures and files follow in a user's message: but for the newest of Mistral's models, a
        tool's message takes text alone.
        """
        said: list[Json] = []
        shown: list[Json] = []
        for block in result.content:
            chunk = self._chunks.chunk(block)
            if chunk is None:
                continue
            if chunk["type"] != "text":
                if not isinstance(block, Media):
                    self._losses.dropped(block.at or result.at, "a tool's message takes text alone")
                    continue
                shown.append(chunk)
                place = f"[{block.kind} {len(shown)}: see the message that follows]"
                self._losses.approximated(block.at or result.at, "it is shown in a user message after the results")
                chunk = {"type": "text", "text": place}
            said.append(chunk)
        if shown:
            self._shown += [{"type": "text", "text": f"Returned by the tool call {id_}:"}, *shown]
        if result.error:
            self._losses.approximated(result.at, "that it is an error is said in its text")
            said.insert(0, {"type": "text", "text": "Error:"})
        if len(said) == 1:
            return str(said[0]["text"])
        return said or ""

    def _close(self, result: ToolResult) -> str:
        """The id of the call that this result answers, as it was written."""
        id_ = self._open.close(result)
        if id_ is not None:
            return id_
        return call_id(result.id, f"result:{len(self._written)}:{result.name}", native=self._native)
