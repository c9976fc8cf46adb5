"""The bodies of one call -> its transcript.

The client's codec reads both; what it refuses is shown as JSON or text, with a note that says what is wrong.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from .answering import answered
from .asking import asked
from .matching import matched
from .material import LARGEST, Material, as_text, document_in, plain
from .mending import mended
from .model import Role, Transcript, Turn
from .recognising import recognise

MOST_TURNS = 5000
UNREADABLE = "could not be read"


def read(material: Material) -> Transcript:
    """Never raises."""
    try:
        found: Transcript = _encodable(_read(material))
    except Exception as error:  # noqa: BLE001 - a stranger's bodies; nothing is known that leads here
        bodies: tuple[tuple[Role, bytes], ...] = (("input", material.request), ("output", material.reply))
        turns = tuple(Turn(role, (as_text(body[:LARGEST], UNREADABLE),)) for role, body in bodies if body)
        return Transcript(
            material.format, material.endpoint, turns=turns, notes=(f"{UNREADABLE} ({type(error).__name__})",)
        )
    return found


def _read(material: Material) -> Transcript:
    notes: list[str] = []
    request = plain(material.request, material.request_headers, "request", notes)
    reply = plain(material.reply, material.reply_headers, "reply", notes)
    if material.request_cut:
        request = _mended(request, "request", notes)
    if material.reply_cut:
        reply = _mended(reply, "reply", notes)
    document, broken = document_in(request)
    known = recognise(
        material.method, material.url,
        format_=material.format, endpoint=material.endpoint, request=document, reply=reply,
    )  # fmt: skip
    asks = asked(request, document, broken, known, material, notes)
    said = answered(reply, known, material, asks.conversation, notes)
    turns, answers = matched(asks.turns[:MOST_TURNS], said.answers)
    if len(asks.turns) > MOST_TURNS:
        notes.append(f"{len(asks.turns) - MOST_TURNS:,} more turns are not shown")
    return Transcript(
        format=known.format,
        endpoint=known.endpoint,
        model=asks.model or known.model,
        answered=said.model,
        streamed=said.streamed,
        turns=turns,
        answers=answers,
        tools=asks.tools,
        parameters=asks.parameters,
        usage=said.usage,
        failure=said.failure,
        notes=tuple(notes),
        whole=said.whole,
    )


def _mended(body: bytes, what: str, notes: list[str]) -> bytes:
    """What is there of a body, as something that can be read."""
    if body:
        notes.append(f"the {what} was kept in part only: {len(body):,} bytes of it are read")
    return mended(body) if body[:64].lstrip()[:1] in (b"{", b"[") else body


def _encodable(value: Any) -> Any:
    """The same with texts that UTF-8 holds: half a character, which JSON's escapes can carry, is written out."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, tuple):
        return tuple(map(_encodable, value))
    if is_dataclass(value) and not isinstance(value, type):
        told = {each.name: getattr(value, each.name) for each in fields(value)}
        changed = {name: new for name, old in told.items() if (new := _encodable(old)) is not old}
        return replace(value, **changed) if changed else value
    return value
