"""`interpose replay`: recorded calls by other rules, without sending: what would change in routing, cost, refusals and
losses.

The exit status is 0, whatever would change, unless `--fail-on-change` asks for 1 where anything would.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from interpose.errors import InterposeError
from interpose.hosts.recorded import GZIP, LOOKED_AT, SQLITE, STDIN, Recordings
from interpose.issued import Keys, KeysError
from interpose.ledger.address import Readable
from interpose.prices.catalogue import PRICES
from interpose.recordings import Recorded
from interpose.replays import report
from interpose.replays.pricing import Pricing
from interpose.replays.prospects import Prospects
from interpose.replays.replay import Replay
from interpose.replays.summary import Compared, Summary
from interpose.rules.compiled import ClientKey, Rules
from interpose.rules.load import load
from interpose.state import state_path

from .ledgers import place_of
from .terminal import console, refuse, say

RECORDED = "recorded"
# How files of flows and HARs begin.
_FLOWS = re.compile(rb"[0-9]{2,12}:")
_HAR = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"log"\s*:')


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    rules: Path
    flows: Sequence[str]
    ledgers: Sequence[str] = ()
    against: Path | None = None
    format: str = "table"
    each: bool = False
    fail_on_change: bool = False
    state: Path | None = None


def replay(options: Options) -> int:
    """Prints what would change; returns the exit status. Raises InterposeError and RulesError for what cannot be."""
    if sys.stdout is None:
        raise InterposeError("cannot print what would change: stdout is closed")
    show = _FORMATS.get(options.format)
    if show is None:
        refuse(f"--format {options.format} is not known: there are {', '.join(_FORMATS)}")
    if looks_recorded(options.rules):
        refuse(f"{options.rules} is a recording: the rules come first, then the recordings")
    rules, old = load(options.rules), load(options.against) if options.against is not None else None
    recordings = opened(options.flows, options.ledgers, options.state, options.rules if rules.ledger.to else None)
    keys = Keys(state_path(options.state, os.environ), timer=time.monotonic)
    try:
        PRICES.wait()
        new = _prospects(rules, keys)
        run = Replay(new, _prospects(old, keys) if old is not None else None)
        names = report.Names(str(options.against) if options.against is not None else RECORDED, str(options.rules))
        with progress(recordings) as calls:
            show(run.run(calls), run.summary, names, recordings, options)
        sys.stdout.flush()
    finally:
        keys.close()
    for flaw in recordings.flaws:
        say(flaw)
    if not run.summary.calls and recordings.flaws:
        return 1  # nothing was judged, since something could not be read: nobody takes that for no change
    return 1 if options.fail_on_change and run.summary.changed else 0


def opened(flows: Sequence[str], ledgers: Sequence[str], state: Path | None, rules: Path | None = None) -> Recordings:
    """The recordings that are named; without any, the ledger of the rules, else that of the state folder."""
    folder = state_path(state, os.environ)
    if flows.count(STDIN) > 1:
        refuse("- is stdin, which can be read once")
    places: list[Readable] = [place_of(text, None, folder) for text in ledgers]
    if not flows and not places:
        places = [place_of(None, rules, folder)]
    return Recordings(flows, places)


def looks_recorded(path: Path) -> bool:
    """Whether a file is surely no rules file: SQLite, compressed, flows, or a HAR."""
    try:
        with path.open("rb") as file:
            first = file.read(LOOKED_AT)
    except OSError:
        return False
    if first.startswith((SQLITE, GZIP)):
        return True
    return _FLOWS.match(first) is not None or _HAR.match(first) is not None


def _prospects(rules: Rules, keys: Keys) -> Prospects:
    def issued(key: str) -> ClientKey | None:
        try:
            return keys.find(key)
        except KeysError as error:
            raise InterposeError(str(error)) from error

    def named(client: str) -> ClientKey | None:
        try:
            return keys.named(client)
        except KeysError as error:
            raise InterposeError(str(error)) from error

    return Prospects(rules, Pricing(PRICES, rules.prices), issued=issued, named=named)


@contextmanager
def progress(recordings: Recordings) -> Iterator[Iterator[Recorded]]:
    """The calls, with a bar on a terminal that shows how far they are read."""
    if sys.stderr is None or not sys.stderr.isatty() or not recordings.size:
        yield iter(recordings)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=recordings.size)

        def told() -> Iterator[Recorded]:
            for number, call in enumerate(recordings):
                if not number % 256:
                    bar.update(task, completed=recordings.read)
                yield call

        yield told()


def _table(
    calls: Iterable[Compared], summary: Summary, names: report.Names, recordings: Recordings, options: Options
) -> None:
    screen = console(sys.stdout)
    for one in calls:
        if options.each:
            screen.print(report.line(one), soft_wrap=True)
    report.render(screen, summary, names)


def _json(
    calls: Iterable[Compared], summary: Summary, names: report.Names, recordings: Recordings, options: Options
) -> None:
    out = sys.stdout
    # As they come: a long recording is never held whole.
    first = True
    for one in calls:
        if options.each:
            out.write('{"each": [\n' if first else ",\n")
            out.write(report.call_as_json(one).decode())
            first = False
    document = report.summary_as_json(summary, names, list(recordings.flaws))
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    if options.each:
        out.write('{"each": [' if first else "")
        out.write("],\n" + text.removeprefix("{").lstrip("\n") + "\n")
    else:
        out.write(text + "\n")


def _csv(
    calls: Iterable[Compared], summary: Summary, names: report.Names, recordings: Recordings, options: Options
) -> None:
    lines = report.Lines(sys.stdout)
    for one in calls:
        lines.add(one)


Show = Callable[[Iterable[Compared], Summary, report.Names, Recordings, Options], None]
_FORMATS: dict[str, Show] = {"table": _table, "json": _json, "csv": _csv}
