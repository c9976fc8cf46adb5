"""A process under load, to be killed: records calls at a steady pace and notes what it did in a log.

Lines of the log, each one write(2), which a kill -9 cannot tear: `recorded <number> <unix time>` after each record,
`acknowledged <seq>` after each commit. Arguments: ledger, log, writer id, records a second, number of records (0: for
ever), time to wait between commits.
"""

import os
import sys
import time
from pathlib import Path

from interpose.ledger import Ledger, Record, utc_text


def main(path: str, log: str, writer: str, rate: str, total: str, interval: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ledger = Ledger.open(
        Path(path),
        writer=writer,
        clock=time.time,
        interval=float(interval),
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


main(*sys.argv[1:])
