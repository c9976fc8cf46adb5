"""A process under load on a database, to be killed: as `load_writer.py`, with a spool.

Arguments: the database's name, port and socket folder, the spool's folder, log, writer id, records a second.
"""

import os
import sys
import time
from pathlib import Path

from interpose.ledger import Ledger, Record, utc_text
from interpose.ledger.address import Database
from interpose.ledger.lane import Pace
from interpose.ledger.postgres.sink import PostgresSink
from interpose.ledger.spool import Spool
from interpose.ledger.writer import Way
from interpose.rules.sinks import DatabaseUrl


def main(database: str, port: str, socket: str, spool: str, log: str, writer: str, rate: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    at = Database(DatabaseUrl(None, int(port), socket, database, "postgres"))
    ledger = Ledger.start(
        [Way(PostgresSink(at), lambda: Spool(Path(spool), limit=1 << 30))],
        writer=writer,
        pace=Pace(clock=time.time),
        on_commit=lambda seq: os.write(out, f"acknowledged {seq}\n".encode()) and None,
    )
    begin = time.monotonic()
    number = 0
    while True:
        number += 1
        now = utc_text(time.time())
        ledger.record(
            Record(
                id=f"{writer}-{number}",
                started_at=now,
                finished_at=now,
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


main(*sys.argv[1:])
