"""A whole reply: https://platform.openai.com/docs/api-reference/responses/object

Most of a response repeats its request. Those fields are silent: they say nothing that the client has not said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from interpose.formats.codecs.codec import Client, Json, Malformed, Target
from interpose.formats.codecs.ids import make
from interpose.ir import Answer, Block, Losses, Own, Refused, Reply, Stop, ToolCall, Usage

from .items import assistant_blocks
from .names import CHAT, NAME, RESPONSE_ID, Out
from .turns import Turn
from .writing import TIERS, settings

# What repeats the request, or is about the object and the bill and not about the answer.
SILENT = frozenset(
    (
        "object",
        "completed_at",
        "instructions",
        "metadata",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "background",
        "conversation",
        "frequency_penalty",
        "presence_penalty",
        "image",
        "max_output_tokens",
        "max_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "text",
        "top_logprobs",
        "truncation",
        "user",
        "billing",
        "output_text",
    )
)
# https://platform.openai.com/docs/api-reference/responses/object#responses-object-incomplete_details
INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
ENDED = frozenset((None, "completed", "complete"))
OTHER = {"failed": "error", "cancelled": "other", "in_progress": "other", "queued": "other", "incomplete": "other"}
# What an answer is told to be whose end another format has told.
STATUS = {"length": "incomplete", "content_filter": "incomplete", "error": "failed"}
DETAILS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_COUNTERS = (
    ("input_tokens", None),
    ("cached_tokens", "input_tokens_details"),
    ("cache_write_tokens", "input_tokens_details"),
    ("output_tokens", None),
    ("reasoning_tokens", "output_tokens_details"),
)
# Of a Chat reply's own, what has its place here.
UNDERSTOOD = frozenset(("service_tier",))
# What a response says where the request did not: the API's defaults.
ECHOES: Json = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "background": False,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "top_logprobs": 0,
    "truncation": "disabled",
    "user": None,
}


def read_reply(body: Json) -> Reply:
    if not isinstance(body, dict):
        raise Malformed("", "the body is no JSON object")
    if not isinstance(body.get("output"), list):
        raise Malformed("output", "a response has a list of output")
    reply = head(body)
    blocks: list[Block] = []
    for place, item in enumerate(body.pop("output")):
        if not isinstance(item, dict):
            raise Malformed(f"output[{place}]", "an item must be an object")
        blocks += assistant_blocks(item, f"output[{place}]", reply.model or None)
    stop, reply.usage, own = tail(body, blocks)
    reply.answers = [Answer(blocks, stop, own=own)]
    return reply


def head(body: Json) -> Reply:
    """Who answers: what a stream tells first."""
    reply = Reply(NAME, own=Own(NAME))
    for key in ("id", "model"):
        if body.get(key) and type(body[key]) is str:
            setattr(reply, key, body.pop(key))
    created = body.get("created_at")
    if type(created) is int:
        reply.created = body.pop("created_at")
    elif type(created) is float and abs(created) < 1e12:
        reply.created = int(created)
    return reply


def tail(body: Json, blocks: Iterable[Block]) -> tuple[Stop, Usage, Own]:  # read together, as they come together
    """How the answer ended and what it used, of a body without its head and output; the rest of it is its own."""
    own = Own(NAME, body)
    stop = _stop(body, blocks)
    usage = read_usage(body, own)
    own.silent = {key: body.pop(key) for key in SILENT.intersection(body)}
    if _counts_nothing(body.get("tool_usage")):
        own.silent["tool_usage"] = body.pop("tool_usage", None)
    if type(body.get("created_at")) is float:
        own.silent["created_at"] = body.pop("created_at")
    return stop, usage, own


def _counts_nothing(used: object) -> bool:
    """Whether servers' tools are told to have used nothing: most responses say so at length."""
    return isinstance(used, dict) and all(_counts_nothing(one) or _is_zero(one) for one in used.values())


def _is_zero(value: object) -> bool:
    return type(value) is int and value == 0


def _stop(body: Json, blocks: Iterable[Block]) -> Stop:
    status = body.get("status")
    if status is not None:
        if not isinstance(status, str) or not status:
            return Stop("other", format=NAME)
        del body["status"]
    if status in ENDED:
        return Stop(natural(blocks), format=NAME, raw=status)
    details = body.get("incomplete_details")
    if status == "incomplete" and isinstance(details, dict) and details.keys() == {"reason"}:
        reason = details["reason"]
        if type(reason) is str:
            del body["incomplete_details"]
            return Stop(INCOMPLETE.get(reason, "other"), format=NAME, raw=f"incomplete:{reason}")  # type: ignore[arg-type]
    return Stop(OTHER.get(status, "other") if status else "other", format=NAME, raw=status)  # type: ignore[arg-type]


def natural(blocks: Iterable[Block]) -> Any:
    """The reason of an answer that ended by itself: the format has one word for all."""
    reason = "end"
    for block in blocks:
        if isinstance(block, ToolCall):
            return "tool_calls"
        if isinstance(block, Refused):
            reason = "refusal"
    return reason


def read_usage(body: Json, own: Own) -> Usage:
    """Input includes what came from the cache, output includes reasoning: https://platform.openai.com/docs/api-reference/responses/object#responses-object-usage"""
    usage = body.get("usage")
    if not usage or not isinstance(usage, dict):
        return Usage()
    found: list[int | None] = []
    for key, within in _COUNTERS:
        place = usage if within is None else usage.get(within)
        value = place.get(key) if isinstance(place, dict) else None
        if type(value) is int and isinstance(place, dict):
            del place[key]
            found.append(value)
        else:
            found.append(None)
    counted, total = (found[0] or 0) + (found[3] or 0), usage.get("total_tokens")
    if type(total) is int and total == counted:
        del usage["total_tokens"]
    elif "total_tokens" not in usage:
        own.marks = own.marks | {"total:none"}
    for within in ("input_tokens_details", "output_tokens_details"):
        if usage.get(within) == {} and any(
            value is not None for value, (_, place) in zip(found, _COUNTERS, strict=True) if place == within
        ):
            del usage[within]
    if not usage:
        del body["usage"]
    return Usage(*found)


