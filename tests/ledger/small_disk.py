"""A ledger on a disk of its own that becomes full, in a mount namespace that ends with the process.

    unshare --map-root-user --mount python -m tests.ledger.small_disk FOLDER sqlite|jsonl

The spool is on the same disk, as it is where the state folder is: what fits nowhere is counted. Prints JSON: how many
were recorded, are there, and were counted as lost, and what a verification says.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.ledger.load_writer import sink_at

from interpose.ledger import Ledger, Record
from interpose.ledger.lane import Pace
from interpose.ledger.source import open_source
from interpose.ledger.spool import Spool
from interpose.ledger.verify import examine
from interpose.ledger.writer import Way
from interpose.rules.sinks import SinkFile

RECORDS = 4000


def call(number: int) -> Record:
    return Record(
        id=str(number), started_at="", finished_at="", entrance="embedded", method="POST", host="h", path="/",
        endpoint="chat", outcome="ok", app="x" * 1000,
    )  # fmt: skip


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def main(folder: Path, kind: str) -> None:
    mount(folder, "size=1m")
    path = folder / "calls"
    way = Way(sink_at(f"{kind}:{path}"), lambda: Spool(folder / "spool", limit=1 << 30))
    ledger = Ledger.start([way], writer="w", pace=Pace(clock=time.time, capacity=500))
    for number in range(RECORDS):
        began = time.monotonic()
        ledger.record(call(number))
        assert time.monotonic() - began < 5
        if number % 100 == 0:
            ledger.wait(0.05)
    assert not ledger.wait(0.5)
    lost = ledger.lost
    mount(folder, "remount,size=64m")
    assert ledger.wait(60)
    assert ledger.close() == 0
    place = SinkFile(kind, path)  # type: ignore[arg-type]  # one of the two
    with open_source(place) as source:
        found = list(source.rows("SELECT id, entrance, losses FROM calls ORDER BY seq"))
    gaps = [loss["count"] for _, entrance, losses in found if entrance == "ledger" for loss in json.loads(losses)]
    there = [int(name) for name, entrance, _ in found if entrance != "ledger"]
    print(
        json.dumps(
            {
                "recorded": RECORDS, "there": len(there), "ordered": there == sorted(set(there)), "lost": lost,
                "gaps": sum(gaps), "problems": [str(problem) for problem in examine(place).problems],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
