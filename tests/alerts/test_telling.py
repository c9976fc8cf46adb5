"""What is told, to whom, and what becomes of it where they cannot be told."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from interpose.alerts import Keeper, Notice, Senders, Surroundings, Undelivered
from interpose.alerts.notices import span
from interpose.alerts.watch import Change
from interpose.alerts.window import Measured
from interpose.rules.alerts import Alert, Notify
from interpose.rules.secrets import CredentialSource
from interpose.rules.values import condition
from interpose.secret import Secret

from .test_window import record

SPIKE = Alert("spike", condition("error_rate > 5%"), window=300.0, min_requests=20)
BEGUN = Change(SPIKE, "", "firing", Measured(0.0734, 109), 1_800_000_000.0, 1_800_000_000.0)
OVER = Change(SPIKE, "", "resolved", Measured(0.01, 400), 1_800_000_000.0, 1_800_003_720.0)
SPENT = Change(
    Alert("spend", condition("budget >= 80%"), min_requests=0), "team of ann", "firing", Measured(0.8, 0), 0.0, 0.0
)
DEAR = Change(Alert("dear", condition("cost > $0.001")), "", "firing", Measured(0.0042, 7), 0.0, 0.0)
SLOW = Change(Alert("slow", condition("ttft_p95 > 800ms")), "", "firing", Measured(2.5, 7), 0.0, 0.0)
WORDS = [
    (BEGUN, "[firing] spike: error_rate is 7.34%, of 109 calls in 5m (error_rate > 5%)"),
    (OVER, "[resolved] spike: error_rate is 1%; it was error_rate > 5% for 1h 2m"),
    (SPENT, "[firing] spend (team of ann): budget is 80% (budget >= 80%)"),
    (DEAR, "[firing] dear: cost is $0.0042, of 7 calls in 5m (cost > $0.0010)"),
    (SLOW, "[firing] slow: ttft_p95 is 2.5s, of 7 calls in 5m (ttft_p95 > 800ms)"),
]


@pytest.mark.parametrize(("change", "text"), WORDS)
def test_it_is_one_line_for_people(change: Change, text: str) -> None:
    """What, about whom, how much, of how many calls, and what was asked for."""
    assert Notice.of(change, "host").text() == text


def test_it_is_one_object_for_programs() -> None:
    """With its words where chats look for them, and the figures in base units."""
    content = Notice.of(BEGUN, "web-1").content()
    assert content["text"] == content["content"] == f"interpose on web-1: {WORDS[0][1]}"
    assert (content["state"], content["value"], content["requests"], content["subject"]) == (
        "firing",
        0.0734,
        109,
        None,
    )
    assert content["since"] == "2027-01-15T08:00:00.000000Z"
    assert json.dumps(content)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0s"), (45, "45s"), (300, "5m"), (90, "1m 30s"), (7260, "2h 1m")])
def test_spans_are_short(seconds: float, text: str) -> None:
    """Two units are enough."""
    assert span(seconds) == text


class Hook:
    """A webhook: `answers` are its statuses, in turn."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[dict[str, object]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        status = self.answers.pop(0) if self.answers else 204
        return web.Response(status=status, headers={"location": "/elsewhere"} if status == 302 else {})


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    app = web.Application()
    app.router.add_post("/{secret}", hook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/${{HOOK}}"
    yield hook
    await runner.cleanup()


async def resolve(source: CredentialSource) -> Secret:
    return Secret("FAKE-HOOK-SECRET", source.name)


SENDERS = Senders(resolve, pauses=(0.0, 0.0))


def webhook(url: str) -> Notify:
    return Notify("webhook", url, (CredentialSource("env", ("HOOK",)),))


async def test_a_webhook_gets_the_object(hook: Hook) -> None:
    """At the URL with its secret; a passing failure is tried again."""
    hook.answers = [503, 429]
    await SENDERS.send(webhook(hook.url), Notice.of(BEGUN, "web-1"))
    assert hook.got == [Notice.of(BEGUN, "web-1").content()] * 3


@pytest.mark.parametrize(("answers", "times", "why"), [([404], 1, "404"), ([500] * 3, 3, "500"), ([302], 1, "302")])
async def test_a_webhook_that_does_not_take_it_is_told_of(hook: Hook, answers: list[int], times: int, why: str) -> None:
    """Without its URL; what will not get better is not tried again, and nobody is led elsewhere."""
    hook.answers = list(answers)
    with pytest.raises(Undelivered, match=why) as caught:
        await SENDERS.send(webhook(hook.url), Notice.of(BEGUN, "web-1"))
    assert len(hook.got) == times
    assert "FAKE-HOOK-SECRET" not in str(caught.value)


async def test_a_webhook_that_cannot_be_reached_is_told_of() -> None:
    """Without its URL."""
    with pytest.raises(Undelivered, match="cannot be reached") as caught:
        await SENDERS.send(webhook("http://127.0.0.1:9/${HOOK}"), Notice.of(BEGUN, "web-1"))
    assert "FAKE-HOOK-SECRET" not in str(caught.value)


async def test_a_command_gets_the_object(tmp_path: Path) -> None:
    """On its standard input, as one line."""
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    told = tmp_path / "told"
    await SENDERS.send(Notify("command", argv=(sys.executable, "-c", code, str(told))), Notice.of(OVER, "web-1"))
    assert json.loads(told.read_text()) == Notice.of(OVER, "web-1").content()


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("/nowhere/at/all",), "cannot be run"),
        ((sys.executable, "-c", "import sys; sys.exit('no such pager')"), "status 1: no such pager"),
    ],
)
async def test_a_command_that_fails_is_told_of(argv: tuple[str, ...], why: str) -> None:
    """With what it has said."""
    with pytest.raises(Undelivered, match=why):
        await SENDERS.send(Notify("command", argv=argv), Notice.of(OVER, "web-1"))