def write_usage(usage: Usage, own: Own | None) -> Json | None:
    """All counters for a client of another provider's; just those that were told where this format told them."""
    told = (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )
    if own is None and not usage:
        return None
    written: Json = {}
    for value, (key, within) in zip(told, _COUNTERS, strict=True):
        if value is not None or own is None:
            place = written if within is None else written.setdefault(within, {})
            place[key] = value or 0
    if own is None or (written and "total:none" not in own.marks):
        written["total_tokens"] = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    rest = own.fields.get("usage") if own is not None else None
    if isinstance(rest, dict):
        for key, value in rest.items():
            if isinstance(value, dict) and isinstance(written.get(key), dict):
                written[key].update(value)
            else:
                written[key] = value
    return written


# Writing


def out_for(client: Client, origin: str, losses: Losses) -> Out:
    custom = frozenset(tool.name for tool in client.request.tools if tool.kind == "custom")
    return Out(losses, origin, seed=client.id, custom=custom)


def response_id(id_: str, ours: bool, client: Client) -> str:
    return id_ if ours and id_ else make(client.id, RESPONSE_ID)


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    """An answer beyond the first has no place."""
    out = out_for(client, reply.format, losses)
    answer = reply.answers[0] if reply.answers else Answer()
    for other in reply.answers[1:]:
        losses.dropped(f"answers[{other.index}]", "a response is one answer")
    items: list[Json] = []
    turn = Turn(out, items)
    for block in answer.blocks:
        turn.add(block)
    turn.close()
    losses.own(reply.own, "", NAME, UNDERSTOOD)
    return whole(reply, answer, items, client, losses)


def whole(reply: Reply, answer: Answer, items: list[Json], client: Client, losses: Losses) -> Json:
    """The response around its items: the end of a stream has the same."""
    own, stop = answer.own, answer.stop
    if own is not None and own.format == NAME:
        body = {
            "id": reply.id,
            "created_at": reply.created,
            "model": client.model,
            "output": items,
            "status": None,
            "usage": write_usage(reply.usage, own) or None,
        }
        raw = stop.raw if stop is not None and stop.format == NAME else None
        if raw is not None and raw.startswith("incomplete:"):
            body["status"], body["incomplete_details"] = "incomplete", {"reason": raw.partition(":")[2]}
        else:
            body["status"] = raw
        body = {key: value for key, value in body.items() if value is not None and value != ""}
        body.update(own.silent or {})
        body.update((key, value) for key, value in own.fields.items() if key != "usage" or "usage" not in body)
        return body
    losses.own(own, "", NAME, UNDERSTOOD)
    reason = stop.reason if stop is not None else "end"
    if reason == "refusal" and not any(part.get("type") == "refusal" for part in _parts(items)):
        reason = "content_filter"
    if stop is not None and stop.sequence is not None:
        losses.dropped("stop_sequence", "which sequence stopped the answer has no place")
    if reason == "pause":
        losses.approximated("stop_reason", "a pause is told as an end")
    status = STATUS.get(reason, "completed")
    body = snapshot(response_id(reply.id, reply.format == NAME, client), reply.created, client, status)
    body["output"] = items
    for told in (reply.own, own):
        # Chat tells the tier that answered in the same words.
        tier = told.fields.get("service_tier") if told is not None and told.format == CHAT else None
        if isinstance(tier, str) and tier in TIERS:
            body["service_tier"] = tier
    if status == "completed":
        body["completed_at"] = max(client.now, reply.created or 0)
    if reason in DETAILS:
        body["incomplete_details"] = {"reason": DETAILS[reason]}
    if reason == "error":
        body["error"] = {"code": "server_error", "message": "The provider ended the answer with an error."}
    body["usage"] = write_usage(reply.usage, None)
    return body


def _parts(items: list[Json]) -> Iterator[Json]:
    for item in items:
        if item.get("type") == "message":
            yield from item["content"]


def snapshot(id_: str, created: int | None, client: Client, status: str) -> Json:
    """A response before anything is said: what was asked, echoed as the API does; but nothing is stored."""
    request = client.request
    asked = settings(request, Target(client.model), Losses())
    instructions = next(
        (block for message in request.messages[:1] if _on_top(message) for block in message.blocks), None
    )
    body: Json = {
        "id": id_,
        "object": "response",
        "created_at": client.now if created is None else created,
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": client.model,
        "output": [],
        "usage": None,
        **ECHOES,
    }
    for key in ECHOES.keys() & asked.keys():
        if asked[key] is not None:
            body[key] = asked[key]
    if instructions is not None:
        body["instructions"] = getattr(instructions, "text", None)
    body["tools"] = [_echoed(tool) for tool in body["tools"]]
    for key in ("text", "reasoning"):
        if isinstance(body[key], dict):
            body[key] = {**ECHOES[key], **body[key]}
    body["store"] = False
    tier = asked.get("service_tier")
    body["service_tier"] = "default" if tier in (None, "auto") else tier
    return body


def _on_top(message: Any) -> bool:
    return message.own is not None and message.own.format == NAME and "top" in message.own.marks


def _echoed(tool: Json) -> Json:
    """A function is echoed with all of its fields."""
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}
