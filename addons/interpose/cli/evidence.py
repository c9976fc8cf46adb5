"""`interpose usage verify`, `checkpoint` and `prune`: whether anybody has altered the ledger, and what is kept of it.

What a chain, a checkpoint and retention are is in `interpose.ledger`; here is what people see of it, and the exit
status of `verify`: 0 if all is sound, 1 if something was tampered with, 2 if it cannot be read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import LedgerOption, LedgerRulesOption
from .terminal import console, refuse, say, say_plain, told

if TYPE_CHECKING:
    from interpose.ledger.address import Readable
    from interpose.ledger.pruning import Pruned
    from interpose.ledger.verify import Progress, Seen, Verification
    from interpose.rules.compiled import LedgerRules

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="The state folder. Default: as `interpose run` has it.")
]

# Of a ledger that was rewritten from end to end, so many problems are shown.
SHOWN = 40


@app.command()
def verify(
    ctx: typer.Context,
    *,
    ledger: LedgerOption = None,
    rules: LedgerRulesOption = None,
    state: StateOption = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="Checkpoints that were kept elsewhere; may be given several times."
        ),
    ] = None,
    format_: Annotated[str, typer.Option("--format", metavar="F", help="table or json.")] = "table",
) -> None:
    """Walk the ledger's chains: was a record changed, deleted, reordered, put in or cut off?

    Exits with 0 if all is sound, with 1 if something was tampered with, with 2 if it cannot be read.
    """
    from interpose.ledger.verify import examine

    write = FORMATS.get(format_)
    if write is None:
        refuse(f"--format {format_} is not supported in this version: there are {', '.join(FORMATS)}")
    if sys.stdout is None:
        refuse("cannot write what was found: stdout is closed")
    with told(2):
        at = meant(ctx, ledger, rules, state).place
        with _progress() as progress:
            found = examine(at, files=checkpoint or (), progress=progress)
    write(at, found)
    sys.stdout.flush()
    raise typer.Exit(1 if found.problems else 0)


@app.command(name="checkpoint")
def make_checkpoint(
    ctx: typer.Context,
    *,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="The file to add it to. Default: as the rules say; else stdout."),
    ] = None,
    ledger: LedgerOption = None,
    rules: LedgerRulesOption = None,
    state: StateOption = None,
) -> None:
    """Write down how far the ledger's chains are: kept elsewhere, it shows what was cut off or rewritten since."""
    from interpose.ledger import utc_text
    from interpose.ledger.checkpoints import Checkpoint, append, named
    from interpose.ledger.checkpoints import state as state_of

    with told():
        of = meant(ctx, ledger, rules, state)
        now = utc_text(time.time())
        found = state_of(of.place)
        if to is None and of.rules is not None and of.rules.checkpoints is not None:
            to = of.rules.checkpoints.to
        if to is None:
            print(Checkpoint(1, now, named(of.place), found.heads, found.cuts).line().decode(), end="")
            return
        made = append(to, at=now, ledger=named(of.place), state=found)
        chains = "1 chain" if len(made.heads) == 1 else f"{len(made.heads)} chains"
        say(f"checkpoint {made.number} of {made.ledger}, {chains}, is in {to}: keep it where the ledger is not")


