"""A sliding window that counts costs in at most 12 sub-buckets, and the time that it slides by.

The law: never more than `limit` in any `seconds`. The promise: a demand is granted if it fits within `limit` together
with all that was charged, and not given back, in the last 12/11 of `seconds` and 12 µs (65.5 s for a minute). That is
because time is cut into steps of `seconds`/11: the current step and the 11 before it surely hold everything younger
than `seconds`, and nothing that is older than 12 steps.

Everything takes a constant time, whatever the costs. Which of a million windows is whose is the store's business.
"""

from __future__ import annotations

STEPS = 12
TOLERANCE = 5_000_000  # µs


def step_width(seconds: int) -> int:
    """How many microseconds a sub-bucket of a window of `seconds` is wide."""
    return -(-seconds * 1_000_000 // (STEPS - 1))


def seconds_of(microseconds: int) -> float:
    """A time to wait, in seconds, up to 2 ms longer: a clock may not tell microseconds apart."""
    return (max(microseconds, 0) // 1000 + 2) / 1000


class Progress:
    """The time that has surely passed, in microseconds, made of a clock that may be set back and forth.

    Steps forward count. A step back of up to 5 s is waited out, since readings may arrive out of order; after a larger
    one the clock was set: that counts as no time, and the next step forward counts again. So a clock that is put back
    delays nobody for longer than 5 s and admits nobody early, whereas one that is put forward cannot be told from one
    that ran: each such jump may admit up to one more `limit`.
    """

    __slots__ = ("_last", "passed")

    def __init__(self) -> None:
        self._last: int | None = None
        self.passed = 0

    def read(self, now: float, *, current: bool = True) -> int:
        """What has passed at the Unix time `now`: the `current` reading of the clock, or one that may be older."""
        reading = int(now * 1_000_000)
        if self._last is None:
            self._last = reading
        step = reading - self._last
        if step > 0:
            self.passed += step
            self._last = reading
        elif current and step < -TOLERANCE:
            self._last = reading
        return self.passed


class Window:
    """What was charged of one bucket. Times are numbers of steps (`passed // width`) that never decrease."""

    __slots__ = ("_charged", "total")

    def __init__(self) -> None:
        self.total = 0
        # Step and cost in turn, oldest first: a list of two, not of twelve, for the many who come only once.
        self._charged: list[int] = []

    def slide(self, step: int) -> None:
        """Forget what is older than the window that ends with `step`."""
        charged = self._charged
        if not charged or charged[0] > step - STEPS:
            return
        stale = 0
        for at in range(0, len(charged), 2):
            if charged[at] > step - STEPS:
                break
            self.total -= charged[at + 1]
            stale = at + 2
        del charged[:stale]

    def charge(self, step: int, cost: int) -> None:
        """Count `cost` at `step`, which is the latest. Whether it fits is asked before."""
        charged = self._charged
        if charged and charged[-2] == step:
            charged[-1] += cost
        else:
            charged += (step, cost)
        self.total += cost

    def refund(self, step: int, cost: int) -> None:
        """Take back what was charged at `step`; nothing, if that has slid out."""
        charged = self._charged
        for at in range(0, len(charged), 2):
            if charged[at] == step:
                charged[at + 1] -= cost
                self.total -= cost
                return

    def last(self) -> int:
        """The step of the last charge; of an empty window, one that is long gone."""
        return self._charged[-2] if self._charged else -STEPS

    def frees(self, amount: int) -> int:
        """The step with which at least `amount` will have slid out, which is not more than `total`."""
        charged = self._charged
        for at in range(0, len(charged), 2):
            amount -= charged[at + 1]
            if amount <= 0:
                return charged[at] + STEPS
        return self.last() + STEPS
