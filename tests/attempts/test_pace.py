"""How fast and how busy a way is, on a clock of our own."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.attempts.pace import HALF_LIFE, SLOW, Lap, Paces, Standing, Way

A, B, C = (Way(name, "m", "chat", stream=True) for name in "abc")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paces(clock: Clock) -> Paces:
    return Paces(clock)


def answers(paces: Paces, clock: Clock, way: Way, seconds: float) -> None:
    """A call that way, from its beginning to its end."""
    lap = paces.begin(way)
    clock.now += seconds
    lap.first()
    lap.end()


def test_nothing_is_known_of_a_way_that_nobody_has_taken(paces: Paces) -> None:
    """Which makes it worth a try."""
    assert paces.standing(A) == Standing(None, 0, 0)
    assert paces.standing(A).slowness < Standing(0.001).slowness


def test_the_time_to_the_first_content_counts(paces: Paces, clock: Clock) -> None:
    """Not that of the whole reply, which is in flight until its end."""
    lap = paces.begin(A)
    clock.now += 0.4
    lap.first()
    clock.now += 60
    assert paces.standing(A).busy == 1
    lap.end()
    clock.now = 0.4
    assert paces.standing(A) == Standing(0.4, 0, 0)


def test_it_is_a_moving_mean(paces: Paces, clock: Clock) -> None:
    """Each call changes it by its share; what is long ago has none."""
    answers(paces, clock, A, 1.0)
    answers(paces, clock, A, 2.0)
    assert paces.standing(A).expected == pytest.approx(1.0 * 0.7 + 2.0 * 0.3)
    clock.now += 20 * HALF_LIFE
    answers(paces, clock, A, 5.0)
    assert paces.standing(A).expected == pytest.approx(5.0, rel=1e-4)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (lambda lap: lap.answered(503), SLOW),
        (lambda lap: lap.answered(529), SLOW),
        (lambda lap: lap.answered(429), SLOW),
        (lambda lap: lap.failed(), SLOW),
        # The call's own fault, or no reply of a model: nothing is learned.
        (lambda lap: lap.answered(400), None),
        (lambda lap: lap.answered(404), None),
        (lambda lap: lap.answered(101), None),
        # A head is no content.
        (lambda lap: lap.answered(200), None),
        # The client left early.
        (lambda lap: lap.end(), None),
    ],
)
def test_what_fails_counts_as_slow(
    paces: Paces, clock: Clock, ends: Callable[[Lap], None], expected: float | None
) -> None:
    """As slow as it was, and never as fast: an error comes quickly."""
    lap = paces.begin(A)
    clock.now += 0.01
    ends(lap)
    lap.end()
    assert paces.standing(A).expected == expected


def test_a_client_that_gives_up_has_seen_how_slow_it_is(paces: Paces, clock: Clock) -> None:
    """It counts where it has waited longer than was expected, and not otherwise."""
    answers(paces, clock, A, 1.0)
    lap = paces.begin(A)
    clock.now += 0.5
    lap.end()
    assert paces.standing(A).expected == pytest.approx(1.0, rel=0.01)
    lap = paces.begin(A)
    clock.now += 30
    lap.end()
    assert paces.standing(A).expected == pytest.approx(1.0 * 0.7 + 30 * 0.3, rel=0.2)


def test_a_way_on_which_calls_hang_is_slow_before_they_end(paces: Paces, clock: Clock) -> None:
    """As slow as the one that waits longest."""
    answers(paces, clock, A, 0.2)
    paces.begin(A)
    clock.now += 7
    paces.begin(A)
    assert paces.standing(A) == Standing(7, 2, 2)


def test_what_nobody_takes_is_forgotten(paces: Paces, clock: Clock) -> None:
    """It counts as faster and faster, until somebody tries it; who comes at the same time does not follow."""
    answers(paces, clock, A, 8.0)
    answers(paces, clock, B, 1.0)
    assert paces.standing(B).slowness < paces.standing(A).slowness
    clock.now += 3.2 * HALF_LIFE
    answers(paces, clock, B, 1.0)
    assert paces.standing(A).slowness < paces.standing(B).slowness
    paces.begin(A)
    assert paces.standing(B).slowness < paces.standing(A).slowness


def test_who_is_being_tried_for_the_first_time_is_not_followed(paces: Paces) -> None:
    """As long as another is known; where none is, calls spread."""
    paces.begin(A)
    assert Standing(5.0).slowness < paces.standing(A).slowness
    assert paces.standing(B).slowness < paces.standing(A).slowness
    paces.begin(B)
    paces.begin(B)
    assert paces.standing(A).slowness < paces.standing(B).slowness


def test_kinds_of_calls_are_timed_apart_and_counted_together(paces: Paces, clock: Clock) -> None:
    """A whole reply comes later than the first words of a stream; both keep the provider busy."""
    whole = Way("a", "m", "chat", stream=False)
    paces.begin(whole)
    answers(paces, clock, A, 0.3)
    assert paces.standing(whole).expected is None
    assert paces.standing(A).busy == paces.standing(whole).busy == 1
    assert paces.standing(Way("a", "other", "chat", stream=True)).busy == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["begin", "first", "failed", "answered", "end"]))))
def test_nothing_is_left_of_calls_that_have_ended(events: list[tuple[int, str]]) -> None:
    """In whatever order, and however often, the ends are told."""
    paces = Paces(Clock())
    laps: list[Lap] = []
    for number, event in events:
        if event == "begin":
            laps.append(paces.begin((A, B, C)[number % 3]))
        elif laps:
            lap = laps[number % len(laps)]
            lap.answered(200) if event == "answered" else getattr(lap, event)()
    for lap in laps:
        lap.end()
    for way in (A, B, C):
        standing = paces.standing(way)
        assert (standing.waiting, standing.busy) == (0, 0)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(0.01, 30), min_size=2, max_size=5),
    st.floats(1, 300),
    st.integers(0, 4),
)
def test_no_way_is_given_up(seconds: list[float], gap: float, slow_once: int) -> None:
    """However slow it was, it is tried again: after as many half-lives as it takes to look as fast as the fastest."""
    clock = Clock()
    paces = Paces(clock)
    ways = [Way(str(number), "m", "chat", stream=True) for number in range(len(seconds))]
    paces.begin(ways[slow_once % len(ways)]).failed()
    last = dict.fromkeys(ways, 0.0)
    longest = max(*seconds, SLOW)
    bound = HALF_LIFE * (math.log2(longest / min(seconds)) + 1) + (gap + longest) * (len(ways) + 1)
    while clock.now < 2 * bound:
        way = min(ways, key=lambda way: paces.standing(way).slowness)
        assert all(clock.now - at <= bound for at in last.values())
        last[way] = clock.now
        answers(paces, clock, way, seconds[ways.index(way)])
        clock.now += gap


@given(st.lists(st.floats(0.01, 30), min_size=2, max_size=5, unique=True))
def test_the_fastest_is_the_fastest(seconds: list[float]) -> None:
    """Of ways that have just been measured, the order is that of their times; asking changes nothing."""
    clock = Clock()
    paces = Paces(clock)
    ways = [Way(str(number), "m", "chat", stream=True) for number in range(len(seconds))]
    laps = [paces.begin(way) for way in ways]
    for lap, at in sorted(zip(laps, seconds, strict=True), key=lambda pair: pair[1]):
        clock.now = at
        lap.first()
        lap.end()
    # As if all of them had been measured in this moment.
    for pace in paces._paces.values():
        pace.at = clock.now
    first = sorted(ways, key=lambda way: paces.standing(way).slowness)
    assert [seconds[ways.index(way)] for way in first] == sorted(seconds)
    assert sorted(ways, key=lambda way: paces.standing(way).slowness) == first
