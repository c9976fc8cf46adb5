"""What we say of a call in the list of flows: a comment in a few words, and a marker where something was done to it.

Both are a person's before they are ours: one that somebody has written, or set, is never replaced. Which of them are
ours stands in the flow's metadata, so that a flow that was saved, copied or loaded again still tells.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import flow as mitm_flow

from interpose.formats import same_family
from interpose.ledger import Record

# The metadata of a flow that is ours. mitmproxy saves it with the flow: it holds plain values alone, and no secret.
KEY = "interpose"
SEPARATOR = " · "

# Of one glyph each, for the console shows no more; none of those that mitmweb's menu offers to people.
REFUSED = ":no_entry:"
LIMITED = ":hourglass_flowing_sand:"
FAILED = ":x:"
CONVERTED = ":twisted_rightwards_arrows:"
_BY_OUTCOME = {"refused": REFUSED, "limited": LIMITED, "error": FAILED, "truncated": FAILED}

MOST_NAME = 60


class Kept(dict[str, Any]):
    """What is kept with a flow. mitmproxy's console prints metadata, and there may be megabytes of bodies in it."""

    def __repr__(self) -> str:
        return 'see the views "Usage & cost" and "Asked vs sent"' if "record" in self else ""


class Loaded:
    """Has what is kept with a flow that was read from a file be printed so, too."""

    name = "interpose_loaded"

    def requestheaders(self, flow: mitm_flow.Flow) -> None:
        if KEY in flow.metadata:
            ours(flow)


def ours(flow: mitm_flow.Flow) -> dict[str, Any]:
    """What we know of a flow, to be added to."""
    found = flow.metadata.get(KEY)
    if not isinstance(found, Kept):
        found = flow.metadata[KEY] = Kept(found if isinstance(found, dict) else {})
    return found


def known(flow: mitm_flow.Flow | None) -> dict[str, Any]:
    """What we know of a flow, to be read: a file that somebody else has written may hold anything."""
    found = flow.metadata.get(KEY) if flow is not None else None
    return found if isinstance(found, dict) else {}


def say(flow: mitm_flow.Flow, words: str, mark: str = "") -> None:
    """What there is to say of the call in the flow, and its marker; in the place of what we have said before."""
    kept = ours(flow)
    kept["words"] = words
    _write(flow, kept)
    if flow.marked in ("", _text(kept, "mark")):
        flow.marked = kept["mark"] = mark


def note(flow: mitm_flow.Flow, text: str) -> None:
    """Something beside it that must be known of the flow: what is shown is not all."""
    kept = ours(flow)
    notes = _notes(kept)
    if text not in notes:
        kept["notes"] = [*notes, text]
        _write(flow, kept)


def begin(flow: mitm_flow.Flow) -> None:
    """The call is made, or made again: what was said of it before is over."""
    kept = ours(flow)
    comment, mark = _text(kept, "comment"), _text(kept, "mark")
    kept.clear()
    kept.update(comment=comment, mark=mark)


def _write(flow: mitm_flow.Flow, kept: dict[str, Any]) -> None:
    if flow.comment in ("", _text(kept, "comment")):
        said = [_text(kept, "words"), *_notes(kept)]
        flow.comment = kept["comment"] = SEPARATOR.join(each for each in said if each)


def _text(kept: dict[str, Any], name: str) -> str:
    value = kept.get(name)
    return value if isinstance(value, str) else ""


def _notes(kept: dict[str, Any]) -> list[str]:
    value = kept.get("notes")
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def marked_by_a_person(flow: mitm_flow.Flow) -> bool:
    """Whether somebody wants to keep that flow."""
    return bool(flow.marked) and flow.marked != known(flow).get("mark")


# --- in a few words ---------------------------------------------------------------------------------------------------


def words(record: Record) -> str:
    """A call in a few words: `claude-sonnet-4-5 · 12k in (9k cached) · 0.8k out · $0.043 · gpt-to-claude`."""
    said = [
        _how(record),
        clipped(record.sent_model or record.asked_model or record.endpoint),
        *_tokens(record),
        "" if record.cost_usd is None else money(record.cost_usd),
        clipped(record.route or ""),
    ]
    return SEPARATOR.join(each for each in said if each)


def under_way(model: str | None, route: str | None) -> str:
    """The same while the answer comes."""
    return SEPARATOR.join([*(clipped(each) for each in (model, route) if each), "…"])


def _how(record: Record) -> str:
    """How it ended, unless that was well."""
    if record.outcome == "ok":
        return ""
    return f"{record.outcome} {record.status}" if record.outcome == "error" and record.status else record.outcome


def _tokens(record: Record) -> list[str]:
    about = "~" if record.usage_source == "estimated" else ""
    said = []
    if record.input_tokens is not None:
        cached = f" ({about}{count(record.cache_read_tokens)} cached)" if record.cache_read_tokens else ""
        said.append(f"{about}{count(record.input_tokens)} in{cached}")
    if record.output_tokens is not None:
        said.append(f"{about}{count(record.output_tokens)} out")
    return said


def mark(record: Record, *, converted: bool) -> str:
    """The marker of a call: refused, limited, failed, converted, or none."""
    return _BY_OUTCOME.get(record.outcome) or (CONVERTED if converted else "")


def converted(record: Record) -> bool:
    """Whether the provider speaks another format than the client."""
    asked, sent = record.client_format, record.provider_format
    other = asked is not None and sent is not None and not same_family(asked, sent, record.endpoint)
    return other or record.losses not in ("", "[]")


def count(tokens: int) -> str:
    """Tokens as one reads them: 74, 0.8k, 12k, 1.2M."""
    if tokens < 500:
        return str(tokens)
    value, unit = (tokens / 1000, "k") if tokens < 999_500 else (tokens / 1_000_000, "M")
    return f"{value:.1f}".removesuffix(".0") + unit if value < 9.95 else f"{value:,.0f}{unit}"


def money(dollars: float) -> str:
    """Cents for what costs dollars; of less, the first two digits that count."""
    if dollars >= 1 or dollars == 0:
        return f"${dollars:,.2f}"
    return f"${dollars:.2g}" if dollars >= 0.0001 else "<$0.0001"


def clipped(name: str, most: int = MOST_NAME) -> str:
    """A name that a client has chosen, in one line of what is fit to be shown."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"
