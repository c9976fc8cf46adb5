"""Recordings are opened by what they hold, whatever they are called."""

import gzip
import io
import json
import sqlite3
import sys
from pathlib import Path

import pytest
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from interpose.errors import InterposeError
from interpose.hosts.recorded import Recordings
from interpose.ledger import Ledger
from interpose.ledger.record import Record, utc_text

HAR = json.dumps(
    {
        "log": {
            "entries": [
                {
                    "startedDateTime": "2026-11-26T07:00:00Z",
                    "request": {"method": "GET", "url": "https://api.openai.com/v1/models", "headers": []},
                    "response": {"status": 200, "headers": [], "content": {"text": "{}"}},
                }
            ]
        }
    }
).encode()


def flows() -> bytes:
    file = io.BytesIO()
    FlowWriter(file).add(tflow.tflow(resp=True))
    return file.getvalue()


def ledger(path: Path) -> None:
    made = Ledger.open(path, writer="w", clock=lambda: 100.0)
    for number, outcome in enumerate(("ok", "limited")):
        made.record(
            Record(
                id=f"ip_{number}",
                started_at=utc_text(100.0 - number),
                finished_at=utc_text(101.0),
                entrance="intercept",
                client="ci",
                method="POST",
                host="api.openai.com",
                path="/v1/chat/completions",
                endpoint="chat",
                status=200,
                outcome=outcome,
                duration_ms=500.0,
            )
        )
    made.close()


def test_each_kind_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    """A ledger, a HAR and a file of flows, all with names that lie, one after the other."""
    ledger(tmp_path / "a.har")
    (tmp_path / "b.db").write_bytes(HAR)
    (tmp_path / "c").write_bytes(flows())
    (tmp_path / "d.mitm").write_bytes(gzip.compress(HAR))
    paths = [str(tmp_path / name) for name in ("a.har", "b.db", "c", "d.mitm")]
    found = Recordings(paths)
    assert [call.place.removeprefix(f"{tmp_path}/") for call in found] == [
        "a.har#ip_1",
        "a.har#ip_0",
        "b.db#1",
        "c#1",
        "d.mitm#1",
    ]
    assert list(found.flaws) == []
    assert found.read == found.size


def test_a_record_tells_who_called_and_when_and_has_no_body(tmp_path: Path) -> None:
    """What only a body or a header says is not known of it."""
    ledger(tmp_path / "usage.db")
    first, second = Recordings([str(tmp_path / "usage.db")])
    assert (first.started_at, second.started_at) == (99.0, 100.0)
    assert (second.client, second.asked.body, second.asked.headers) == ("ci", None, ())
    assert second.asked.url.path == "/v1/chat/completions"
    assert second.record is not None
    assert second.answered is not None
    assert (second.answered.status, second.answered.ended) == (200, 0.5)


def test_stdin_is_read_as_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that everybody has for it."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(flows()))))
    assert [call.place for call in Recordings(["-"])] == ["stdin#1"]


@pytest.mark.parametrize("content", [b"hello", b"\x00\x01", b"%PDF-1.7"])
def test_what_is_no_recording_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """With what there are."""
    path = tmp_path / "x.mitm"
    path.write_bytes(content)
    with pytest.raises(InterposeError, match=r"x\.mitm: is no recording: there are"):
        list(Recordings([str(path)]))


def test_files_that_are_not_there_or_hold_nothing_are_told(tmp_path: Path) -> None:
    """One is an error, the other is none."""
    (tmp_path / "empty").touch()
    found = Recordings([str(tmp_path / "empty")])
    assert list(found) == []
    assert list(found.flaws) == [f"{tmp_path}/empty: is empty"]
    with pytest.raises(InterposeError, match="No such file"):
        list(Recordings([str(tmp_path / "nowhere")]))


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """As `interpose usage` refuses it."""
    with sqlite3.connect(tmp_path / "x.db") as strange:
        strange.execute("CREATE TABLE t (a)")
    strange.close()
    with pytest.raises(InterposeError, match="something else"):
        list(Recordings([str(tmp_path / "x.db")]))
