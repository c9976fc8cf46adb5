"""The neutral conversation -> Chat requests: any format's, told where Chat has no field.

A message of Chat's own is written as it came; for others see the rules beside each. Append-only: what is written for a
message depends on it and on those before it.
"""

from __future__ import annotations

from typing import cast

from interpose.formats.codecs.codec import Json, Target, Written
from interpose.formats.codecs.ids import CHAT, fit, make
from interpose.formats.codecs.waiting import Waiting
from interpose.ir import Block, Losses, Media, Message, Refused, Request, Text, Thinking, ToolCall, ToolResult

from .facts import CHAT_PATH, NAME, REASONING_DETAILS, REASONING_FIELDS, lay_over, marks_of, write_cache
from .parts import PartWriter
from .settings import write_settings
from .turns import reasoning_field, with_arguments, write_call, write_detail


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    native = request.format == NAME
    body: Json = {}
    if target.model:
        body["model"] = target.model
    parts = PartWriter(
        losses,
        native=native,
        files=request.format in (NAME, "openai-responses"),
        kinds=target.capabilities.media,
        cache=target.capabilities.cache_field,
    )
    conversation = _Conversation(parts, losses)
    for message in request.messages:
        conversation.add(message)
    body["messages"] = conversation.finish()
    write_settings(request, body, target, losses)
    return Written(CHAT_PATH, body)


