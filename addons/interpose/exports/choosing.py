"""Which calls of a ledger are meant: by an id or the beginning of one, by a run, by a span of time and who called.

A call's id stands in its reply's header x-interpose-id and in the ledger; those of a connection's calls begin with the
connection's. Of one call, its whole conversation is meant: the calls around it by the same client and app are looked
through for those that it goes on with.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from interpose.errors import InterposeError
from interpose.ledger.address import Readable
from interpose.ledger.captures import captured_in, records_of, span_of
from interpose.ledger.record import CAPTURES, GAP_ENTRANCE, RUN, utc_text
from interpose.ledger.source import Source, open_source
from interpose.recordings import Flaws, Recorded
from interpose.recordings.captured import from_captured
from interpose.recordings.records import moment

from .conversations import Conversations
from .hiding import hidden
from .telling import transcript_of

# An export of more calls than that is nothing that anybody reads; the latest are meant.
MOST = 5000
# So many calls around one are looked through for its conversation, and so far from it in time.
AROUND = 1000
FAR = timedelta(hours=12)
NEAREST = 3
# An id is longer; what is shorter names half of the ledger.
SHORTEST = 6
LAST = "last"
HOW = "ledger: {capture: bodies} in the rules (or a route's capture: bodies) has calls captured from then on"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `ids` are whole ones or beginnings; `run` is a writer of the ledger, or "last"; `since` is
    `utc_text`. `alone` leaves out the rest of a call's conversation.
    """

    ids: tuple[str, ...] = ()
    run: str | None = None
    since: str | None = None
    client: str | None = None
    app: str | None = None
    alone: bool = False

    @property
    def nothing(self) -> bool:
        return not (self.ids or self.run or self.since or self.client or self.app)


@dataclass(slots=True)
class Chosen:
    """The ids of what is meant, in the order in which the calls began, and what is to be said of it."""

    ids: list[str]
    notes: list[str]
    run: str | None = None


def chosen(place: Readable, wanted: Wanted, flaws: Flaws) -> Chosen:
    """Raises InterposeError for what is not there, or was not captured; LedgerError for what cannot be read."""
    with open_source(place) as source:
        if CAPTURES not in source.tables():
            raise InterposeError(f"{place} has captured no call: it is of an older version. {HOW}")
        run = _run(source, wanted.run) if wanted.run is not None else None
        where = _where(wanted, run)
        if wanted.ids:
            named = [each for number in wanted.ids for each in _by_id(source, number, where)]
            total, kept = len(named), _captured_of(source, named)
            captured = len(kept)
        else:
            total, captured, kept = _all(source, where)
        if not kept:
            which = "that call was" if total == 1 else "none of these calls was"
            raise InterposeError(f"{which} not captured, so that there is nothing to show of it: {HOW}")
        notes = []
        if missing := total - captured:
            notes.append(f"{missing:,} of {total:,} calls were not captured, and are left out")
        if captured > MOST:
            notes.append(f"these are the latest {MOST:,} of {captured:,} calls: --since and --client ask for fewer")
        if len(wanted.ids) == 1 and len(kept) == 1 and not wanted.alone:
            return Chosen(_conversation(source, kept[0], flaws), notes, run)
        return Chosen(kept[-MOST:], notes, run)


def calls(place: Readable, ids: Sequence[str], name: str, flaws: Flaws) -> Iterator[Recorded]:
    """The captured calls with those ids, in their order; one is in memory at a time."""
    with open_source(place) as source:
        for captured in captured_in(source, ids):
            call = from_captured(captured, name, flaws)
            if call is not None:
                yield call


@dataclass(frozen=True, slots=True)
class _Where:
    """A condition on calls, and its arguments."""

    sql: str
    arguments: tuple[str, ...]


def _where(wanted: Wanted, run: str | None) -> _Where:
    told = (
        ("entrance <> ?", GAP_ENTRANCE),
        (f"? IN (writer, substr(writer, 1, {RUN}))", run),
        ("client = ?", wanted.client),
        ("app = ?", wanted.app),
        ("started_at >= ?", wanted.since),
    )
    held = [(sql, value) for sql, value in told if value is not None]
    return _Where(" AND ".join(sql for sql, _ in held), tuple(value for _, value in held))


def _all(source: Source, where: _Where) -> tuple[int, int, list[str]]:
    """How many calls there are, how many of them were captured, and the latest of these, in their order."""
    captured = "EXISTS (SELECT 1 FROM captures WHERE captures.id = calls.id)"
    count = f"SELECT COUNT(*) FROM calls WHERE {where.sql}"  # noqa: S608 - our columns
    total, *_ = next(source.rows(count, *where.arguments))
    if not total:
        raise InterposeError("no calls were recorded for that: `interpose usage --by day,client,app` tells of what was")
    known, *_ = next(source.rows(f"{count} AND {captured}", *where.arguments))
    latest = f"ORDER BY started_at DESC, writer DESC, seq DESC LIMIT {MOST}"
    rows = source.rows(f"SELECT id FROM calls WHERE {where.sql} AND {captured} {latest}", *where.arguments)  # noqa: S608 - ours
    return int(total), int(known), [str(number) for (number,) in rows][::-1]


