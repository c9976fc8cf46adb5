"""CPU and time per call of `interpose run` (metering and ledger included) and of stock `mitmdump -q`, as ratios.

Both stand between the same clients and the same TLS upstream on 127.0.0.1, in turn, round by round, so that a noisy
machine is noisy for both. CPU is the proxy's own, user and system, as the kernel accounts it; `--workers N` adds
`interpose run --workers N`, all of whose processes count.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import ssl
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from demo_provider import certificate
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).parent
CHUNKS = 200
JSON_REPLY = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + b"word " * 120 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":120,"total_tokens":220}}'
)
SSE_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
SSE_END = (
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":200,"total_tokens":300}}\n\n'
    b"data: [DONE]\n\n"
)
REQUEST_BODY = b'{"model":"bench","messages":[{"role":"user","content":"' + b"text " * 400 + b'"}],"stream":%s}'


@dataclass(frozen=True, slots=True)
class Load:
    """`calls` in all, by `clients` at a time; `fresh`: a new connection for each call."""

    name: str
    calls: int
    clients: int
    stream: bool = False
    fresh: bool = False


LOADS = (
    Load("JSON, keep-alive", 3000, 16),
    Load(f"stream of {CHUNKS} chunks", 300, 16, stream=True),
    Load("JSON, new connection", 400, 16, fresh=True),
)


async def serve_upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s\r\n\r\n"
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            length = int(request.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b'"stream":true' in body:
                writer.write(head % (b"text/event-stream", b"Transfer-Encoding: chunked"))
                for chunk in [*[SSE_CHUNK] * CHUNKS, SSE_END]:
                    writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")
            else:
                writer.write(head % (b"application/json", b"Content-Length: %d" % len(JSON_REPLY)) + JSON_REPLY)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


class Proxy:
    """One contestant under load."""

    def __init__(
        self, command: list[str], environ: dict[str, str], port: int, ca: Callable[[], Path], workers: int = 1
    ) -> None:
        self._command, self._environ, self.port, self._ca, self._workers = command, environ, port, ca, workers

    async def __aenter__(self) -> Proxy:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=os.environ | self._environ, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60):
            while self._listening() < self._workers:
                await asyncio.sleep(0.1)
        self.tls = ssl.create_default_context(cafile=str(self._ca()))
        self.tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return self

    async def __aexit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()

    def _family(self) -> list[psutil.Process]:
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def _listening(self) -> int:
        """How many sockets listen at its port."""
        found = [one for each in self._family() for one in each.net_connections("tcp")]
        return sum(one.status == psutil.CONN_LISTEN and one.laddr.port == self.port for one in found)

    def cpu(self) -> float:
        """Seconds of CPU that its processes have used so far."""
        return sum(times.user + times.system for each in self._family() for times in [each.cpu_times()])

    def memory(self) -> int:
        """Memory in MiB that its processes have for themselves alone."""
        return sum(each.memory_full_info().uss for each in self._family()) // 2**20


async def connect(proxy: Proxy, upstream: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"CONNECT {upstream} HTTP/1.1\r\nHost: {upstream}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer:
        raise ConnectionError(answer.decode())
    await writer.start_tls(proxy.tls, server_hostname="127.0.0.1")
    return reader, writer


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: str, load: Load) -> None:
    body = REQUEST_BODY % (b"true" if load.stream else b"false")
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer sk-bench-fake\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (upstream.encode(), len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.decode())
    if load.stream:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    else:
        await reader.readexactly(len(JSON_REPLY))


async def run(proxy: Proxy, upstream: str, load: Load) -> tuple[float, float]:
    """(milliseconds of the proxy's CPU a call, calls a second)."""
    todo = iter(range(load.calls))

    async def client() -> None:
        reader, writer = await connect(proxy, upstream)
        for number in todo:
            if load.fresh and number:
                writer.close()
                reader, writer = await connect(proxy, upstream)
            await call(reader, writer, upstream, load)
        writer.close()

    loop = asyncio.get_running_loop()
    cpu, began = proxy.cpu(), loop.time()
    await asyncio.gather(*(client() for _ in range(load.clients)))
    return (proxy.cpu() - cpu) * 1000 / load.calls, load.calls / (loop.time() - began)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def main(rounds: int, workers: int) -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="interpose-bench-") as folder:
        here = Path(folder)
        trusted = here / "upstream-ca.pem"
        context = certificate(here, trusted)
        server = await asyncio.start_server(serve_upstream, "127.0.0.1", 0, ssl=context)
        upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        rules = here / "rules.yaml"
        rules.write_text(f"version: 1\nupstream: {{ca: {trusted}}}\nintercept: {{hosts: ['{upstream}']}}\n")
        ours, stock = free_port(), free_port()
        interpose = [sys.executable, "-m", "interpose", "run", "--quiet", "--rules", str(rules)]
        mitmdump = [str(Path(sys.executable).parent / "mitmdump"), "-q", "--set", f"confdir={here / 'stock'}"]
        contestants: dict[str, Callable[[], Proxy]] = {
            "mitmdump": lambda: Proxy(
                [
                    *mitmdump,
                    *("--listen-host", "127.0.0.1", "--listen-port", str(stock), "--set", "stream_large_bodies=1"),
                    *("--set", f"ssl_verify_upstream_trusted_ca={trusted}"),
                ],
                {},
                stock,
                lambda: here / "stock" / "mitmproxy-ca-cert.pem",
            ),
            "interpose": lambda: Proxy(
                [*interpose, "--listen", f"127.0.0.1:{ours}", "--state", str(here / "state")],
                {},
                ours,
                lambda: here / "state" / "ca" / "interpose-ca-cert.pem",
            ),
        }
        if workers > 1:
            contestants[f"interpose, {workers} workers"] = lambda: Proxy(
                [
                    *interpose,
                    *("--listen", f"127.0.0.1:{ours}", "--state", str(here / "together"), "--workers", str(workers)),
                ],
                {},
                ours,
                lambda: here / "together" / "ca" / "interpose-ca-cert.pem",
                workers,
            )
        results: dict[tuple[str, str], list[tuple[float, float]]] = {}
        memory: dict[str, int] = {}
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("measuring", total=rounds * len(contestants) * len(LOADS))
            for _ in range(rounds):
                for name, make in contestants.items():
                    async with make() as proxy:
                        await run(proxy, upstream, Load("warm-up", 200, 8))
                        for load in LOADS:
                            progress.update(bar, description=f"{name}: {load.name}")
                            results.setdefault((load.name, name), []).append(await run(proxy, upstream, load))
                            progress.advance(bar)
                        memory[name] = proxy.memory()
        server.close()
    table = Table(title=f"median of {rounds} rounds; {os.cpu_count()} cores shared by client, proxy and upstream")
    for column in ("load", "proxy", "CPU ms a call", "calls/s", "CPU against mitmdump"):
        table.add_column(column, justify="left" if column in ("load", "proxy") else "right")
    for load in LOADS:
        base = statistics.median(cpu for cpu, _ in results[load.name, "mitmdump"])
        for name in contestants:
            cpu = statistics.median(cpu for cpu, _ in results[load.name, name])
            rate = statistics.median(rate for _, rate in results[load.name, name])
            table.add_row(load.name, name, f"{cpu:.2f}", f"{rate:.0f}", f"{cpu / base:.2f}")
    console.print(table)
    sizes = ", ".join(f"{name} {size} MiB" for name, size in memory.items())
    console.print(f"memory at the end, shared pages left out: {sizes}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.workers))
