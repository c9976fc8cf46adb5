"""Virtual keys that were issued: only hashes are stored, a revoked one is refused soon, no mistake lets anybody in."""

import datetime
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from interpose.issued import FRESH, NAME, Heard, Keys, KeysError
from interpose.rules.compiled import ClientKey, key_digest
from interpose.rules.values import Budget


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


Open = Callable[..., Keys]


@pytest.fixture
def keys() -> Iterator[Open]:
    """Opens what is closed at the end of the test."""
    opened: list[Keys] = []

    def make(folder: Path, clock: Clock | None = None) -> Keys:
        opened.append(Keys(folder, timer=clock or Clock()))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_a_key_is_found_by_its_value_and_stored_by_its_hash(keys: Open, tmp_path: Path) -> None:
    """What it is good for comes with it; the file holds neither the key nor a piece of it beyond its ending."""
    store = keys(tmp_path)
    key = store.add(
        "ci", now="2026-11-25T00:00:00Z", models=["gpt-*"], endpoints=["chat"], providers=["p"],
        expires=datetime.date(2027, 1, 1),
    )  # fmt: skip
    found = store.find(key)
    assert found is not None
    assert key.startswith("vk-")
    assert len(key) > 40
    assert (found.name, found.expires, found.revoked) == ("ci", datetime.date(2027, 1, 1), False)
    assert found.may_use("gpt-5")
    assert not found.may_use("o3")
    assert found.may_go_to("p")
    assert not found.may_go_to(None)
    assert store.find(key + "x") is None
    assert store.find("vk-\udcff") is None
    (listed,) = store.list()
    assert (listed.name, listed.ending, listed.models) == ("ci", key[-4:], ("gpt-*",))
    store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.encode() not in content
    assert key[3:20].encode() not in content


def test_the_file_is_its_owners_alone(keys: Open, tmp_path: Path) -> None:
    """Also what SQLite puts beside it, whatever the umask."""
    before = os.umask(0)
    try:
        keys(tmp_path).add("ci", now="now")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_nothing_is_made_by_looking(keys: Open, tmp_path: Path) -> None:
    """A state folder without keys stays one."""
    store = keys(tmp_path)
    assert store.find("vk-anything") is None
    assert list(store.list()) == []
    assert not store.revoke("ci", now="now")
    assert list(tmp_path.iterdir()) == []


def test_a_revoked_key_is_told_by_another_process_within_a_second(keys: Open, tmp_path: Path) -> None:
    """What was found is believed for a moment, and no longer; a new key is good at once."""
    clock = Clock()
    here, there = keys(tmp_path, clock), keys(tmp_path)
    key = there.add("ci", now="1")
    found = here.find(key)
    assert found is not None
    assert not found.revoked
    assert there.revoke("ci", now="2")
    assert not there.revoke("ci", now="3")
    clock.now += FRESH + 0.1
    found = here.find(key)
    assert found is not None
    assert found.revoked
    again = there.add("ci", now="4")
    found = here.find(again)
    assert found is not None
    assert (found.name, found.revoked) == ("ci", False)


def test_a_client_has_one_good_key(keys: Open, tmp_path: Path) -> None:
    """A second one under the same name would make the reports lie."""
    store = keys(tmp_path)
    store.add("ci", now="1")
    with pytest.raises(KeysError, match="ci has a key: revoke that first"):
        store.add("ci", now="2")


def test_a_file_that_cannot_be_used_is_an_error(keys: Open, tmp_path: Path) -> None:
    """Nobody is let in, and nobody is called unknown, because the file is broken or newer."""
    (tmp_path / NAME).write_bytes(b"this is no database at all, whatever its name says " * 30)
    with pytest.raises(KeysError, match="cannot be used"):
        keys(tmp_path).find("vk-anything")
    (tmp_path / NAME).unlink()
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(KeysError, match="newer interpose"):
        keys(tmp_path).find("vk-anything")


