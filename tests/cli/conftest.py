"""The real command, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

OURS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "INTERPOSE_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")


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
        return subprocess.run(
            self.argv(*arguments), input=stdin, capture_output=True, text=True, check=False,
            env=self.environment, cwd=self.folder, timeout=60, start_new_session=True,
        )  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts it, away from any terminal."""
        process = subprocess.Popen(
            self.argv(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=self.environment, cwd=self.folder, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process


@pytest.fixture
def interpose(tmp_path: Path) -> Iterator[Command]:
    """The command; what a test has left running is ended."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    command = Command(tmp_path / "state", folder)
    yield command
    for process in command.started:
        with process:
            process.kill()


@pytest.fixture
def rules_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a rules file beside the state folder."""

    def write(text: str) -> Path:
        path = tmp_path / "rules.yaml"
        path.write_text(text, "utf-8")
        return path

    return write
