"""Whose connection it is: real processes with real connections."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from interpose.hosts.process import Processes, app_name

CONNECT = "import socket,sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); sys.stdin.read()"


@pytest.mark.parametrize(
    ("listen", "dial", "family"),
    [("127.0.0.1", "127.0.0.1", socket.AF_INET), ("::1", "::1", socket.AF_INET6), ("::", "127.0.0.1", socket.AF_INET6)],
    ids=["IPv4", "IPv6", "IPv4 to a socket of both"],
)
def test_another_process_is_found_by_its_connection(listen: str, dial: str, family: socket.AddressFamily) -> None:
    """With its name, owner and command line, in whatever way the two ends spell their addresses."""
    with socket.create_server((listen, 0), family=family, dualstack_ipv6=listen == "::") as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, "-c", CONNECT, dial, port, "--api-key", "sk-fake-0123456789"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            accepted, peer = server.accept()
            with accepted:
                found = Processes().look(peer[:2], accepted.getsockname()[:2])
                assert process.stdin is not None
                process.stdin.close()
    assert found is not None
    assert (found.pid, found.name) == (process.pid, "python")
    assert found.user
    assert port in found.command
    assert "sk-fake" not in found.command


def test_a_closed_connection_has_no_owner() -> None:
    """It is asked too late, and that is no error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            ends = client.getsockname(), server.getsockname()
        assert Processes().look(*ends) is None


def test_who_listens_where_a_client_was_is_not_taken_for_it() -> None:
    """Its port may be somebody's by the time that one looks."""
    with socket.create_server(("127.0.0.1", 0)) as reused:
        assert Processes().look(reused.getsockname(), ("127.0.0.1", 9)) is None


async def test_a_client_elsewhere_is_not_looked_for() -> None:
    """Its sockets are not this machine's."""
    processes = Processes()
    assert await processes.find(("203.0.113.5", 1234), ("192.0.2.1", 8080)) is None
    processes.close()
    assert await processes.find(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


async def test_one_process_is_described_once() -> None:
    """Many connections at once: each is found, in threads, and the process is the same object."""
    processes = Processes()
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        clients = [socket.create_connection(server.getsockname()) for _ in range(20)]
        found = await asyncio.gather(*(processes.find(each.getsockname(), server.getsockname()) for each in clients))
        for each in clients:
            each.close()
    processes.close()
    assert {each.pid for each in found if each is not None} == {os.getpid()}
    assert all(each is not None for each in found)
    assert len({id(each) for each in found[5:]}) == 1


@pytest.mark.parametrize(
    ("executable", "arguments", "name"),
    [
        ("python3.13", ["python3.13", "app.py"], "python"),
        ("python3", ["/usr/bin/python3", "/usr/local/bin/llm", "hi"], "llm"),
        ("python3.12", ["python3.12", "-m", "mini.agent", "x"], "mini"),
        ("node", ["node", "server.js"], "node"),
        ("node", ["node", "/usr/lib/node_modules/.bin/claude"], "claude"),
        ("node.exe", ["node.exe"], "node"),
        ("curl", ["curl", "https://x"], "curl"),
        ("java", ["java", "-jar", "/opt/app"], "java"),
        ("bash", ["bash", "-c", "x"], "bash"),
        ("php8.2", ["php8.2"], "php"),
        ("7", ["7"], "7"),
    ],
)
def test_processes_are_named_as_people_name_them(executable: str, arguments: list[str], name: str) -> None:
    """An interpreter by itself, or the installed tool that it runs; without versions."""
    assert app_name(executable, arguments) == name
