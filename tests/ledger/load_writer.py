"""A process under load, to be killed: records calls at a steady pace and notes what it did in a log.

Lines of the log, each one write(2), which a kill -9 cannot tear: `recorded <number> <unix time>` after each record,
`acknowledged <seq>` after each commit. Arguments: the ledger as `ledger.to` names it, the folder of its spool (- for
none), log, writer id, records a second, number of records (0: for ever), time to wait between commits.
"""

import os
import sys
import time
from pathlib import Path

from interpose.ledger import Ledger, Record, utc_text
from interpose.ledger.address import Collector, Database
from interpose.ledger.lane import Pace
from interpose.ledger.sink import Sink
from interpose.ledger.spool import Spool
from interpose.ledger.writer import Way
from interpose.rules import sinks


def sink_at(place: str) -> Sink:
    if place.startswith("otlp:"):
        from interpose.ledger.otlp import OtlpSink

        return OtlpSink(Collector(sinks.collector(place)))
    if (file := sinks.file_named(place)) is None:
        from interpose.ledger.postgres.sink import PostgresSink

        return PostgresSink(Database(sinks.database(place)))
    if file[0] == "jsonl":
        from interpose.ledger.jsonl import JsonlSink

        return JsonlSink(Path(file[1]))
    from interpose.ledger.sqlite import SqliteSink

    return SqliteSink(Path(file[1]))


def main(place: str, spool: str, log: str, writer: str, rate: str, total: str, interval: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ledger = Ledger.start(
        [Way(sink_at(place), None if spool == "-" else lambda: Spool(Path(spool), limit=1 << 30))],
        writer=writer,
        pace=Pace(clock=time.time, interval=float(interval)),
        on_commit=lambda seq: os.write(out, f"acknowledged {seq}\n".encode()) and None,
    )
    begin = time.monotonic()
    number = 0
    while not int(total) or number < int(total):
        number += 1
        now = time.time()
        ledger.record(
            Record(
                id=f"{writer}-{number}",
                started_at=utc_text(now),
                finished_at=utc_text(now),
                entrance="gateway",
                method="POST",
                host="ai.example",
                path="/v1/chat/completions",
                endpoint="chat",
                outcome="ok",
            )
        )
        os.write(out, f"recorded {number} {time.time()}\n".encode())
        if (ahead := begin + number / float(rate) - time.monotonic()) > 0:
            time.sleep(ahead)
    assert ledger.close() == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
