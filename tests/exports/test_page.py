"""The exported file: all that was said, what it cost, what was changed; nothing that can do anything."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html import unescape
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exports.made import (
    ASKS,
    CHAT,
    QUESTION,
    RESULT,
    SAYS,
    SYSTEM,
    agent,
    call,
    exported,
    recorded,
    sent,
)
from tests.exports.test_markdown import ELEMENTS as MARKDOWN
from tests.exports.test_markdown import Reading

from interpose.ledger.record import Record
from interpose.pages import policy

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 60).decode()


def text_of(html: str) -> str:
    return " ".join("".join(Reading(html).words).split())


def test_a_conversation_is_read_from_top_to_bottom() -> None:
    """Each call adds its turns, with its model, tokens and times above them."""
    shown = text_of(exported(*agent())).partition("Call 1")[2]
    places = [
        shown.index(each)
        for each in (
            "You book trips.", "How is the weather in Paris?", "→ weather", '"city": "Paris"', "3 turns as before",
            "← weather", '"celsius": 15', "It is 15 °C and clear.", "5 turns as before", "Tomorrow?", "Rain.",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert "gpt-4o" in shown
    assert "10 in · 5 out · first token 250 ms · took 1.5 s" in shown


def test_the_json_stands_beneath_each_turn() -> None:
    """Folded: as the client sent it, and the reply."""
    html = unescape(exported(*agent()))
    # System and user, the result, the next question, and each answer.
    assert html.count("<summary>JSON</summary>") == 7
    assert '"tool_call_id": "call_weather_1"' in html
    assert html.count('"id": "chatcmpl-2"') == 1
    assert "The reply as JSON" in exported(call(1, [QUESTION], None, status=503))


def test_a_result_leads_back_to_its_call() -> None:
    """By a link, and every link within the page leads somewhere."""
    html = exported(*agent())
    found = Reading(html)
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for name, value in found.attributes if name == "href" and value and value.startswith("#")}
    assert "c1-call-1" in targets
    assert targets <= set(ids)


def test_what_the_ledger_knows_is_told() -> None:
    """Route, provider, cost, losses, attempts."""
    made = call(1, [QUESTION], SAYS)
    losses = [{"severity": "dropped", "path": "seed", "reason": "Claude has nothing like it"}]
    tried = [{"provider": "openai", "status": 503, "reason": "5xx"}, {"provider": "claude", "status": 200}]
    made.record = Record(
        id="call-1", started_at="2026-11-26T07:00:00.000000Z", finished_at="2026-11-26T07:00:01.000000Z",
        entrance="intercept", app="agent.py", client="ci", method="POST", host="api.openai.com", path="/v1/x",
        endpoint="chat", client_format="openai", asked_model="gpt-4o", sent_model="claude-sonnet-4-5",
        route="gpt-to-claude", provider="claude", provider_format="anthropic", credential="env:ANTHROPIC_API_KEY",
        status=200, outcome="ok", input_tokens=1234, cache_read_tokens=1000, output_tokens=56, usage_source="provider",
        cost_usd=0.0123, ttft_ms=321.0, duration_ms=2345.0, losses=json.dumps(losses), attempts=json.dumps(tried),
    )  # fmt: skip
    shown = text_of(exported(made))
    for each in (
        "gpt-4o → claude-sonnet-4-5", "1,234 in (1,000 cached) · 56 out", "$0.0123", "first token 321 ms", "took 2.3 s",
        "gpt-to-claude", "env:ANTHROPIC_API_KEY", "conversion: dropped seed: Claude has nothing like it",
        "1. openai 503 5xx; 2. claude 200",
    ):  # fmt: skip
        assert each in shown


def test_what_was_sent_stands_beside_what_was_asked() -> None:
    """As a diff where it is the same format, as it is where it is another one."""
    made = call(1, [QUESTION], SAYS)
    body = json.loads(made.asked.body or b"")
    assert made.answered is not None
    reply = made.answered.body or b""
    routed = sent(
        made, "https://gateway.example/v1/chat/completions", json.dumps({**body, "model": "small"}).encode(), reply
    )
    made.sent = (routed,)
    html = exported(made)
    assert '<span class="taken">-  &#34;model&#34;: &#34;gpt-4o&#34;,</span>' in html
    assert '<span class="added">+  &#34;model&#34;: &#34;small&#34;,</span>' in html
    assert "https://gateway.example/v1/chat/completions" in html
    claude = json.dumps({"model": "claude", "max_tokens": 1, "system": "x", "messages": [], "thinking": {}}).encode()
    made.sent = (sent(made, "https://api.anthropic.com/v1/messages", claude, b'{"type": "message"}'),)
    shown = text_of(exported(made))
    assert "The body that was sent" in shown
    assert "What the provider answered" in shown
    made.sent = (sent(made, CHAT, made.asked.body or b"", reply),)
    assert "Asked and sent: the same" in text_of(exported(made))


def test_a_failure_is_told_where_it_happened() -> None:
    """In the provider's words, and counted above."""
    shown = text_of(exported(call(1, [QUESTION], None, status=503)))
    assert "503 server_error" in shown
    assert "Overloaded." in shown
    assert "errors1" in shown


