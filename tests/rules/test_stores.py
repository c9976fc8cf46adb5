"""The URL of a shared store: what it says, what is refused, and that its password is shown nowhere."""

from dataclasses import asdict
from pathlib import Path

import pytest

from interpose.cli.leading import withheld
from interpose.rules.check import check
from interpose.rules.load import parse
from interpose.rules.problem import BadValue
from interpose.rules.stores import StoreUrl, store

FAKE = "fake-password-0000"

URLS = [
    ("redis://cache.lan", StoreUrl("redis", "cache.lan", 6379, None, 0)),
    ("valkey://10.0.0.7:7000/3", StoreUrl("valkey", "10.0.0.7", 7000, None, 3)),
    ("rediss://[::1]/?prefix=team-a", StoreUrl("rediss", "::1", 6379, None, 0, prefix="team-a")),
    ("redis://:${A_1}@h", StoreUrl("redis", "h", 6379, None, 0, variable="A_1")),
    ("redis://me:%24p%40ss@h", StoreUrl("redis", "h", 6379, None, 0, user="me", password="$p@ss")),
    ("unix:///run/v.sock?db=2", StoreUrl("unix", None, 6379, "/run/v.sock", 2)),
    (
        "valkeys://h?lease=10s&patience=200ms&ca=corp.pem",
        StoreUrl("valkeys", "h", 6379, None, 0, lease=10, patience=0.2, ca="corp.pem"),
    ),
]


@pytest.mark.parametrize(("text", "url"), URLS, ids=[text for text, _ in URLS])
def test_what_a_url_says(text: str, url: StoreUrl) -> None:
    """Scheme, host, port, database, login, and options that are ours."""
    assert store(text) == url


WRONG = [
    ("redis:/h", "is no store"),
    ("postgres://h", "is no store"),
    ("http://h", "is no store"),
    ("redis://", "names no server"),
    ("redis:///0", "names no server"),
    ("unix://", "names no socket"),
    ("unix://host/run/v.sock", "names no socket"),
    ("redis://h:0", "has the port 0"),
    ("redis://h:65536", "is not a URL"),
    ("redis://h/a", "has a database that is no number"),
    ("redis://h?db=1", "names its database by db="),
    ("redis://h#1", "has a fragment"),
    ("redis://h h", "contains a space"),
    ("redis://h?prefix={a}", "has a prefix that cannot be used"),
    ("redis://h?prefx=a", 'has an option "prefx" that is not known'),
    ("redis://h?prefix=a&prefix=b", "has two values for prefix"),
    ("redis://h?prefix=", "has no value for prefix"),
    ("redis://h?ca=corp.pem", "names certificates by ca=, and does not go by TLS"),
    ("unix:///run/v.sock?ca=corp.pem", "names certificates by ca=, and does not go by TLS"),
    ("redis://h?lease=10ms", "has a lease of 10ms"),
    ("redis://h?lease=soon", "is not a duration"),
    ("redis://:a${B}@h", "has a $ in its password"),
    ("redis://169.254.169.254", "is an address that no provider has"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text for text, _ in WRONG])
def test_what_is_no_url_of_a_store(text: str, said: str) -> None:
    """Each is refused by what is wrong with it."""
    with pytest.raises(BadValue) as caught:
        store(text)
    assert said in str(caught.value)


def test_memory_is_no_url() -> None:
    """The word alone stands for this process."""
    assert store("memory") is None


@pytest.mark.parametrize("text", [f"redis://me:{FAKE}@h", f"unix://:{FAKE}@/run/v"])
def test_a_password_is_shown_nowhere(text: str) -> None:
    """Neither by the URL nor by the rules that hold it."""
    url = store(text)
    assert url is not None
    assert url.password == FAKE
    rules = parse(f"version: 1\nstate: {{store: '{text}'}}\n", "r.yaml", Path())
    assert FAKE not in f"{url} {url!r} {rules!r} {rules.version}"
    assert str(url).startswith(("redis://me:***@h", "unix://:***@/run/v"))
    assert asdict(url)["password"] == FAKE  # it is there all the same


WARNED = [
    (f"redis://:{FAKE}@h.lan", "holds a password, which everybody sees"),
    ("redis://h.lan", "has no password: whoever reaches it"),
    ("redis://localhost", None),
    ("unix:///run/v.sock", None),
    ("rediss://:${PASSWORD}@h.lan", None),
]


@pytest.mark.parametrize(("text", "said"), WARNED, ids=[text for text, _ in WARNED])
def test_check_warns_of_what_is_unwise(text: str, said: str | None, tmp_path: Path) -> None:
    """A password in the file, and none where others may come by."""
    file = tmp_path / "r.yaml"
    file.write_text(f"version: 1\nstate: {{store: '{text}'}}\n")
    found = [str(problem) for problem in check(file)]
    assert [said in text for text in found] == [True] if said else found == []
    assert not any(FAKE in text for text in found)


def test_what_to_do_without_a_store_needs_one(tmp_path: Path) -> None:
    """`on_store_error` of memory is a mistake, told at its place."""
    file = tmp_path / "r.yaml"
    file.write_text("version: 1\nstate: {on_store_error: deny}\n")
    (problem,) = check(file)
    assert (problem.line, problem.path) == (2, "state.on_store_error")
    assert "concerns a shared store alone" in str(problem)


def test_the_variable_of_a_password_is_withheld_from_programs() -> None:
    """A program under `interpose run` has no business with the store."""
    rules = parse("version: 1\nstate: {store: 'redis://:${FAKE_PASSWORD}@localhost'}\n", "r.yaml", Path())
    assert list(withheld(rules)) == ["FAKE_PASSWORD"]
