"""Prunes copies of a ledger of JSON lines, and is killed before the first, the second, … step that changes a file, to
look at what is left each time. Prints how many steps there are. A program of its own, since it forks.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from interpose.ledger.jsonl import JsonlSink, read
from interpose.ledger.pruning import Keep
from interpose.ledger.retention import prune
from interpose.ledger.sink import Writer
from interpose.ledger.verify import verify
from interpose.rules.sinks import SinkFile

START, DAY = 1_793_491_200.0, 86_400
STEPS = ("open", "write", "fsync", "ftruncate", "rename", "unlink", "fchmod")


def pruned(path: Path) -> None:
    now = START + 10 * DAY
    prune(SinkFile("jsonl", path), Keep(5 * DAY, 3 * DAY), clock=lambda: now, pause=lambda: False)


def killed_before(step: int, path: Path) -> bool:
    """Whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(name: str) -> Any:
            real = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                if left == 0:
                    os._exit(9)
                left -= 1
                return real(*arguments, **options)

            return call

        for name in STEPS:
            setattr(os, name, counted(name))
        pruned(path)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def ids(path: Path) -> list[str]:
    connection = read(path)
    try:
        return sorted(str(row[0]) for row in connection.execute("SELECT id FROM calls"))
    finally:
        connection.close()


def main(ledger: Path, copy: Path) -> int:
    path = copy / "calls.jsonl"
    place = SinkFile("jsonl", path)
    expected = sorted(
        f"{writer}-{day}" for writer, first in (("a", 2), ("b", 3), ("c", 4)) for day in range(max(first, 5), 10)
    )
    step, going = 0, True
    while going:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(ledger, copy)
        going = killed_before(step, path)
        assert verify(place) == [], step
        found = ids(path)
        assert len(set(found)) == len(found), step
        assert set(expected) <= set(found), step
        # Somebody writes before retention comes again.
        assert JsonlSink(path).open(Writer(writer="later", opened_at="", version="0")) is not None
        assert verify(place) == [], step
        pruned(path)
        assert verify(place) == [], step
        assert ids(path) == expected, step
        left = sorted(each.name for each in copy.iterdir())
        assert not [name for name in left if ".new" in name], (step, left)
        connection = read(path)
        told = connection.execute("SELECT at, body IS NOT NULL FROM captures").fetchall()
        connection.close()
        assert all(kept == (at >= "2026-11-08") for at, kept in told), (step, told)
        step += 1
    return step - 1


print(main(Path(sys.argv[1]), Path(sys.argv[2])))
