"""`interpose run --web`: mitmweb's page beside the program, for as long as it runs."""

import re
import socket
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from .conftest import Command

# Asks the page for its form, then with a wrong token: status codes.
ASK = """
import sys
from http.client import HTTPConnection
for path in ("/", "/flows?token=wrong", "/interpose", "/interpose.json?token=wrong"):
    asking = HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=30)
    asking.request("GET", path)
    print(asking.getresponse().status)
"""


def free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        return int(found.getsockname()[1])


def page(stderr: str) -> str:
    """The address of the page with its token, which is told on one line."""
    lines = [line for line in stderr.splitlines() if "mitmweb" in line]
    assert len(lines) == 1, stderr
    found = re.fullmatch(r"interpose: mitmweb: (http://\S+/\?token=[0-9a-f]{32})", lines[0])
    assert found, lines[0]
    return found[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_page_lives_while_the_command_runs(interpose: Command, host: str) -> None:
    """It is there when the command starts, closed to whoever has no token, and gone when the command has ended."""
    port = free_port(host)
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    done = interpose("run", "--web", named, "--", sys.executable, "-c", ASK, host, str(port))
    assert (done.returncode, done.stdout.split()) == (0, ["403"] * 4), done.stderr
    parts = urlsplit(page(done.stderr))
    assert (parts.hostname, parts.port) == (host, port)
    mitmweb, live, said, *summary = done.stderr.splitlines()
    assert mitmweb.endswith(parts.query)
    assert live == f"interpose: live page: http://{named}/interpose?{parts.query}"
    assert said.startswith("interpose: audit only")
    assert summary[0].startswith("interpose: no AI call was caught")
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection(host, port).connect()


def test_any_free_port_will_do(interpose: Command) -> None:
    """Port 0, and --web without an address: what was found is told."""
    done = interpose("run", "--web", "127.0.0.1:0", "--", "true")
    assert done.returncode == 0
    port = urlsplit(page(done.stderr)).port
    assert port
    assert port > 1023


def test_a_port_that_is_taken_is_one_clear_error(interpose: Command) -> None:
    """The command is not started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = interpose("run", "--web", f"127.0.0.1:{port}", "--", "echo", "started")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"--web: 127.0.0.1:{port} cannot be listened on" in done.stderr
    assert "web_port" not in done.stderr
