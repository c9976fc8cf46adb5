"""What a ledger takes and gives: records a second into each sink, and how long `interpose usage` and `interpose usage
verify` take over ledgers of 10^4, 10^5 and 10^6 records. `--kills 100` kills a process under load so many times on each
sink instead, and says what is missing.

Ledgers are synthetic, but sealed as ours are: a month of calls of a few providers, models, clients and apps, in chains
of ten thousand. Reports are the real command in a process of its own, its start included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.ledger.kills import judged, kill
from tests.ledger.load_writer import sink_at
from tests.postgres import Postgres, served

from interpose.ledger import Ledger, Record, utc_text
from interpose.ledger.lane import Pace
from interpose.ledger.record import CALLS, Row, canonical_heads, genesis, storable
from interpose.ledger.schema import ENTER, INSERT, open_for_writing, transaction
from interpose.ledger.spool import Spool
from interpose.ledger.writer import Way

SINKS = ("sqlite", "jsonl", "postgresql")
# Cannot be read, and so is written alone.
COLLECTOR = "otlp"
# Takes what comes and answers what a collector answers: what it does with it is its own cost.
RECEIVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
CHAIN = 10_000
BATCH = 5_000
BEGIN = 1_793_491_200.0  # 2026-11-01T00:00:00Z
MONTH = 30 * 86_400
MODELS = {
    "openai": ("gpt-5", "gpt-5-mini", "text-embedding-3-small"),
    "anthropic": ("claude-sonnet-4-5", "claude-haiku-4-5"),
    "gemini": ("gemini-2.5-pro", "gemini-2.5-flash"),
}


def records(count: int, seed: int = 7) -> Iterator[Record]:
    """Plausible calls, the same in every run."""
    dice = random.Random(seed)  # noqa: S311 - see above
    for number in range(count):
        provider = dice.choice(tuple(MODELS))
        model = dice.choice(MODELS[provider])
        began = BEGIN + MONTH * number / count
        duration = dice.lognormvariate(7, 0.8)
        fine = dice.random() > 0.02
        whole, output = dice.randrange(50, 20_000), dice.randrange(1, 2_000)
        cached = whole * dice.choice((0, 0, 0.5, 0.9)) // 1
        attempts = [{"provider": provider, "model": model, "status": 200 if fine else 529, "ms": round(duration, 1)}]
        yield Record(
            id=f"ip_{number:024x}",
            started_at=utc_text(began),
            finished_at=utc_text(began + duration / 1000),
            entrance="intercept",
            client=f"team-{dice.randrange(8)}",
            ip=f"10.0.{dice.randrange(4)}.{dice.randrange(200)}",
            app=dice.choice(("python3.13", "node", "curl")),
            method="POST",
            host=f"api.{provider}.example",
            path="/v1/chat/completions",
            endpoint="chat",
            client_format="openai",
            asked_model=model,
            route=dice.choice(("default", "cheap", None)),
            provider=provider,
            provider_format=provider,
            sent_model=model,
            credential=f"env:{provider.upper()}_API_KEY",
            attempts=json.dumps(attempts),
            status=200 if fine else 529,
            outcome="ok" if fine else "error",
            stream=dice.random() < 0.7,
            input_tokens=whole,
            cache_read_tokens=int(cached),
            cache_write_tokens=0,
            output_tokens=output,
            usage_source="provider",
            cost_usd=round(whole * 3e-6 + output * 1.5e-5, 8),
            price_version="bench",
            ttft_ms=round(duration / 5, 3),
            duration_ms=round(duration, 3),
            rules_version="4e9ca5a8c4a0f5c2",
        )


def sealed(count: int) -> Iterator[tuple[str, str, Row]]:
    """The rows of such a ledger, each with its writer and the heads that this one found."""
    heads, head, writer, seq = "{}", "", "", 0
    for number, record in enumerate(records(count)):
        if number % CHAIN == 0:
            heads = canonical_heads({writer: head} if writer else {}).decode()
            writer, head, seq = f"{number // CHAIN:032x}", genesis(heads.encode()), 0
        seq += 1
        row = CALLS.seal(storable(record), writer=writer, seq=seq, prev_hash=head)
        head = str(row[-1])
        yield writer, heads, row


@dataclass(frozen=True)
class Place:
    """A ledger as `--ledger` names it."""

    kind: str
    text: str
    server: Postgres | None = None
    database: str = ""


class Places:
    """Fresh ledgers of each kind."""

    def __init__(self, folder: Path, kinds: Sequence[str], stack: ExitStack) -> None:
        self._folder = folder
        self._made = 0
        self._server = stack.enter_context(served()) if "postgresql" in kinds else None
        self._collector = _collector(stack) if COLLECTOR in kinds else ""

    def make(self, kind: str) -> Place:
        self._made += 1
        if kind == COLLECTOR:
            return Place(kind, self._collector)
        if self._server is None or kind != "postgresql":
            return Place(kind, f"{kind}:{self._folder / f'ledger-{self._made}'}")
        name = self._server.database()
        return Place(kind, self._server.socket_url(name), self._server, name)

    def drop(self, place: Place) -> None:
        """So that no more than one large one is there."""
        if place.server is not None:
            place.server.run(f"DROP DATABASE {place.database}")
            return
        if place.kind == COLLECTOR:
            return
        for path in self._folder.glob(f"{Path(place.text).name}*"):
            path.unlink()


def _collector(stack: ExitStack) -> str:
    """One in a process of its own, ended with the stack."""
    process = stack.enter_context(
        subprocess.Popen([sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True)  # noqa: S603 - the above
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    return f"otlp:http://127.0.0.1:{process.stdout.readline().strip()}"


def fill(place: Place, count: int, progress: Progress) -> None:
    """Writes a synthetic ledger, faster than a lane would."""
    rows = progress.track(sealed(count), total=count, description=f"making {count:,} records for {place.kind}")
    writers: dict[str, str] = {}

    def batches() -> Iterator[list[Row]]:
        batch: list[Row] = []
        for writer, heads, row in rows:
            writers.setdefault(writer, heads)
            batch.append(row)
            if len(batch) == BATCH:
                yield batch
                batch = []
        yield batch

    {"sqlite": _fill_file, "jsonl": _fill_lines, "postgresql": _fill_database}[place.kind](place, batches(), writers)


def _fill_file(place: Place, batches: Iterator[list[Row]], writers: dict[str, str]) -> None:
    with closing(open_for_writing(Path(place.text.partition(":")[2]))) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for batch in batches:
            with transaction(connection):
                connection.executemany(INSERT["calls"], batch)
                connection.executemany(
                    ENTER, [(writer, utc_text(BEGIN), "0", heads) for writer, heads in writers.items()]
                )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill_lines(place: Place, batches: Iterator[list[Row]], writers: dict[str, str]) -> None:
    told: set[str] = set()
    with Path(place.text.partition(":")[2]).open("wb") as file:
        for batch in batches:
            for row in batch:
                if (writer := str(row[0])) not in told:
                    told.add(writer)
                    entry = {"writer": writer, "opened_at": utc_text(BEGIN), "version": "0", "heads": writers[writer]}
                    file.write(orjson.dumps({"table": "writers", **entry}) + b"\n")
                file.write(orjson.dumps({"table": "calls", **dict(zip(CALLS.columns, row, strict=True))}) + b"\n")


def _fill_database(place: Place, batches: Iterator[list[Row]], writers: dict[str, str]) -> None:
    import asyncpg

    ledger = Ledger.start([Way(sink_at(place.text))], writer="tables", pace=Pace(clock=time.time))
    ledger.close()

    async def copy() -> None:
        assert place.server is not None
        connection = await asyncpg.connect(**place.server.at, database=place.database)
        for batch in batches:
            await connection.copy_records_to_table("calls", records=batch, columns=CALLS.columns)
        entries = [(writer, utc_text(BEGIN), "0", heads) for writer, heads in writers.items()]
        await connection.copy_records_to_table("writers", records=entries)
        await connection.execute("ANALYZE")
        await connection.close()

    asyncio.run(copy())


# --- what is measured -----------------------------------------------------------------------------------------------


def written(places: Places, kinds: Sequence[str], count: int, console: Console, progress: Progress) -> Table:
    """Into one sink at a time, from `record` to the last commit."""
    table = Table(title=f"{count:,} records into each sink, by batches of 500, one process")
    for column in ("sink", "records/s", "µs on the caller", "CPU µs in all", "file or database"):
        table.add_column(column, justify="left" if column == "sink" else "right")
    made = list(progress.track(records(count), total=count, description="making records"))
    for kind in progress.track(kinds, description="writing"):
        place = places.make(kind)
        spool = Path(tempfile.mkdtemp())
        ledger = Ledger.start(
            [Way(sink_at(place.text), lambda spool=spool: Spool(spool, limit=1 << 30))],
            writer="bench",
            pace=Pace(clock=time.time, capacity=count),
        )
        began, cpu, calling = time.perf_counter(), time.process_time(), 0.0
        for record in made:
            before = time.perf_counter()
            ledger.record(record)
            calling += time.perf_counter() - before
        if not ledger.wait(600):
            raise SystemExit(f"scripts/bench: {kind} has not taken all records")
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        ledger.close()
        shutil.rmtree(spool)
        table.add_row(
            kind, f"{count / took:,.0f}", f"{calling / count * 1e6:.1f}", f"{cpu / count * 1e6:.0f}", size_of(place)
        )
        places.drop(place)
    return table


def size_of(place: Place) -> str:
    if place.kind == COLLECTOR:
        return "–"
    if place.server is not None:
        ((size,),) = place.server.run("SELECT pg_database_size(current_database())", database=place.database)
    else:
        path = Path(place.text.partition(":")[2])
        size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
    return f"{size / 1e6:,.0f} MB"


COMMANDS = {
    "usage": ("usage",),
    "by day, model": ("usage", "--by", "day,model"),
    "verify": ("usage", "verify"),
}


def reported(places: Places, kinds: Sequence[str], sizes: Sequence[int], console: Console, progress: Progress) -> Table:
    table = Table(title="seconds of a whole command, and of processor time; verify also for each million of records")
    for column in ("ledger", "records", "size", *COMMANDS, "verify / million"):
        table.add_column(column, justify="left" if column == "ledger" else "right")
    for kind in kinds:
        for count in sizes:
            place = places.make(kind)
            fill(place, count, progress)
            task = progress.add_task(f"asking {kind} of {count:,}", total=len(COMMANDS))
            took: dict[str, Took] = {}
            for name, words in COMMANDS.items():
                took[name] = run(*words, "--ledger", place.text)
                progress.advance(task)
            progress.remove_task(task)
            per_million = took["verify"].cpu / count * 1e6
            table.add_row(
                kind, f"{count:,}", size_of(place), *(f"{each.wall:.2f} ({each.cpu:.2f})" for each in took.values()),
                f"({per_million:.1f})" if count >= 100_000 else "–",
            )  # fmt: skip
            places.drop(place)
    return table


@dataclass(frozen=True)
class Took:
    wall: float
    cpu: float


def run(*words: str) -> Took:
    """The command has to succeed."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "interpose", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = Took(time.perf_counter() - began, cpu)
    if done.returncode:
        raise SystemExit(f"scripts/bench: interpose {' '.join(words)}: {done.stdout}{done.stderr}")
    return took


