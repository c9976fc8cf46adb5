"""`interpose alerts test`: who would be woken up, and whether they can be."""

from __future__ import annotations

import json
import sys

from .conftest import Command

RULES = """
version: 1
alerts:
  - name: errors
    when: error_rate > 5%
    notify: [log, {command: [PYTHON, -c, "import pathlib, sys; pathlib.Path('told').write_text(sys.stdin.read())"]}]
  - {name: spend, when: budget >= 80%, notify: {webhook: "http://127.0.0.1:9/${HOOK}"}}
"""


def rules(interpose: Command) -> str:
    file = interpose.folder / "alerts.yaml"
    file.write_text(RULES.replace("PYTHON", sys.executable))
    return str(file)


def test_everybody_is_told_that_it_is_a_test(interpose: Command) -> None:
    """Who could not be told is named with the reason, and makes the status 1; the webhook's secret is not shown."""
    interpose.environ["HOOK"] = "FAKE-HOOK-SECRET"
    done = interpose("alerts", "test", "--rules", rules(interpose))
    assert done.returncode == 1, done
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]]
    assert [name for name, _ in lines] == ["errors", "errors", "spend"]
    assert lines[0][1].split() == ["log", "told"]
    assert lines[1][1].split()[-1] == "told"
    assert "webhook 127.0.0.1" in lines[2][1]
    assert "cannot be reached" in lines[2][1]
    assert "[test] errors" in done.stderr
    assert "FAKE-HOOK-SECRET" not in done.stdout + done.stderr
    content = json.loads((interpose.folder / "told").read_text())
    assert (content["alert"], content["test"], content["state"]) == ("errors", True, "firing")


def test_one_alert_alone(interpose: Command) -> None:
    """By its name; a name that is not there is told with one that is."""
    done = interpose("alerts", "test", "--rules", rules(interpose), "errors")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3), done
    done = interpose("alerts", "test", "--rules", rules(interpose), "error")
    assert (done.returncode, done.stderr) == (2, 'interpose: there is no alert "error"; did you mean "errors"?\n')


def test_a_secret_that_is_not_there_is_told(interpose: Command) -> None:
    """At its place in the rules, before anybody is told anything."""
    done = interpose("alerts", "test", "--rules", rules(interpose))
    assert done.returncode != 0
    assert "the environment variable HOOK is not set" in done.stderr
    assert not (interpose.folder / "told").exists()


def test_rules_without_alerts(interpose: Command) -> None:
    """Are told what to write."""
    file = interpose.folder / "none.yaml"
    file.write_text("version: 1\n")
    done = interpose("alerts", "test", "--rules", str(file))
    assert (done.returncode, "write some under alerts:" in done.stderr) == (2, True)
