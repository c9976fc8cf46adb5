"""The real command, in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

OURS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "INTERPOSE_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")


@pytest.fixture(scope="session", autouse=True)
def terminal_signals() -> Iterator[None]:
    """SIGINT and SIGQUIT as a program finds them in a terminal: a shell's background job inherits them ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL}
    before = {number: signal.getsignal(number) for number in usual}
    for number, handler in usual.items():
        if before[number] is signal.SIG_IGN:
            signal.signal(number, handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def end_group(leader: int) -> None:
    """Ends what is left of the process group that `leader` was started to lead, also after the leader's end."""
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, of a group of zombies
        os.killpg(leader, signal.SIGKILL)


@dataclass
class Command:
    """`interpose`, with a state folder of its own and an environment without proxies."""

    state: Path
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(OURS)}
        return {**kept, "INTERPOSE_STATE": str(self.state), **self.environ}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "interpose", *arguments]

    def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs to its end."""
        with self._open(*arguments, stdin=subprocess.PIPE if stdin is not None else None) as process:
            try:
                out, error = process.communicate(stdin, timeout=60)
            finally:
                end_group(process.pid)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts it, away from any terminal."""
        process = self._open(*arguments, stdin=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def _open(self, *arguments: str, stdin: int | None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=self.environment, cwd=self.folder, start_new_session=True,
        )  # fmt: skip


@pytest.fixture
def interpose(tmp_path: Path) -> Iterator[Command]:
    """The command; what a test has left running is ended."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    command = Command(tmp_path / "state", folder)
    yield command
    for process in command.started:
        with process:
            end_group(process.pid)


@pytest.fixture
def rules_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a rules file beside the state folder."""

    def write(text: str) -> Path:
        path = tmp_path / "rules.yaml"
        path.write_text(text, "utf-8")
        return path

    return write
