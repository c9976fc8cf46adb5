"""`interpose replay`: recordings of any kind through the real command, without network or secrets."""

import csv
import io
import json
from pathlib import Path

import pytest
from tests.replays.made import TO_CLAUDE, record

from interpose.ledger import Ledger

from .conftest import Command


def entry(number: int, **more: object) -> dict[str, object]:
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], **more}
    answered = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    }
    return {
        "startedDateTime": f"2026-11-26T07:00:{number:02}Z",
        "time": 1000,
        "request": {
            "method": "POST",
            "url": "https://api.openai.com/v1/chat/completions",
            "headers": [{"name": "Content-Type", "value": "application/json"}],
            "postData": {"text": json.dumps(asked)},
        },
        "response": {
            "status": 200,
            "headers": [{"name": "Content-Type", "value": "application/json"}],
            "content": {"text": json.dumps(answered)},
        },
    }


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[str, str]:
    """Rules, and a HAR of three calls, one of which cannot be converted."""
    rules, har = tmp_path / "new.yaml", tmp_path / "calls.har"
    rules.write_text(TO_CLAUDE)
    har.write_text(json.dumps({"log": {"entries": [entry(1), entry(2, n=2), entry(3)]}}))
    return str(rules), str(har)


def test_what_would_change_stands_in_a_table(interpose: Command, recorded: tuple[str, str]) -> None:
    """Totals of both sides, the changes in groups, and 0 unless asked to fail on them; no credential was looked for."""
    rules, har = recorded
    done = interpose("replay", rules, har, "--each")
    assert done.returncode == 0, done
    assert "replayed 3 calls, 2026-11-26 07:00 – 2026-11-26 07:00 UTC: 3 would change" in done.stdout
    lines = done.stdout.splitlines()
    assert any(line.split() == ["answered", "by", "a", "provider", "3", "2"] for line in lines)
    assert any(line.split() == ["cost", "$0.0090", "~$0.0090"] for line in lines)
    assert any("routing: api.openai.com gpt-4o → claude claude-sonnet-4-5" in line for line in lines)
    assert any("outcome: ok → refused 400 conversion_impossible" in line for line in lines)
    assert done.stderr == ""


def test_a_cost_that_nobody_knows_is_none(interpose: Command, recorded: tuple[str, str]) -> None:
    """Of calls that are sent to a model without a price; those that are not sent cost nothing."""
    rules, har = recorded
    Path(rules).write_text(TO_CLAUDE.replace("model: claude-sonnet-4-5", "model: of-our-own"))
    shown = interpose("replay", rules, har).stdout
    assert [line.split()[-3:] for line in shown.splitlines() if "routing: " in line] == [["$0.0060", "→", "–"]]
    assert [line.split()[-3:] for line in shown.splitlines() if "outcome: " in line] == [["$0.0030", "→", "$0.00"]]
    groups = json.loads(interpose("replay", rules, har, "--format", "json").stdout)["groups"]
    assert sorted(str(group["cost_after_usd"]) for group in groups) == ["0.0", "None"]


def test_json_and_csv_have_it_for_programs(interpose: Command, recorded: tuple[str, str]) -> None:
    """With `--fail-on-change` the status says whether anything would change."""
    rules, har = recorded
    done = interpose("replay", rules, har, "--format", "json", "--each", "--fail-on-change")
    assert done.returncode == 1, done
    told = json.loads(done.stdout)
    assert (told["calls"], told["changed"], len(told["each"]), told["unreadable"]) == (3, 3, 3, [])
    assert told["after"]["outcomes"] == {"ok": 2, "refused": 1}
    assert told["each"][0]["after"]["provider"] == "claude"
    done = interpose("replay", rules, har, "--format", "csv", "--against", rules, "--fail-on-change")
    assert done.returncode == 0, done
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["changed"] for row in rows] == ["", "", ""]
    assert rows[1]["after_code"] == "conversion_impossible"


def test_without_recordings_the_usual_ledger_is_replayed(interpose: Command, recorded: tuple[str, str]) -> None:
    """That of the state folder, or the one that the rules name. And what a broken file beside it has lost is said,
    where it breaks.
    """
    rules, har = recorded
    interpose.state.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(interpose.state / "usage.db", writer="w", clock=lambda: 0.0)
    ledger.record(record())
    ledger.close()
    done = interpose("replay", rules, "--format", "json")
    assert json.loads(done.stdout)["groups"][0]["changes"][0]["before"] == "openai gpt-4o"
    (interpose.state / "usage.db").rename(Path(rules).parent / "named.db")
    Path(rules).write_text(Path(rules).read_text() + "\nledger: {to: [sqlite:named.db]}\n")
    done = interpose("replay", rules, "--format", "json")
    assert json.loads(done.stdout)["groups"][0]["changes"][0]["before"] == "openai gpt-4o"
    whole = Path(har).read_bytes()
    Path(har).write_bytes(whole[:-200])
    done = interpose("replay", rules, har)
    assert done.returncode == 0
    assert "replayed 2 calls" in done.stdout
    assert "breaks off after entry 2" in done.stderr


def test_a_recording_of_which_nothing_can_be_read_is_no_success(interpose: Command, recorded: tuple[str, str]) -> None:
    """For CI that asks whether anything would change, and for people, who are told why."""
    rules, har = recorded
    Path(har).write_bytes(Path(har).read_bytes()[:60])
    done = interpose("replay", rules, har)
    assert done.returncode == 1
    assert "breaks off after entry 0 (parse error: premature EOF)\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("calls.har", "new.yaml"), 2, "calls.har is a recording: the rules come first"),
        (("new.yaml", "new.yaml"), 1, "is no recording"),
        (("new.yaml", "postgresql://u:FAKE-password@localhost/x"), 1, "postgresql://… is no file; name a database by"),
        (("new.yaml", "nowhere.har"), 1, "No such file"),
        (("new.yaml", "calls.har", "--format", "xml"), 2, "--format xml is not known: there are table, json, csv"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    interpose: Command, recorded: tuple[str, str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    """The files in the wrong order, no recording, no file, no such format."""
    folder = Path(recorded[0]).parent
    done = interpose("replay", *(str(folder / name) if "." in name else name for name in arguments))
    assert (done.returncode, said in done.stderr, done.stdout) == (status, True, "")
