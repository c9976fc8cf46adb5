"""Cohere's first version of its chat, for clients: a message and a history of texts, a stream of lines.

https://docs.cohere.com/v1/reference/chat. Conversations in texts are read; its tools, connectors and kept conversations
are of a grammar of their own, and impossible elsewhere. Providers are always asked in the second version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from interpose.formats.codecs.codec import Client, Json, Malformed, Written, dumps, loads
from interpose.formats.codecs.leftovers import OBJECT, STRING, take
from interpose.formats.codecs.ollama.writer import line_json
from interpose.ir import (
    Answer,
    Assembler,
    Block,
    BlockDelta,
    BlockStart,
    Event,
    Failed,
    Losses,
    Media,
    Message,
    Output,
    Own,
    Refused,
    Reply,
    Request,
    Source,
    Started,
    Text,
    Thinking,
)
from interpose.ir.blocks import Role

from .errors import write_error
from .facts import DOCUMENTS, FIRST, NAME, leftover, marks_of
from .replies import finish_word
from .requests import read_common
from .usage import write_usage

PATH = "/v1/chat"
TOP = "top"
ROLES: dict[str, Role] = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system"}
WORDS: dict[str, str] = {role: word for word, role in ROLES.items()}
# What the provider keeps, finds or is told of tools: without it, the answer would be to something else.
VITAL = frozenset(
    ("connectors", "conversation_id", "documents", "raw_prompting", "search_queries_only", "tool_results", "tools")
)

# Requests


def read_request(body: Json, model: str) -> Request:
    message = take(body, "message", STRING)
    if message is None:
        raise Malformed("message", "the message must be a string")
    marks = [FIRST]
    messages: list[Message] = []
    if preamble := take(body, "preamble", STRING):
        top = Own(NAME, {}, frozenset((TOP,)))
        messages.append(Message("system", [Text(preamble, at="preamble")], at="preamble", own=top))
    history = body.get("chat_history")
    if isinstance(history, list) and history:
        del body["chat_history"]
        messages += [_read_past(past, place) for place, past in enumerate(history)]
    messages.append(Message("user", [Text(message, at="message")], at="message"))
    request = Request(NAME, model, messages)
    _read_documents(body, request)
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_object" and isinstance(form.get("schema"), dict):
        del body["response_format"], form["type"]
        request.output = Output("schema", take(form, "schema", OBJECT), own=leftover(form))
    read_common(body, request, marks)
    assert request.own is not None
    request.own.vital = VITAL
    return request


def _read_past(past: Any, place: int) -> Message:
    at = f"chat_history[{place}]"
    if not isinstance(past, dict):
        raise Malformed(at, "a message must be an object")
    said = past.pop("role", None)
    role = ROLES.get(said.upper()) if isinstance(said, str) else None
    if role is None:
        raise Malformed(f"{at}.role", f"there is no role {said!r}"[:200])
    text = take(past, "message", STRING)
    blocks: list[Block] = [] if text is None else [Text(text, at=f"{at}.message")]
    message = Message(role, blocks, at=at, own=leftover(past, (f"role:{said}",)))
    assert message.own is not None
    message.own.vital = frozenset(("message", "tool_calls"))
    return message


def _read_documents(body: Json, request: Request) -> None:
    """Each an object of texts, as which models see it."""
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents or not all(isinstance(each, dict) for each in documents):
        return
    del body["documents"]
    shown: list[Block] = [
        Media("document", Source("text", dumps(each)), "text/plain", at=f"documents[{place}]")
        for place, each in enumerate(documents)
    ]
    behind = next((place for place, message in enumerate(request.messages) if message.role != "system"), 0)
    own = Own(NAME, {}, frozenset((DOCUMENTS,)))
    request.messages.insert(behind, Message("user", shown, at="documents", own=own))


def write_request(request: Request, model: str, settings: Json) -> Written:
    """Cohere's own, as it came; `settings` are what the second version shares."""
    body: Json = {"model": model} if model else {}
    history: list[Json] = []
    for message in request.messages[:-1]:
        marks = marks_of(message.own)
        if DOCUMENTS in marks:
            body["documents"] = [loads(block.source.value) for block in message.blocks if isinstance(block, Media)]
        elif TOP in marks:
            body["preamble"] = _texts(message)
        else:
            assert message.own is not None
            said = next(mark[5:] for mark in marks if mark.startswith("role:"))
            told = {"message": _texts(message)} if message.blocks else {}
            history.append({"role": said, **told, **message.own.fields})
    body["message"] = _texts(request.messages[-1])
    if history:
        body["chat_history"] = history
    form = settings.get("response_format")
    if isinstance(form, dict) and "json_schema" in form:
        form["schema"] = form.pop("json_schema")
    return Written(PATH, {**settings, **body})


