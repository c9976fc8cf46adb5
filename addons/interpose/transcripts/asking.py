"""What was asked: a request's turns, tools and parameters, by its format's codec; else as JSON, with a note."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from interpose import ir
from interpose.formats.codecs import Asked, Malformed
from interpose.formats.embeddings import neutral

from . import generic
from .blocks import blocks_of
from .documents import compact, found, pretty, root
from .material import Material, as_text, document_in
from .model import Block, Data, Offer, Turn
from .recognising import Recognised


@dataclass(slots=True)
class Asking:
    turns: tuple[Turn, ...] = ()
    tools: tuple[Offer, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    model: str = ""
    conversation: ir.Request | None = None


def asked(body: bytes, document: Any, broken: str, known: Recognised, material: Material, notes: list[str]) -> Asking:
    if document is None:
        if broken and not material.request_cut:
            notes.append(f"the request is not JSON: {broken}")
        kind = material.request_headers.get("content-type", "")
        blocks: tuple[Block, ...] = generic.other(body, kind) if not broken else (as_text(body, "not JSON"),)
        return Asking((Turn("input", blocks),) if blocks else ())
    model = document.get("model") if isinstance(document, dict) else None
    asks = Asking(model=model if isinstance(model, str) else "")
    if known.codec is not None and isinstance(document, dict):
        # What a codec reads, it takes apart.
        again, _ = document_in(body)
        try:
            conversation = known.codec.read_request(again, Asked(known.path, known.query, material.request_headers))
        except Malformed as error:
            notes.append(f"the request is none of {known.format}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a stranger's body does to a codec, it is shown all the same
            notes.append(f"the request could not be read as one of {known.format} ({type(error).__name__})")
        else:
            if isinstance(conversation, ir.Request):
                return _conversation(conversation, document)
            if isinstance(conversation, neutral.Request):
                return _inputs(conversation, document)
    asks.turns, asks.parameters = generic.asked(document)
    asks.parameters = tuple(pair for pair in asks.parameters if pair[0] != "model")
    return asks


def _conversation(request: ir.Request, document: dict[str, Any]) -> Asking:
    turns: list[Turn] = []
    for message in request.messages:
        turn = Turn(
            message.role, blocks_of(message.blocks), message.name or "", message.at, found(document, message.at)
        )
        if turns and turn.role == "assistant" == turns[-1].role and turn.name == turns[-1].name:
            turns[-1] = _joined(turns[-1], turn)
        else:
            turns.append(turn)
    tools = tuple(Offer(tool.name, tool.description or "", pretty(found(document, tool.at))) for tool in request.tools)
    # What stands beside the turns and tools.
    taken = {root(message.at) for message in request.messages}
    offered = {root(tool.at) for tool in request.tools} - taken
    parameters: list[tuple[str, str]] = []
    for key, value in document.items():
        if key in taken or key == "model" or (key in offered and not isinstance(value, dict)):
            continue
        # Bedrock's toolConfig holds the choice beside the tools.
        beside = {name: each for name, each in value.items() if name != "tools"} if key in offered else value
        if key not in offered or beside:
            parameters.append((key, compact(beside)))
    return Asking(tuple(turns), tools, tuple(parameters), request.model, request)


def _inputs(request: neutral.Request, document: dict[str, Any]) -> Asking:
    """What vectors are asked of."""
    turns = tuple(
        Turn("input", _parts(each.parts), str(place), each.at, found(document, each.at))
        for place, each in enumerate(request.inputs, 1)
    )
    taken = {root(each.at) for each in request.inputs}
    told = tuple((key, compact(value)) for key, value in document.items() if key not in taken and key != "model")
    return Asking(turns, parameters=told, model=request.model)


def _parts(parts: Iterable[neutral.Part]) -> tuple[Block, ...]:
    return tuple(
        block
        for part in parts
        for block in (
            (Data("tokens", compact(part.numbers)),) if isinstance(part, neutral.Tokens) else blocks_of([part])
        )
    )


def _joined(first: Turn, second: Turn) -> Turn:
    """What one side says in several items (Responses) is one turn."""
    if first.at == second.at:
        return replace(first, blocks=first.blocks + second.blocks)
    raw = [*(first.raw if ".." in first.at else [first.raw]), second.raw]
    return replace(
        first, blocks=first.blocks + second.blocks, at=f"{first.at.partition('..')[0]}..{second.at}", raw=raw
    )
