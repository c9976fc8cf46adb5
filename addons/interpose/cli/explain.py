"""`interpose explain`: what the rules would do with a call, and why, without sending anything.

It renders the plan that the engine would execute, and what the stages would put on the wire; credentials stand there
by their names. The exit status: 0 if the call would be sent, 1 if it would be refused.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.json import JSON
from rich.text import Text as Line

from interpose.call import Call
from interpose.errors import InterposeError
from interpose.formats.codecs.codec import parsed
from interpose.formats.keys import client_keys
from interpose.ir import Usage
from interpose.prices.catalogue import PRICES
from interpose.rules.compiled import ClientKey, Retry, Route, Rules
from interpose.rules.facts import Content, Facts
from interpose.rules.load import load
from interpose.rules.problem import printable
from interpose.rules.secrets import CredentialSource
from interpose.rules.values import Shares, Size
from interpose.secret import AwsKeys, Secret
from interpose.stages import STAGES, plan
from interpose.stages.draft import Plan, Request, Trip, View
from interpose.upstream.hops import onward

from .question import Question, asked_call, asked_client
from .standings import Standings, as_json, heading, rows, standings
from .terminal import console, refuse

# Whose call it is where each needs a key, and none was shown and nobody named.
ANYBODY = ClientKey("anybody", "")
# Of a body that is shown; what is sent is whole.
SHOWN = 20_000
LINE = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """`sent` is what the first attempt would put on the wire, `limits` where those stand that hold; None if nothing
    would be sent, or none holds.
    """

    call: Call
    plan: Plan
    trace: list[str]
    routes: list[tuple[str, bool, str]]
    sent: Request | None
    limits: Standings | None = None


def explain(question: Question) -> int:
    """Prints the answer; returns the exit status. Raises InterposeError and RulesError for what cannot be asked."""
    if sys.stdout is None:
        raise InterposeError("cannot print the explanation: stdout is closed")
    if question.format not in _SHOW:
        refuse(f"--format {question.format} is not known: there are {', '.join(_SHOW)}")
    rules = load(question.rules)
    answer = answered(rules, question, asked_client(rules, question))
    _SHOW[question.format](answer)
    return 0 if answer.plan.refusal is None else 1


def answered(rules: Rules, question: Question, client: ClientKey | None) -> Answer:
    """The plan for the call in question, and what would be sent."""
    call, row = asked_call(rules, question)
    if row is None:
        return Answer(
            call, Plan(None), ["not a host that the rules intercept: what goes there passes undecrypted"], [], None
        )
    trace: list[str] = []
    now = time.time()
    keyless = client is None and rules.clients.asked_at(call.entrance) and not client_keys(call.headers, call.url)
    view = View(now, client=ANYBODY if keyless else client, price=prices(rules, now))
    chosen = plan(call, row, rules, view, trace)
    if keyless:
        trace.insert(1, "without a key it would be a 401: this is a call with one that is good for everything")
    sent = asyncio.run(_sent(call, chosen)) if chosen.attempts else None
    limits = standings(rules, chosen) if chosen.refusal is None else None
    return Answer(call, chosen, trace, _routes(rules, chosen), sent, limits)


def prices(rules: Rules, now: float) -> Callable[[str | None, str | None, int, int], Decimal | None]:
    """What tokens cost, as the engine would have it; the lists are read when somebody asks."""

    def price(vendor: str | None, model: str | None, asked: int, answered: int) -> Decimal | None:
        PRICES.wait()
        tariff = PRICES.tariff(vendor, model, now, rules.prices)
        return tariff.cost(Usage(input_tokens=asked, output_tokens=answered)) if tariff is not None else None

    return price


async def _sent(call: Call, chosen: Plan) -> Request:
    """What the stages make of the call for its first attempt, with names in the place of credentials."""

    async def resolve(source: CredentialSource) -> Secret:
        named = f"<{source.name}>"
        return AwsKeys(named, named, None, source.name) if source.kind == "aws" else Secret(named, source.name)

    assert chosen.facts is not None
    trip = Trip(call, chosen.facts, chosen.attempts[0], resolve)
    request = Request(call.method, trip.attempt.url, onward(call), call.body)
    for stage in STAGES:
        request = await stage.send(request, trip)
    return request


def _routes(rules: Rules, chosen: Plan) -> list[tuple[str, bool, str]]:
    """Each route: its name, whether it is the one, and why it is not."""
    if chosen.facts is None:
        return []
    told = []
    for route in rules.routes:
        taken = route.name == chosen.route
        reason = route.reason(chosen.facts)
        if taken:
            why = _where_to(route)
        elif reason is None:
            why = f"would match, but stands behind {chosen.route}" if chosen.route else "would match"
        else:
            why = _why_not(route, reason, chosen.facts)
        told.append((route.name, taken, why))
    return told


def _where_to(route: Route) -> str:
    """`to a`, `to a (90) or b as m (10), then c`."""
    one = len(route.targets) == 1
    if route.prefer is not None:
        targets = ", ".join(str(target) for target in route.targets if target.weight)
        return ", then ".join((f"to the {route.prefer.replace('_', ' ')} of {targets}", *map(str, route.fallback)))
    targets = " or ".join(str(target) if one else f"{target} ({target.weight})" for target in route.targets)
    return ", then ".join((f"to {targets}", *map(str, route.fallback)))


def _why_not(route: Route, field: str, facts: Facts) -> str:
    """Which condition does not hold: what it asks, and what the call has."""
    if field == "except":
        held = route.unless.first_holding(facts) if route.unless is not None else None
        return f"its except holds: {held}"
    if field == "header":
        return "; ".join(
            f"header {name} is {printable(facts.header(name) or 'not there')}, not {' or '.join(wanted.texts)}"
            for name, wanted in route.match.header
            if not wanted.accepts(facts.header(name))
        )
    wanted = getattr(route.match, field)
    if field in _OF_CONTENT:
        return _OF_CONTENT[field](wanted, facts.content())
    if field == "quota_below":
        return _quotas(wanted, facts)
    has = getattr(facts, field)
    if field == "ip":
        asked = " or ".join(str(network) for network in wanted.networks)
    else:
        asked = " or ".join(wanted.texts) if hasattr(wanted, "texts") else str(wanted).lower()
    shown = "not known" if has is None else str(has).lower() if isinstance(has, bool) else printable(str(has))
    return f"{field} is {shown}, not {asked}"


def _quotas(wanted: Shares, facts: Facts) -> str:
    """What is left of each quota that is asked for."""
    told = []
    for name, share in wanted.of:
        left, whose = facts.quota(name), name or "the call"
        shown = "not known" if left is None else f"{left:.0%}"
        told.append(f"the quota left for {whose} is {shown}, not below {share:.0%}")
    return "; ".join(told)


def _size(word: str) -> Callable[[Size, Content | None], str]:
    def said(wanted: Size, content: Content | None) -> str:
        if content is None:
            return "the size of the body is not known"
        has = content.tokens if wanted.unit == "tokens" else content.bytes
        return f"the body has {has} {wanted.unit}, not {word} than {wanted.count}"

    return said


_OF_CONTENT: dict[str, Callable[[Any, Content | None], str]] = {
    "larger_than": _size("more"),
    "smaller_than": _size("less"),
    "has": lambda wanted, content: (
        f"has {' and '.join(sorted(content.has)) if content and content.has else 'nothing of that kind'}, "
        f"not {' or '.join(sorted(wanted))}"
    ),
}


def _text(answer: Answer) -> None:
    screen = console(sys.stdout)
    call, chosen = answer.call, answer.plan
    screen.print(Line(f"{call.method} {printable(str(call.url), LINE)}", style="bold"))
    if (facts := chosen.facts) is not None:
        asks = {None: "stream not known", True: "streamed", False: "not streamed"}[facts.stream]
        client = f"client {chosen.client}" if chosen.client else "no client key"
        model = f"model {printable(facts.model)}" if facts.model else "no model"
        screen.print(f"  {facts.format} {facts.endpoint}, {model}, {asks}, {client}", markup=False, soft_wrap=True)
    if answer.routes:
        screen.print(Line("\nRoutes", style="bold"))
        _align(screen, [("→" if taken else " ", name, why) for name, taken, why in answer.routes])
    screen.print(Line("\nDecided", style="bold"))
    for reason in answer.trace[1:] if chosen.facts is not None else answer.trace:
        if not reason.startswith("route "):
            screen.print(f"  {printable(reason, LINE)}", markup=False, soft_wrap=True)
    if chosen.losses:
        screen.print(Line(f"\nLost ({len(chosen.losses)})", style="bold"))
        lost = [(loss.severity, loss.path or "(all of it)", loss.reason) for loss in chosen.losses]
        _align(screen, [tuple(printable(text, LINE) for text in row) for row in lost])
    if answer.limits is not None:
        screen.print(Line(f"\n{heading(answer.limits)}", style="bold"), soft_wrap=True)
        _align(screen, rows(answer.limits))
    if chosen.refusal is not None:
        screen.print(Line(f"\nRefused with {chosen.refusal.status} {chosen.refusal.code}", style="bold red"))
    elif answer.sent is not None:
        _show_attempts(screen, chosen)
        _show_sent(screen, answer)


def _align(screen: Console, rows: Sequence[tuple[str, ...]]) -> None:
    """Columns, the last as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        screen.print("  " + "  ".join(cells).rstrip(), markup=False, soft_wrap=True)


