"""The board: what is put up by one process is heard by all others, also by those who come late or missed it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.asyncio

from interpose.attempts.lanes import Lane, Lanes, News
from interpose.issued import Keys
from interpose.limits.valkey import connection
from interpose.rules.compiled import ClientKey, key_digest
from interpose.rules.secrets import CredentialSource
from interpose.shared.board import PAGE, Board, BoardError

WAIT = 60.0
NOW = "2026-11-26T00:00:00Z"


class Machine:
    """A state folder with its keys, and a board; `heard` is what it has heard of lanes."""

    def __init__(self, url: str, name: str, folder: Path) -> None:
        folder.mkdir()
        self.keys = Keys(folder, timer=time.monotonic)
        self.board = Board(connection(url, most=1), self.keys, time.monotonic, name=name, told="of the test")
        self.heard: dict[str, float] = {}

    async def open(self) -> None:
        await self.board.open(self.heard.__setitem__, WAIT)

    async def close(self) -> None:
        await self.board.aclose()
        self.keys.close()


Make = Callable[[], Machine]


@pytest.fixture
async def machine(valkey: str, fresh: Callable[[], str], tmp_path: Path) -> AsyncIterator[Make]:
    """Makes machines of one deployment."""
    made: list[Machine] = []
    name = fresh()

    def make() -> Machine:
        made.append(Machine(valkey, name, tmp_path / str(len(made))))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT):
        while not done():
            await asyncio.sleep(0.01)


async def test_a_lane_is_left_alone_by_all(machine: Make) -> None:
    """By those who look, and by those who come later, for what is left of the time."""
    one, two, late = machine(), machine(), machine()
    await one.open()
    await two.open()
    one.board.tell("rest:a", 100.0)
    one.board.tell("open:b", 5.0)
    await until(lambda: len(two.heard) == 2)
    assert 90 < two.heard["rest:a"] <= 100
    assert two.heard["open:b"] <= 5
    await late.open()
    assert late.heard["rest:a"] <= 100


async def test_a_longer_rest_counts_and_a_shorter_one_does_not(machine: Make) -> None:
    """Whoever has been told to wait for longest is believed."""
    one, two, late = machine(), machine(), machine()
    await one.open()
    await two.open()
    one.board.tell("rest:a", 500.0)
    await until(lambda: two.heard.get("rest:a", 0) > 400)
    two.board.tell("rest:a", 50.0)
    two.board.tell("rest:b", 50.0)
    await until(lambda: "rest:b" in one.heard)
    await late.open()
    assert late.heard["rest:a"] > 400


async def test_keys_made_and_revoked_on_one_machine_are_on_the_other(machine: Make) -> None:
    """Also keys that were there before the store was shared; a revocation by either counts for both."""
    one, two = machine(), machine()
    early = one.keys.add("early", now=NOW, models=["gpt-*"])
    await one.open()
    await two.open()
    found = two.keys.find(early)
    assert found is not None
    assert (found.name, found.revoked, found.may_use("o3")) == ("early", False, False)
    key = two.keys.add("ci", now=NOW)
    await until(lambda: one.keys.find(key))
    assert one.keys.revoke("ci", now=NOW)
    await until(lambda: two.keys.find(key).revoked)  # type: ignore[union-attr]
    assert one.keys.untold(1) == two.keys.untold(1) == []


async def test_a_key_of_the_rules_is_revoked_everywhere(machine: Make) -> None:
    """The rules go on to list it; its hash is known as revoked."""
    one, two = machine(), machine()
    await one.open()
    await two.open()
    listed = ClientKey("team", key_digest("sk-FAKE-team"))
    assert one.keys.revoke_listed(listed, now=NOW)
    assert not one.keys.revoke_listed(listed, now=NOW)
    await until(lambda: two.keys.revoked(listed))
    assert two.keys.find("sk-FAKE-team").revoked  # type: ignore[union-attr]


async def test_keys_of_one_name_made_on_two_machines_are_both_good_until_they_are_revoked(machine: Make) -> None:
    """Neither machine knew of the other when it was made; one word revokes both."""
    one, two = machine(), machine()
    made = [each.keys.add("ci", now=NOW) for each in (one, two)]
    await one.open()
    await two.open()
    await until(lambda: all(one.keys.find(key) for key in made))
    assert one.keys.revoke("ci", now=NOW)
    await until(lambda: all(two.keys.find(key).revoked for key in made))  # type: ignore[union-attr]


async def test_many_keys_come_in_pages(machine: Make) -> None:
    """All of them, at the first look."""
    one, two = machine(), machine()
    for number in range(2 * PAGE + 1):
        one.keys.add(f"k{number}", now=NOW)
    await one.open()
    await two.open()
    assert len(list(two.keys.list())) == 2 * PAGE + 1
    assert len(list(one.keys.list())) == 2 * PAGE + 1


@pytest.mark.parametrize("forgotten", ["*", "[vlk]*"])
async def test_a_server_that_forgets_is_told_again(machine: Make, valkey: str, forgotten: str) -> None:
    """A revocation outlives the server's memory, all of it or a part: who knows of it tells machines yet to come."""
    one, two = machine(), machine()
    key = one.keys.add("ci", now=NOW)
    await one.open()
    one.keys.revoke("ci", now=NOW)
    await until(lambda: not one.keys.untold(1))
    async with redis.asyncio.Redis.from_url(valkey) as client:
        await client.delete(*await client.keys(f"{{*}}:board:{forgotten}"))
    await two.open()
    await until(lambda: (found := two.keys.find(key)) is not None and found.revoked)


