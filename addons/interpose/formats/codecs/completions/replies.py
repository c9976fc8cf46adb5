"""Whole replies of legacy completions <-> the neutral reply.

https://platform.openai.com/docs/api-reference/completions/object. An answer is one text here: what is no text is told.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.chat.counts import read_usage
from interpose.formats.codecs.chat.envelope import read_envelope, write_envelope
from interpose.formats.codecs.chat.facts import NAME as CHAT
from interpose.formats.codecs.chat.facts import take_silent
from interpose.formats.codecs.chat.replies import finish_word, stop_of
from interpose.formats.codecs.codec import Client, Json, Malformed
from interpose.formats.codecs.leftovers import INTEGER, NO_MARKS, STRING, take
from interpose.ir import Answer, Block, Losses, Own, Refused, Reply, Stop, Text, Thinking

from .requests import NAME

OBJECT = "text_completion"


def read_reply(body: Any) -> Reply:
    marks: list[str] = []
    reply = read_envelope(body, NAME, OBJECT, marks, _read_choice)
    if isinstance(usage := body.get("usage"), dict):
        del body["usage"]
        marks.append("usage")
        reply.usage = read_usage(usage, body, marks)
    reply.own = Own(NAME, body, frozenset(marks), take_silent(body))
    return reply


def _read_choice(choice: Any, place: int) -> Answer:
    at = f"choices[{place}]"
    if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
        raise Malformed(f"{at}.text", "a choice must have a text")
    text = choice.pop("text")
    index = take(choice, "index", INTEGER)
    marks = frozenset(("index",) if index is not None else ())
    stop = completion_stop(take(choice, "finish_reason", STRING), choice)
    blocks: list[Block] = [Text(text, at=f"{at}.text")] if text else []
    return Answer(blocks, stop, place if index is None else index, Own(NAME, choice, marks))


def completion_stop(raw: str | None, choice: Json) -> Stop:
    stop = stop_of(raw, choice, calls=False)
    stop.format = NAME
    return stop


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    choices = [_write_choice(answer, losses) for answer in reply.answers]
    return write_envelope(choices, reply, completion_id(reply.id, client), NAME, OBJECT, client, losses)


def completion_id(id_: str, client: Client) -> str:
    return id_ or f"cmpl-{client.id}"


def _write_choice(answer: Answer, losses: Losses) -> Json:
    at = f"choices[{answer.index}]"
    text = "".join([said for block in answer.blocks if (said := spoken(block, losses)) is not None])
    choice: Json = {"text": text, "index": answer.index}
    own = answer.own
    if own is not None and own.format == NAME:
        if "index" not in own.marks:
            del choice["index"]
        if answer.stop is not None and answer.stop.raw is not None:
            choice["finish_reason"] = completion_word(answer.stop, losses, at)
        choice.update(own.fields)
        return choice
    choice["logprobs"] = logprobs(own)
    choice["finish_reason"] = completion_word(answer.stop, losses, at)
    losses.own(own, at, NAME, frozenset(("logprobs",)) if choice["logprobs"] is not None else NO_MARKS)
    return choice


def spoken(block: Block, losses: Losses) -> str | None:
    """What a completion's text has of a block; the rest is told."""
    if isinstance(block, Text):
        if block.citations:
            losses.dropped(block.at, "a completion has no citations")
        if block.opaque is not None:
            losses.dropped(block.at, f"{block.opaque.kind}: a completion has no place for it")
        return block.text
    if isinstance(block, Refused):
        losses.approximated(block.at, "a refusal is told as text")
        return block.text
    kind = "reasoning" if isinstance(block, Thinking) else getattr(block, "kind", "a tool's result")
    losses.dropped(block.at, f"a completion is text alone: {kind} is left out")
    return None


def completion_word(stop: Stop | None, losses: Losses, at: str) -> str:
    """One of stop, length and content_filter: https://platform.openai.com/docs/api-reference/completions/object"""
    if stop is not None and stop.format == NAME and stop.raw is not None:
        return stop.raw
    if stop is not None and stop.reason == "tool_calls":
        losses.approximated(f"{at}.finish_reason", "a completion calls no tools")
        return "stop"
    return finish_word(stop, None, losses, at)


def logprobs(own: Own | None) -> Json | None:
    """Chat's log probabilities as completions have them: lists beside each other, offsets in characters."""
    if own is None or own.format != CHAT or not isinstance(told := own.fields.get("logprobs"), dict):
        return None
    content = told.get("content")
    if not isinstance(content, list) or not all(_is_token(token) for token in content):
        return None
    offsets, offset = [], 0
    for token in content:
        offsets.append(offset)
        offset += len(token["token"])
    tops = [
        {top["token"]: top["logprob"] for top in token.get("top_logprobs") or () if _is_token(top)} for token in content
    ]
    return {
        "tokens": [token["token"] for token in content],
        "token_logprobs": [token["logprob"] for token in content],
        "top_logprobs": tops,
        "text_offset": offsets,
    }


def _is_token(token: Any) -> bool:
    return isinstance(token, dict) and isinstance(token.get("token"), str) and "logprob" in token
