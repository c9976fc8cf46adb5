"""Whole replies: https://ai.google.dev/api/generate-content#GenerateContentResponse"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from interpose.formats.codecs.codec import Client, Json, Malformed
from interpose.ir import Answer, Block, Losses, Own, Reply, Stop, Text

from .errors import error_in
from .grounding import citations_in, metadata_of
from .parts import Calls, read_part
from .spelling import NAME, lay, leave, marked, marks_of, own_of
from .stops import blocked, stop_of, word_for, word_of
from .usage import is_silent, read_usage, rest_of, told_usage
from .writing import Pen

_REPLY = ("candidates", "promptFeedback", "modelVersion", "responseId")


def read_reply(body: Any) -> Reply:
    if type(body) is not dict:
        raise Malformed("", "a reply must be a JSON object")
    if "error" in body:
        raise Malformed("error", error_in(body).message)
    if not any(key in body for key in _REPLY):
        raise Malformed("candidates", "this is no reply of generateContent")
    reply = Reply(NAME)
    marks: set[str] = set()
    silent: Json = {}
    reply.id = _text(body, "responseId", marks)
    reply.model = _text(body, "modelVersion", marks)
    if (created := created_in(body)) is not None:
        reply.created = created
        marks.add(f"createTime:{body.pop('createTime')}")
    if type(told := body.get("usageMetadata")) is dict and told:
        del body["usageMetadata"]
        reply.usage = read_usage(told)
        for key, value in rest_of(told, reply.usage, marks).items():
            (silent if is_silent(key, value) else body)[f"usageMetadata.{key}"] = value
    candidates = body.get("candidates")
    if type(candidates) is list:
        del body["candidates"]
        for place, candidate in enumerate(candidates):
            reply.answers.append(_candidate(candidate, place, reply))
        if not candidates:
            marks.add("candidates:empty")
    if not reply.answers and (answer := blocked_in(body)) is not None:
        reply.answers.append(answer)
    reply.own = own_of(body, marks, silent)
    return reply


def _text(body: Json, key: str, marks: set[str]) -> str:
    if type(value := body.get(key)) is str and value:
        del body[key]
        return value
    marks.add(f"{key}:none")
    return ""


def created_in(body: Json) -> int | None:
    """When the reply began, in seconds."""
    told = body.get("createTime")
    if type(told) is not str:
        return None
    try:
        return int(datetime.fromisoformat(told).timestamp())
    except (ValueError, OverflowError):
        return None


def blocked_in(body: Json) -> Answer | None:
    """A blocked prompt's answer, taken out of a reply without candidates."""
    feedback = body.get("promptFeedback")
    if type(feedback) is not dict:
        return None
    told = feedback.get("blockReason")
    if (word := word_of(told)) is None:
        return None
    del body["promptFeedback"], feedback["blockReason"]
    marks = {"promptFeedback"}
    if type(told) is int:
        word = str(told)
        marks.add("reason#")
    return Answer([], blocked(word), own=own_of(feedback, marks))


def _candidate(candidate: Any, place: int, reply: Reply) -> Answer:
    at = f"candidates[{place}]"
    if type(candidate) is not dict:
        raise Malformed(at, "a candidate must be an object")
    marks: set[str] = set()
    answer = Answer(index=place)
    if type(index := candidate.get("index")) is int and index >= 0:
        answer.index = candidate.pop("index")
    else:
        marks.add("index:none")
    content = candidate.get("content")
    if type(content) is dict:
        del candidate["content"]
        answer.blocks = _content(content, answer.index, reply, marks)
        leave(candidate, "content", content)
    else:
        marks.add("content:none")
    told = candidate.get("finishReason")
    if (word := word_of(told)) is not None:
        del candidate["finishReason"]
        if type(told) is int:
            marks.add(f"reason#{told}")
        answer.stop = stop_of(word, answer.blocks)
    if citations := citations_in(candidate):
        last = next((block for block in reversed(answer.blocks) if isinstance(block, Text)), None)
        if last is not None and last is answer.blocks[-1]:
            last.citations += citations
    answer.own = own_of(candidate, marks, hushed(candidate, answer.stop))
    return answer


