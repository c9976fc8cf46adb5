"""Whole Chat replies <-> the neutral reply.

https://platform.openai.com/docs/api-reference/chat/object. What one message cannot hold of another format's answer is
carried beside it (`layout`), or told.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Client, Json, Malformed
from interpose.formats.codecs.content import write_url
from interpose.formats.codecs.ids import CHAT, fit, make
from interpose.formats.codecs.leftovers import INTEGER, NO_MARKS, STRING, prefixed, take
from interpose.formats.codecs.opaque import pack
from interpose.ir import (
    Answer,
    Block,
    Citation,
    Foreign,
    Losses,
    Media,
    Own,
    Refused,
    Reply,
    Stop,
    Text,
    Thinking,
    ToolCall,
    Usage,
)

from .counts import read_usage
from .envelope import read_envelope, write_envelope
from .facts import (
    EXTRA,
    NAME,
    OURS,
    REASONING_DETAILS,
    REASONING_FIELDS,
    REASONS,
    WORDS,
    lay_over,
    leftover,
    marks_of,
    take_silent,
)
from .layout import layout_of, needs_layout
from .turns import read_turn, reasoning_field, with_arguments, write_call, write_detail

OBJECT = "chat.completion"

# Reading


def read_reply(body: Any) -> Reply:
    marks: list[str] = []
    reply = read_envelope(body, NAME, OBJECT, marks, read_choice)
    reply.usage = take_usage(body, marks)
    reply.own = Own(NAME, body, frozenset(marks), take_silent(body))
    return reply


def take_usage(body: Json, marks: list[str]) -> Usage:
    """The usage of a reply, taken out; what it has beside is left in `body`, flat, under `usage.…`."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    del body["usage"]
    marks.append("usage")
    return read_usage(usage, body, marks)


def read_choice(choice: Any, place: int) -> Answer:
    at = f"choices[{place}]"
    if not isinstance(choice, dict):
        raise Malformed(at, "a choice must be an object")
    marks: list[str] = []
    message = choice.get("message")
    if "message" in choice:
        del choice["message"]
    elif isinstance(choice.get("finish_reason"), str):
        # Azure's, of an answer that was filtered away.
        message = {}
        marks.append("message:absent")
    if not isinstance(message, dict):
        raise Malformed(f"{at}.message", "a choice must have a message")
    index = take(choice, "index", INTEGER)
    if index is None:
        index = place
        marks.append("index:absent")
    if message.get("role") == "assistant":
        del message["role"]
        marks.append("role")
    blocks = read_turn(message, f"{at}.message", marks, reply=True)
    stop = read_stop(choice, blocks)
    prefixed(message, "message", choice)
    return Answer(blocks, stop, index, leftover(choice, marks))


def read_stop(choice: Json, blocks: list[Block]) -> Stop:
    raw = take(choice, "finish_reason", STRING)
    return stop_of(raw, choice, calls=any(isinstance(block, ToolCall) for block in blocks))


def stop_of(raw: str | None, choice: Json, *, calls: bool) -> Stop:
    """What a finish reason means. OpenAI says `stop` after a call that was forced by name; the calls tell it better."""
    reason = REASONS.get(raw or "", "other")
    if calls and (reason == "end" or not raw):
        reason = "tool_calls"
    stop = Stop(reason, None, NAME, raw)
    for field in ("stop_reason", "matched_stop"):
        # vLLM's and SGLang's: the sequence, or the token that ended it.
        if isinstance(sequence := choice.get(field), str) and reason in ("end", "stop") and sequence:
            stop.reason, stop.sequence = "stop", sequence
    return stop


# Writing


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    legacy = is_legacy(client)
    choices = [write_choice(answer, reply, client, losses, legacy=legacy) for answer in reply.answers]
    return write_envelope(choices, reply, reply_id(reply.id, client), NAME, OBJECT, client, losses)


def reply_id(id_: str, client: Client) -> str:
    return id_ or f"chatcmpl-{client.id}"