def test_a_file_of_an_older_version_is_brought_up_to_date(keys: Open, tmp_path: Path) -> None:
    """Its keys stay as they were; none of them has been told to anybody."""
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.executescript(
            "CREATE TABLE keys (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, ending TEXT NOT NULL, models TEXT, "
            "endpoints TEXT, providers TEXT, expires TEXT, created_at TEXT NOT NULL, revoked_at TEXT) WITHOUT ROWID;"
            "CREATE UNIQUE INDEX active ON keys (name) WHERE revoked_at IS NULL; PRAGMA user_version = 1;"
            f"INSERT INTO keys VALUES ('{key_digest('vk-FAKE')}', 'ci', 'FAKE', NULL, NULL, NULL, NULL, 'then', NULL)"
        )
    store = keys(tmp_path)
    found = store.find("vk-FAKE")
    assert found is not None
    assert found.name == "ci"
    assert [row["name"] for row in store.untold(9)] == ["ci"]
    with pytest.raises(KeysError, match="ci has a key"):
        store.add("ci", now="now")
    assert keys(tmp_path).find("vk-FAKE") == found


def test_a_file_from_before_there_were_budgets_is_brought_up_to_date(keys: Open, tmp_path: Path) -> None:
    """Version 2: its keys have none, new ones may."""
    new = keys(tmp_path / "new")
    (tmp_path / "new").mkdir()
    new.add("ci", now="then")
    new.close()
    with closing(sqlite3.connect(tmp_path / "new" / NAME)) as connection:
        connection.executescript("ALTER TABLE keys DROP COLUMN budget; PRAGMA user_version = 2;")
    store = keys(tmp_path / "new")
    key = store.add("team", now="now", budget=Budget(Decimal(20), "day"))
    assert [(each.name, each.budget) for each in store.list()] == [("team", Budget(Decimal(20), "day")), ("ci", None)]
    assert store.budgets() == {Budget(Decimal(20), "day")}
    found = store.find(key)
    assert found is not None
    assert found.budget == Budget(Decimal(20), "day")
    store.revoke("team", now="later")
    assert store.budgets() == set()


def test_what_was_found_may_grow_old_while_it_is_asked_for(keys: Open, tmp_path: Path) -> None:
    """Time goes on between two looks at the clock: a key is then looked up again."""

    class Running(Clock):
        def __call__(self) -> float:
            self.now += FRESH / 1.5
            return self.now

    store = keys(tmp_path, Running())
    key = store.add("ci", now="then")
    for _ in range(20):
        found = store.find(key)
        assert found is not None
        assert found.name == "ci"


def test_a_key_of_the_rules_can_be_revoked(keys: Open, tmp_path: Path) -> None:
    """By its hash, whatever it looks like; once."""
    store = keys(tmp_path)
    listed = ClientKey("team", key_digest("sk-FAKE-listed"))
    assert not store.revoked(listed)
    assert store.revoke_listed(listed, now="now")
    assert store.revoked(listed)
    assert not store.revoke_listed(listed, now="later")
    (row,) = store.list()
    assert (row.name, row.ending, row.revoked_at) == ("team", "", "now")


def test_what_was_told_and_revoked_meanwhile_is_untold(keys: Open, tmp_path: Path) -> None:
    """A revocation that comes between the telling and its answer is not taken for told."""
    store = keys(tmp_path)
    store.add("ci", now="then")
    told = store.untold(9)
    store.revoke("ci", now="now")
    store.take(told, told=told, heard=Heard("e", 1), again=False)
    assert [row["revoked_at"] for row in store.untold(9)] == ["now"]
    assert store.heard() == Heard("e", 1)
    store.take([], told=store.untold(9), heard=Heard("e", 2), again=False)
    assert list(store.untold(9)) == []
    store.take([], told=[], heard=Heard("f", 1), again=True)
    assert len(store.untold(9)) == 1


def test_a_file_that_another_one_has_replaced_is_let_go(keys: Open, tmp_path: Path) -> None:
    """Where a backup is put back, or the file is removed, its keys are the good ones, or none is: without a restart."""
    clock = Clock()
    store = keys(tmp_path, clock)
    before = store.add("ci", now="2026-11-25T00:00:00Z")
    assert store.find(before) is not None
    (tmp_path / NAME).rename(tmp_path / "old.db")
    clock.now += FRESH
    assert store.find(before) is None
    after = keys(tmp_path).add("ci", now="2026-11-26T00:00:00Z")
    clock.now += FRESH
    assert store.find(before) is None
    assert store.find(after) is not None
    assert store.named("ci") == store.find(after)
