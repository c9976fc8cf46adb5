"""What the gateway costs under granian, under uvicorn and under aiohttp's own server, and what each costs by itself.

The same ASGI application stands between the same clients and the same TLS provider, which is played by a process of its
own; each server is started anew in every round and is measured in turn with the others, so that a noisy machine is
noisy for all. The engine has a client's key to check, a credential to put in, a meter and a ledger; `static` answers
the same without an engine. CPU is that of the server's processes, user and system, as the kernel accounts it; latency
is from the first byte of a request to the last of its reply, with so many clients at a time, so that most of it is
waiting for the others; memory is the resident one of the process that answers.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from bench_gateway_server import SERVERS
from bench_interceptor import CHUNKS, REQUEST_BODY, free_port, serve_upstream
from demo_provider import certificate
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from interpose.hosts.serving import VARIABLE, Service

HERE = Path(__file__).parent
KEY = "vk-FAKE-bench"
APPS = ("static", "engine")


@dataclass(frozen=True, slots=True)
class Load:
    """`calls` in all."""

    name: str
    calls: int
    stream: bool = False


LOADS = (Load("JSON", 2000), Load(f"stream of {CHUNKS} events", 200, stream=True))
WARM_UP = Load("warm-up", 200), Load("warm-up", 20, stream=True)


@dataclass(slots=True)
class Found:
    """One entry a round: milliseconds of CPU a call, milliseconds that half and 99 in 100 of the calls took, MiB."""

    cpu: list[float] = field(default_factory=list)
    half: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def play(folder: Path, told: Connection) -> None:
    """The provider, in its own process: tells its port, and goes on until it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def main(context: ssl.SSLContext) -> None:
        server = await asyncio.start_server(serve_upstream, "127.0.0.1", 0, ssl=context)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main(certificate(folder, folder / "provider-ca.pem")))


@contextmanager
def provider(folder: Path) -> Iterator[int]:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=play, args=(folder, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()


class Server:
    """One contestant under load, in processes of its own."""

    def __init__(self, name: str, app: str, environ: dict[str, str]) -> None:
        self._command = [sys.executable, str(HERE / "bench_gateway_server.py"), name, app]
        self._environ = environ
        self.port = free_port()

    async def __aenter__(self) -> Server:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, str(self.port), env=os.environ | self._environ, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    if self.process.returncode is not None:
                        raise SystemExit(f"scripts/bench: {' '.join(self._command)} has ended") from None
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        main = psutil.Process(self.process.pid)
        self._processes = [main, *main.children(recursive=True)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        await self.process.wait()

    def cpu(self) -> float:
        """Seconds of CPU that its processes have used so far."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self._processes))

    def memory(self) -> float:
        """MiB of the process that answers: the one that has used most."""
        busy = max(self._processes, key=lambda process: process.cpu_times().user)
        return float(busy.memory_info().rss) / 2**20


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, load: Load) -> None:
    body = REQUEST_BODY.replace(b"bench", b"gpt-bench", 1) % (b"true" if load.stream else b"false")
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (KEY.encode(), len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise SystemExit(f"scripts/bench: {head.decode()}")
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    if length:
        await reader.readexactly(int(length))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


async def run(server: Server, load: Load, clients: int, into: Found) -> None:
    todo = iter(range(load.calls))
    took: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
        for _ in todo:
            began = time.perf_counter()
            await call(reader, writer, load)
            took.append((time.perf_counter() - began) * 1000)
        writer.close()

    cpu = server.cpu()
    await asyncio.gather(*(client() for _ in range(clients)))
    into.cpu.append((server.cpu() - cpu) * 1000 / load.calls)
    into.half.append(statistics.median(took))
    into.most.append(statistics.quantiles(took, n=100)[98])
    into.memory.append(server.memory())


async def measure(asked: argparse.Namespace, console: Console) -> dict[tuple[str, str, str], Found]:
    found: dict[tuple[str, str, str], Found] = {}
    with tempfile.TemporaryDirectory(prefix="interpose-bench-") as place:
        folder = Path(place)
        with provider(folder) as port, Progress(console=console, transient=True) as progress:
            rules = folder / "rules.yaml"
            rules.write_text(json.dumps({
                "version": 1,
                "providers": {"openai": {"format": "openai", "base_url": f"https://127.0.0.1:{port}/v1",
                                         "credential": {"env": "FAKE_BENCH_KEY"}}},
                "clients": {"keys": [{"name": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
                "upstream": {"ca": str(folder / "provider-ca.pem")},
            }))  # fmt: skip
            order = [(name, app) for _ in range(asked.rounds) for app in APPS for name in asked.servers]
            for number, (name, app) in enumerate(progress.track(order, description="measuring")):
                state = folder / f"state-{number}"
                state.mkdir()
                environ = {VARIABLE: Service(str(rules), str(state)).written(), "FAKE_BENCH_KEY": "sk-FAKE-bench"}
                async with Server(name, app, environ) as server:
                    for load in WARM_UP:
                        await run(server, load, asked.clients, Found())
                    for load in LOADS:
                        into = found.setdefault((load.name, app, name), Found())
                        await run(server, load, asked.clients, into)
    return found


def show(found: dict[tuple[str, str, str], Found], asked: argparse.Namespace, console: Console) -> None:
    first = asked.servers[0]
    for load in LOADS:
        table = Table(
            title=f"{load.name}; medians of {asked.rounds} rounds, {asked.clients} clients at a time, "
            f"{os.cpu_count()} cores shared by clients, server and provider"
        )
        columns = "server", "CPU ms, static", "CPU ms, engine", f"against {first}", "p50 ms", "p99 ms", "MiB"
        for column in columns:
            table.add_column(column, justify="left" if column == "server" else "right")
        base = statistics.median(found[load.name, "engine", first].cpu)
        for name in asked.servers:
            static, engine = (found[load.name, app, name] for app in APPS)
            cpu = statistics.median(engine.cpu)
            table.add_row(
                name,
                f"{statistics.median(static.cpu):.2f}",
                f"{cpu:.2f}",
                f"{cpu / base:.2f}",
                f"{statistics.median(engine.half):.1f}",
                f"{statistics.median(engine.most):.1f}",
                f"{statistics.median(engine.memory):.0f}",
            )
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--clients", type=int, default=16, help="calls at a time; default: 16")
    parser.add_argument(
        "--servers", type=lambda text: [name.strip() for name in text.split(";")], default=list(SERVERS),
        help=f"some of them, with ; between: {'; '.join(SERVERS)}",
    )  # fmt: skip
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    show(asyncio.run(measure(asked, console)), asked, console)


if __name__ == "__main__":
    main()