def is_legacy(client: Client) -> bool:
    """Whether the client speaks of functions, the predecessor of tools, and must be answered in its words."""
    return any("functions" in marks_of(tool.own) for tool in client.request.tools)


def write_choice(answer: Answer, reply: Reply, client: Client, losses: Losses, *, legacy: bool) -> Json:
    own = reply.format == NAME
    marks = marks_of(answer.own)
    message = write_message(answer, reply, client, losses, legacy=legacy)
    choice: Json = {} if "message:absent" in marks else {"message": message}
    if "index:absent" not in marks:
        choice["index"] = answer.index
    if not own:
        choice["logprobs"] = None
        choice["finish_reason"] = finish_word(answer.stop, _called(message), losses, f"choices[{answer.index}]")
        losses.own(answer.own, f"choices[{answer.index}]", NAME)
        return choice
    if answer.stop is not None and answer.stop.raw is not None:
        choice["finish_reason"] = finish_word(answer.stop, _called(message), losses, "")
    lay_over(choice, answer.own, "message")
    return choice


def _called(message: Json) -> str | None:
    return next((word for field, word in _CALLED if message.get(field)), None)


_CALLED = (("function_call", "function_call"), ("tool_calls", "tool_calls"))


def finish_word(stop: Stop | None, called: str | None, losses: Losses, at: str) -> str:
    """Chat's word for why an answer ended. `called` is its word if tools were called, whatever another format says."""
    if stop is None:
        return called or "stop"
    if stop.format == NAME and stop.raw is not None:
        return stop.raw
    if called is not None and stop.reason in ("end", "stop", "tool_calls", "pause"):
        return called
    if stop.reason in ("pause", "other"):
        losses.approximated(f"{at}.finish_reason", f"Chat has no word for {stop.raw or stop.reason}")
    if stop.sequence is not None:
        losses.dropped(f"{at}.finish_reason", "Chat does not say which sequence ended an answer")
    return WORDS[stop.reason]


def write_message(answer: Answer, reply: Reply, client: Client, losses: Losses, *, legacy: bool) -> Json:
    """The message of an answer; another format's order and opaque state ride in `extra_content`."""
    own = reply.format == NAME
    marks = marks_of(answer.own) if own else NO_MARKS
    message: Json = {}
    if not own or "role" in marks:
        message["role"] = "assistant"
    texts: list[Text] = []
    thinking: list[Thinking] = []
    calls: list[ToolCall] = []
    for block in answer.blocks:
        if isinstance(block, Text | Thinking | Refused):
            losses.own(block.own, block.at, NAME)
        match block:
            case Text():
                texts.append(block)
            case Thinking():
                thinking.append(block)
            case ToolCall():
                calls.append(block)
            case Refused(text):
                message["refusal"] = message.get("refusal", "") + text
            case Media():
                write_media(block, message, losses)
            case _:
                tell_unwritable(block, losses)
    if texts:
        message["content"] = "".join([text.text for text in texts])
    elif "content:empty" in marks:
        message["content"] = ""
    elif not own:
        message["content"] = None
    if not own:
        message.setdefault("refusal", None)
    elif "refusal:empty" in marks:
        message["refusal"] = ""
    _write_annotations(texts, message, losses)
    _write_reasoning(thinking, message, marks, losses)
    if calls:
        _write_calls(calls, message, reply, client, losses, answer.index, legacy=legacy)
    if needs_layout(answer.blocks):
        message[EXTRA] = {OURS: layout_of(answer.blocks)}
        losses.carried(f"choices[{answer.index}].message", "the order and the opaque state of its blocks")
    return message


def tell_unwritable(block: Block, losses: Losses) -> None:
    kind = block.kind if isinstance(block, Foreign) else "a tool's result"
    losses.dropped(block.at, f"a message of Chat has no place for {kind}")