async def test_what_cannot_be_told_now_is_kept(tmp_path: Path) -> None:
    """A process whose server is away starts all the same, and what it has to tell stays untold."""
    lonely = Machine(f"unix://{tmp_path}/nobody", "x", tmp_path / "lonely")
    try:
        with pytest.raises(BoardError):
            await lonely.board.exchange()
        lonely.keys.add("ci", now=NOW)
        await lonely.open()
        lonely.board.tell("rest:a", 10.0)
        assert len(lonely.keys.untold(10)) == 1
    finally:
        await lonely.close()


SOUND = {"sha256": "00", "name": "x", "ending": "x", "created_at": NOW, "revoked_at": None}


@pytest.mark.parametrize(
    "row",
    [
        '{"sha256": 7, "revoked_at": null}',
        json.dumps({**SOUND, "models": "no list"}),
        json.dumps({**SOUND, "models": "[7]"}),
        json.dumps({**SOUND, "providers": "7"}),
        json.dumps({**SOUND, "expires": "soon"}),
        json.dumps({**SOUND, "created_at": None}),
        json.dumps({**SOUND, "expires": ""}),
        json.dumps({**SOUND, "name": "\ud800"}),
        "[7]",
        "{",
        b"\xff",
    ],
)
async def test_rows_that_are_no_keys_are_left_out(machine: Make, valkey: str, row: str | bytes) -> None:
    """Whatever somebody else has written there, nobody is let in by it and nothing fails."""
    one, two = machine(), machine()
    await one.open()
    one.keys.add("ci", now=NOW)
    await until(lambda: not one.keys.untold(1))
    async with redis.asyncio.Redis.from_url(valkey) as client:
        name = one.board._names[4]
        (sha256,) = await client.hkeys(name)
        await client.hset(name, sha256, row)
    await two.open()
    assert list(two.keys.list()) == []
    # Nor does it keep from hearing of the key again.
    one.keys.revoke("ci", now=NOW)
    await until(lambda: [each.revoked_at for each in two.keys.list()] == [NOW])


async def test_nothing_is_stored_but_hashes(machine: Make, valkey: str) -> None:
    """No key stands on the server, whole or in part, but its last four characters."""
    one = machine()
    key = one.keys.add("ci", now=NOW)
    await one.open()
    async with redis.asyncio.Redis.from_url(valkey) as client:
        stored = str(await client.hgetall(one.board._names[4]))
    assert key_digest(key) in stored
    assert not any(key[at : at + 5] in stored for at in range(len(key) - 4))


async def test_what_one_engine_leaves_alone_the_other_does_too(machine: Make) -> None:
    """A credential's cooldown and an opened circuit, from lanes to lanes. Their clocks stand still."""
    one, two = machine(), machine()
    tells, hears = Lanes(lambda: 100.0, News(one.board.tell)), Lanes(lambda: 7.0)
    await one.board.open(tells.hear, WAIT)
    await two.board.open(hears.hear, WAIT)
    resting, failing = (Lane("p", CredentialSource("env", (name,))) for name in "AB")
    tells.rest(resting, 300)
    for _ in range(20):
        ticket = tells[failing].breaker.enter()
        assert ticket is not None
        tells[failing].breaker.leave(ticket, good=False)
    await until(lambda: hears.resting(resting) > 0 and hears.resting(failing) > 0)
    assert hears.resting(resting) <= 300
    assert hears.resting(failing) <= 5
    assert hears[failing].breaker.enter() is None
    assert hears.resting(Lane("p", CredentialSource("env", ("C",)))) == 0
