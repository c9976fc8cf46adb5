"""`interpose usage verify` and `interpose usage checkpoint`: the real command."""

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.ledger.conftest import START, invented

from interpose.ledger import Ledger, utc_text
from interpose.ledger.jsonl import JsonlSink
from interpose.ledger.lane import Pace
from interpose.ledger.sqlite import SqliteSink
from interpose.ledger.writer import Way

from .conftest import Command


@pytest.fixture
def ledger(interpose: Command) -> Path:
    """Two runs of five calls, in the usual place and as JSON lines beside it."""
    for writer in ("a" * 32, "b" * 32):
        sinks = [SqliteSink(interpose.state / "usage.db"), JsonlSink(interpose.state / "calls.jsonl")]
        opened = Ledger.start([Way(sink) for sink in sinks], writer=writer, pace=Pace(clock=lambda: START))
        for number in range(5):
            opened.record(invented(number, cost_usd=0.01))
        assert opened.close() == 0
    return interpose.state / "usage.db"


def tamper(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount == 1


def test_a_sound_ledger_is_told_chain_by_chain(interpose: Command, ledger: Path) -> None:
    """A row for each, with its span, and status 0; with the options of the reports, ahead or behind."""
    done = interpose("usage", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"sqlite:{ledger}: 10 records in 2 chains: sound" in done.stdout
    assert done.stdout.count("1–5  2026-11-01 00:00:00  2026-11-01 00:00:04  sound") == 2
    lines = f"jsonl:{interpose.state / 'calls.jsonl'}"
    assert interpose("usage", "verify", "--ledger", lines).stdout.endswith(f"{lines}: 10 records in 2 chains: sound\n")
    assert interpose("usage", "--ledger", lines, "verify").stdout.endswith(f"{lines}: 10 records in 2 chains: sound\n")


def test_a_narrow_terminal_gets_fewer_columns(interpose: Command, ledger: Path) -> None:
    """Each of which can be read, the state above all."""
    interpose.environ["COLUMNS"] = "72"
    shown = interpose("usage", "verify").stdout
    assert "…" not in shown
    assert [line.split()[-1] for line in shown.splitlines()[3:5]] == ["sound", "sound"]
    assert "records  numbers  from" in shown
    assert "version" not in shown
    interpose.environ["COLUMNS"] = "50"
    assert "numbers" not in interpose("usage", "verify").stdout


def test_what_was_done_to_a_record_is_told(interpose: Command, ledger: Path) -> None:
    """Which writer, which record and what happened to it, and status 1; the same as JSON."""
    tamper(ledger, "UPDATE calls SET cost_usd = 0.001 WHERE writer LIKE 'a%' AND seq = 3")
    tamper(ledger, "DELETE FROM calls WHERE writer LIKE 'b%' AND seq = 4")
    done = interpose("usage", "verify")
    assert done.returncode == 1
    assert f"writer {'a' * 32}, record 3: changed: its content does not give its hash\n" in done.stdout
    assert f"writer {'b' * 32}, record 4: deleted: missing\n" in done.stdout
    assert "9 records in 2 chains: 2 problems" in done.stdout
    told = json.loads(interpose("usage", "verify", "--format", "json").stdout)
    assert (told["sound"], told["records"]) == (False, 9)
    assert [(each["flaw"], each["writer"][0], each["seq"], each["table"]) for each in told["problems"]] == [
        ("changed", "a", 3, "calls"),
        ("deleted", "b", 4, "calls"),
    ]
    assert [(each["first"], each["last"], each["problems"]) for each in told["chains"]] == [(1, 5, 1), (1, 5, 1)]


def test_a_cut_end_is_found_by_a_checkpoint(interpose: Command, ledger: Path, tmp_path: Path) -> None:
    """Nobody in the ledger knows of it, but the file that was kept elsewhere does, also of a ledger that was moved."""
    kept = tmp_path / "elsewhere" / "checkpoints.jsonl"
    done = interpose("usage", "checkpoint", "--to", str(kept))
    assert (done.returncode, done.stdout) == (0, "")
    assert f"checkpoint 1 of sqlite:{ledger}, 1 chain, is in {kept}: keep it where the ledger is not" in done.stderr
    assert interpose("usage", "verify", "--checkpoint", str(kept)).returncode == 0
    tamper(ledger, "DELETE FROM calls WHERE writer LIKE 'b%' AND seq = 5")
    assert interpose("usage", "verify").returncode == 0
    moved = ledger.rename(tmp_path / "copy.db")
    done = interpose("usage", "verify", "--ledger", str(moved), "--checkpoint", str(kept))
    assert done.returncode == 1
    at = json.loads(kept.read_text())["at"]
    assert f"writer {'b' * 32}, record 5: cut: it is gone from the end: a checkpoint of {at} knows it\n" in done.stdout


def test_a_checkpoint_without_a_file_is_printed(interpose: Command, ledger: Path) -> None:
    """So that it can go wherever a line can go."""
    told = json.loads(interpose("usage", "checkpoint").stdout)
    assert (told["number"], told["ledger"]) == (1, f"sqlite:{ledger}")
    assert list(told["heads"]) == ["b" * 32]
    assert told["heads"]["b" * 32][0] == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ledger", "none.db"], "there is no ledger at "),
        (["--checkpoint", "none.jsonl"], "the checkpoints none.jsonl cannot be read: No such file or directory"),
        (["--format", "xml"], "--format xml is not supported in this version: there are table, json"),
        (["--rules", "none.yaml"], "none.yaml"),
    ],
)
def test_what_cannot_be_read_is_status_2(interpose: Command, ledger: Path, options: list[str], said: str) -> None:
    """One line that says what it is: nobody takes it for a sound ledger, or for a tampered one."""
    done = interpose("usage", "verify", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_hostile_writer_steers_no_terminal(interpose: Command, ledger: Path) -> None:
    """What somebody has put into the ledger is shown without its control characters."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute(
            "UPDATE calls SET writer = char(27) || '[2J', started_at = char(27) WHERE writer > 'b' AND seq = 2"
        )
    done = interpose("usage", "verify")
    assert done.returncode == 1
    assert "unknown writer" in done.stdout
    assert "\x1b" not in done.stdout


def test_of_many_problems_the_first_are_shown(interpose: Command, ledger: Path) -> None:
    """A ledger that was rewritten from end to end fills no screen."""
    opened = Ledger.open(ledger, writer="c" * 32, clock=lambda: START)
    for number in range(100):
        opened.record(invented(number, started_at=utc_text(START)))
    assert opened.close() == 0
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE calls SET host = 'evil.example'")
    done = interpose("usage", "verify")
    assert "… and 70 more: --format json has them all" in done.stdout
    assert "110 records in 3 chains: 110 problems" in done.stdout


OLD = "--older-than", "2d"


@pytest.fixture
def aged(interpose: Command) -> Path:
    """A ledger with three records that are a year old, and two of now."""
    return grown(SqliteSink(interpose.state / "usage.db"))


def grown(sink: SqliteSink | JsonlSink) -> Path:
    now = time.time()
    opened = Ledger.start([Way(sink)], writer="a" * 32, pace=Pace(clock=time.time))
    for moment in (*(now - 366 * 86_400 + number for number in range(3)), now, now):
        opened.record(invented(1, started_at=utc_text(moment)))
    assert opened.close() == 0
    return sink.path


def test_what_is_old_is_deleted_by_hand(interpose: Command, aged: Path) -> None:
    """A dry run says how much and deletes nothing; afterwards the chain verifies, and says from where it is there."""
    done = interpose("usage", "prune", *OLD, "--dry-run")
    assert (done.returncode, done.stderr) == (0, f"interpose: sqlite:{aged}: would delete 3 of calls\n")
    assert "5 records in 1 chain: sound" in interpose("usage", "verify").stdout
    done = interpose("usage", "prune", *OLD)
    assert (done.returncode, done.stderr) == (0, f"interpose: sqlite:{aged}: deleted 3 of calls\n")
    found = interpose("usage", "verify").stdout
    assert "2 records in 1 chain: sound" in found
    assert "sound, cut up to 3" in found
    assert interpose("usage", "prune", *OLD).stderr.endswith("deleted nothing: there is nothing so old\n")
    tamper(aged, "DELETE FROM calls WHERE seq = 4")
    assert "record 4: deleted: missing" in interpose("usage", "verify").stdout


def test_json_lines_are_deleted_by_hand(interpose: Command) -> None:
    """As records of a database: told beforehand, gone afterwards, sound at any time, and in no report."""
    path = grown(JsonlSink(interpose.state / "calls.jsonl"))
    place = ("--ledger", f"jsonl:{path}")
    done = interpose("usage", "prune", *OLD, *place, "--dry-run")
    assert (done.returncode, done.stderr) == (0, f"interpose: jsonl:{path}: would delete 3 of calls\n")
    done = interpose("usage", "prune", *OLD, *place)
    assert (done.returncode, done.stderr) == (0, f"interpose: jsonl:{path}: deleted 3 of calls\n")
    found = interpose("usage", "verify", *place).stdout
    assert "2 records in 1 chain: sound" in found
    assert "sound, cut up to 3" in found
    assert json.loads(interpose("usage", "--format", "json", *place).stdout)["total"]["calls"] == 2
    part = path.with_name("calls.jsonl.part-00000001")
    part.write_bytes(b"".join(line for line in part.read_bytes().splitlines(keepends=True) if b'"seq":4,' not in line))
    assert "record 4: deleted: missing" in interpose("usage", "verify", *place).stdout


def test_what_was_tampered_with_is_not_deleted_by_hand(interpose: Command, aged: Path) -> None:
    """It is told, with a status that a script sees."""
    tamper(aged, "UPDATE calls SET status = 500 WHERE seq = 2")
    done = interpose("usage", "prune", *OLD)
    assert done.returncode == 1
    assert f"writer {'a' * 32}, record 2: changed: its content does not give its hash\n" in done.stderr
    assert "1 of calls" in done.stderr


@pytest.mark.parametrize(
    ("options", "said", "status"),
    [
        ((), "how old? write --older-than 90d, or name rules that have ledger.keep", 2),
        (("--older-than", "soon"), '--older-than "soon" is not a duration; write for example 500ms', 2),
        (("--older-than", "9d", "--ledger", "jsonl:none"), "there is no ledger at ", 1),
        (("--older-than", "9d", "--ledger", "none.db"), "there is no ledger at ", 1),
    ],
)
def test_what_cannot_be_pruned_is_said(interpose: Command, options: tuple[str, ...], said: str, status: int) -> None:
    """In one line."""
    done = interpose("usage", "prune", *options)
    assert (done.returncode, done.stdout, said in done.stderr) == (status, "", True)


def test_rules_keep_and_tell_while_it_runs(interpose: Command, aged: Path, rules_file: Callable[[str], Path]) -> None:
    """Retention runs at the start, and a checkpoint knows of it; by hand it is done by the same rules."""
    rules = rules_file("version: 1\nledger: {to: state/usage.db, keep: {records: 30d}, checkpoints: {to: kept/a}}\n")
    rules.write_text(rules.read_text().replace("state/", f"sqlite:{interpose.state}/"))
    waits = (
        "import sqlite3, time\n"
        f"while sqlite3.connect({str(aged)!r}, timeout=30).execute('SELECT count(*) FROM calls').fetchone() != (2,):\n"
        "    time.sleep(0.01)"
    )
    done = interpose("run", "--rules", str(rules), "--", sys.executable, "-c", waits)
    assert done.returncode == 0, done
    kept = rules.parent / "kept" / "a"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert next(cut["cut"] for line in lines for cut in line["cuts"]).startswith('{"' + "a" * 32 + '":[3,')
    done = interpose("usage", "verify", "--rules", str(rules), "--checkpoint", str(kept))
    assert (done.returncode, "note" in done.stdout) == (0, False), done
    assert interpose("usage", "prune", "--rules", str(rules)).returncode == 0
    assert f"is in {kept}" in interpose("usage", "checkpoint", "--rules", str(rules)).stderr