class Clock:
    """Time as a test wants it."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def keeper(clock: Clock, *alerts: Alert) -> Keeper:
    return Keeper(alerts, SENDERS, now=clock, timer=clock, host="web-1")


async def test_calls_are_watched_from_their_records(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    """A spike is told by log and webhook, once; and that it is over."""
    clock = Clock()
    kept = keeper(clock, Alert("spike", SPIKE.when, 60.0, 4, (Notify("log"), webhook(hook.url))))
    with caplog.at_level(logging.WARNING, "interpose"):
        for outcome in ("ok", "ok", "ok", "error"):
            kept.saw(record(outcome))
        assert [change.state for change in kept.look()] == ["firing"]
        assert kept.look() == []
        clock.at += 100
        kept.look()
        clock.at += 20
        await kept.aclose()
    assert [each["state"] for each in hook.got] == ["firing", "resolved"]
    assert [line.split(":")[0] for line in caplog.messages] == ["alert [firing] spike", "alert [resolved] spike"]


async def test_what_is_not_delivered_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """So that somebody may still see it."""
    kept = keeper(Clock(), Alert("busy", condition("requests > 0"), notify=(webhook("http://127.0.0.1:9/${HOOK}"),)))
    kept.saw(record())
    with caplog.at_level(logging.ERROR, "interpose"):
        kept.look()
        await kept.aclose()
    (line,) = caplog.messages
    assert line.startswith("alert [firing] busy: requests is 1, of 1 calls in 5m (requests > 0) (not delivered: ")


async def test_budgets_quotas_and_gaps_are_watched_beside_calls() -> None:
    """By what the engine and the ledger say of them."""
    clock, lost = Clock(), [0]
    alerts = [Alert(name, condition(when), min_requests=0, window=60.0) for name, when in WATCHED]
    kept = keeper(clock, *alerts)
    kept.watch(
        Surroundings(
            budgets=lambda: [("team of ann", 0.81), ("team of bob", 0.2)],
            quotas=lambda: [("openai (env:KEY)", 0.09)],
            lost=lambda: lost[0],
        )
    )
    told = [(change.alert.name, change.subject) for change in kept.look()]
    assert told == [("spend", "team of ann"), ("nearly-empty", "openai (env:KEY)")]
    lost[0] = 3
    clock.at += 1
    assert [(change.alert.name, change.value.value) for change in kept.look()] == [("gap", 3)]
    await kept.aclose()


WATCHED = [("spend", "budget >= 80%"), ("nearly-empty", "quota < 10%"), ("gap", "ledger_gap > 0")]


async def test_other_rules_leave_alone_what_stays() -> None:
    """An alert that is as it was is not told anew; one that has changed begins anew."""
    clock = Clock()
    stays, goes = (Alert(name, condition("requests > 0"), notify=()) for name in ("stays", "goes"))
    kept = keeper(clock, stays, goes)
    kept.saw(record())
    assert [change.alert.name for change in kept.look()] == ["stays", "goes"]
    kept.adopt((stays, Alert("goes", condition("requests > 1"), notify=())))
    assert kept.look() == []
    kept.saw(record())
    kept.saw(record())
    assert [change.alert.name for change in kept.look()] == ["goes"]


def test_without_alerts_nothing_is_kept() -> None:
    """A call costs nothing then."""
    kept = keeper(Clock())
    kept.saw(record())
    assert kept.look() == []
