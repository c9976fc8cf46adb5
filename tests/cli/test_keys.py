"""`interpose keys`: made, listed, revoked."""

import json

import pytest

from .conftest import Command


def test_a_key_is_shown_once(interpose: Command) -> None:
    """Alone on stdout, so that it can be piped; the list knows its ending."""
    made = interpose("keys", "add", "ci", "--models", "gpt-*", "--expires", "2099-01-01")
    assert made.returncode == 0, made
    key = made.stdout.strip()
    assert key.startswith("vk-")
    assert made.stdout == f"{key}\n"
    listed = interpose("keys", "list", "--format", "json")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["ending"], row["state"], row["models"]) == ("ci", key[-4:], "good", ["gpt-*"])
    assert key not in listed.stdout
    assert "vk-…" + key[-4:] in interpose("keys", "list").stdout
    assert interpose("keys", "list", "--format", "csv").stdout.startswith("name,ending,state,models,")


def test_a_revoked_key_stays_in_the_list(interpose: Command) -> None:
    """So that reports about it can still be understood; its name is free again."""
    interpose("keys", "add", "ci")
    assert interpose("keys", "revoke", "ci").returncode == 0
    again = interpose("keys", "revoke", "ci")
    assert (again.returncode, again.stderr) == (
        2, "interpose: ci has no key that is good; `interpose keys list` tells which there are\n",
    )  # fmt: skip
    assert interpose("keys", "add", "ci").returncode == 0
    rows = json.loads(interpose("keys", "list", "--format", "json").stdout)
    assert sorted(row["state"] for row in rows) == ["good", "revoked"]


def test_no_keys_yet(interpose: Command) -> None:
    """Says how to make one."""
    assert interpose("keys", "list").stdout == "No keys yet: `interpose keys add NAME` makes one.\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a b"], 'NAME "a b": is not a usable name; use up to 64 letters'),
        (["ci", "--endpoints", "chta"], '--endpoints "chta": "chta" is no endpoint; did you mean "chat"?'),
        (["ci", "--expires", "tomorrow"], '--expires "tomorrow": "tomorrow" is not a date; write year-month-day'),
        (["ci", "--models", "^gpt"], '--models "^gpt": this looks like a regular expression'),
    ],
)
def test_a_mistake_is_one_line(interpose: Command, options: list[str], said: str) -> None:
    """In the words of a rules file; no key is made."""
    done = interpose("keys", "add", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"interpose: {said}")
    assert done.stderr.count("\n") == 1
