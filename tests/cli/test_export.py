"""`interpose export --from`: recordings of other tools, whole, broken, or none at all."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.recordings.hars import entry
from typer.testing import CliRunner, Result

from interpose.cli.commands import app


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["export", *arguments])

    return run


def har(*entries: dict[str, Any]) -> str:
    return json.dumps({"log": {"version": "1.2", "entries": list(entries)}})


def test_a_har_file_is_exported_under_its_own_name(export: Any, tmp_path: Path) -> None:
    """Beside where one is; without the key that a browser has saved with it."""
    Path("session.har").write_text(har(entry()))
    done = export("--from", "session.har")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("interpose: session.html: 1 conversation, 1 call, ")
    html = (tmp_path / "session.html").read_text()
    assert "héllo" in html
    assert "sk-FAKE-1" not in html


def test_a_call_of_a_file_is_named_by_its_place(export: Any) -> None:
    """Or by the beginning of its id; another one is told with those that are there."""
    Path("two.har").write_text(har(entry(), entry()))
    done = export("--from", "two.har", "two.har#2", "--format", "json", "-o", "-")
    assert [call["id"] for call in json.loads(done.stdout)["conversations"][0]["calls"]] == ["two.har#2"]
    done = export("--from", "two.har", "two.har#3")
    assert done.exit_code == 1
    assert "did you mean two.har#2 or two.har#1?" in done.stderr
    assert not Path("interpose-two.har-3.html").exists()


def test_what_breaks_off_is_exported_as_far_as_it_goes(export: Any) -> None:
    """And said on the page, too."""
    text = har(entry(), entry())
    Path("cut.har").write_text(text[: len(text) // 2 + 200])
    done = export("--from", "cut.har")
    assert done.exit_code == 0, done.output
    assert "cut.har: breaks off after entry 1" in done.stderr
    assert "cut.har: breaks off after entry 1" in Path("cut.html").read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello", "is no recording"),
        (b'{"log": {"entries": []}}', "has no entries"),
        (b'{"some": "json"}', "has no entries"),
        (gzip.compress(b"hello", mtime=0), "is no recording"),
        (gzip.compress(har(entry()).encode(), mtime=0)[:40], "its compression breaks off"),
    ],
)
def test_what_is_no_recording_is_told(export: Any, content: bytes, said: str) -> None:
    """By its name, with what there is; nothing is written."""
    Path("some.file").write_bytes(content)
    done = export("--from", "some.file")
    assert done.exit_code == 1
    assert f"some.file: {said}" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["some.file"]


def test_another_database_is_no_ledger(export: Any) -> None:
    """Nor is one that interpose has never written to."""
    with sqlite3.connect("other.db") as connection:
        connection.execute("CREATE TABLE people (name)")
    connection.close()
    for arguments in (
        ("--from", "other.db"),
        ("--ledger", "other.db", "--run", "last"),
        ("--ledger", "no.db", "x" * 8),
    ):
        done = export(*arguments)
        assert done.exit_code == 1
        assert "Traceback" not in done.output
        assert arguments[1] in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "-"), "--from - cannot be read twice"),
        (("--from", "a.har", "--run", "last"), "--run is of a ledger"),
        (("--from", "a.har", "--ledger", "b.db"), "both say where the calls are"),
        (("--from", "a.har", "--limit", "1kB"), "is too little for any page"),
    ],
)
def test_what_does_not_go_together_is_refused(export: Any, arguments: tuple[str, ...], said: str) -> None:
    """With status 2, as any mistake on the command line."""
    Path("a.har").write_text(har(entry()))
    done = export(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_folder_is_no_file(export: Any) -> None:
    """Nor is one that is not there."""
    Path("a.har").write_text(har(entry()))
    Path("folder").mkdir()
    assert "folder is a folder" in export("--from", "a.har", "-o", "folder").stderr
    done = export("--from", "a.har", "-o", "nowhere/a.html")
    assert (done.exit_code, "nowhere/a.html: No such file or directory" in done.stderr) == (1, True)