def hushed(candidate: Json, stop: Stop | None) -> Json | None:
    """The message that a model has called functions, taken out: the calls say so."""
    if stop is not None and stop.reason == "tool_calls" and "finishMessage" in candidate:
        return {"finishMessage": candidate.pop("finishMessage")}
    return None


def _content(content: Json, index: int, reply: Reply, marks: set[str]) -> list[Block]:
    if content.get("role") == "model":
        del content["role"]
    else:
        marks.add("role:none")
    parts = content.get("parts")
    if type(parts) is not list:
        marks.add("parts:none")
        return []
    del content["parts"]
    calls = Calls(f"{reply.id}\n{index}")
    at = f"candidates[{index}].content.parts"
    return [read_part(part, f"{at}[{place}]", calls, reply.model or None) for place, part in enumerate(parts)]


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    native = reply.format == NAME
    own = reply.own
    marks = marks_of(own)
    if not native:
        losses.own(own, "", NAME)
    pen = Pen(losses, native=native, carry=True)
    body: Json = {}
    candidates: list[Json] = []
    for answer in reply.answers:
        if "promptFeedback" in marks_of(answer.own) and answer.stop is not None:
            body["promptFeedback"] = feedback(answer.stop, answer.own)
        else:
            candidates.append(_written(answer, pen))
    if candidates or "candidates:empty" in marks:
        body["candidates"] = candidates
    if usage := told_usage(reply.usage, own.silent if native and own else None, marks):
        body["usageMetadata"] = usage
    if "modelVersion:none" not in marks:
        body["modelVersion"] = client.model
    if "responseId:none" not in marks:
        body["responseId"] = reply.id or client.id
    if (created := marked(marks, "createTime:")) is not None:
        body["createTime"] = created
    if native:
        lay(body, own)
    return body


def feedback(stop: Stop, own: Own | None) -> Json:
    """A blocked prompt's promptFeedback."""
    word = word_for(stop)
    written: Json = {"blockReason": int(word) if "reason#" in marks_of(own) else word}
    lay(written, own)
    return written


def _written(answer: Answer, pen: Pen) -> Json:
    marks = marks_of(answer.own)
    if answer.own is not None:
        pen.losses.own(answer.own, f"candidates[{answer.index}]", NAME)
    candidate: Json = {}
    if "content:none" not in marks:
        content: Json = {}
        parts = pen.parts(answer.blocks)
        if "parts:none" not in marks:
            content["parts"] = parts
        if "role:none" not in marks:
            content["role"] = "model"
        candidate["content"] = content
    if answer.stop is not None:
        number = marked(marks, "reason#")
        candidate["finishReason"] = int(number) if number else word_for(answer.stop)
        tell_stop(answer.stop, f"candidates[{answer.index}]", pen.losses)
    elif not pen.native:
        candidate["finishReason"] = "OTHER"
    if "index:none" not in marks:
        candidate["index"] = answer.index
    cited = [
        (place, b.text, b.citations) for place, b in enumerate(answer.blocks) if isinstance(b, Text) and b.citations
    ]
    if cited and (metadata := metadata_of(cited, pen.losses, f"candidates[{answer.index}]")) is not None:
        candidate["groundingMetadata"] = metadata
    lay(candidate, answer.own)
    return candidate


def tell_stop(stop: Stop, at: str, losses: Losses) -> None:
    """What Gemini cannot say of how an answer ended."""
    if stop.sequence is not None:
        losses.dropped(at, "Gemini does not tell which stop sequence ended an answer")
    if stop.format != NAME and stop.reason == "pause":
        losses.approximated(at, "Gemini has no pause; the answer ends for another reason")
