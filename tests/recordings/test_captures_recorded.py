"""A ledger with captures, read as recorded calls."""

from pathlib import Path

import pytest
from tests.replays.made import START, record

from interpose.ledger import Ledger
from interpose.ledger.packing import digest_of, stored
from interpose.ledger.record import Capture, utc_text
from interpose.recordings import Flaws
from interpose.recordings.captures import of_place

BODY = b'{"model":"gpt-4o","messages":[]}'
SAID = b'data: {"a":1}\n\ndata: [DONE]\n\n'


def part(name: str, body: bytes, **more: object) -> Capture:
    encoding, kept = stored(body)
    told = {"id": "ip_0", "at": utc_text(START), "part": name, "digest": digest_of(body), "size": len(body)}
    return Capture(**{**told, "kept": len(body), "encoding": encoding, "body": kept, **more})  # type: ignore[arg-type]


def test_captures_bring_bodies_headers_and_times(tmp_path: Path) -> None:
    """What the client asked and got, and when its pieces came; a call without captures stands beside it."""
    ledger = Ledger.open(tmp_path / "x.db", writer="w", clock=lambda: START)
    ledger.record(record(0))
    ledger.record(record(1, at=1))
    url = "https://api.openai.com/v1/chat/completions?x=1"
    headers = '[["Authorization","***"],["Content-Encoding","gzip"]]'
    ledger.capture(part("asked", BODY, method="POST", url=url, headers=headers))
    ledger.capture(part("answered", SAID, status=200, timing="[[500,15],[900,14]]"))
    ledger.close()
    flaws = Flaws()
    first, second = of_place(tmp_path / "x.db", "x.db", flaws)
    assert list(flaws) == []
    assert (first.asked.body, first.asked.url.target) == (BODY, "/v1/chat/completions?x=1")
    assert first.asked.headers == ((b"Authorization", b"***"),)
    assert first.masked
    assert first.answered is not None
    assert (first.answered.body, first.answered.chunks) == (SAID, ((0.5, 15), (0.9, 14)))
    assert first.answered.ended == pytest.approx(2.0)
    assert second.asked.body is None


def test_a_corrupt_capture_is_told_and_its_call_is_used_without(tmp_path: Path) -> None:
    """A body that does not give its digest is not handed out."""
    ledger = Ledger.open(tmp_path / "x.db", writer="w", clock=lambda: START)
    ledger.record(record(0))
    ledger.capture(part("asked", BODY, digest=digest_of(b"another")))
    ledger.close()
    flaws = Flaws()
    [call] = of_place(tmp_path / "x.db", "x.db", flaws)
    assert call.asked.body is None
    [told] = flaws
    assert "digest" in told
