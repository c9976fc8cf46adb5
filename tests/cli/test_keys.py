"""`interpose keys`: made, listed, revoked."""

import json
from pathlib import Path

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


def test_a_key_of_the_rules_is_revoked_by_its_name(interpose: Command, tmp_path: Path) -> None:
    """With the rules that list it; the list then says so, and a second time there is none that is good."""
    rules = tmp_path / "r.yaml"
    rules.write_text(f"version: 1\nclients: {{keys: [{{name: team, sha256: {'ab' * 32}}}]}}\n")
    unknown = interpose("keys", "revoke", "tema", "--rules", str(rules))
    assert (unknown.returncode, unknown.stderr) == (
        2, 'interpose: tema has no key that is good; did you mean "team"?\n',
    )  # fmt: skip
    assert interpose("keys", "revoke", "team", "--rules", str(rules)).returncode == 0
    (row,) = json.loads(interpose("keys", "list", "--format", "json").stdout)
    assert (row["name"], row["state"]) == ("team", "revoked")
    assert "of the rules" in interpose("keys", "list").stdout
    assert interpose("keys", "revoke", "team", "--rules", str(rules)).returncode == 2


def test_a_store_that_has_not_heard_is_told_of(interpose: Command, tmp_path: Path) -> None:
    """The key is revoked here, and the status says that it is not elsewhere; no password is shown."""
    rules = tmp_path / "r.yaml"
    rules.write_text(f"version: 1\nstate: {{store: 'unix://:fake-password-0@{tmp_path}/nobody'}}\n")
    made = interpose("keys", "add", "ci", "--rules", str(rules))
    assert made.returncode == 1
    assert made.stdout.startswith("vk-")
    done = interpose("keys", "revoke", "ci", "--rules", str(rules))
    assert done.returncode == 1
    assert "The key of ci is revoked." in done.stderr
    assert "has not heard of it" in done.stderr
    listed = interpose("keys", "list", "--rules", str(rules))
    assert (listed.returncode, "revoked" in listed.stdout) == (0, True)
    assert "fake-password-0" not in made.stderr + done.stderr + listed.stderr


def test_a_password_that_is_not_set_is_named(interpose: Command, tmp_path: Path) -> None:
    """At its place in the rules; nothing is made."""
    rules = tmp_path / "r.yaml"
    rules.write_text("version: 1\nstate: {store: 'redis://:${FAKE_UNSET}@localhost'}\n")
    done = interpose("keys", "add", "ci", "--rules", str(rules))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{rules}:2:16: state.store: the environment variable FAKE_UNSET is not set" in done.stderr
