"""The view *Usage & cost*: the record of a call, as it stands in the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from mitmproxy import contentviews, http
from mitmproxy.flow import Flow
from mitmproxy.websocket import WebSocketMessage

from interpose.hosts.mitm import remarks

from .frame import View, table

Row = tuple[str, str, str]
_LIMIT = re.compile("ratelimit|retry-after", re.IGNORECASE)
MOST_TEXT = 200
# Of the names, in whatever section: values stand below each other.
WIDTH = 20


class UsageAndCost(View):
    title = "Usage & cost"
    nothing = "Nothing is recorded of this: it is no AI call, or it has not come to its end."

    def render(self, data: bytes, metadata: contentviews.Metadata) -> str | None:
        record = remarks.known(metadata.flow).get("record")
        if not isinstance(record, dict):
            return None
        # A session is shown by its messages, and is told of once.
        message = metadata.websocket_message
        if message is not None and message is not last_message(metadata.flow):
            return ""
        return told(record, limits(metadata.flow))


def last_message(flow: Flow | None) -> WebSocketMessage | None:
    messages = flow.websocket.messages if isinstance(flow, http.HTTPFlow) and flow.websocket is not None else []
    return messages[-1] if messages else None


def limits(flow: Flow | None) -> tuple[Row, ...]:
    """What the client was told of what is left of its limits, and when to come back."""
    response = flow.response if isinstance(flow, http.HTTPFlow) else None
    told = response.headers.items(multi=True) if response is not None else ()
    return tuple((name.lower(), word(value), "") for name, value in told if _LIMIT.search(name))


def told(record: dict[str, Any], limited: tuple[Row, ...] = ()) -> str:
    """A record for people. Whatever a file has in its place is shown as it is."""
    sections = (
        ("", (*head(record),)),
        ("Tokens", (*tokens(record),)),
        ("Cost", (*cost(record),)),
        ("Time", (*times(record),)),
        ("Who", _rows(record, ("client", "app", "ip", "entrance"))),
        ("Where", (*where(record),)),
        ("Limits", limited),
    )
    lines: list[str] = []
    for title, rows in sections:
        if rows:
            indent = 2 * bool(title)
            lines += [*([""] if lines else []), *([title] if title else [])]
            lines += table(rows, indent=indent, least=WIDTH - indent)
    if tried := attempts(record):
        lines += ["", f"Attempts ({len(tried)})", *table(tried)]
    if lost := losses(record):
        lines += ["", f"Losses ({len(lost)})", *table(lost)]
    return "\n".join(lines)


def head(record: dict[str, Any]) -> Iterable[Row]:
    asked, sent = word(record.get("asked_model")), word(record.get("sent_model"))
    if asked or sent:
        yield ("model", f"{asked} → {sent}" if asked and sent and asked != sent else sent or asked, "")
    status = word(record.get("status"))
    yield ("outcome", " · ".join(each for each in (word(record.get("outcome")), status) if each), "")
    yield from _rows(record, ("endpoint", "id"))


def tokens(record: dict[str, Any]) -> Iterable[Row]:
    about = "~" if record.get("usage_source") == "estimated" else ""
    # (column, name, what it is a part of)
    for name, shown, part in (
        ("input_tokens", "input", ""),
        ("cache_read_tokens", "  read from cache", "input_tokens"),
        ("cache_write_tokens", "  written to cache", "input_tokens"),
        ("output_tokens", "output", ""),
        ("reasoning_tokens", "  reasoning", "output_tokens"),
    ):
        number, whole = record.get(name), record.get(part)
        if isinstance(number, int):
            share = f"{number / whole:.0%}" if isinstance(whole, int) and whole else ""
            yield (shown, f"{about}{number:>10,}", share)
    yield ("told by", word(record.get("usage_source")) or "none", "")


def cost(record: dict[str, Any]) -> Iterable[Row]:
    dollars = record.get("cost_usd")
    if isinstance(dollars, (int, float)):
        yield ("cost", f"${dollars:,.6f}", "")
    elif record.get("usage_source") not in (None, "none"):
        yield ("cost", "not known: the model has no price", "")
    yield from _rows(record, ("price_version",))


def times(record: dict[str, Any]) -> Iterable[Row]:
    for name, shown in (("ttft_ms", "to the first token"), ("duration_ms", "in all")):
        if isinstance(ms := record.get(name), (int, float)):
            yield (shown, shown_ms(ms), "")
    yield from _rows(record, ("started_at", "finished_at"))


def shown_ms(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def where(record: dict[str, Any]) -> Iterable[Row]:
    yield ("asked", f"{word(record.get('method'))} {word(record.get('host'))}{word(record.get('path'))}", "")
    yield from _rows(record, ("route", "provider", "credential", "rules_version"))
    asked, sent = word(record.get("client_format")), word(record.get("provider_format"))
    if asked or sent:
        yield ("format", f"{asked} → {sent}" if asked and sent and asked != sent else asked or sent, "")


def attempts(record: dict[str, Any]) -> list[Row]:
    """Each of several attempts: where it went, how that ended, and why it was not the last."""
    tried = [each for each in listed(record, "attempts") if isinstance(each, dict)]
    if len(tried) < 2 and not any(each.get("reason") for each in tried):
        return []
    return [
        (
            str(number),
            f"{word(each.get('provider')) or word(each.get('origin'))} {word(each.get('model'))}".strip(),
            " · ".join(part for part in (word(each.get("status")), _took(each), word(each.get("reason"))) if part),
        )
        for number, each in enumerate(tried, 1)
    ]


def _took(attempt: dict[str, Any]) -> str:
    ms = attempt.get("took_ms")
    return shown_ms(ms) if isinstance(ms, (int, float)) else ""


def losses(record: dict[str, Any]) -> list[Row]:
    """What the conversion could not keep."""
    found = [each for each in listed(record, "losses") if isinstance(each, dict)]
    return [
        (
            word(each.get("severity") or each.get("class")),
            f"{word(each.get('path'))}{' of the reply' if each.get('direction') == 'reply' else ''}",
            word(each.get("reason")),
        )
        for each in found
    ]


def listed(record: dict[str, Any], name: str) -> list[Any]:
    """A column that is a JSON list."""
    try:
        value = json.loads(record.get(name) or "[]")
    except (TypeError, ValueError):
        return []
    return value if isinstance(value, list) else []


def _rows(record: dict[str, Any], names: tuple[str, ...]) -> tuple[Row, ...]:
    return tuple((name.replace("_", " "), word(record[name]), "") for name in names if record.get(name) is not None)


def word(value: object) -> str:
    """A value in one line."""
    return "" if value is None else remarks.clipped(str(value), MOST_TEXT)