def test_calls_whose_price_nobody_knows_are_counted() -> None:
    """Above, beside the cost, which is then a lower bound. A recording of another tool's knows of no price at all."""
    made = call(1, [QUESTION], SAYS)
    assert "without a price" not in text_of(exported(made))
    made.record = Record(
        id="call-1", started_at="2026-11-26T07:00:00.000000Z", finished_at="2026-11-26T07:00:01.000000Z",
        entrance="intercept", method="POST", host="api.openai.com", path="/v1/chat/completions", endpoint="chat",
        status=200, outcome="ok", input_tokens=10, output_tokens=5, usage_source="provider",
    )  # fmt: skip
    assert "calls without a price1" in text_of(exported(made))


@pytest.mark.parametrize(("source", "inside"), [("estimated", "~10 in · ~5 out"), ("provider", " 10 in · 5 out")])
@pytest.mark.parametrize("format_", ["html", "md"])
def test_tokens_that_are_estimated_are_marked(
    source: Literal["estimated", "provider"], inside: str, format_: str
) -> None:
    """As in every report; nobody takes an estimate for what a provider has told."""
    made = call(1, [QUESTION], SAYS)
    made.record = Record(
        id="call-1", started_at="2026-11-26T07:00:00.000000Z", finished_at="2026-11-26T07:00:01.000000Z",
        entrance="intercept", method="POST", host="api.openai.com", path="/v1/chat/completions", endpoint="chat",
        status=200, outcome="ok", input_tokens=10, output_tokens=5, usage_source=source,
    )  # fmt: skip
    page = exported(made, format_=format_)
    shown = text_of(page) if format_ == "html" else page
    assert inside in shown
    assert ("input tokens~10" in shown) == (source == "estimated" and format_ == "html")


def test_what_limits_have_turned_away_is_no_error() -> None:
    """As in reports, where errors are calls that failed or were cut short."""
    made = call(1, [QUESTION], None, status=429)
    made.record = Record(
        id="call-1", started_at="2026-11-26T07:00:00.000000Z", finished_at="2026-11-26T07:00:01.000000Z",
        entrance="intercept", method="POST", host="api.openai.com", path="/v1/chat/completions",
        endpoint="chat", status=429, outcome="limited",
    )  # fmt: skip
    shown = text_of(exported(made))
    assert "refused or limited1" in shown
    assert "errors" not in shown


def test_pictures_stand_in_the_page() -> None:
    """Those that are there; one that is elsewhere is told, and so is what is no picture."""
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}},
        {"type": "image_url", "image_url": {"url": f"data:image/svg+xml;base64,{PIXEL}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}},
    ]
    found = Reading(html := exported(call(1, [{"role": "user", "content": parts}], SAYS)))
    assert [value for name, value in found.attributes if name == "src"] == [f"data:image/png;base64,{PIXEL}"]
    assert ("download", "a.pdf") in found.attributes
    assert "[image · https://pictures.example/cat.png]" in html


def test_a_run_has_contents() -> None:
    """A line for each conversation that leads there."""
    html = exported(*agent(), call(9, [{"role": "user", "content": "Something else"}], "Yes."))
    assert '<a href="#c2">Something else</a>' in html
    assert "<h2>Contents</h2>" in html
    assert "<h2>Contents</h2>" not in exported(*agent())


def test_a_page_is_bounded() -> None:
    """What was left out is said, and how to get it; what is there is whole HTML."""
    calls = [call(number, [{"role": "user", "content": f"{number} " + "word " * 4000}], SAYS) for number in range(60)]
    html = exported(*calls, limit=500_000)
    assert len(html) < 800_000
    assert html.rstrip().endswith("</html>")
    for each in ("Left out", "whole calls", "the JSON beneath turns", "--limit", "--format json"):
        assert each in html
    # What there is no room for stands in the contents all the same.
    assert html.count('<td class="when">') == 60


def test_one_endless_text_leaves_room_for_the_rest() -> None:
    """It is cut, and says so."""
    html = exported(call(1, [{"role": "user", "content": "x" * 2_000_000}], SAYS))
    assert "more characters are left out" in html
    assert text_of(html).count("It is 15 °C and clear.") == 1
    assert len(html) < 1_000_000


def test_nothing_but_its_own_style_is_in_force() -> None:
    """By the page's policy: no script, no host, no form."""
    html = exported(*agent())
    style = re.search("<style>(.*)</style>", html, re.DOTALL)
    assert style is not None
    assert policy([style[1]]) in unescape(html)
    assert "script-src" not in html


EVIL = (
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</style><script>"),
    *("' onmouseover='alert(1)", "{{ 7 * 7 }}", "{% raw %}", "&lt;script&gt;", "\ud800", "\0", "]]>", "<!--"),
    "]]><svg/onload=x>",
)
TEXT = st.lists(st.sampled_from(EVIL) | st.text(max_size=10), max_size=4).map("".join)
URL = TEXT | st.just('data:image/png;base64,">')
PART = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXT),
    st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, URL),
    st.builds(lambda name: {"type": name, "x": name}, TEXT),
)
ELEMENTS = MARKDOWN | {
    *("html", "head", "meta", "title", "link", "style", "body", "main", "header", "h1", "h2", "h3", "div", "nav"),
    *("dl", "dt", "dd", "section", "article", "details", "summary", "b", "footer", "figure", "img", "figcaption"),
    *("del", "ins"),
}


