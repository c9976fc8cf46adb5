"""The views that tell of a call's record, and of what was changed on its way."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from mitmproxy import contentviews, http
from mitmproxy.test import tflow
from tests.hosts.mitm.test_remarks import CALL

from interpose.hosts.mitm import remarks
from interpose.hosts.mitm.views import VIEWS
from interpose.hosts.mitm.views.asked import AskedVsSent
from interpose.hosts.mitm.views.difference import MOST_LINES, difference
from interpose.hosts.mitm.views.usage import UsageAndCost

ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}
SENT = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4096}
LOSSES = [
    {"severity": "synthesised", "path": "max_tokens", "reason": "anthropic wants one", "direction": "request"},
    {"severity": "dropped", "path": "id", "reason": "openai has its own", "direction": "reply"},
]
TRIED = [
    {"provider": "openai", "model": "gpt-4o", "status": 503, "reason": "Service Unavailable", "took_ms": 12.4},
    {"provider": "claude", "model": "claude-sonnet-4-5", "status": 200, "reason": None, "took_ms": 2890.0},
]


def flow(**kept: object) -> http.HTTPFlow:
    """A call to OpenAI that a provider of Anthropic's has answered."""
    made = tflow.tflow(resp=True)
    made.request = http.Request.make(
        "POST",
        "https://api.openai.com/v1/chat/completions",
        json.dumps(ASKED),
        {"Authorization": "Bearer sk-FAKE-client", "Content-Type": "application/json", "User-Agent": "app"},
    )
    made.response = http.Response.make(200, b'{"choices": []}', {"Content-Type": "application/json"})
    record = {name: value for name, value in asdict(CALL).items() if value is not None}
    remarks.ours(made).update(record=record, **kept)
    return made


def shown(view: contentviews.Contentview, of: http.HTTPFlow, *, reply: bool = False) -> str:
    message = of.response if reply else of.request
    assert message is not None
    metadata = contentviews.Metadata(flow=of, http_message=message, content_type="application/json")
    return view.prettify(message.raw_content or b"", metadata)


def converted(**more: object) -> http.HTTPFlow:
    body = json.dumps(SENT, indent=1).encode()
    url = "https://api.anthropic.com/v1/messages"
    headers = [["x-api-key", "***"], ["Content-Type", "application/json"], ["user-agent", "app"]]
    sent = {"attempt": 2, "method": "POST", "url": url, "headers": headers, "body": body, "size": len(body)}
    received = {"attempt": 2, "status": 200, "headers": [["request-id", "req_1"]], "body": b'{"id": "m"}', "size": 11}
    made = flow(sent=[{**sent, "attempt": 1, "body": b"{}"}, sent], received=[received])
    remarks.ours(made)["record"] |= {"losses": json.dumps(LOSSES), "attempts": json.dumps(TRIED)} | more
    return made


def test_the_record_of_a_call() -> None:
    """Tokens with what they are a part of and who told them, cost by which prices, times, attempts, losses."""
    text = shown(UsageAndCost(), converted(price_version="2026.11", ttft_ms=420.6, duration_ms=61_000))
    told = [" ".join(line.split()) for line in text.splitlines()]
    for expected in (
        "model gpt-4o → claude-sonnet-4-5",
        "outcome ok · 200",
        "input 12,000",
        "read from cache 9,000 75%",
        "told by provider",
        "cost $0.043000",
        "price version 2026.11",
        "to the first token 421 ms",
        "in all 61.0 s",
        "route gpt-to-claude",
        "format openai → anthropic",
        "1 openai gpt-4o 503 · 12 ms · Service Unavailable",
        "2 claude claude-sonnet-4-5 200 · 2,890 ms",
        "synthesised max_tokens anthropic wants one",
        "dropped id of the reply openai has its own",
    ):
        assert expected in told, text


def test_what_is_left_of_limits_is_told_as_the_client_was() -> None:
    """In the headers of its reply, whichever dialect they have."""
    made = flow()
    made.response.headers["X-RateLimit-Remaining-Requests"] = "7"
    made.response.headers["retry-after"] = "30"
    told = [" ".join(line.split()) for line in shown(UsageAndCost(), made).splitlines()]
    assert told[told.index("Limits") :] == ["Limits", "x-ratelimit-remaining-requests 7", "retry-after 30"]


