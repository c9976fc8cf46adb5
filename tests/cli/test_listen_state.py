"""Where we listen, and where state lives."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.cli.listen import Listen, check_exposure
from interpose.errors import InterposeError
from interpose.state import make_state_folder, state_path


@pytest.mark.parametrize(
    ("text", "host", "port", "url"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, "http://127.0.0.1:8080"),
        ("localhost:0", "localhost", 0, "http://localhost:0"),
        ("9000", "127.0.0.1", 9000, "http://127.0.0.1:9000"),
        (":9000", "127.0.0.1", 9000, "http://127.0.0.1:9000"),
        ("[::1]:8080", "::1", 8080, "http://[::1]:8080"),
        (" 0.0.0.0:1 ", "0.0.0.0", 1, "http://0.0.0.0:1"),
    ],
)
def test_parse(text: str, host: str, port: int, url: str) -> None:
    """HOST:PORT and its short forms; a bare port is on loopback."""
    listen = Listen.parse(text)
    assert (listen.host, listen.port, listen.url) == (host, port, url)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.0.0.1:", "h:65536", "h:-1", "h:8o8o", "::1:8080", "[::1]", "[x]:1", "a b:1", "h:²"]
)
def test_parse_refuses(text: str) -> None:
    """What is no address is refused by name."""
    with pytest.raises(ValueError, match=r"expected|IPv6"):
        Listen.parse(text)


@given(st.text(max_size=30))
def test_parse_never_fails_otherwise(text: str) -> None:
    """Any text is an address or a ValueError, and an address reads back as itself."""
    try:
        listen = Listen.parse(text)
    except ValueError:
        return
    assert Listen.parse(str(listen)) == listen


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1"])
def test_loopback_is_open_to_this_machine_alone(text: str) -> None:
    """Nothing is asked of clients there."""
    check_exposure(Listen.parse(text), clients_required=False)


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "10.1.2.3:1", "192.168.0.1:1", "[fe80::1]:1"])
def test_an_address_that_others_can_reach_needs_authenticated_clients(text: str) -> None:
    """Otherwise whoever reaches it uses our keys."""
    with pytest.raises(InterposeError, match=r"clients: \{required: true"):
        check_exposure(Listen.parse(text), clients_required=False)
    check_exposure(Listen.parse(text), clients_required=True)


def test_a_name_that_does_not_resolve_is_told() -> None:
    """`.invalid` is reserved never to resolve (RFC 2606)."""
    with pytest.raises(InterposeError, match="no address"):
        check_exposure(Listen("nowhere.invalid", 1), clients_required=False)


def test_a_wildcard_is_reached_over_loopback() -> None:
    """A program on this machine cannot connect to 0.0.0.0 everywhere."""
    assert Listen("0.0.0.0", 5).reachable() == Listen("127.0.0.1", 5)
    assert Listen("::", 5).reachable() == Listen("::1", 5)
    assert Listen("10.1.2.3", 5).reachable() == Listen("10.1.2.3", 5)


def test_the_state_folder_is_the_option_the_variable_or_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """In that order; always absolute, with ~ expanded."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert state_path(Path("/a"), {"INTERPOSE_STATE": "/b"}) == Path("/a")
    assert state_path(None, {"INTERPOSE_STATE": "~/b"}) == Path("/home/someone/b")
    assert state_path(Path("rel"), {}) == Path.cwd() / "rel"
    assert state_path(None, {"INTERPOSE_STATE": ""}).is_absolute()
    assert state_path(None, {}).name == "interpose"


def test_a_new_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask says; one that is there is left as it is."""
    before = os.umask(0)
    try:
        made = make_state_folder(tmp_path / "deep" / "state")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o755)
    assert stat.S_IMODE(make_state_folder(made).stat().st_mode) == 0o755


def test_a_state_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    """Also one below a file."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(InterposeError, match="not a folder; name another with --state"):
            make_state_folder(path)