def _texts(message: Message) -> str:
    return "".join([block.text for block in message.blocks if isinstance(block, Text)])


# Replies


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    answer = reply.answers[0] if reply.answers else Answer()
    for other in reply.answers[1:]:
        losses.dropped(f"choices[{other.index}]", "Cohere gives one answer")
    said: list[str] = []
    for block in answer.blocks:
        if isinstance(block, Text | Refused):
            said.append(block.text)
            if isinstance(block, Refused):
                losses.approximated(block.at, "a refusal is said as text")
            elif block.citations:
                losses.dropped(block.at, "citations have places in its text, which are not known")
        elif not (isinstance(block, Thinking) and not block.text):
            losses.dropped(block.at, "the first version of Cohere's chat shows text alone")
    losses.own(reply.own, "", NAME)
    losses.own(answer.own, "message", NAME)
    text, id_ = "".join(said), reply.id or client.id
    usage = write_usage(reply.usage)
    return {
        "response_id": id_,
        "generation_id": id_,
        "text": text,
        "chat_history": [*_history(client.request), {"role": "CHATBOT", "message": text}],
        "finish_reason": _word(answer, losses),
        "meta": {"api_version": {"version": "1"}, **usage},
    }


def _word(answer: Answer, losses: Losses) -> str:
    if answer.stop is not None and answer.stop.reason == "content_filter":
        return "ERROR_TOXIC"
    return finish_word(answer.stop, losses, called=False)


def _history(request: Request) -> list[Json]:
    """What was said so far, with which clients go on."""
    return [
        {"role": WORDS[message.role], "message": _texts(message)}
        for message in request.messages
        if message.role in WORDS and not marks_of(message.own) & {TOP, DOCUMENTS}
    ]


class FirstWriter:
    """Events -> lines of JSON: https://docs.cohere.com/v1/reference/chat-stream. The last has the whole reply."""

    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._whole = Assembler("")
        self._started = self._failed = False
        self._texts: set[int] = set()

    def write(self, events: Iterable[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if self._failed:
                break
            if isinstance(event, Started):
                self._whole.reply.format = event.own.format if event.own is not None else ""
                self._begin(event.id, out)
            self._whole.add(event)
            match event:
                case BlockStart(index, Text(text) | Refused(text), 0):
                    self._texts.add(index)
                    self._said(text, out)
                case BlockDelta(index, text, answer=0) if index in self._texts:
                    self._said(text, out)
                case Failed():
                    self._failed = True
                    self._begin("", out)
                    error = {"text": "", "finish_reason": "ERROR", "error": write_error(event)["message"]}
                    out.append(_line("stream-end", {"finish_reason": "ERROR", "response": error}, finished=True))
        return b"".join(out)

    def finish(self) -> bytes:
        if self._failed:
            return b""
        out: list[bytes] = []
        self._begin("", out)
        response = write_reply(self._whole.finish(), self._client, self._losses)
        told = {"response": response, "finish_reason": response["finish_reason"]}
        return b"".join(out) + _line("stream-end", told, finished=True)

    def _begin(self, id_: str, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            out.append(_line("stream-start", {"generation_id": id_ or self._client.id}))

    def _said(self, text: str, out: list[bytes]) -> None:
        if text:
            out.append(_line("text-generation", {"text": text}))


def _line(kind: str, told: Json, *, finished: bool = False) -> bytes:
    return line_json({"is_finished": finished, "event_type": kind, **told}) + b"\n"


def is_first(client: Client) -> bool:
    """Whether the client asked in the first version, and must be answered so."""
    return FIRST in marks_of(client.request.own)
