"""A replay from end to end: calls as they are read, put in the order of their times, decided on each side, compared.

Recordings are mostly in order; a file of flows has those that took long behind those that began later. So calls wait
for a while (without their bodies) before their time comes, and memory stays the same however many there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from interpose.formats.keys import client_keys
from interpose.recordings import Recorded
from interpose.rules.compiled import VIRTUAL_PREFIX

from .clockwork import Clockwork
from .fates import Fate
from .outcomes import Outcomes
from .past import Past, past_of
from .prospects import Prospect, Prospects
from .summary import Compared, Summary, compared, counted

# So many calls wait for others that began before them.
LOOKAHEAD = 8192


@dataclass(slots=True)
class _Pending:
    """A call that is not decided on both sides yet. `told` is what is said of it, without its bodies."""

    told: Recorded
    before: Fate | None = None
    after: Fate | None = None


class Replay:
    """Replays calls by `new` rules, against what was recorded, or against `old` rules.

    `run` gives each call once, about in the order of their times.
    """

    def __init__(self, new: Prospects, old: Prospects | None = None) -> None:
        self.summary = Summary()
        self._new = new
        self._old = old
        self._pending: dict[int, _Pending] = {}
        self._ready: list[Compared] = []
        self._after = Clockwork(Outcomes(new.pricing), self._decided_after)
        self._before = Clockwork(Outcomes(old.pricing), self._decided_before) if old is not None else None

    def run(self, calls: Iterable[Recorded]) -> Iterator[Compared]:
        """Each call as it was compared; the summary is whole at the end."""
        waiting: list[tuple[float, int, Prospect, Prospect | None, Past, Recorded]] = []
        for number, (call, past) in enumerate(self._known(calls)):
            after = self._new.prospect(call, past)
            before = self._old.prospect(call, past) if self._old is not None else None
            if past.fate.outcome == "ok" and past.fate.usage.output_tokens is not None:
                for side in (self._new, *((self._old,) if self._old is not None else ())):
                    side.learn(past.fate.model, past.fate.usage.output_tokens)
            self._tell_strangers(call, after)
            heapq.heappush(waiting, (call.started_at, number, after, before, past, bare(call)))
            if len(waiting) > LOOKAHEAD:
                yield from self._step(*heapq.heappop(waiting)[1:])
        while waiting:
            yield from self._step(*heapq.heappop(waiting)[1:])
        self._after.finish()
        if self._before is not None:
            self._before.finish()
        yield from self._drained()
        self.summary.late = self._after.late

    def _known(self, calls: Iterable[Recorded]) -> Iterator[tuple[Recorded, Past]]:
        """The calls that are ours to judge, with what became of them; the others are counted."""
        for call in calls:
            if call.record is None:
                asked = self._new.asked(call) or (self._old.asked(call) if self._old is not None else None)
                if asked is None:
                    counted(self.summary.left_out, call.asked.url.origin.host)
                    continue
                past = past_of(call, *asked, self._new.pricing)
            else:
                past = past_of(call, None, None, self._new.pricing)
            self.summary.saw(call)
            yield call, past

    def _step(
        self, number: int, after: Prospect, before: Prospect | None, past: Past, call: Recorded
    ) -> Iterator[Compared]:
        self._pending[number] = _Pending(call, before=past.fate if self._before is None else None)
        if self._before is not None and before is not None:
            self._before.arrive(number, before)
        self._after.arrive(number, after)
        yield from self._drained()

    def _drained(self) -> Iterator[Compared]:
        ready, self._ready = self._ready, []
        yield from ready

    def _decided_after(self, number: int, prospect: Prospect, fate: Fate) -> None:
        self._pending[number].after = fate
        self._match_up(number)

    def _decided_before(self, number: int, prospect: Prospect, fate: Fate) -> None:
        self._pending[number].before = fate
        self._match_up(number)

    def _match_up(self, number: int) -> None:
        pending = self._pending[number]
        if pending.before is None or pending.after is None:
            return
        del self._pending[number]
        one = compared(pending.told, pending.before, pending.after)
        self.summary.add(one)
        self._ready.append(one)

    def _tell_strangers(self, call: Recorded, after: Prospect) -> None:
        """Counts clients and virtual keys that the rules do not know."""
        if after.fate is None or after.fate.code != "invalid_api_key":
            return
        if call.masked:
            if call.client is not None:
                counted(self.summary.strangers, f"the client {call.client}")
        elif any(key.value.startswith(VIRTUAL_PREFIX) for key in client_keys(call.asked.headers, call.asked.url)):
            counted(self.summary.strangers, "a virtual key")


def bare(call: Recorded) -> Recorded:
    """What is said of a call, without its bodies."""
    asked = replace(call.asked, headers=(), body=None)
    return replace(call, asked=asked, answered=None, sent=(), record=None, spoken=())
