"""`interpose`, `check` and `usage`: the real command."""

import csv
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interpose import __version__
from interpose.ledger import Ledger, Record

from .conftest import Command

MOMENT = 1_790_000_000.0


def call(number: int, model: str) -> Record:
    return Record(
        id=f"ip_{number}",
        started_at="2026-11-01T10:00:00.000000Z",
        finished_at="2026-11-01T10:00:01.000000Z",
        entrance="intercept",
        method="POST",
        host="api.openai.com",
        path="/v1/chat/completions",
        endpoint="chat",
        asked_model=model,
        status=200,
        outcome="ok",
        input_tokens=1000,
        output_tokens=10,
        usage_source="provider",
        rules_version="0",
    )


@pytest.fixture
def ledger(interpose: Command) -> Path:
    """Three calls in the ledger of the state folder."""
    interpose.state.mkdir()
    path = interpose.state / "usage.db"
    writer = Ledger.open(path, writer="w1", clock=lambda: MOMENT)
    for number, model in enumerate(["gpt-5", "gpt-5", "o9-mini"]):
        writer.record(call(number, model))
    writer.close()
    return path


def test_help_names_the_commands_and_needs_nothing_heavy(interpose: Command) -> None:
    """It is asked for often: no mitmproxy, no aiohttp, no pydantic for it."""
    done = interpose("--help")
    assert done.returncode == 0
    for command in ("run", "check", "usage"):
        assert re.search(rf"\b{command}\b", done.stdout)
    code = (
        "import sys; sys.argv = ['interpose', '--help']\n"
        "from interpose.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'mitmproxy', 'aiohttp', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_told(interpose: Command) -> None:
    """The package's own."""
    assert interpose("--version").stdout == f"interpose {__version__}\n"


def test_an_unknown_command_or_option_is_refused(interpose: Command) -> None:
    """Exit 2, as everywhere for what is asked wrongly."""
    assert interpose("sevre").returncode == 2
    assert interpose("run", "--ruels", "x").returncode == 2


def test_check_says_that_rules_are_good(interpose: Command, rules_file: Callable[[str], Path]) -> None:
    """On stdout, with what is in them."""
    path = rules_file("version: 1\n")
    done = interpose("check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: ok (0 providers, 0 routes, 0 client keys; audit only)\n"


def test_check_says_everything_that_is_wrong(interpose: Command, rules_file: Callable[[str], Path]) -> None:
    """On stderr, a line each, beginning with file:line:column; exit 2."""
    path = rules_file("version: 1\nprovider: {}\nintercept: {unmatched: maybe}\n")
    done = interpose("check", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:2:1", f"{path}:3:24"]
    assert 'did you mean "providers"' in lines[0]


def test_check_of_a_missing_file(interpose: Command) -> None:
    """One line, exit 2."""
    done = interpose("check", "missing.yaml")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("missing.yaml:")


def test_usage_as_a_table(interpose: Command, ledger: Path) -> None:
    """Plain where nobody looks at a terminal."""
    done = interpose("usage")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gpt-5" in done.stdout
    assert "o9-mini" in done.stdout
    assert "\033" not in done.stdout


def test_usage_as_json_and_csv(interpose: Command, ledger: Path) -> None:
    """The same numbers in both."""
    rows = json.loads(interpose("usage", "--by", "model", "--format", "json").stdout)["rows"]
    assert [(row["model"], row["calls"], row["input_tokens"]) for row in rows] == [
        ("gpt-5", 2, 2000),
        ("o9-mini", 1, 1000),
    ]
    lines = list(csv.DictReader(io.StringIO(interpose("usage", "--by", "model", "--format", "csv").stdout)))
    assert [(line["model"], line["calls"]) for line in lines] == [("gpt-5", "2"), ("o9-mini", "1")]


def test_usage_since(interpose: Command, ledger: Path) -> None:
    """Only what began at or after that moment."""
    assert json.loads(interpose("usage", "--since", "2026-11-02", "--format", "json").stdout)["rows"] == []
    assert len(json.loads(interpose("usage", "--since", "2026-11-01", "--format", "json").stdout)["rows"]) == 2


def test_usage_of_some_calls(interpose: Command, ledger: Path) -> None:
    """Until a day's end, of a model by its name or a pattern, several at once; the report says what was asked."""
    asked = ("--until", "2026-11-01", "--model", "gpt-*,x", "--model", "o9-mini", "--timezone", "Europe/Berlin")
    told = json.loads(interpose("usage", *asked, "--format", "json").stdout)
    assert told["total"]["calls"] == 3
    assert told["only"] == {"model": ["gpt-*", "x", "o9-mini"]}
    assert (told["since"], told["until"]) == (None, "2026-11-01T23:00:00+00:00")
    assert (told["timezone"], told["by"]) == ("Europe/Berlin", ["provider", "model"])
    assert "No calls like that are recorded in this span." in interpose("usage", "--model", "gpt").stdout


def test_usage_as_a_page(interpose: Command, ledger: Path, tmp_path: Path) -> None:
    """On stdout or in a file, in any encoding's locale; a folder that is not there is told."""
    interpose.environ["PYTHONIOENCODING"] = "ascii"
    page = interpose("usage", "--format", "html").stdout
    assert page.startswith("<!doctype html>")
    assert "gpt-5" in page
    file = tmp_path / "usage.html"
    done = interpose("usage", "--format", "html", "--output", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "<svg" in file.read_text("utf-8")
    done = interpose("usage", "--format", "html", "-o", str(tmp_path / "none" / "usage.html"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot write" in done.stderr
    assert "No such file or directory" in done.stderr


def test_a_page_is_not_for_a_terminal(interpose: Command, ledger: Path) -> None:
    """Nobody reads its source there: what to add is said."""
    ours, theirs = pty.openpty()
    command = interpose.argv("usage", "--format", "html")
    done = subprocess.run(command, env=interpose.environment, stdout=theirs, stderr=-1, text=True, check=False)
    os.close(theirs)
    os.close(ours)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "add --output usage.html" in done.stderr


def test_usage_reads_the_named_state_folder_or_the_rules_ledger(
    interpose: Command, ledger: Path, tmp_path: Path, rules_file: Callable[[str], Path]
) -> None:
    """`--state` for the default ledger, `--rules` for one that rules have put elsewhere."""
    ledger.rename(tmp_path / "elsewhere.db")
    path = rules_file("version: 1\nledger: {to: ['sqlite:elsewhere.db']}\n")
    assert "gpt-5" in interpose("usage", "--rules", str(path)).stdout
    (tmp_path / "elsewhere.db").rename(tmp_path / "usage.db")
    assert "gpt-5" in interpose("usage", "--state", str(tmp_path)).stdout
    for named in (str(tmp_path / "usage.db"), f"sqlite:{tmp_path / 'usage.db'}"):
        assert "gpt-5" in interpose("usage", "--ledger", named).stdout


def test_usage_of_a_collector_says_what_can_be_read(
    interpose: Command, ledger: Path, rules_file: Callable[[str], Path]
) -> None:
    """It takes records and gives none; where a file stands beside it, that one is read, whatever the order."""
    for command in (["usage"], ["usage", "verify"]):
        done = interpose(*command, "--ledger", "otlp:http://127.0.0.1:4318")
        assert done.returncode in (1, 2)
        assert "cannot be read: a collector only takes" in done.stderr
        assert "sqlite:usage.db" in done.stderr
    path = rules_file(f"version: 1\nledger: {{to: ['otlp:http://127.0.0.1:4318', 'sqlite:{ledger}']}}\n")
    assert "gpt-5" in interpose("usage", "--rules", str(path)).stdout


def test_usage_of_a_database_needs_its_password(interpose: Command) -> None:
    """The variable is named; a database that is not there is, too, and the password never."""
    url = "postgresql://me:${FAKE_PASSWORD}@127.0.0.1:1/usage"
    done = interpose("usage", "--ledger", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the environment variable FAKE_PASSWORD is not set" in done.stderr
    interpose.environ["FAKE_PASSWORD"] = "sk-FAKE-password"
    done = interpose("usage", "--ledger", url)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert f"the ledger {url} cannot be read: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "xml"), "not supported in this version: there are table, json, csv, html"),
        (("--timezone", "Mars/Base"), "'Mars/Base' is no time zone"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "there is nothing between"),
        (("--connections", "--model", "gpt-5"), "connections have neither models nor clients"),
        (("--connections", "--format", "html"), "as a table, JSON or CSV"),
        (("--by", "colour"), "colour"),
        (("--since", "yesterday"), "yesterday"),
        (("--ledger", "mysql://h/d"), "--ledger is no place for a ledger; write sqlite:FILE, jsonl:FILE,"),
        (("--ledger", "postgresql://me:sk-FAKE-password@h"), "--ledger names no database; write for example"),
        (("--ledger", "usage.db", "--rules", "r.yaml"), "both say which ledger: give one of them"),
    ],
)
def test_usage_refuses_what_it_does_not_know(interpose: Command, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, one line."""
    done = interpose("usage", *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr


def test_usage_without_a_ledger(interpose: Command) -> None:
    """Exit 1, one line that names the file; nothing is made."""
    done = interpose("usage")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert str(interpose.state / "usage.db") in done.stderr
    assert not interpose.state.exists()


def test_a_reader_that_leaves_early_is_no_error(interpose: Command, ledger: Path) -> None:
    """`interpose usage | head -0` prints no traceback."""
    command = subprocess.list2cmdline(interpose.argv("usage"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | true"], env=interpose.environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["usage", "usage --format json", "usage --format csv", "--help", "--version"])
def test_a_full_disk_behind_stdout_is_told(interpose: Command, ledger: Path, arguments: str, unbuffered: str) -> None:
    """One line, exit 1."""
    command = f"{shlex.join(interpose.argv())} {arguments} >/dev/full"
    environment = {**interpose.environment, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "interpose: cannot write to stdout: No space left on device\n")


@pytest.mark.parametrize("format_", ["table", "json", "csv"])
def test_a_closed_stdout_is_told(interpose: Command, ledger: Path, format_: str) -> None:
    """One line, exit 1."""
    command = f"{shlex.join(interpose.argv('usage', '--format', format_))} >&-"
    done = subprocess.run(["sh", "-c", command], env=interpose.environment, stderr=-1, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "interpose: cannot write the report: stdout is closed\n")


@pytest.mark.parametrize(("value", "escapes"), [("1", False), ("", True)])
def test_no_color_leaves_no_escapes_at_a_terminal(interpose: Command, ledger: Path, value: str, escapes: bool) -> None:
    """Neither colours nor bold nor dim; an empty NO_COLOR is none."""
    for argument in ("usage", "--help"):
        ours, theirs = pty.openpty()
        environment = {**interpose.environment, "NO_COLOR": value, "TERM": "xterm"}
        with subprocess.Popen(interpose.argv(argument), env=environment, stdout=theirs, stdin=theirs) as process:
            os.close(theirs)
            shown = b""
            while part := read(ours):
                shown += part
        os.close(ours)
        assert process.returncode == 0
        assert b"interpose" in shown or b"gpt-5" in shown
        assert (b"\033" in shown) is escapes


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side has closed
        return b""
