"""What goes past the proxy is seen: real processes with real connections."""

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from interpose.cli.bypass import Lookout, Past, elsewhere, told

# Connects twice to argv[1]:argv[2], says so, and waits to be ended.
CONNECTS = """
import socket, sys
sockets = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(2)]
print("connected", flush=True)
sys.stdin.read()
"""
# The same, in a child of its own.
SPAWNS = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


@pytest.fixture
def outside() -> str:
    """An address of this machine that is not loopback, so that it looks like one elsewhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; only asks for the route
        return str(probe.getsockname()[0])


@pytest.fixture
def server(outside: str) -> Iterator[int]:
    with socket.create_server((outside, 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("command", [[CONNECTS], [SPAWNS, CONNECTS]], ids=["itself", "a child"])
def test_connections_of_a_program_and_its_children_are_found(outside: str, server: int, command: list[str]) -> None:
    """Each connection counts once, however often one looks."""
    arguments = [sys.executable, "-c", *command, outside, str(server)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "connected\n"
        lookout = Lookout(program.pid, {server})
        lookout.look()
        lookout.look()
        assert program.stdin is not None
        program.stdin.close()
    assert [(past.host, past.port, count) for past, count in lookout.found.items()] == [(outside, server, 2)]
    assert next(iter(lookout.found)).process.startswith("python")


def test_other_ports_are_none_of_our_business(outside: str, server: int) -> None:
    """A database that the program talks to is no AI host."""
    arguments = [sys.executable, "-c", CONNECTS, outside, str(server)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        lookout = Lookout(program.pid, {443})
        lookout.look()
        assert program.stdin is not None
        program.stdin.close()
    assert not lookout.found


def test_a_program_that_has_ended_is_no_error() -> None:
    """The last look may come too late."""
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        program.wait()
    time.sleep(0)
    lookout = Lookout(program.pid, {443})
    lookout.look()
    assert not lookout.found


@pytest.mark.parametrize(
    ("host", "away"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("203.0.113.5", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", True),
        ("no address", False),
    ],
)
def test_loopback_is_here(host: str, *, away: bool) -> None:
    """In whatever spelling."""
    assert elsewhere(host) is away


def test_what_is_told_is_short_and_says_what_to_do() -> None:
    """The most frequent first; the rest is counted."""
    found = Counter({Past("node", f"203.0.113.{n}", 443): n + 1 for n in range(7)})
    lines = told(found)
    assert lines[0].startswith("28 connections went past the proxy")
    assert lines[1] == "  node to 203.0.113.6:443 (7 times)"
    assert "  and 2 more" in lines
    assert "interpose doctor" in lines[-1]
    assert told(Counter()) == []
