"""What is done to a ledger while it is written: in a thread, if the rules ask for it, and never at anybody's cost."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ledger.conftest import START, invented

from interpose.hosts.keeping import Keeping
from interpose.ledger import Ledger
from interpose.ledger.jsonl import JsonlSink
from interpose.ledger.lane import Pace
from interpose.ledger.sqlite import SqliteSink
from interpose.ledger.verify import examine
from interpose.ledger.writer import Way
from interpose.rules.compiled import CheckpointRules, KeepRules, LedgerRules
from interpose.rules.sinks import SinkFile

DAY = 86_400
KEEP = LedgerRules(keep=KeepRules(records=5 * DAY))


@pytest.fixture
def places(tmp_path: Path) -> list[SinkFile]:
    """A ledger of ten days, as a database and as lines."""
    found = [SinkFile("sqlite", tmp_path / "usage.db"), SinkFile("jsonl", tmp_path / "calls.jsonl")]
    ways = [Way(SqliteSink(found[0].path)), Way(JsonlSink(found[1].path))]
    ledger = Ledger.start(ways, writer="a", pace=Pace(clock=lambda: START))
    for day in range(10):
        ledger.record(invented(day * DAY))
    assert ledger.close() == 0
    return found


def now() -> float:
    return START + 10 * DAY


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_without_a_wish_nothing_is_started(places: list[SinkFile]) -> None:
    """No thread, and no end to wait for."""
    before = threading.active_count()
    keeping = Keeping(places, now=now)
    keeping.adopt(LedgerRules())
    assert threading.active_count() == before
    asyncio.run(keeping.aclose())


def test_what_is_old_goes_at_the_start(places: list[SinkFile]) -> None:
    """Of each ledger. Rules that come later are followed at once."""
    keeping = Keeping(places, now=now)
    keeping.adopt(LedgerRules())
    keeping.adopt(KEEP)
    until(lambda: [examine(place).records for place in places] == [5, 5])
    keeping.adopt(LedgerRules(keep=KeepRules(records=2 * DAY)))
    until(lambda: [examine(place).records for place in places] == [2, 2])
    asyncio.run(keeping.aclose())
    assert [examine(place).problems for place in places] == [[], []]


def test_checkpoints_at_the_start_and_at_the_end(places: list[SinkFile], tmp_path: Path) -> None:
    """Of each ledger, with what retention has deleted; one that would say nothing new is left out."""
    kept = tmp_path / "elsewhere" / "kept.jsonl"
    keeping = Keeping(places, now=now)
    keeping.adopt(LedgerRules(keep=KEEP.keep, checkpoints=CheckpointRules(kept, 3600)))
    until(lambda: len(lines(kept)) == 2)
    assert [line["ledger"] for line in lines(kept)] == [str(place) for place in places]
    assert [len(line["cuts"]) for line in lines(kept)] == [1, 1]
    ledger = Ledger.start([Way(SqliteSink(places[0].path))], writer="b", pace=Pace(clock=now))
    ledger.record(invented(9 * DAY))
    assert ledger.close() == 0
    asyncio.run(keeping.aclose())
    assert [line["ledger"] for line in lines(kept)][2:] == [str(places[0])]
    assert "b" in lines(kept)[2]["heads"]
    assert [examine(place, files=[kept]).problems for place in places] == [[], []]


def test_they_come_every_so_often(places: list[SinkFile], tmp_path: Path) -> None:
    """As long as there is anything to tell."""
    kept = tmp_path / "kept.jsonl"
    keeping = Keeping(places[:1], now=time.time)
    keeping.adopt(LedgerRules(checkpoints=CheckpointRules(kept, 0.05)))
    for writer in "bcd":
        ledger = Ledger.start([Way(SqliteSink(places[0].path))], writer=writer, pace=Pace(clock=now))
        ledger.record(invented(9 * DAY))
        assert ledger.close() == 0
        until(lambda writer=writer: lines(kept) and writer in lines(kept)[-1]["heads"])
    asyncio.run(keeping.aclose())
    assert examine(places[0], files=[kept]).problems == []


def test_another_workers_checkpoint_will_do(places: list[SinkFile], tmp_path: Path) -> None:
    """They share the file: one that is young is not followed by one of each worker."""
    kept = tmp_path / "kept.jsonl"
    rules = LedgerRules(checkpoints=CheckpointRules(kept, 3600))
    first = Keeping(places[:1], now=now)
    first.adopt(rules)
    until(lambda: len(lines(kept)) == 1)
    ledger = Ledger.start([Way(SqliteSink(places[0].path))], writer="b", pace=Pace(clock=now))
    ledger.record(invented(9 * DAY))
    assert ledger.close() == 0
    second = Keeping([places[1], places[0]], now=now)
    second.adopt(LedgerRules(checkpoints=CheckpointRules(kept, 3600)))
    until(lambda: len(lines(kept)) == 2)  # of the lines, which had none
    third = Keeping([places[0], SinkFile("sqlite", tmp_path / "none.db")], now=now)
    third.adopt(rules)
    asyncio.run(third.aclose())
    assert "b" in lines(kept)[-1]["heads"]
    for keeping in (first, second):
        asyncio.run(keeping.aclose())
    assert [line["ledger"] for line in lines(kept)] == [str(places[0]), str(places[1]), str(places[0])]


def test_what_fails_is_told_and_costs_nothing(
    places: list[SinkFile], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that is not there, a file that cannot be written: the other ledger is kept all the same."""
    gone = SinkFile("sqlite", tmp_path / "gone.db")
    keeping = Keeping([gone, places[0]], now=now)
    with caplog.at_level(logging.WARNING):
        keeping.adopt(LedgerRules(keep=KEEP.keep, checkpoints=CheckpointRules(tmp_path, 3600)))
        until(
            lambda: examine(places[0]).records == 5 and "there is no checkpoint: the checkpoint cannot" in caplog.text
        )
        asyncio.run(keeping.aclose())
    assert f"the ledger {gone}: retention has not done its work: there is no ledger at {gone.path}" in caplog.text
    assert not gone.path.exists()


def test_a_fork_finds_no_ledger_open(places: list[SinkFile]) -> None:
    """A run that is under way stops for it; the next one goes on."""
    keeping = Keeping(places, now=now)
    keeping.adopt(KEEP)
    with keeping.unopened():
        before = examine(places[0]).records
        keeping.adopt(LedgerRules(keep=KeepRules(records=1 * DAY)))
        assert examine(places[0]).records == before
    until(lambda: examine(places[0]).records == 1)
    asyncio.run(keeping.aclose())
    assert examine(places[0]).problems == []
