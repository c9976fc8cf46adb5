"""What is seen at a terminal while a command works."""

import io
import sys
import threading

import pytest

from interpose.cli import waiting


class Screen(io.StringIO):
    """A terminal, or a file, that somebody waits before until there is something on it."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal
        self.written = threading.Event()

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


def before(monkeypatch: pytest.MonkeyPatch, *, terminal: bool = True, term: str = "xterm") -> Screen:
    """Stderr from now on. (Not by a fixture: pytest puts its own in place when a test begins.)"""
    for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    screen = Screen(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_a_long_wait_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a bar, which is wiped away at the end."""
    screen = before(monkeypatch)
    monkeypatch.setattr(waiting, "_MOMENT", 0)
    with waiting.progress("reading the ledger") as told:
        assert told is not None
        told(0.5)
        assert screen.written.wait(30)
    assert "reading the ledger" in screen.getvalue()
    assert "\x1b[2K" in screen.getvalue()


def test_a_short_wait_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes and goes, not even a line break."""
    screen = before(monkeypatch)
    monkeypatch.setattr(waiting, "_MOMENT", 3600)
    with waiting.progress("reading the ledger") as told:
        assert told is not None
        told(1.0)
    assert screen.getvalue() == ""


@pytest.mark.parametrize(("terminal", "term"), [(True, "dumb"), (False, "xterm")])
def test_where_nobody_looks_nothing_is_told(monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str) -> None:
    """A terminal that cannot take a line back, a file, a pipe."""
    screen = before(monkeypatch, terminal=terminal, term=term)
    with waiting.progress("reading the ledger") as told:
        assert told is None
    assert screen.getvalue() == ""
