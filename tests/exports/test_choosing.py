"""Which calls of a ledger are meant, in every kind of ledger; and the calls as their captures have them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.exports.made import QUESTION, agent, call, exported
from tests.ledger.conftest import START, invented
from tests.ledger.test_captures import part
from tests.sinks import KINDS, sink_of

from interpose.errors import InterposeError
from interpose.exports.choosing import Wanted, calls, chosen
from interpose.ledger import Ledger
from interpose.ledger.address import Readable
from interpose.ledger.lane import Pace
from interpose.ledger.record import utc_text
from interpose.ledger.schema import open_for_reading
from interpose.ledger.sink import Sink
from interpose.ledger.source import SqliteSource
from interpose.ledger.sqlite import SqliteSink
from interpose.ledger.writer import Way
from interpose.recordings import Flaws, Recorded


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Sink, Readable]:
    """A sink of each kind, and how it is read."""
    return sink_of(request, tmp_path)


def told(sink: Sink, *recorded: Recorded, writer: str = "w1", bodies: bool = True) -> None:
    """What a ledger keeps of calls that begin a second after each other."""
    ledger = Ledger.start([Way(sink)], writer=writer, pace=Pace(clock=lambda: START))
    for number, each in enumerate(recorded):
        assert each.answered is not None
        kind = "application/json"
        if bodies:
            ledger.capture(
                part("asked", each.id, each.asked.body, method="POST", url=str(each.asked.url), media_type=kind)
            )
            ledger.capture(part("answered", each.id, each.answered.body, status=200, media_type=kind))
        ledger.record(invented(number, id=each.id, client=each.client, app=each.app, client_format="openai"))
    assert ledger.close() == 0


def named(prefix: str, *recorded: Recorded, client: str | None = None) -> list[Recorded]:
    for number, each in enumerate(recorded, 1):
        each.id, each.client = f"{prefix}_{number}", client
    return list(recorded)


def ids(place: Readable, *numbers: str, **wanted: object) -> list[str]:
    return chosen(place, Wanted(numbers, **wanted), Flaws()).ids  # type: ignore[arg-type]


def test_a_call_means_its_conversation(kind: tuple[Sink, Readable]) -> None:
    """And no other of the same client's; by itself it is one call, and by the beginning of its id, too."""
    sink, place = kind
    other = call(9, [{"role": "user", "content": "Something else"}], "Yes.")
    told(sink, *named("ip_one", *agent(), other, client="ci"))
    assert ids(place, "ip_one_2") == ["ip_one_1", "ip_one_2", "ip_one_3"]
    assert ids(place, "ip_one_2", alone=True) == ["ip_one_2"]
    assert ids(place, "ip_one_4") == ["ip_one_4"]
    assert ids(place, "ip_one") == ["ip_one_1", "ip_one_2", "ip_one_3", "ip_one_4"]
    # A sign that SQL knows is a letter here.
    with pytest.raises(InterposeError, match="no call has the id 'ip%one_2'"):
        ids(place, "ip%one_2")
    read = list(calls(place, ["ip_one_1", "ip_one_2"], str(place), Flaws()))
    assert [each.id for each in read] == ["ip_one_1", "ip_one_2"]
    assert "It is <strong>15 °C</strong> and clear." in exported(*read)


def test_a_conversation_takes_no_walk_through_all_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls it has: its records are found by when they were."""
    path = tmp_path / "usage.db"
    ledger = Ledger.start([Way(SqliteSink(path))], writer="w1", pace=Pace(clock=lambda: START))
    recorded = named("ip_one", *agent(), client="ci")
    for number, each in enumerate(recorded):
        assert each.answered is not None
        at, kind = utc_text(START + number), "application/json"
        url = str(each.asked.url)
        ledger.capture(part("asked", each.id, each.asked.body, at=at, method="POST", url=url, media_type=kind))
        ledger.capture(part("answered", each.id, each.answered.body, at=at, status=200, media_type=kind))
        ledger.record(invented(number, id=each.id, client="ci", client_format="openai"))
    assert ledger.close() == 0
    asked: list[tuple[str, tuple[object, ...]]] = []
    rows = SqliteSource.rows

    def noted(source: SqliteSource, sql: str, *arguments: object) -> Iterator[tuple[object, ...]]:
        asked.append((sql, arguments))
        return rows(source, sql, *arguments)

    monkeypatch.setattr(SqliteSource, "rows", noted)
    names = ids(path, "ip_one_2")
    assert len(list(calls(path, names, str(path), Flaws()))) == len(names) == 3
    of_calls = [each for each in asked if " FROM calls " in each[0]]
    with closing(open_for_reading(path)) as connection:
        plans = [
            str(step[3])
            for sql, arguments in of_calls
            for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)
        ]
    assert [plan for plan in plans if plan.startswith("SCAN calls")] == []


def test_calls_are_chosen_by_run_time_and_client(kind: tuple[Sink, Readable]) -> None:
    """Together, as far as they are given."""
    sink, place = kind
    told(sink, *named("ip_one", *agent(), client="ci"))
    told(sink, *named("ip_two", call(1, [QUESTION], "Fine."), client="cd"), writer="w2")
    assert ids(place, run="w2") == ["ip_two_1"]
    assert ids(place, client="ci") == ["ip_one_1", "ip_one_2", "ip_one_3"]
    assert ids(place, client="ci", since=utc_text(START + 2)) == ["ip_one_3"]
    with pytest.raises(InterposeError, match=r"did you mean (ip_one_\d|ip_two_1)"):
        ids(place, "ip_one_7")
    with pytest.raises(InterposeError, match="--run w could be w"):
        ids(place, run="w")


def test_a_run_is_all_of_its_workers(kind: tuple[Sink, Readable]) -> None:
    """Their names begin alike; the whole name of one means that one."""
    sink, place = kind
    told(sink, *named("ip_one", call(1, [QUESTION], "Fine.")), writer="0a7d44c504aaaaaa")
    two = call(2, [QUESTION], "Fine."), call(3, [QUESTION], "Fine.")
    told(sink, *named("ip_two", *two), writer="0a7d44c504bbbbbb")
    told(sink, *named("ip_old", call(0, [QUESTION], "Fine.")), writer="0a7d44c505cccccc")
    assert ids(place, run="last") == ids(place, run="0a7d44c504") == ["ip_one_1", "ip_two_1", "ip_two_2"]
    assert ids(place, run="0a7d44c504bbbbbb") == ["ip_two_1", "ip_two_2"]
    with pytest.raises(InterposeError, match="could be"):
        ids(place, run="0a7d")


def test_what_was_not_captured_is_told(kind: tuple[Sink, Readable]) -> None:
    """Of some calls as a note, of all of them as an error that says what to do."""
    sink, place = kind
    told(sink, *named("ip_one", *agent()), bodies=False)
    with pytest.raises(InterposeError, match=r"not captured.*capture: bodies"):
        ids(place, "ip_one_1")
    told(sink, *named("ip_two", call(1, [QUESTION], "Fine.")), writer="w2")
    found = chosen(place, Wanted(since=utc_text(START)), Flaws())
    assert found.ids == ["ip_two_1"]
    assert found.notes == ["3 of 4 calls were not captured, and are left out"]
