"""`interpose alerts test`: tells everybody whom the alerts would tell that it is a test, and shows who got it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from interpose.rules.problem import RulesError, did_you_mean

from .terminal import console, refuse, told

if TYPE_CHECKING:
    from interpose.rules.alerts import Alert

app = typer.Typer(
    help="Alerts: send a test.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def alerts() -> None:
    """Alerts of the rules."""


@app.command("test")
def tell(
    *,
    rules: Annotated[Path, typer.Option("--rules", metavar="F", help="The rules file.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only the alert of that name.")] = None,
) -> None:
    """Tell everybody whom the alerts would tell that this is a test. Exit status 1 if somebody could not be told."""
    from interpose.rules.load import load

    with told():
        chosen = _chosen(load(rules).alerts, name)
        delivered = asyncio.run(_send(chosen))
    table = Table("alert", "who", "", box=None, pad_edge=False)
    for alert, who, failure in delivered:
        table.add_row(alert, who, failure or "told")
    console(sys.stdout).print(table)
    raise typer.Exit(1 if any(failure for *_, failure in delivered) else 0)


def _chosen(found: Sequence[Alert], name: str | None) -> list[Alert]:
    chosen = [alert for alert in found if name in (None, alert.name)]
    if not found:
        refuse("the rules have no alerts: write some under alerts:")
    if not chosen and name is not None:
        names = [alert.name for alert in found]
        refuse(f'there is no alert "{name}"; {did_you_mean(name, names) or f"known are {', '.join(names)}"}')
    return chosen


async def _send(chosen: Sequence[Alert]) -> list[tuple[str, str, str | None]]:
    """For each alert and each of those whom it tells: the reason why that failed, if it did."""
    # Here, not above: no other command waits for it.
    from interpose.alerts import Notice, Senders, Undelivered
    from interpose.rules.secrets import SecretStore

    store = SecretStore(os.environ, clock=time.monotonic)
    sources = [source for alert in chosen for notify in alert.notify for source in notify.sources]
    if problems := await store.check_all(sources):
        raise RulesError(problems)
    senders = Senders(store.resolve, pauses=())
    answers: list[tuple[str, str, str | None]] = []
    for alert in chosen:
        now = time.time()
        notice = Notice(
            alert.name, "firing", alert.when, alert.window, "", None, now, now, socket.gethostname(), test=True
        )
        for notify in alert.notify:
            failure = None
            try:
                await senders.send(notify, notice)
            except Undelivered as error:
                failure = str(error)
            answers.append((alert.name, str(notify), failure))
    return answers