def _by_id(source: Source, number: str, where: _Where) -> list[str]:
    select = f"SELECT id FROM calls WHERE {where.sql} AND"  # noqa: S608 - our columns
    exact, when = f"{select} id = ?", span_of(source, [number])
    if when is not None:  # there is an index for that
        rows = source.rows(f"{exact} AND started_at BETWEEN ? AND ?", *where.arguments, number, *when)
        found = [str(each) for (each,) in rows]
    else:
        found = []
    found = found or [str(each) for (each,) in source.rows(exact, *where.arguments, number)]
    if not found and len(number) >= SHORTEST:
        beginning = number.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"
        order = f"ORDER BY started_at, writer, seq LIMIT {MOST + 1}"
        rows = source.rows(f"{select} id LIKE ? ESCAPE '!' {order}", *where.arguments, beginning)
        found = [str(each) for (each,) in rows]
    if not found:
        raise InterposeError(f"no call has the id {number!r}, or one that begins so{_nearest(source, number)}")
    return found


def _nearest(source: Source, number: str) -> str:
    rows = source.rows("SELECT id FROM calls WHERE entrance <> ? ORDER BY started_at DESC LIMIT 5000", GAP_ENTRANCE)
    known = [str(each) for (each,) in rows]
    near = difflib.get_close_matches(number, known, NEAREST, 0.6)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; the last one is {known[0]}" if known else ": the ledger has none"


def _run(source: Source, run: str) -> str:
    """The writer that is meant, or how the names of all the run's workers begin."""
    writers = [str(writer) for (writer,) in source.rows("SELECT DISTINCT writer FROM calls")]
    if run == LAST:
        rows = source.rows(
            "SELECT writer FROM calls WHERE entrance <> ? ORDER BY started_at DESC LIMIT 1", GAP_ENTRANCE
        )
        found = [str(writer) for (writer,) in rows]
        if not found:
            raise InterposeError("there was no run yet: the ledger has no calls")
        several = sum(writer[:RUN] == found[0][:RUN] for writer in writers) > 1
        return found[0][:RUN] if several else found[0]
    near = [writer for writer in writers if writer == run] or [writer for writer in writers if writer.startswith(run)]
    if len(near) == 1:
        return near[0]
    if near and len({writer[:RUN] for writer in near}) == 1:
        return near[0][:RUN]
    if near:
        raise InterposeError(f"--run {run} could be {', '.join(near[:NEAREST])}{' …' if len(near) > NEAREST else ''}")
    guesses = difflib.get_close_matches(run, writers, NEAREST, 0.5)
    hint = f"; did you mean {' or '.join(guesses)}?" if guesses else "; --run last is the latest"
    raise InterposeError(f"no run of the ledger is called {run!r}{hint}")


def _captured_of(source: Source, ids: list[str]) -> list[str]:
    """Those that were captured, in their order."""
    known: set[str] = set()
    step = 500
    for at in range(0, len(ids), step):
        part = ids[at : at + step]
        sql = f"SELECT DISTINCT id FROM captures WHERE id IN ({', '.join('?' * len(part))})"  # noqa: S608 - marks
        known.update(str(each) for (each,) in source.rows(sql, *part))
    return [each for each in dict.fromkeys(ids) if each in known]


def _conversation(source: Source, number: str, flaws: Flaws) -> list[str]:
    """The ids of all calls of the conversation that a call is of."""
    record = records_of(source, [number])[number]
    began, client, app = record.started_at, record.client or "", record.app or ""
    when = datetime.fromtimestamp(moment(began)).astimezone()
    earliest, latest = (utc_text((when + shift).timestamp()) for shift in (-FAR, FAR))
    who = "COALESCE(client, '') = ? AND COALESCE(app, '') = ? AND id IN (SELECT id FROM captures)"
    select = f"SELECT id FROM calls WHERE {who} AND started_at"  # noqa: S608 - our columns
    before = source.rows(
        f"{select} BETWEEN ? AND ? ORDER BY started_at DESC, seq DESC LIMIT {AROUND}", client, app, earliest, began
    )
    ids = [str(each) for (each,) in before][::-1]
    after = source.rows(
        f"{select} > ? AND started_at <= ? ORDER BY started_at, seq LIMIT {AROUND}", client, app, began, latest
    )
    ids += [str(each) for (each,) in after]
    conversations = Conversations()
    ours = None
    for captured in captured_in(source, list(dict.fromkeys(ids))):
        call = from_captured(captured, "", flaws)
        if call is not None:
            step = conversations.add(call, transcript_of(hidden(call)))
            ours = step.conversation if call.id == number else ours
    return ours.ids if ours is not None else [number]