def _show_attempts(screen: Console, chosen: Plan) -> None:
    """In which order the call would be sent where, and what for; nothing where it is sent once."""
    if chosen.retry is None:
        return
    screen.print(Line(f"\nAttempts (sent {chosen.sends} times at most)", style="bold"))
    _align(
        screen,
        [
            (
                f"{number}.",
                attempt.provider.name if attempt.provider is not None else "the host itself",
                printable(attempt.model or ""),
                attempt.injection.source.name if attempt.injection is not None else "",
                "converted" if attempt.translation is not None else "",
            )
            for number, attempt in enumerate(chosen.attempts, start=1)
        ],
    )
    for line in _after(chosen, chosen.retry):
        screen.print(f"  {line}", markup=False, soft_wrap=True)


def _after(chosen: Plan, retry: Retry) -> Iterator[str]:
    """What another attempt comes after."""
    if retry.on:
        on = ", ".join(sorted(map(str, retry.on)))
        yield f"the next one on {on}; then again from the first, after {retry.low:g} s and more, up to {retry.high:g} s"
    if chosen.hold:
        yield "a reply is withheld until its content begins: what fails before is no reply"
    if chosen.hedge is not None:
        yield f"after {chosen.hedge:g} s of silence, the next one beside it; the first to answer wins"