def test_a_call_without_a_price_or_usage_says_so() -> None:
    """An unknown cost is no zero, an estimate no count."""
    made = flow()
    remarks.ours(made)["record"] |= {"usage_source": "estimated"}
    del remarks.ours(made)["record"]["cost_usd"]
    text = shown(UsageAndCost(), made)
    assert "~    12,000" in text
    assert "the model has no price" in text


def test_what_was_asked_beside_what_was_sent() -> None:
    """Lines of one alone are marked, shared ones are not; no key is shown; the request's losses stand below."""
    text = shown(AskedVsSent(), converted())
    for expected in (
        "- asked  POST https://api.openai.com/v1/chat/completions\n",
        "+ sent   POST https://api.anthropic.com/v1/messages\n",
        "route gpt-to-claude, provider claude",
        "one of 2 attempts",
        "- authorization: ***\n",
        "+ x-api-key: ***",
        "  content-type: application/json\n",
        '-   "model": "gpt-4o",\n',
        '+   "model": "claude-sonnet-4-5",\n',
        '        "content": "Hello!"\n',
        '+   "max_tokens": 4096\n',
        "Losses (1)\n  synthesised  max_tokens  anthropic wants one\n",
    ):
        assert expected in text, text
    assert "sk-FAKE" not in text


def test_what_was_received_beside_what_was_answered() -> None:
    """The provider's reply first, then what the client was told, and the reply's losses."""
    text = shown(AskedVsSent(), converted(), reply=True)
    for expected in (
        "- received  200\n",
        "+ answered  200 OK\n",
        "- request-id: req_1",
        '-   "id": "m"\n',
        '+   "choices": []\n',
        "Losses (1)\n  dropped  id",
    ):
        assert expected in text, text


