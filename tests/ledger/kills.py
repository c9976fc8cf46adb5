"""Processes that are killed under load, one after the other on one ledger, and what became of what they recorded.

`scripts/bench ledger --kills N` shows it as a table; a test does the same with fewer.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interpose.ledger import Ledger
from interpose.ledger.address import Database, Readable
from interpose.ledger.lane import Pace
from interpose.ledger.source import open_source
from interpose.ledger.spool import Spool
from interpose.ledger.verify import Problem, examine
from interpose.ledger.writer import Way
from interpose.rules import sinks

from .load_writer import sink_at

SCRIPT = Path(__file__).with_name("load_writer.py")
_START = 60.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One process: how many records it made, how many of them were acknowledged, and when it was killed (Unix time);
    `times` are those of its records.
    """

    writer: str
    recorded: int
    acknowledged: int
    at: float
    times: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is in the ledger of what was recorded: `lost` was acknowledged and is not there, `missing` was not yet, and
    `oldest_ms` is how long before the kill the oldest of those was recorded.
    """

    kills: int
    recorded: int
    acknowledged: int
    lost: int
    missing: int
    oldest_ms: float
    chains: int
    problems: list[Problem]


def place_of(text: str) -> Readable:
    file = sinks.file_named(text)
    return sinks.SinkFile(file[0], Path(file[1])) if file is not None else Database(sinks.database(text))


def kill(place: str, folder: Path, writer: str, *, rate: int, most: int, dice: random.Random) -> Kill:
    """Starts a process and kills it after up to `most` records, somewhere between two commits or in one."""
    log = folder / f"{writer}.log"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), place, str(folder / "spool"), str(log), writer, str(rate), "0", "0.1"]
    )
    try:
        after = dice.randint(1, most)
        until(lambda: "acknowledged" in (text := said(log)) and text.count("recorded") >= after, process)
        time.sleep(dice.uniform(0, 0.1))  # not at a record's end: anywhere
        at = time.time()
        process.kill()
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    lines = [line.split() for line in said(log).splitlines()]
    times = tuple(float(line[2]) for line in lines if line[0] == "recorded" and float(line[2]) <= at)
    acknowledged = max(int(line[1]) for line in lines if line[0] == "acknowledged")
    return Kill(writer, len(times), acknowledged, at, times)


def said(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def judged(place: str, folder: Path, kills: list[Kill]) -> Outcome:
    """Starts once more, so that what waits in the spool is delivered, and holds the ledger against the logs."""
    last = Ledger.start(
        [Way(sink_at(place), lambda: Spool(folder / "spool", limit=1 << 30))],
        writer="last",
        pace=Pace(clock=time.time),
    )
    assert last.caught_up(_START)
    assert last.close() == 0
    found = examine(place_of(place))
    lost = missing = 0
    oldest = 0.0
    with open_source(place_of(place)) as source:
        for each in kills:
            there = {int(name.rpartition("-")[2]) for (name,) in source.rows(
                "SELECT id FROM calls WHERE writer = ?", each.writer
            )}  # fmt: skip
            lost += sum(number not in there for number in range(1, each.acknowledged + 1))
            gone = [number for number in range(1, each.recorded + 1) if number not in there]
            missing += len(gone)
            oldest = max([oldest, *(each.at - each.times[number - 1] for number in gone)])
    return Outcome(
        len(kills), sum(each.recorded for each in kills), sum(min(each.acknowledged, each.recorded) for each in kills),
        lost, missing, oldest * 1000, len(found.chains), found.problems,
    )  # fmt: skip
