"""Counts calls as they end, by who asked for what: program, model, client and provider.

Bounded: so many groups have numbers of their own, what comes beyond is counted together as `OTHERS`; each group keeps
three hours by the minute and 25 hours by the quarter. Any thread may record; a record costs a few microseconds.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections import deque
from collections.abc import Callable
from math import isfinite, nan
from typing import NamedTuple

from interpose.formats import same_family
from interpose.ledger.record import MAX_INTEGER, Record

from .rings import ABORTED, CACHED, CALLS, COST, FAILED, INPUT, OUTPUT, TURNED_AWAY, UNPRICED, Ring, cells

logger = logging.getLogger(__name__)

# The names of what is counted together.
OTHERS = "(others)"
# So many groups; of the last ones a model is not told apart: whoever makes up models makes up no more than that.
MOST_GROUPS, MOST_OF_MODELS = 256, 224
# The letters of a name at most. A model's is the client's to choose.
LONGEST = 100
MINUTE, MINUTES = 60, 180
# Time zones differ by quarters of an hour, so that each one's day can be put together; the longest has 25 hours.
QUARTER, QUARTERS = 900, 100
# So many of the last calls are remembered, and of so many how long they took.
MOST_CALLS = 500
MOST_TIMES = 20_000
_FAILED = frozenset(("error", "truncated"))
_TURNED_AWAY = frozenset(("refused", "limited"))

Names = tuple[str | None, str | None, str | None, str | None]
"""Program, model, client, provider; None is not known."""


class Group:
    """The numbers of one combination of names."""

    __slots__ = ("minutes", "names", "number", "quarters", "run")

    def __init__(self, names: Names, number: int) -> None:
        self.names = names
        self.number = number
        self.run = cells(1)
        self.minutes = Ring(MINUTE, MINUTES)
        self.quarters = Ring(QUARTER, QUARTERS)


class Seen(NamedTuple):
    """One call of the last ones. Times are milliseconds; `at` is when it ended, in Unix seconds."""

    id: str
    at: float
    group: Group
    names: Names
    asked: str | None
    route: str | None
    endpoint: str
    status: int | None
    outcome: str
    converted: bool
    input_tokens: int | None
    cache_read_tokens: int | None
    output_tokens: int | None
    usage_source: str
    cost_usd: float | None
    ttft_ms: float | None
    duration_ms: float | None


class Times:
    """How long the last calls took that ended well: when, whose, until the first token, in all."""

    __slots__ = ("at", "count", "first", "took", "whose")

    def __init__(self) -> None:
        self.count = 0
        self.at = array("d", bytes(8 * MOST_TIMES))
        self.whose = array("i", bytes(4 * MOST_TIMES))
        self.first = array("d", bytes(8 * MOST_TIMES))
        self.took = array("d", bytes(8 * MOST_TIMES))

    def add(self, at: float, whose: int, first: float | None, took: float) -> None:
        place = self.count % MOST_TIMES
        self.at[place], self.whose[place] = at, whose
        self.first[place], self.took[place] = nan if first is None else first, took
        self.count += 1


class Counts:
    """One run's counts. `now` gives Unix time; `scrub` takes secrets out of a text, as whoever looks on must not see
    them: a client may have put one anywhere.
    """

    def __init__(self, *, now: Callable[[], float], scrub: Callable[[str], str] = str) -> None:
        self.now = now
        self.scrub = scrub
        self.since = now()
        self.lock = threading.Lock()
        # Under the lock.
        self.groups: list[Group] = []
        self.calls: deque[Seen] = deque(maxlen=MOST_CALLS)
        self.times = Times()
        self._by_names: dict[Names, Group] = {}
        self._complained = False

    def record(self, record: Record) -> None:
        """A call has ended. Never raises: what is wrong with us is no matter of the call."""
        try:
            with self.lock:
                self._add(record, self.now())
        except Exception:
            if not self._complained:
                self._complained = True
                logger.exception("the call %s is missing on the live page, and so may be others", record.id)

    def _add(self, record: Record, now: float) -> None:
        provider = record.provider
        if not provider and record.entrance != "gateway":
            provider = record.host
        names = (
            self._short(record.app),
            self._short(record.sent_model or record.asked_model),
            self._short(record.client),
            self._short(provider),
        )
        group = self._by_names.get(names)
        if group is None:
            group = self._grouped(names)
        outcome = record.outcome
        asked, answered = _exact(record.input_tokens), _exact(record.output_tokens)
        cached, cost = _exact(record.cache_read_tokens), _finite(record.cost_usd)
        minutes, quarters = group.minutes, group.quarters
        minute, quarter = minutes.place(now), quarters.place(now)
        for sums, at in ((group.run, 0), (minutes.cells, minute), (quarters.cells, quarter)):
            sums[at + CALLS] += 1.0
            if outcome != "ok":
                if outcome in _FAILED:
                    sums[at + FAILED] += 1.0
                elif outcome in _TURNED_AWAY:
                    sums[at + TURNED_AWAY] += 1.0
                else:
                    sums[at + ABORTED] += 1.0
            if asked:
                sums[at + INPUT] += asked
            if cached:
                sums[at + CACHED] += cached
            if answered:
                sums[at + OUTPUT] += answered
            if cost:
                sums[at + COST] += cost
            elif cost is None and not (asked is None and answered is None):
                sums[at + UNPRICED] += 1.0
        if outcome == "ok" and record.duration_ms is not None:
            self.times.add(now, group.number, record.ttft_ms if record.stream else None, record.duration_ms)
        self.calls.append(
            Seen(
                record.id,
                now,
                group,
                names,
                self._short(record.asked_model),
                self._short(record.route),
                record.endpoint,
                record.status,
                outcome,
                self._converted(record),
                asked,
                cached,
                answered,
                record.usage_source,
                cost,
                record.ttft_ms if record.stream else None,
                record.duration_ms,
            )
        )

    @staticmethod
    def _converted(record: Record) -> bool:
        asked, sent = record.client_format, record.provider_format
        return asked is not None and sent is not None and not same_family(asked, sent, record.endpoint)

    def _grouped(self, names: Names) -> Group:
        app, _, client, provider = names
        for room, wanted in (
            (MOST_OF_MODELS, names),
            (MOST_GROUPS - 1, (app, OTHERS, client, provider)),
            (MOST_GROUPS, (OTHERS, OTHERS, OTHERS, OTHERS)),
        ):
            found = self._by_names.get(wanted)
            if found is None and len(self.groups) < room:
                found = self._by_names[wanted] = Group(self._safe(wanted), len(self.groups))
                self.groups.append(found)
            if found is not None:
                return found
        raise AssertionError("the last group takes all")

    def _short(self, name: str | None) -> str | None:
        if not name:
            return None
        if len(name) <= LONGEST:
            return name
        # Scrubbed first: half a secret would not be known as one. (Of eight megabytes, what can be of any matter.)
        return self.scrub(name[: LONGEST * LONGEST])[: LONGEST - 1] + "…"

    def _safe(self, names: Names) -> Names:
        app, model, client, provider = (None if name is None else self.shown(name) for name in names)
        return app, model, client, provider

    def shown(self, name: str) -> str:
        """A name as it may be told: not too long, else as `clean`."""
        return self.clean(name if len(name) <= LONGEST else str(self._short(name)))

    def clean(self, text: str) -> str:
        """A text without secrets, in letters that JSON and URLs can carry."""
        scrubbed = self.scrub(text)
        return scrubbed if scrubbed.isascii() else scrubbed.encode("utf-8", "backslashreplace").decode()


def _exact(count: int | None) -> int | None:
    """A count as it can be summed up; a provider may tell of any number, and the ledger leaves out the same."""
    return count if count is not None and abs(count) <= MAX_INTEGER else None


def _finite(cost: float | None) -> float | None:
    return cost if cost is not None and isfinite(cost) else None
