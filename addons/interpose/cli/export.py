"""`interpose export`: recorded calls as a file for people: which ones, from where, to where.

What is exported is on stdout or in a file, everything said is on stderr. The exit status: 0 written, 1 for what could
not be read or found, 2 for what was asked in a way that we do not know.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from interpose import __version__
from interpose.errors import InterposeError
from interpose.exports.choosing import MOST, Chosen, Wanted, calls, chosen
from interpose.exports.conversations import Conversations
from interpose.exports.hiding import hidden
from interpose.exports.page import GENERATOR, Page
from interpose.exports.plain import JsonSheet, MarkdownSheet
from interpose.exports.room import LIMIT, Room
from interpose.exports.sheet import Heading, Sheet
from interpose.exports.telling import transcript_of
from interpose.ledger import LedgerError
from interpose.ledger.record import utc_text
from interpose.ledger.report import since_moment
from interpose.recordings import Flaws, Recorded
from interpose.rules.problem import printable
from interpose.state import state_path

from .ledgers import place_of
from .terminal import refuse, say, say_plain
from .waiting import progress

STDOUT = "-"
SUFFIXES = {"html": ".html", "md": ".md", "json": ".json"}
SHEETS: Mapping[str, Callable[[Room], Sheet]] = {
    "html": Page,
    "md": lambda room: MarkdownSheet(),
    "json": lambda room: JsonSheet(),
}
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
# As much of a file is looked at for whether it is one of ours.
LOOKED_AT = 4096


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    ids: tuple[str, ...]
    files: tuple[str, ...]
    run: str | None
    since: str | None
    client: str | None
    app: str | None
    alone: bool
    output: str | None
    format: str
    limit: str | None
    force: bool
    rules: Path | None
    state: Path | None
    ledger: str | None


def export(asked: Options) -> None:
    """Writes the export. Raises InterposeError for what is not there or cannot be read or written."""
    if asked.format not in SHEETS:
        refuse(f"--format {asked.format} is not known: there are {', '.join(SHEETS)}")
    room = Room(_size(asked.limit) if asked.limit is not None else LIMIT)
    wanted = _wanted(asked)
    flaws = Flaws()
    if asked.files:
        source, again, found = _of_files(asked, wanted, flaws)
    else:
        source, again, found = _of_ledger(asked, wanted, flaws)
    target = asked.output or _name(asked, found)
    if target != STDOUT:
        _may_be_written(Path(target), asked)
    sheet = SHEETS[asked.format](room)
    conversations = Conversations()
    with progress("exporting") as done:
        for number, call in enumerate(again()):
            clean = hidden(call)
            sheet.add(conversations.add(clean, transcript_of(clean)))
            if done is not None:
                done(number / len(found.ids))
    if not conversations.all:
        for flaw in flaws:
            say_plain(printable(flaw, 500))
        raise InterposeError("there is nothing to export: none of these calls could be read")
    heading = Heading(_title(asked, found), source, time.time(), __version__)
    notes = [*found.notes, *flaws]
    _written(target, sheet.written(heading, notes))
    for note in notes:
        say_plain(printable(note, 500))
    if target != STDOUT:
        count = sum(len(each.ids) for each in conversations)
        said = f"{len(conversations.all):,} {_plural('conversation', len(conversations.all))}"
        size = Path(target).stat().st_size
        say(f"{target}: {said}, {count:,} {_plural('call', count)}, {_sized(size)}")


def _sized(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1000:.0f} kB"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _wanted(asked: Options) -> Wanted:
    try:
        since = since_moment(asked.since, datetime.now(UTC)) if asked.since is not None else None
    except LedgerError as error:
        refuse(str(error))
    began = utc_text(since.timestamp()) if since is not None else None
    wanted = Wanted(asked.ids, asked.run, began, asked.client, asked.app, asked.alone)
    if wanted.nothing and not asked.files:
        refuse(
            "what is to be exported? The id of a call (of its reply's header x-interpose-id, or of the ledger), "
            "--run last, --since 1h, or --from FILE"
        )
    if asked.files and asked.run is not None:
        refuse("--run is of a ledger: a file has none")
    for option, value in (("--rules", asked.rules), ("--ledger", asked.ledger)):
        if asked.files and value is not None:
            refuse(f"--from and {option} both say where the calls are: give one of them")
    return wanted


def _size(text: str) -> int:
    """Bytes of `20MB`, `64MiB`."""
    word = text.strip().lower().removesuffix("b")
    number = word.rstrip("kmgi")
    unit = word[len(number) :]
    try:
        size = int(float(number) * UNITS[unit])
    except (KeyError, ValueError):
        refuse(f"--limit {text} is no size: write 20MB or 64MiB")
    if size < 100_000:
        refuse(f"--limit {text} is too little for any page: 100kB is the least")
    return size


Again = Callable[[], Iterator[Recorded]]


def _of_ledger(asked: Options, wanted: Wanted, flaws: Flaws) -> tuple[str, Again, Chosen]:
    place = place_of(asked.ledger, asked.rules, state_path(asked.state, os.environ))
    found = chosen(place, wanted, flaws)
    name = str(place)
    return f"the ledger {name}", lambda: calls(place, found.ids, name, flaws), found


def _of_files(asked: Options, wanted: Wanted, flaws: Flaws) -> tuple[str, Again, Chosen]:
    from interpose.hosts.recorded import STDIN, Recordings

    if STDIN in asked.files:
        refuse("--from - cannot be read twice, as it has to be: save it to a file first")
    ids: list[str] = []
    conversations = Conversations()
    known: list[str] = []
    recordings = Recordings(asked.files)
    with progress("reading") as done:
        for call in recordings:
            known.append(call.id)
            if done is not None and recordings.size:
                done(recordings.read / recordings.size)
            if not _meant(call, wanted):
                continue
            ids.append(call.id)
            if wanted.ids:
                # Whose conversation they are of, is to be found first.
                clean = hidden(call)
                conversations.add(clean, transcript_of(clean))
    for flaw in recordings.flaws:
        flaws.add(flaw)
    if wanted.ids:
        ids = _by_id(wanted, conversations, ids, known)
    notes = []
    if len(ids) > MOST:
        notes.append(f"these are the latest {MOST:,} of {len(ids):,} calls: --since and --client ask for fewer")
        ids = ids[-MOST:]
    if not ids:
        for flaw in flaws:
            say_plain(printable(flaw, 500))
        raise InterposeError(f"{', '.join(asked.files)}: there is no call" + (" like that" if known else ""))
    chosen_ids = frozenset(ids)

    def again() -> Iterator[Recorded]:
        # What was wrong with the files is told already.
        return (call for call in Recordings(asked.files) if call.id in chosen_ids and _meant(call, wanted))

    return ", ".join(asked.files), again, Chosen(ids, notes)


def _meant(call: Recorded, wanted: Wanted) -> bool:
    if wanted.since is not None and datetime.fromtimestamp(call.started_at, UTC) < datetime.fromisoformat(wanted.since):
        return False
    return wanted.client in (None, call.client) and wanted.app in (None, call.app)


def _by_id(wanted: Wanted, conversations: Conversations, ids: list[str], known: list[str]) -> list[str]:
    import difflib

    found: list[str] = []
    for each in wanted.ids:
        near = [number for number in ids if number == each] or [number for number in ids if number.startswith(each)]
        if not near:
            guesses = difflib.get_close_matches(each, known, 3, 0.5) or known[:3]
            hint = f"; did you mean {' or '.join(guesses)}?" if guesses else ""
            raise InterposeError(f"no call has the id {each!r}, or one that begins so{hint}")
        found += near
    if len(found) == 1 and not wanted.alone:
        for conversation in conversations:
            if found[0] in conversation.ids:
                return conversation.ids
    return list(dict.fromkeys(found))


# --- the file ---------------------------------------------------------------------------------------------------------


def _title(asked: Options, found: Chosen) -> str:
    if asked.run is not None:
        return f"Run {found.run or asked.run}"
    if len(asked.ids) == 1:
        return f"Conversation of {asked.ids[0]}" if len(found.ids) != 1 else f"Call {found.ids[0]}"
    if asked.files:
        return ", ".join(Path(file).name for file in asked.files)
    return "AI calls"


def _name(asked: Options, found: Chosen) -> str:
    """A file's name that says what is in it."""
    if asked.files and not asked.ids:
        stem = Path(asked.files[0]).stem
    elif asked.ids:
        stem = f"interpose-{asked.ids[0]}"
    else:
        stem = f"interpose-{found.run or (asked.client or asked.app or 'calls')}"
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in stem)[:80].strip(".-")
    return f"{safe or 'interpose-export'}{SUFFIXES[asked.format]}"


def _may_be_written(target: Path, asked: Options) -> None:
    """Raises InterposeError where a file would be lost that is none of ours."""
    if target.is_dir():
        raise InterposeError(f"{target} is a folder: --output takes the name of a file")
    if asked.force or not target.exists():
        return
    try:
        with target.open("rb") as file:
            head = file.read(LOOKED_AT)
    except OSError as error:
        raise InterposeError(f"{target}: {error.strerror or error}") from error
    if head and f'content="{GENERATOR}'.encode() not in head:
        raise InterposeError(f"{target} exists, and is no page that interpose has exported: --force writes over it")


def _written(target: str, pieces: Iterator[str]) -> None:
    """All of it or nothing: a file that was begun is never left in the place of a whole one."""
    if target == STDOUT:
        if sys.stdout is None:
            raise InterposeError("cannot write the export: stdout is closed")
        for piece in pieces:
            sys.stdout.buffer.write(piece.encode("utf-8", "backslashreplace"))
        sys.stdout.flush()
        return
    path = Path(target)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                for piece in pieces:
                    file.write(piece)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InterposeError(f"{target}: {error.strerror or error}") from error