@settings(max_examples=60)
@given(evil=TEXT, content=TEXT | st.lists(PART, max_size=3), answer=TEXT, status=st.sampled_from([200, 400]))
def test_nothing_that_was_said_becomes_more_than_text(evil: str, content: object, answer: str, status: int) -> None:
    """Wherever it stands: in messages, names, models, parameters, headers, URLs, ids, errors."""
    tool = {"type": "function", "function": {"name": evil, "description": evil, "parameters": {evil: evil}}}
    asks = {"id": evil, "type": "function", "function": {"name": evil, "arguments": evil}}
    messages = [
        {"role": "user", "content": content, "name": evil},
        {"role": "assistant", "tool_calls": [asks]},
        {"role": "tool", "tool_call_id": evil, "content": evil},
    ]
    body = {"model": evil, "messages": messages, "tools": [tool], "stop": evil, evil: evil}
    reply = {
        "id": evil,
        "model": evil,
        "error": {"message": evil, "type": evil, "code": evil},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": evil}],
    }
    name = evil.encode("utf-8", "surrogatepass")
    bodies = json.dumps(body).encode(), json.dumps(reply).encode()
    made = recorded(evil, CHAT, bodies[0], status, bodies[1], ((name, name),), app=evil, client=evil)
    made.asked = replace(made.asked, url=replace(made.asked.url, target=f"/v1/chat/completions?q={evil}"))
    html = exported(made, notes=[evil])
    found = Reading(html)
    assert found.elements <= ELEMENTS
    for name, value in found.attributes:
        assert not name.startswith("on")
        if name in ("href", "src"):
            assert re.match(r"#|https?:|mailto:|data:image/(?:png|jpeg|gif|webp);base64,|data:,$", value or ""), value
    for format_ in ("md", "json"):
        assert exported(made, format_=format_, notes=[evil])


def test_markdown_is_for_an_issue() -> None:
    """What was said is quoted, code is fenced, and nothing of it ends either."""
    shown = exported(
        *agent(), call(5, [{"role": "user", "content": "````\n# not a heading\n<b>"}], "```\ncode\n```"), format_="md"
    )
    assert "**user**\n\n> How is the weather in Paris?" in shown
    assert '→ `weather` #1\n```json\n{\n  "city": "Paris"\n}\n```' in shown
    assert "*3 turns as before*" in shown
    assert "> # not a heading\n> \\<b>" in shown
    again = exported(call(1, [QUESTION], None, status=503), call(2, [QUESTION], SAYS), format_="md")
    assert "*1 turn as before*" in again


def test_json_is_all_of_it() -> None:
    """For programs: bodies, turns, what was put together."""
    told = json.loads(exported(*agent(), format_="json", notes=["a note"]))
    assert (told["version"], told["notes"]) == (1, ["a note"])
    (conversation,) = told["conversations"]
    first, second, _ = conversation["calls"]
    assert first["id"] == "call-1"
    assert first["request"]["body"]["messages"] == [SYSTEM, QUESTION]
    assert first["answers"][0]["blocks"][0]["name"] == ASKS["tool_calls"][0]["function"]["name"]  # type: ignore[index]
    assert second["turns"][0] == {"as_before": 3}
    assert second["turns"][1]["blocks"][0]["blocks"][0]["text"] == RESULT["content"]
    assert first["usage"]["input_tokens"] == 10


@pytest.mark.parametrize("format_", ["html", "md", "json"])
def test_an_export_is_the_same_each_time(format_: str) -> None:
    """Two of one run can be compared."""
    assert exported(*agent(), format_=format_) == exported(*agent(), format_=format_)
