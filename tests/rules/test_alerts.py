"""Alerts as rules write them: what they are, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpose.cli.leading import withheld
from interpose.rules.alerts import METRICS, Alert, Notify
from interpose.rules.load import parse
from interpose.rules.problem import RulesError
from interpose.rules.values import condition


def alerts(text: str) -> tuple[Alert, ...]:
    return parse(f"version: 1\nalerts:\n  - {{{text}}}\n", "r.yaml", Path("/etc/rules")).alerts


def test_an_alert_has_its_defaults() -> None:
    """Five minutes, one call, whoever reads the log."""
    (alert,) = alerts("name: slow, when: latency_p95 > 30s, notify: log")
    assert alert == Alert("slow", condition("latency_p95 > 30s"), 300.0, 1, (Notify("log"),))


def test_it_tells_whom_it_names() -> None:
    """A webhook's secret is a variable, which must be there when the rules are put in force; it is shown nowhere."""
    (alert,) = alerts(
        "name: spike, when: error_rate > 5%, window: 10m, min_requests: 20, "
        "notify: [log, {webhook: 'https://hooks.test/${HOOK}'}, {command: [page, --now]}]"
    )
    log, webhook, command = alert.notify
    assert (alert.window, alert.min_requests) == (600.0, 20)
    assert [source.name for source in webhook.sources] == ["env:HOOK"]
    assert [str(log), str(webhook), str(command)] == ["log", "webhook hooks.test", "command page"]
    assert "hooks.test" not in repr(webhook)
    assert command.argv == ("page", "--now")


def test_the_secrets_of_rules_hold_those_of_alerts() -> None:
    """So that a start without them is refused, and a program under `interpose run` does not see them."""
    text = "version: 1\nalerts: [{name: a, when: cost > $5, notify: {webhook: '${HOOK}'}}]\n"
    rules = parse(text, "r.yaml", Path("/"))
    assert [source.name for source in rules.secrets] == ["env:HOOK"]
    assert list(withheld(rules)) == ["HOOK"]


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_has_an_example_that_is_right(metric: str) -> None:
    """Which is what somebody is told who writes it in another unit."""
    (alert,) = alerts(f"name: a, when: '{METRICS[metric].example}', notify: log")
    assert alert.when.metric == metric
    assert alert.min_requests == (1 if METRICS[metric].of_calls else 0)


WRONG = [
    ("when: error_rte > 5%, notify: log", '"error_rte" is not a metric', 'did you mean "error_rate"?'),
    ("when: error_rate > 5, notify: log", "compares error_rate with a plain number", "error_rate > 5%"),
    ("when: latency_p95 > 5%, notify: log", "compares latency_p95 with a percentage", "latency_p95 > 30s"),
    ("when: budget > 80%, min_requests: 3, notify: log", "counts calls, and budget is not measured of those", "leave"),
    ("when: cost > $1, notify: {}", "must name one of webhook, command", "{webhook: https://…}"),
    ("when: cost > $1, notify: {webhook: 'https://a.b', command: [c]}", "must name one of webhook, command", ""),
    ("when: cost > $1, notify: {webhook: 'ftp://a.b'}", "is not a URL of http or https", "${HOOK}"),
    ("when: cost > $1, notify: {webhook: 'https://a.b/$HOOK'}", "has a $ that begins no ${NAME}", "${HOOK}"),
]


@pytest.mark.parametrize(("text", "message", "hint"), WRONG)
def test_what_is_wrong_is_said_with_what_to_write(text: str, message: str, hint: str) -> None:
    """At its line and column, and without the URL."""
    with pytest.raises(RulesError) as caught:
        alerts(f"name: a, {text}")
    (problem,) = caught.value.problems
    assert problem.message == message
    assert hint in problem.hint
    assert (problem.line, problem.column > 5) == (3, True)
