"""What is said of a call in the list of flows, and that a person's own words and marks stay."""

from __future__ import annotations

import io

import pytest
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.test import tflow

from interpose.hosts.mitm import remarks
from interpose.hosts.mitm.remarks import Loaded
from interpose.ledger import Record

CALL = Record(
    id="ip_1",
    started_at="2026-11-26T07:00:00.000000Z",
    finished_at="2026-11-26T07:00:03.000000Z",
    entrance="intercept",
    method="POST",
    host="api.openai.com",
    path="/v1/chat/completions",
    endpoint="chat",
    client_format="openai",
    asked_model="gpt-4o",
    route="gpt-to-claude",
    provider="claude",
    provider_format="anthropic",
    sent_model="claude-sonnet-4-5",
    status=200,
    outcome="ok",
    input_tokens=12_000,
    cache_read_tokens=9_000,
    output_tokens=800,
    usage_source="provider",
    cost_usd=0.043,
)


def changed(**fields: object) -> Record:
    record = Record(**{name: getattr(CALL, name) for name in Record.__slots__})
    for name, value in fields.items():
        setattr(record, name, value)
    return record


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "claude-sonnet-4-5 · 12k in (9k cached) · 0.8k out · $0.043 · gpt-to-claude"),
        (
            {"cost_usd": None, "usage_source": "estimated", "cache_read_tokens": None, "route": None},
            "claude-sonnet-4-5 · ~12k in · ~0.8k out",
        ),
        (
            {"outcome": "limited", "status": 429, "sent_model": None, "input_tokens": None, "output_tokens": None}
            | {"cost_usd": None, "route": None},
            "limited · gpt-4o",
        ),
        ({"outcome": "error", "status": 529, "input_tokens": None, "output_tokens": 0, "cost_usd": 0.0, "route": None},
         "error 529 · claude-sonnet-4-5 · 0 out · $0.00"),
        ({"outcome": "refused", "asked_model": None, "sent_model": None, "input_tokens": None, "output_tokens": None}
         | {"cost_usd": None, "route": None},
         "refused · chat"),
        ({"sent_model": "a\nb\x1b[2J" + "c" * 100, "route": None, "cost_usd": None}, None),
    ],
    ids=["routed", "estimated", "limited", "failed", "refused", "hostile"],
)  # fmt: skip
def test_a_call_in_a_few_words(fields: dict[str, object], said: str | None) -> None:
    """What there is: how it ended if not well, the model that answered, tokens, cost and route, in one short line."""
    words = remarks.words(changed(**fields))
    assert said is None or words == said
    assert words.isprintable()
    assert len(words) < 150


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (0, "0"),
        (499, "499"),
        (500, "0.5k"),
        (9_949, "9.9k"),
        (9_960, "10k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (1_250_000, "1.2M"),
        (123_456_789, "123M"),
    ],
)
def test_tokens_are_rounded(tokens: int, shown: str) -> None:
    """To what can be told apart at a glance."""
    assert remarks.count(tokens) == shown


@pytest.mark.parametrize(
    ("dollars", "shown"),
    [(0, "$0.00"), (0.00004, "<$0.0001"), (0.00012, "$0.00012"), (0.0432, "$0.043"), (1234.5, "$1,234.50")],
)
def test_money_is_rounded(dollars: float, shown: str) -> None:
    """And never to nothing."""
    assert remarks.money(dollars) == shown


@pytest.mark.parametrize(
    ("fields", "mark"),
    [
        ({"outcome": "refused"}, remarks.REFUSED),
        ({"outcome": "limited"}, remarks.LIMITED),
        ({"outcome": "error"}, remarks.FAILED),
        ({"outcome": "truncated"}, remarks.FAILED),
        ({}, remarks.CONVERTED),
        ({"provider_format": "openai"}, ""),
        ({"provider_format": "openai", "losses": '[{"severity": "dropped"}]'}, remarks.CONVERTED),
        ({"provider_format": "openai", "outcome": "aborted"}, ""),
        ({"provider_format": None}, ""),
    ],
)
def test_what_stands_out_is_marked(fields: dict[str, object], mark: str) -> None:
    """Refused, limited, failed, converted, in this order; what went as it came is not."""
    record = changed(**fields)
    assert remarks.mark(record, converted=remarks.converted(record)) == mark


def test_a_comment_is_made_of_words_and_notes_in_whatever_order_they_come() -> None:
    """What is said later takes the place of what was said before; notes stay, each once."""
    flow = tflow.tflow()
    remarks.note(flow, "reply of 5 bytes, shown up to 4")
    remarks.say(flow, "gpt-4o · …")
    remarks.say(flow, "gpt-4o · 5 in", remarks.FAILED)
    remarks.note(flow, "reply of 5 bytes, shown up to 4")
    assert (flow.comment, flow.marked) == ("gpt-4o · 5 in · reply of 5 bytes, shown up to 4", remarks.FAILED)
    remarks.begin(flow)
    remarks.say(flow, "gpt-4o · 6 in")
    assert (flow.comment, flow.marked) == ("gpt-4o · 6 in", "")


def test_a_persons_comment_and_mark_stay() -> None:
    """Whenever they were made, also in a copy of the flow, and in one that was saved and loaded."""
    flow = tflow.tflow()
    flow.comment, flow.marked = "look here", ":star:"
    remarks.say(flow, "gpt-4o", remarks.FAILED)
    assert (flow.comment, flow.marked) == ("look here", ":star:")

    flow = tflow.tflow()
    remarks.say(flow, "gpt-4o", remarks.FAILED)
    kept = io.BytesIO()
    FlowWriter(kept).add(flow)
    kept.seek(0)
    for other in (flow.copy(), *FlowReader(kept).stream()):
        assert not remarks.marked_by_a_person(other)
        remarks.say(other, "gpt-4o · 5 in", "")
        assert (other.comment, other.marked) == ("gpt-4o · 5 in", "")
        other.comment, other.marked = "mine", ":red_circle:"
        assert remarks.marked_by_a_person(other)
        remarks.say(other, "gpt-4o · 6 in", remarks.FAILED)
        remarks.note(other, "a note")
        assert (other.comment, other.marked) == ("mine", ":red_circle:")


def test_what_is_kept_with_a_flow_is_not_printed() -> None:
    """Neither in the console's details, nor of a flow that was saved, copied and loaded: there may be megabytes."""
    flow = tflow.tflow()
    remarks.ours(flow).update(record={}, sent=[{"body": b"x" * 1000}])
    file = io.BytesIO()
    FlowWriter(file).add(flow)
    file.seek(0)
    (loaded,) = FlowReader(file).stream()
    Loaded().requestheaders(loaded)
    for each in (flow, flow.copy(), loaded):
        assert len(repr(each.metadata)) < 100
        assert each.metadata[remarks.KEY]["sent"] == [{"body": b"x" * 1000}]


@pytest.mark.parametrize("garbage", [None, 5, "x", [], {"notes": 5}, {"comment": None, "words": 7}])
def test_what_a_file_holds_in_our_place_is_borne(garbage: object) -> None:
    """A flow that somebody else has written may hold anything under our name."""
    flow = tflow.tflow()
    flow.metadata[remarks.KEY] = garbage
    remarks.note(flow, "a note")
    remarks.say(flow, "words", remarks.FAILED)
    assert "words" in flow.comment
    assert not remarks.marked_by_a_person(flow)