@app.command()
def prune(
    ctx: typer.Context,
    *,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="90d", help="Delete records. Default: as the rules keep them.")
    ] = None,
    bodies_older_than: Annotated[
        str | None,
        typer.Option("--bodies-older-than", metavar="30d", help="Drop captured bodies, whose records stay."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    ledger: LedgerOption = None,
    rules: LedgerRulesOption = None,
    state: StateOption = None,
) -> None:
    """Delete what is old, so that `verify` can tell it from any other deletion. Exits with 1 if something stays because
    it was tampered with.
    """
    from interpose.ledger import LedgerError, pruning, retention

    with told():
        of = meant(ctx, ledger, rules, state)
        records, bodies = _age("--older-than", older_than), _age("--bodies-older-than", bodies_older_than)
        if records is None and bodies is None and of.rules is not None:
            records, bodies = of.rules.keep.records, of.rules.keep.bodies
        if records is None and bodies is None:
            refuse("how old? write --older-than 90d, or name rules that have ledger.keep")
        if not retention.prunable(of.place):
            raise LedgerError(f"{of.place} is a file of JSON lines, from which nothing can be deleted on this system")
        keep = pruning.Keep(records, bodies)
        try:
            if dry_run:
                _tell("would delete", of.place, retention.would_go(of.place, keep, now=time.time()))
                return
            done = retention.prune(of.place, keep, clock=time.time, pause=_breathe)
        except pruning.Taken:
            raise LedgerError(f"another process is deleting from {of.place}, or holds its lock: try again") from None
        _tell("deleted", of.place, done)
        _told_elsewhere(of)
    raise typer.Exit(1 if done.left else 0)


def _age(option: str, text: str | None) -> float | None:
    from interpose.rules.problem import BadValue
    from interpose.rules.values import age

    try:
        return age(text) if text is not None else None
    except BadValue as error:
        refuse(f"{option} {error}" + (f"; {error.hint}" if error.hint else ""))


def _breathe() -> bool:
    """Whoever writes gets the lock between two batches."""
    time.sleep(0.01)
    return False


def _tell(what: str, at: Readable, done: Pruned) -> None:
    parts = [f"{count:,} of {table}" for table, count in done.records.items() if count]
    if done.bodies:
        parts.append(f"the bodies of {done.bodies:,} captures")
    say(f"{at}: {what} {', '.join(parts) if parts else 'nothing: there is nothing so old'}")
    for problem in done.left:
        say_plain(_plain(problem))


def _told_elsewhere(of: Meant) -> None:
    """What was deleted is told to the checkpoints, if the rules name a file of them."""
    from interpose.ledger import utc_text
    from interpose.ledger.checkpoints import append, named
    from interpose.ledger.checkpoints import state as state_of

    if of.rules is not None and (checkpoints := of.rules.checkpoints) is not None:
        append(checkpoints.to, at=utc_text(time.time()), ledger=named(of.place), state=state_of(of.place))


@dataclass(frozen=True, slots=True)
class Meant:
    """The ledger that is meant, and what rules say of it, if some are named."""

    rules: LedgerRules | None
    place: Readable


def meant(ctx: typer.Context, ledger: str | None, rules: Path | None, state: Path | None) -> Meant:
    """Named behind the command or ahead of it."""
    from interpose.state import state_path

    from .ledgers import ledger_place, ledger_rules, place_of

    ahead = ctx.parent.params if ctx.parent is not None else {}
    ledger = ledger if ledger is not None else ahead.get("ledger")
    rules = rules if rules is not None else ahead.get("rules")
    folder = state_path(state if state is not None else ahead.get("state"), os.environ)
    if rules is None:
        return Meant(None, place_of(ledger, None, folder))
    found = ledger_rules(ledger, rules)
    return Meant(found, asyncio.run(ledger_place(found, folder)))


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar for whoever looks at stderr; nothing for others."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress as Bars

    with Bars(console=console(sys.stderr), transient=True) as bars:
        task = bars.add_task("verifying", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


# --- what is shown --------------------------------------------------------------------------------------------------


def _table(at: Readable, found: Verification) -> None:
    from rich import box
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    out = console(sys.stdout)
    if found.chains:
        rows = [dict(zip(COLUMNS, _cells(chain), strict=True)) for chain in found.chains]
        titles = list(COLUMNS)

        def laid_out() -> Table:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
            for title in titles:
                table.add_column(title, justify="right" if COLUMNS[title] else "left", no_wrap=title != "state")
            for row in rows:
                table.add_row(*(Text(row[title]) for title in titles))
            return table

        wide = out.options.update(width=10_000)
        for title in DISPENSABLE:
            if Measurement.get(out, wide, laid_out()).maximum <= out.width:
                break
            titles.remove(title)
        out.print(laid_out())
    for problem in found.problems[:SHOWN]:
        out.print(Text(_plain(str(problem))), soft_wrap=True)
    if len(found.problems) > SHOWN:
        out.print(f"… and {len(found.problems) - SHOWN} more: --format json has them all")
    for note in found.notes[:SHOWN]:
        out.print(Text(f"note: {_plain(note)}", style="dim"), soft_wrap=True)
    chains = "1 chain" if len(found.chains) == 1 else f"{len(found.chains)} chains"
    records = "1 record" if found.records == 1 else f"{found.records:,} records"
    what = "1 problem" if len(found.problems) == 1 else f"{len(found.problems)} problems"
    out.print(f"{at}: {records} in {chains}: {what if found.problems else 'sound'}", soft_wrap=True)


# Whether they are numbers.
COLUMNS: Mapping[str, bool] = {
    "writer": False,
    "version": False,
    "table": False,
    "records": True,
    "numbers": True,
    "from": False,
    "to": False,
    "state": False,
}
# What goes where room is short, rather than that all are cut; JSON has it.
DISPENSABLE = ("version", "to", "numbers", "from")


def _cells(chain: Seen) -> tuple[str, ...]:
    numbers = f"{chain.first}–{chain.last}" if chain.records else "–"
    state = "sound" if not chain.problems else "1 problem" if chain.problems == 1 else f"{chain.problems} problems"
    begin, end = (_plain(moment)[:19].replace("T", " ") for moment in (chain.begin, chain.end))
    return (
        _plain(chain.writer)[:12], chain.version, chain.table, f"{chain.records:,}", numbers, begin, end,
        f"{state}, cut up to {chain.cut}" if chain.cut else state,
    )  # fmt: skip


def _plain(text: str) -> str:
    """What somebody may have put into a ledger does not steer a terminal."""
    return "".join(mark if mark.isprintable() else "�" for mark in text)


def _json(at: Readable, found: Verification) -> None:
    told = {
        "ledger": str(at),
        "sound": not found.problems,
        "records": found.records,
        "chains": [asdict(chain) for chain in found.chains],
        "problems": [{**asdict(problem), "message": str(problem)} for problem in found.problems],
        "notes": found.notes,
    }
    print(json.dumps(told, indent=2, ensure_ascii=True))


FORMATS: Mapping[str, Callable[[Readable, Verification], None]] = {"table": _table, "json": _json}