class _Conversation:
    """Messages written one after the other. `_open` are the calls that wait for their results; `_shown` is
    what results showed that only a user's message can hold, until the last of them is there.
    """

    def __init__(self, parts: PartWriter, losses: Losses) -> None:
        self._parts = parts
        self._losses = losses
        self._native = parts.native
        self._written: list[Json] = []
        self._open = Waiting()
        self._shown: list[Json] = []

    def add(self, message: Message) -> None:
        if message.role == "assistant":
            self._show()
            self._written.append(self._assistant(message))
            return
        results = [block for block in message.blocks if isinstance(block, ToolResult)]
        for result in results:
            self._result(result, message)
        if results and len(results) == len(message.blocks):
            return
        if self._shown:
            self._show()
        written = self._said(message, results)
        if self._native or written.get("content") != []:
            self._written.append(written)

    def finish(self) -> list[Json]:
        self._show()
        return self._written

    def _show(self) -> None:
        if self._shown:
            self._written.append({"role": "user", "content": self._shown})
            self._shown = []

    # What system, developer and user say

    def _said(self, message: Message, results: list[ToolResult]) -> Json:
        role = "user" if message.role == "tool" else message.role
        written: Json = {"role": role}
        blocks = message.blocks
        if results:
            blocks = [block for block in blocks if not isinstance(block, ToolResult)]
        self._content(message, blocks, written, "" if self._native else "\n\n")
        if message.name is not None:
            written["name"] = message.name
        self._leftover(message, written)
        return written

    def _content(self, message: Message, blocks: list[Block], written: Json, glue: str) -> None:
        """`content`, spelled as it came. Another format's texts are one string, for servers that take no parts."""
        marks = marks_of(message.own)
        if not blocks and self._native:
            if "content:empty" in marks:
                written["content"] = ""
            return
        if "content:text" in marks or ("content:parts" not in marks and self._simple(blocks)):
            written["content"] = glue.join([self._plain(cast(Text, block)) for block in blocks])
            return
        written["content"] = [part for block in blocks if (part := self._parts.part(block)) is not None]

    def _simple(self, blocks: list[Block]) -> bool:
        marks_cache = self._parts.marks_cache
        return all(isinstance(block, Text) and (block.cache is None or not marks_cache) for block in blocks)

    def _plain(self, block: Text) -> str:
        if block.cache is not None or block.own is not None or block.opaque is not None:
            self._beside(block)
        return block.text

    def _beside(self, block: Text) -> None:
        """What a text in a string cannot have; a mark that Chat itself puts on the message is put there again."""
        if block.cache is not None and marks_of(block.cache.own) == frozenset():
            self._losses.dropped(block.at, "the model's server is not known to take marks of a prompt cache")
        self._losses.bound(block.opaque, block.at, NAME)
        self._losses.own(block.own, block.at, NAME)

    def _leftover(self, message: Message, written: Json) -> None:
        own = message.own
        if own is None:
            return
        if "cache:message" in own.marks and message.blocks:
            cache = getattr(message.blocks[-1], "cache", None)
            if cache is not None:
                write_cache(cache, written, None)
        if own.fields:
            self._losses.own(own, message.at, NAME)
            lay_over(written, own)

    # What tools returned

    def _result(self, result: ToolResult, message: Message) -> None:
        marks = marks_of(message.own)
        written: Json = {"role": "function" if "function" in marks else "tool"}
        id_ = self._close(result)
        if "function" not in marks and "id:absent" not in marks:
            written["tool_call_id"] = id_
        if self._native:
            self._content(message, result.content, written, "")
            if result.name is not None:
                written["name"] = result.name
            self._leftover(message, written)
        else:
            written["content"] = self._returned(result, id_)
            self._losses.own(message.own, message.at, NAME)
            self._losses.own(result.own, result.at, NAME)
        self._written.append(written)
        if not self._open:
            self._show()

    def _returned(self, result: ToolResult, id_: str) -> str:
        """A result's text; pictures and files follow in a user's message, for a tool's takes text alone.

        https://platform.openai.com/docs/api-reference/chat/create: the content of a tool message is text.
        """
        said: list[str] = []
        shown: list[Json] = []
        for block in result.content:
            if isinstance(block, Text):
                said.append(self._plain(block))
            elif isinstance(block, Refused):
                said.append(block.text)
            elif (part := self._parts.part(block)) is not None:
                if part["type"] == "text":
                    said.append(part["text"])
                    continue
                shown.append(part)
                said.append(f"[{part['type'].partition('_')[0]} {len(shown)}: see the message that follows]")
                self._losses.approximated(block.at or result.at, "it is shown in a user message after the results")
        if shown:
            self._shown.append({"type": "text", "text": f"Returned by the tool call {id_}:"})
            self._shown += shown
        if result.cache is not None:
            self._losses.dropped(result.at, "a result takes no mark of a prompt cache")
        text = "\n\n".join(said)
        if result.error:
            self._losses.approximated(result.at, "that it is an error is said in its text")
            return f"Error: {text}"
        return text

    def _close(self, result: ToolResult) -> str:
        """The id of the call that this result answers, as it was written."""
        if (written := self._open.close(result)) is not None:
            return written
        if self._native:
            return result.id
        return fit(result.id, CHAT) if result.id else make(f"result:{len(self._written)}:{result.name}", CHAT)

    # What the assistant said

    def _assistant(self, message: Message) -> Json:
        written: Json = {"role": "assistant"}
        self._open = Waiting()
        said: list[Block] = []
        thinking: list[Thinking] = []
        calls: list[Json] = []
        for block in message.blocks:
            match block:
                case ToolCall():
                    self._call(block, calls, written)
                case Thinking():
                    self._thought(block, thinking)
                case Refused() if not self._native or block.at.endswith(".refusal"):
                    self._losses.own(block.own, block.at, NAME)
                    written["refusal"] = written.get("refusal", "") + block.text
                case Media() if "audio" in marks_of(block.own):
                    written["audio"] = {"id": block.source.value}
                    if block.own is not None:
                        written["audio"].update(block.own.fields)
                case _:
                    said.append(block)
        marks = marks_of(message.own)
        if thinking or (marks & _REASONING and not any(isinstance(block, Thinking) for block in message.blocks)):
            _write_thinking(thinking, written, marks)
        if "refusal:empty" in marks:
            written["refusal"] = ""
        if said or self._native:
            self._spoken(message, said, written)
        elif not calls and "refusal" not in written:
            written["content"] = ""
        elif "refusal" not in written:
            # Null rather than absent: older servers demand the key.
            written["content"] = None
        if calls:
            written["tool_calls"] = calls
        if message.name is not None:
            written["name"] = message.name
        self._leftover(message, written)
        return written

    def _spoken(self, message: Message, said: list[Block], written: Json) -> None:
        if not self._native:
            kept = [block for block in said if self._sayable(block)]
            written["content"] = "".join([self._plain(block) for block in kept if isinstance(block, Text)])
            return
        self._content(message, said, written, "")
        self._cited(said, written)

    def _sayable(self, block: Block) -> bool:
        """An assistant's message takes text alone."""
        if isinstance(block, Text):
            if block.citations:
                self._losses.dropped(block.at, "Chat takes no citations back")
            return True
        kind = getattr(block, "kind", "it")
        self._losses.dropped(block.at, f"an assistant's message in Chat takes text alone: {kind} is left out")
        return False

    def _cited(self, said: list[Block], written: Json) -> None:
        citations = [citation for block in said if isinstance(block, Text) for citation in block.citations]
        if citations:
            from .replies import write_citation

            written["annotations"] = [write_citation(citation, 0, 0) for citation in citations]

    def _call(self, block: ToolCall, calls: list[Json], written: Json) -> None:
        own = marks_of(block.own)
        if "function_call" in own:
            written["function_call"] = {"name": block.name, "arguments": block.arguments}
            lay_over(written["function_call"], block.own)
            return
        id_ = block.id
        if not self._native:
            seed = f"call:{len(self._written)}:{len(calls)}:{block.name}"
            id_ = fit(id_, CHAT) if id_ else make(seed, CHAT)
            self._losses.own(block.own, block.at, NAME)
        self._losses.bound(block.opaque, block.at, NAME)
        call = write_call(block, id_)
        if not self._native:
            with_arguments(call)
        if block.cache is not None and not write_cache(block.cache, call, None):
            self._losses.dropped(block.at, "a call takes no mark of a prompt cache")
        calls.append(call)
        self._open.add(block, id_)

    def _thought(self, block: Thinking, kept: list[Thinking]) -> None:
        """Reasoning goes back to servers that gave it out, and to nobody else: OpenAI's Chat has no place for it."""
        if reasoning_field(block) is not None:
            kept.append(block)
        elif block.opaque is not None:
            self._losses.bound(block.opaque, block.at, NAME)
        elif block.text:
            self._losses.dropped(block.at, "Chat takes no reasoning back but from servers that showed it there")
        self._losses.own(block.own, block.at, NAME)


def _write_thinking(thinking: list[Thinking], written: Json, marks: frozenset[str]) -> None:
    """In the fields in which it was shown: those that the message's marks name, else those of its opaque state."""
    fields = {reasoning_field(block) for block in thinking}
    text = "".join([block.text for block in thinking])
    for field in REASONING_FIELDS:
        if field in marks or (not marks & _REASONING and field in fields):
            written[field] = text
    details = [block for block in thinking if reasoning_field(block) == REASONING_DETAILS]
    if details:
        written[REASONING_DETAILS] = [write_detail(block, marks_of(block.own)) for block in details]


_REASONING = frozenset((*REASONING_FIELDS, REASONING_DETAILS))
