"""The circuit breaker: closed, open, half-open with one probe."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from interpose.attempts.breaker import Breaker, Settings, State

SMALL = Settings(window=10, calls=4, failing=0.5, rest=5, longest=12)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened() -> tuple[Breaker, Clock]:
    clock = Clock()
    breaker = Breaker(clock, SMALL)
    for _ in range(SMALL.calls):
        ticket = breaker.enter()
        assert ticket is not None
        breaker.leave(ticket, good=False)
    return breaker, clock


def test_it_opens_and_rests() -> None:
    """Nothing passes for `rest` seconds, and who asks is told how long."""
    breaker, clock = opened()
    assert (breaker.state, breaker.closed_for(), breaker.enter()) == (State.OPEN, 5, None)
    clock.now = 4.9
    assert breaker.enter() is None
    clock.now = 5
    assert (breaker.state, breaker.closed_for()) == (State.HALF_OPEN, 0)


def test_one_probe_passes_and_its_success_closes() -> None:
    """While the probe is out nobody else passes; afterwards everybody does."""
    breaker, clock = opened()
    clock.now = 5
    probe = breaker.enter()
    assert probe is not None
    assert breaker.enter() is None
    breaker.leave(probe, good=True)
    assert breaker.state is State.CLOSED
    assert breaker.enter() is not None


def test_a_failed_probe_doubles_the_rest() -> None:
    """5 seconds, 10, then 12, which is the longest; a success begins anew."""
    breaker, clock = opened()
    for rest in (10, 12, 12):
        clock.now += breaker.closed_for()
        probe = breaker.enter()
        assert probe is not None
        breaker.leave(probe, good=False)
        assert breaker.closed_for() == rest


def test_a_probe_that_learns_nothing_makes_way_for_the_next() -> None:
    """A client that leaves during its probe does not keep the breaker open for ever."""
    breaker, clock = opened()
    clock.now = 5
    probe = breaker.enter()
    assert probe is not None
    breaker.leave(probe, good=None)
    assert breaker.enter() is not None


def test_stragglers_change_nothing() -> None:
    """A call from before the breaker opened neither closes it nor counts against the time after."""
    clock = Clock()
    breaker = Breaker(clock, SMALL)
    tickets = [ticket for _ in range(9) if (ticket := breaker.enter()) is not None]
    for ticket in tickets[:4]:
        breaker.leave(ticket, good=False)
    assert breaker.state is State.OPEN
    for ticket in tickets[4:]:
        breaker.leave(ticket, good=True)
    assert breaker.state is State.OPEN


@given(outcomes=st.lists(st.tuples(st.booleans(), st.floats(0, 4)), max_size=100))
def test_it_opens_exactly_when_the_window_says_so(outcomes: list[tuple[bool, float]]) -> None:
    """Against a brute-force log: it never opens on fewer failures than the window (and a piece more) holds, and it
    does open if those within the window surely suffice.
    """
    clock = Clock()
    breaker = Breaker(clock, SMALL)
    log: list[tuple[float, bool]] = []
    for good, passed in outcomes:
        clock.now += passed
        ticket = breaker.enter()
        assert ticket is not None
        breaker.leave(ticket, good=good)
        log.append((clock.now, good))
        wide = [each for when, each in log if when > clock.now - SMALL.window - 1]
        # A piece leaves as a whole with its first outcome: what came within the shorter window surely counts.
        narrow = [each for when, each in log if when > clock.now - SMALL.window + 1]
        if breaker.state is State.OPEN:
            assert not good
            assert len(wide) >= SMALL.calls
            assert wide.count(False) >= 1
            return
        if len(narrow) == len(wide) and len(narrow) >= SMALL.calls and not good:
            assert narrow.count(False) < SMALL.failing * len(narrow)


class Life(RuleBasedStateMachine):
    """Any order of calls, outcomes and time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(self.clock, SMALL)
        self.out: list[tuple[int, bool]] = []

    @rule()
    def enter(self) -> None:
        state = self.breaker.state
        ticket = self.breaker.enter()
        if state is State.CLOSED:
            assert ticket is not None
        if state is State.OPEN:
            assert ticket is None
        if ticket is not None:
            self.out.append((ticket, state is State.HALF_OPEN))

    @rule(which=st.integers(0, 50), good=st.sampled_from([True, False, None]))
    def leave(self, which: int, good: bool | None) -> None:
        if self.out:
            ticket, probe = self.out.pop(which % len(self.out))
            before = self.breaker.state
            self.breaker.leave(ticket, good=good)
            if probe and good and before is State.HALF_OPEN:
                assert self.breaker.state is State.CLOSED

    @rule(seconds=st.floats(0, 15))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def at_most_one_probe_is_out(self) -> None:
        """And where none is, one may enter: no breaker stays shut for good."""
        probes = sum(probe for _, probe in self.out)
        if self.breaker.state is State.HALF_OPEN:
            assert probes <= 1
            assert (self.breaker.closed_for() == 0) == (probes == 0)

    @invariant()
    def a_rest_is_bounded(self) -> None:
        """It ends within the longest."""
        assert 0 <= self.breaker.closed_for() <= SMALL.longest + 1e-9  # sums of floats


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
