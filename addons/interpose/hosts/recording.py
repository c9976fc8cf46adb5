"""The ledger that the rules name, opened: its sinks, where their records wait while they are away, and how it is read.

What a sink does is in `ledger`; here are only the folders, the passwords and the policy.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from interpose.ledger import Ledger, LedgerError
from interpose.ledger.address import Collector, Database, Place, Readable
from interpose.ledger.lane import Pace
from interpose.ledger.sink import Sink
from interpose.ledger.spool import Spool, left_in
from interpose.ledger.writer import Way
from interpose.rules.compiled import LedgerRules
from interpose.rules.secrets import SecretStore
from interpose.rules.sinks import SPOOL, SinkCollector, SinkFile, SinkRule
from interpose.secret import Scrubber, Secret

logger = logging.getLogger(__name__)

# In the state folder.
FOLDER = "spool"


async def places(rules: LedgerRules, state: Path, secrets: SecretStore, scrubber: Scrubber) -> tuple[Place, ...]:
    """Where the ledger is, in the order of the rules. Raises SecretError for a password that is not set."""
    found: list[Place] = []
    for sink in rules.sinks(state):
        if isinstance(sink, SinkFile):
            found.append(sink)
            continue
        if isinstance(sink, SinkCollector):
            headers = {header.name: await header.value(secrets.resolve) for header in sink.headers}
            found.append(Collector(sink.url, headers, sink.ca))
            continue
        password = sink.url.password
        if sink.password is not None:
            password = (await secrets.resolve(sink.password)).reveal()
        elif password is not None:
            scrubber.learn(Secret(password, "ledger.to"))
        found.append(Database(sink.url, password, sink.ca))
    return tuple(found)


def readable(at: Iterable[Place]) -> tuple[Readable, ...]:
    """Those that can be read, the one that is read first ahead."""
    return tuple(place for place in at if not isinstance(place, Collector))


def first_readable(at: Sequence[Place]) -> Readable:
    """The one that is read. Raises LedgerError."""
    for place in readable(at):
        return place
    raise LedgerError(
        f"the ledger {at[0]} cannot be read: a collector only takes. Name a place that can be read beside it "
        "(ledger.to: [sqlite:usage.db, otlp:…]), or look where the collector keeps its records"
    )


async def opened(
    at: Sequence[Place], state: Path, *, writer: str, clock: Callable[[], float], scrub: Callable[[str], str]
) -> Ledger:
    """Opens every sink, or leaves it for later if it is away. Raises LedgerError."""
    folders = [state / FOLDER / _folder(place) for place in at]
    _tell_of_others(state / FOLDER, folders)
    ways = [Way(_sink(place), _spooled(place, folder)) for place, folder in zip(at, folders, strict=True)]
    start = partial(Ledger.start, ways, writer=writer, pace=Pace(clock=clock), scrub=scrub)
    # Files are there at once; for a database one may have to wait.
    return await asyncio.to_thread(start) if any(isinstance(place, Database | Collector) for place in at) else start()


def _sink(place: Place) -> Sink:
    match place:
        case Database():
            # Here, not above: nobody should pay for the import who has no database.
            from interpose.ledger.postgres.sink import PostgresSink

            return PostgresSink(place)
        case Collector():
            try:
                from interpose.ledger.otlp import OtlpSink
            except ImportError as error:
                raise LedgerError(
                    "OpenTelemetry's SDK is not installed, which a ledger at otlp: needs: pip install 'interpose[otel]'"
                ) from error
            return OtlpSink(place)
        case SinkFile(kind="jsonl", path=path):
            from interpose.ledger.jsonl import JsonlSink

            return JsonlSink(path)
        case SinkFile(path=path) | path:
            from interpose.ledger.sqlite import SqliteSink

            return SqliteSink(path)


def _spooled(place: Place, folder: Path) -> Callable[[], Spool]:
    limit = place.url.spool if isinstance(place, Database | Collector) else SPOOL
    return lambda: Spool(folder, limit=limit, whose=str(place))


def _folder(place: Place) -> str:
    """The same for a database whoever logs in."""
    what = place.url.place if isinstance(place, Database | Collector) else str(place)
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def _tell_of_others(spool: Path, folders: Iterable[Path]) -> None:
    """What waits for a sink that the rules name no more is not forgotten."""
    named = set(folders)
    for folder in sorted(spool.iterdir()) if spool.is_dir() else ():
        if folder not in named and (whose := left_in(folder)):
            logger.warning(
                "records for %s wait in %s, and ledger.to does not name it: name it again, or remove that folder",
                whose,
                folder,
            )


def has_waiting(place: Place, state: Path) -> bool:
    """Whether there are records that nobody has brought to that place yet."""
    return bool(left_in(state / FOLDER / _folder(place)))


def first_file(sinks: Sequence[SinkRule]) -> Path | None:
    """The path of the first file, for those who only know of files."""
    return next((sink.path for sink in sinks if isinstance(sink, SinkFile)), None)


def told(sinks: Sequence[SinkRule]) -> str:
    """What may be said of where the ledger is."""
    return ", ".join(
        str(sink.path) if isinstance(sink, SinkFile) and sink.kind == "sqlite" else str(sink) for sink in sinks
    )
