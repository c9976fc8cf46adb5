"""What is remembered of providers and credentials between calls."""

from interpose.attempts.lanes import UNUSED, Lane, Lanes, News, digest
from interpose.rules.secrets import CredentialSource

A = Lane("p", CredentialSource("env", ("A",)))
B = Lane("p", CredentialSource("env", ("B",)))
OWN = Lane("p", None)


def test_each_key_rests_for_itself() -> None:
    """One key's cooldown is not the other's, and a shorter wish does not end a longer one."""
    now = 100.0
    lanes = Lanes(lambda: now)
    assert lanes.resting(A) == 0
    lanes.rest(A, 30)
    lanes.rest(A, 5)
    assert (lanes.resting(A), lanes.resting(B)) == (30, 0)
    now = 131
    assert lanes.resting(A) == 0


def test_clients_own_keys_do_not_rest() -> None:
    """What a provider asks of one client is not asked of the others."""
    lanes = Lanes(lambda: 0.0)
    lanes.rest(OWN, 30)
    assert lanes.resting(OWN) == 0


def test_an_open_circuit_rests() -> None:
    """For as long as nothing would pass."""
    lanes = Lanes(lambda: 0.0)
    for _ in range(20):
        ticket = lanes[A].breaker.enter()
        assert ticket is not None
        lanes[A].breaker.leave(ticket, good=False)
    assert (lanes.resting(A), lanes.resting(B)) == (5, 0)


def test_what_is_left_alone_is_told() -> None:
    """A rest, and a circuit that outcomes have opened; not what a probe has found, which everybody tries alone."""
    now = 100.0
    told: list[tuple[str, float]] = []
    lanes = Lanes(lambda: now, News(lambda name, seconds: told.append((name, seconds))))
    lanes.rest(A, 30)
    lanes.rest(OWN, 30)
    for _ in range(20):
        fail(lanes, B)
    assert told == [(f"rest:{digest(A)}", 30), (f"open:{digest(B)}", 5.0)]
    now += 5
    fail(lanes, B)
    assert lanes.resting(B) == 10
    assert len(told) == 2


def test_what_is_heard_holds_here() -> None:
    """Of lanes in use and of those that are used later; for as long as is left, and no longer than is reasonable."""
    now = 100.0
    lanes = Lanes(lambda: now)
    lanes[A].breaker.enter()
    lanes.hear(f"rest:{digest(A)}", 30)
    lanes.hear(f"open:{digest(B)}", 5)
    lanes.hear("what:ever", 30)
    now += 1
    assert (lanes.resting(A), lanes.resting(B), lanes.resting(OWN)) == (29, 4, 0)
    assert lanes[B].breaker.enter() is None
    now += 4
    assert lanes[B].breaker.enter() is not None
    lanes.hear(f"rest:{digest(A)}", 1e9)
    assert lanes.resting(A) == 3600


def test_what_is_heard_of_lanes_that_nobody_uses_is_bounded() -> None:
    """A server that is full of them fills no memory here; those that are over make room."""
    now = 100.0
    news = News()
    lanes = Lanes(lambda: now, news)
    for number in range(2 * UNUSED):
        lanes.hear(f"rest:{number}", 10)
    assert len(news.heard) == UNUSED
    now += 20
    lanes.hear("rest:new", 10)
    assert list(news.heard) == ["rest:new"]


def fail(lanes: Lanes, lane: Lane) -> None:
    ticket = lanes[lane].breaker.enter()
    assert ticket is not None
    lanes[lane].breaker.leave(ticket, good=False)


def test_lanes_of_new_rules_hear_and_tell_as_those_before() -> None:
    """What was heard of a lane that the rules of before did not use holds for those that follow."""
    told: list[str] = []
    before = Lanes(lambda: 100.0, News(lambda name, seconds: told.append(name)))
    before.hear(f"rest:{digest(A)}", 30)
    after = before.kept(lambda lane: True)
    assert after.resting(A) == 30
    after.rest(B, 30)
    assert told == [f"rest:{digest(B)}"]