def killed(places: Places, kinds: Sequence[str], folder: Path, count: int, progress: Progress) -> Table:
    table = Table(title=f"kill -9 under load, {count} times on one ledger, 2,000 records a second")
    for column in (
        "sink", "kills", "recorded", "acknowledged", "acknowledged and lost", "missing", "oldest missing", "chains",
        "verify",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column in ("sink", "verify") else "right")
    for kind in kinds:
        place, logs, dice = places.make(kind), folder / f"kills-{kind}", random.Random(7)  # noqa: S311 - the same each time
        logs.mkdir()
        kills = [
            kill(place.text, logs, f"w{turn}", rate=2_000, most=1_000, dice=dice)
            for turn in progress.track(range(count), description=f"killing on {kind}")
        ]
        found = judged(place.text, logs, kills)
        table.add_row(
            kind, f"{found.kills}", f"{found.recorded:,}", f"{found.acknowledged:,}", f"{found.lost}",
            f"{found.missing:,}", f"{found.oldest_ms:.0f} ms", f"{found.chains}",
            "sound" if not found.problems else f"{len(found.problems)} problems: {found.problems[0]}",
        )  # fmt: skip
    return table


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(float(word)) for word in text.split(",")]

    parser = argparse.ArgumentParser(prog="scripts/bench ledger", description=__doc__)
    parser.add_argument(
        "--sinks", type=lambda text: text.split(","), default=(*SINKS, COLLECTOR), help=",".join((*SINKS, COLLECTOR))
    )
    parser.add_argument("--rows", type=numbers, default=[10**4, 10**5, 10**6], help="default: 1e4,1e5,1e6")
    parser.add_argument("--records", type=int, default=50_000, help="written into each sink; 0: none")
    parser.add_argument("--kills", type=int, help="kill a writing process so many times instead")
    asked = parser.parse_args()
    # Where nobody can see the width, a table is not cut to that of a terminal.
    console = Console(width=None if sys.stdout.isatty() else 140)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places = Places(folder, asked.sinks, stack)
        readable = [kind for kind in asked.sinks if kind != COLLECTOR]
        tables = []
        with Progress(console=console, transient=True) as progress:
            if asked.kills:
                tables.append(killed(places, readable, folder, asked.kills, progress))
            elif asked.records:
                tables.append(written(places, asked.sinks, asked.records, console, progress))
            if not asked.kills:
                tables.append(reported(places, readable, asked.rows, console, progress))
        for table in tables:
            console.print(table)


if __name__ == "__main__":
    main()
