"""A worker that counts: `python count.py FOLDER MODEL`. For each line on its standard input it counts a call, and says
so; at the end of it, it ends in good order.
"""

import asyncio
import sys
from pathlib import Path

from interpose.ledger import Record
from interpose.metrics import Metrics
from interpose.metrics.sheet import State


async def main(folder: Path, model: str) -> None:
    metrics = Metrics(folder)
    metrics.watch(lambda: [State("calls_in_flight", 1.0)])
    showing = asyncio.create_task(metrics.show())
    while await asyncio.to_thread(sys.stdin.readline):
        call = Record(
            id="ip_1", started_at="", finished_at="", entrance="gateway", method="POST", host="h", path="/",
            endpoint="chat", provider="p", sent_model=model, status=200, outcome="ok",
        )  # fmt: skip
        metrics.record(call)
        print("counted", flush=True)
    showing.cancel()
    metrics.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