def _show_sent(screen: Console, answer: Answer) -> None:
    sent, attempt = answer.sent, answer.plan.attempts[0]
    assert sent is not None
    to = attempt.provider.name if attempt.provider is not None else "the host itself"
    screen.print(Line(f"\nSent to {to}", style="bold"))
    screen.print(f"  {sent.method} {printable(str(sent.url), LINE)}", markup=False, soft_wrap=True)
    for name, value in sent.headers:
        if name.lower() == b"host":
            continue  # it is the URL's
        screen.print(
            f"  {name.decode('latin-1')}: {printable(value.decode('latin-1'), LINE)}", markup=False, soft_wrap=True
        )
    if not isinstance(sent.body, bytes) or not sent.body:
        return
    screen.print()
    try:
        document = parsed(sent.body)
    except ValueError:
        screen.print(f"  {len(sent.body)} bytes that are no JSON", markup=False, soft_wrap=True)
        return
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if len(text) > SHOWN:
        screen.print(text[:SHOWN], markup=False, soft_wrap=True)
        screen.print(f"… {len(text) - SHOWN} more characters; --format json has them all", markup=False, soft_wrap=True)
    elif screen.is_terminal:
        screen.print(JSON(text))
    else:
        screen.print(text, markup=False, soft_wrap=True)


def _json(answer: Answer) -> None:
    chosen, sent = answer.plan, answer.sent
    facts = chosen.facts
    told: dict[str, Any] = {
        "call": {"method": answer.call.method, "url": str(answer.call.url)},
        "facts": None
        if facts is None
        else {
            name: getattr(facts, name)
            for name in ("endpoint", "format", "wire", "host", "path", "model", "client", "ip", "stream")
        },
        "routes": [{"name": name, "taken": taken, "why": why} for name, taken, why in answer.routes],
        "decided": answer.trace,
        "route": chosen.route,
        "alias": chosen.alias,
        "attempts": [
            {
                "provider": attempt.provider.name if attempt.provider is not None else None,
                "url": str(attempt.url),
                "model": attempt.model,
                "edits": dict(attempt.edits),
                "converted": attempt.translation is not None,
                "credential": attempt.injection.source.name if attempt.injection is not None else None,
            }
            for attempt in chosen.attempts
        ],
        "left_out": [asdict(each) for each in chosen.left_out],
        "sends": chosen.sends,
        "limits": as_json(answer.limits),
        "losses": [asdict(loss) for loss in chosen.losses],
        "capture": "bodies" if chosen.bodies else "metadata",
        "refusal": None
        if chosen.refusal is None
        else {"status": chosen.refusal.status, "code": chosen.refusal.code, "message": chosen.refusal.message},
        "sent": None
        if sent is None
        else {
            "method": sent.method,
            "url": str(sent.url),
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in sent.headers
                if name.lower() != b"host"
            ],
            "body": sent.body.decode("utf-8", "replace") if isinstance(sent.body, bytes) else None,
        },
    }
    print(json.dumps(told, indent=2))


_SHOW = {"text": _text, "json": _json}