def test_streams_are_compared_as_the_messages_that_they_amount_to() -> None:
    """For their events have nothing to do with each other."""
    made = converted()
    theirs = [
        {"type": "message_start", "message": {"id": "m", "role": "assistant", "model": "claude", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    ours = {"id": "m", "object": "chat.completion.chunk", "model": "gpt-4o", "created": 1}
    received = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in theirs)
    deltas: list[tuple[dict[str, str], str | None]] = [({"content": "Hello"}, None), ({}, "stop")]
    answered = b"".join(
        b"data: "
        + json.dumps({**ours, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}).encode()
        + b"\n\n"
        for delta, why in deltas
    )
    made.response.headers["content-type"] = "text/event-stream"
    made.response.content = answered + b"data: [DONE]\n\n"
    entry = remarks.ours(made)["received"][0]
    entry |= {"body": received, "headers": [["content-type", "text/event-stream"]]}
    view = next(each for each in VIEWS if isinstance(each, AskedVsSent))
    text = shown(view, made, reply=True)
    assert "(streams, each as the message that it amounts to)" in text
    assert '-   "stop_reason": "end_turn"' in text
    assert '"finish_reason": "stop"' in text
    assert "chat.completion.chunk" not in text


def test_what_was_not_changed_is_said_to_be_the_same() -> None:
    """Byte for byte, without being shown again."""
    made = flow(sent=[{"attempt": 1, "method": "POST", "url": "https://api.openai.com/v1/chat/completions"}])
    text = shown(AskedVsSent(), made)
    assert "Body: sent as asked, byte for byte" in text
    assert "  asked  POST" in text
    assert "Hello!" not in text


def test_a_call_that_was_refused_was_not_sent() -> None:
    """And its answer is interpose's own."""
    made = flow(sent=[], received=[])
    remarks.ours(made)["record"] |= {"outcome": "limited", "status": 429}
    assert "Nothing was sent (limited)" in shown(AskedVsSent(), made)
    assert "interpose's own answer (limited 429)" in shown(AskedVsSent(), made, reply=True)


def test_of_several_attempts_the_one_that_counted_is_shown() -> None:
    """Not the last one that was sent, if another has answered first."""
    tried = [{**TRIED[1], "reason": None}, {**TRIED[0], "reason": "hedged: lost"}]
    made = converted(attempts=json.dumps(tried))
    remarks.ours(made)["sent"][0]["url"] = "https://first.example/v1/messages"
    assert "+ sent   POST https://first.example/v1/messages" in shown(AskedVsSent(), made)
    remarks.ours(made)["record"]["attempts"] = json.dumps([{**each, "reason": "no"} for each in tried])
    assert "+ sent   POST https://api.anthropic.com/v1/messages" in shown(AskedVsSent(), made)


def test_long_values_that_differ_are_told_apart() -> None:
    """Though only their beginnings are shown."""
    made = converted()
    picture = "A" * 5000
    made.request.text = json.dumps({"image": picture + "x"})
    remarks.ours(made)["sent"][1]["body"] = json.dumps({"image": picture + "y"}).encode()
    text = shown(AskedVsSent(), made)
    assert len(text) < 3000
    assert text.count("(5,012 characters") == 2


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_no_view_raises(view: contentviews.Contentview) -> None:
    """Whatever a body, or the metadata of a file that somebody else has written, holds."""
    hostile: list[object] = [
        None,
        5,
        "x",
        b"\xff",
        [],
        [None, 5],
        {"body": 5},
        [{"body": b"\xff", "headers": [5, [1]]}],
    ]
    records = [None, 5, [], {}, {"losses": "[", "attempts": 5, "cost_usd": "x", "input_tokens": "y"}]
    records += [{"losses": '[5, {"path": {}}]', "attempts": '[{"reason": {}}, {"took_ms": "x"}]'}]
    for body in (b"", b"\x00\xff", b"{", b'{"a": "\\ud800"}', b"[" * 100_000, b"1" * 5000, b"data: {}\n\n" * 10):
        for value in hostile:
            for record in records:
                made = flow(sent=value, received=value)
                made.metadata[remarks.KEY]["record"] = record
                made.request.content = made.response.content = body
                for reply in (False, True):
                    assert "cannot be shown here" not in shown(view, made, reply=reply)
                assert view.prettify(body, contentviews.Metadata())
                assert view.render_priority(body, contentviews.Metadata()) <= 1
    bare = tflow.tflow()
    bare.metadata[remarks.KEY] = "garbage"
    assert shown(view, bare)


def test_a_difference_keeps_what_is_near_it() -> None:
    """Of what is the same, some lines before and after; the rest is counted."""
    before = [f"line {number}" for number in range(100)]
    after = [*before[:50], "new", *before[51:]]
    text = [*difference(before, after)]
    assert text == [
        "  … 47 lines that are the same",
        *(f"  line {number}" for number in (47, 48, 49)),
        "- line 50",
        "+ new",
        *(f"  line {number}" for number in (51, 52, 53)),
        "  … 46 lines that are the same",
    ]


def test_a_difference_does_not_mind_how_deep_a_line_stands() -> None:
    """Nor a comma behind it: a message that another format nests deeper is the same one."""
    assert [*difference(["{", '  "text": "a"', "}"], ["{", '    "text": "a",', '    "b": 1', "}"])] == [
        "  {",
        '      "text": "a",',
        '+     "b": 1',
        "  }",
    ]


def test_texts_of_which_too_much_differs_are_shown_one_after_the_other() -> None:
    """Shortened, for nobody compares thousands of lines, and holding them against each other is quadratic."""
    text = [*difference([f"a{n}" for n in range(5000)], [f"b{n}" for n in range(5000)])]
    assert len(text) == 2 * (MOST_LINES + 1)
    assert text[MOST_LINES] == "- … 4,700 lines more"


class Broken(UsageAndCost):
    def render(self, data: bytes, metadata: contentviews.Metadata) -> str | None:
        raise RuntimeError("a bug")


def test_a_bug_of_a_view_shows_itself_and_the_way_on() -> None:
    """A person still gets to see the body."""
    assert Broken().prettify(b"", contentviews.Metadata()) == (
        "This cannot be shown here (RuntimeError: a bug); see it as Raw."
    )