def write_media(block: Media, message: Json, losses: Losses) -> None:
    """Sound as OpenAI writes it; pictures as OpenRouter does, where OpenAI's own clients do not look."""
    if block.kind == "audio" and block.source.kind == "base64":
        sound: Json = {"data": block.source.value}
        lay_over(sound, block.own)
        if block.own is None or block.own.format != NAME:
            losses.approximated(block.at, "sound of another format has no id and no transcript")
            sound = {"id": "", "expires_at": 0, "transcript": "", **sound}
        message["audio"] = sound
    elif block.kind == "image" and block.source.kind in ("base64", "url"):
        image: Json = {"type": "image_url", "image_url": {"url": write_url(block)}}
        if "images" not in marks_of(block.own):
            losses.carried(block.at, "pictures are in message.images, as OpenRouter has them")
        lay_over(image, block.own, "image_url")
        message.setdefault("images", []).append(image)
    else:
        losses.dropped(block.at, f"a message of Chat has no place for {block.kind}")


def _write_annotations(texts: list[Text], message: Json, losses: Losses) -> None:
    annotations: list[Json] = []
    start = 0
    for text in texts:
        end = start + len(text.text)
        told = [cited(citation, start, end, text.at, losses) for citation in text.citations]
        annotations += [annotation for annotation in told if annotation is not None]
        start = end
    if annotations:
        message["annotations"] = annotations


def cited(citation: Citation, start: int, end: int, at: str, losses: Losses) -> Json | None:
    """A citation as an annotation of `start` to `end`, where it does not say itself what it is about."""
    if citation.url is None:
        losses.dropped(at, "Chat cites URLs alone")
        return None
    if citation.own is not None and citation.own.format != NAME:
        losses.approximated(at, "a citation's offsets are those of the whole text that it stands on")
    return write_citation(citation, start, end)


def write_citation(citation: Citation, start: int, end: int) -> Json:
    inner: Json = {"url": citation.url}
    if citation.title is not None:
        inner["title"] = citation.title
    if citation.own is None or citation.own.format != NAME:
        inner.setdefault("title", citation.url)
        inner["start_index"], inner["end_index"] = start, end
    written: Json = {"type": "url_citation", "url_citation": inner}
    lay_over(written, citation.own, "url_citation")
    return written


def _write_reasoning(thinking: list[Thinking], message: Json, marks: frozenset[str], losses: Losses) -> None:
    text = "".join([block.text for block in thinking])
    for field in REASONING_FIELDS:
        if field in marks:
            message[field] = text
    details = [block for block in thinking if reasoning_field(block) == REASONING_DETAILS]
    if details:
        message[REASONING_DETAILS] = [write_detail(block, marks_of(block.own)) for block in details]
    elif text and not any(field in marks for field in REASONING_FIELDS):
        message[REASONING_FIELDS[0]] = text
        losses.carried(thinking[0].at, f"reasoning is in {REASONING_FIELDS[0]}, as compatible servers have it")


def _write_calls(
    calls: list[ToolCall],
    message: Json,
    reply: Reply,
    client: Client,
    losses: Losses,
    answer: int,
    *,
    legacy: bool,
) -> None:
    if legacy or any("function_call" in marks_of(call.own) for call in calls):
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        lay_over(message["function_call"], calls[0].own)
        for call in calls[1:]:
            losses.dropped(call.at, "a client that speaks of functions takes one call")
        return
    written = []
    for place, call in enumerate(calls):
        id_ = call_id(call, reply.format, f"{reply.id or client.id}:{answer}:{place}")
        made = write_call(call, id_)
        if reply.format != NAME:
            with_arguments(made)
        if call.opaque is not None and call.opaque.format != NAME:
            made[EXTRA] = {OURS: pack(call.opaque)}
            losses.carried(call.at, call.opaque.kind)
        losses.own(call.own, call.at, NAME)
        written.append(made)
    message["tool_calls"] = written


def call_id(call: ToolCall, format_: str, seed: str) -> str:
    """The id of a call as a client gets it: at most 40 characters, and made where the provider gave none."""
    if format_ == NAME:
        return call.id
    return fit(call.id, CHAT) if call.id else make(f"{seed}:{call.name}", CHAT)
