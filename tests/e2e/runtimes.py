"""Real runtimes for the tests, programs run under the real `interpose run`, and a played chat that is held half-way.

The programs are in tests/clients; runtimes come from the machine or from what scripts/install put beside them. Nothing
here knows what a runtime needs: that is what the tests find out.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.e2e.proxy import Ledger, Proxy
from tests.e2e.replies import CHAT, GENERATE, MESSAGES, RESPONSES
from tests.e2e.settings import ENVIRON
from tests.e2e.upstream import Exchange

CLIENTS = Path(__file__).parent.parent / "clients"
MODULES = CLIENTS / "node" / "node_modules"
PATIENCE = 60.0

# As npm names this machine's processor. The runtimes are carried for Linux, where CI runs.
_CPU = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_CARRIED = {
    "node18": f"node18-linux-{_CPU}/bin/node",
    "node24": f"node24-linux-{_CPU}/bin/node",
    "bun": f"@oven/bun-linux-{_CPU.replace('arm64', 'aarch64')}/bin/bun",
    "deno": f"@deno/linux-{_CPU}-glibc/deno",
}


def runtime(name: str) -> str:
    """The path of a runtime: one that npm carries, else the machine's."""
    path = str(MODULES / _CARRIED[name]) if name in _CARRIED else shutil.which(name)
    assert path is not None, f"{name} is not on this machine: scripts/install"
    assert Path(path).exists(), f"{path} is not there: scripts/install"
    return path


# What is streamed where, and the first words of it that a client can show.
FIRST = {
    (CHAT.host, CHAT.path): (CHAT, b"Good"),
    (RESPONSES.host, RESPONSES.path): (RESPONSES, b"Good"),
    (MESSAGES.host, MESSAGES.path): (MESSAGES, b"Bonjour"),
    (GENERATE.host, GENERATE.path.partition("?")[0]): (GENERATE, b"Ciao"),
}


class Held:
    """A handler that streams the first words, and the rest when the test lets it go: streaming is seen, not timed.

    A call that asks for no stream is refused as by a provider, with a 429.
    """

    def __init__(self) -> None:
        self._gates: list[asyncio.Event] = []
        self._arrived = asyncio.Condition()

    async def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        host = request.values("host")[0].decode().removesuffix(":443")  # which Node's http2 names
        asked = FIRST.get((host, request.path))
        if asked is None or (b'"stream":true' not in request.body.replace(b" ", b"") and asked[0] is not GENERATE):
            message = b'{"type":"error","error":{"type":"rate_limit_error","message":"Too many","status":"RESOURCE"}}'
            await exchange.json(message, 429)
            return
        script, word = asked
        first = next(place for place, piece in enumerate(script.pieces) if word in piece) + 1
        gate = asyncio.Event()
        async with self._arrived:
            self._gates.append(gate)
            self._arrived.notify_all()
        await exchange.stream(script.content_type)
        await exchange.chunk(b"".join(script.pieces[:first]))
        await gate.wait()
        if script.pieces[first:]:
            await exchange.chunk(b"".join(script.pieces[first:]))
        await exchange.end()

    async def let_go(self, place: int) -> None:
        """Lets the rest of the stream of that place go, once it has been asked for."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self._gates) > place)
        self._gates[place].set()


class Program:
    """A program under `interpose run`, or in the environment that one has made. `out` is what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out = b""
        self._errors = asyncio.create_task(self._read_errors())

    async def _read_errors(self) -> bytes:
        assert self.process.stderr is not None
        return await self.process.stderr.read()

    async def until(self, text: bytes) -> None:
        """Reads what it prints until `text` stands in what has come since the last time."""
        assert self.process.stdout is not None
        seen = b""
        try:
            async with asyncio.timeout(PATIENCE):
                while text not in seen:
                    piece = await self.process.stdout.read(65536)
                    if not piece:
                        break
                    seen += piece
                    self.out += piece
        except TimeoutError:
            await self.kill()
        if text not in seen:
            raise AssertionError(f"no {text!r} came, but {seen!r}, and on stderr:\n{await self.errors()}")

    async def ended(self) -> int:
        """Waits for its end: a program that hangs is killed, and its status tells."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                self.out += await self.process.stdout.read()
                return await self.process.wait()
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"it did not end; it said {self.out!r}\n{await self.errors()}") from None

    async def errors(self) -> str:
        """What it has said on stderr, when it has ended."""
        return (await self._errors).decode("utf-8", "replace")

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


async def launch(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Program:
    return Program(
        await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=dict(environ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    )


class Run:
    """`interpose run` with these rules, in a folder of its own; `environ` is what its user has set besides."""

    def __init__(self, folder: Path, rules: str, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.rules = folder / "rules.yaml"
        self.rules.write_text(rules)
        self.environ = Proxy(folder).environ({**ENVIRON, **(environ or {})})

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.state / "usage.db")

    def argv(self, *command: str) -> list[str]:
        options = ["--rules", str(self.rules), "--state", str(self.state)]
        return [sys.executable, "-m", "interpose", "run", *options, "--", *command]

    async def start(self, *command: str) -> Program:
        return await launch(self.argv(*command), self.environ, self.folder)


# A program of Python's that prints its environment, and waits for the end of its input.
ENVIRONMENT = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
