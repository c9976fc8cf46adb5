"""`interpose keys`: virtual keys for clients, made, listed and revoked. Where they are kept is `interpose.issued`.

A key is printed once, alone on stdout, when it is made; only its hash is stored. With `--rules`, what is done here is
told to the store that the rules name, and so to every interceptor that shares it.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import console, refuse, say_plain, told

app = typer.Typer(
    help="Virtual keys for clients: make one, list them, revoke one.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StateOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="The state folder. Default: as `interpose run` has it."),
]
RulesOption = Annotated[
    Path | None,
    typer.Option("--rules", metavar="F", help="The rules file: whose store is told, and whose own keys are known."),
]


@app.command()
def add(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, for rules and reports.")],
    models: Annotated[
        list[str] | None, typer.Option("--models", metavar="G", help="Models it is good for; may be repeated.")
    ] = None,
    endpoints: Annotated[
        list[str] | None, typer.Option("--endpoints", metavar="E", help="Endpoints: chat, embeddings …")
    ] = None,
    providers: Annotated[
        list[str] | None, typer.Option("--providers", metavar="P", help="Providers, by their names in the rules.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DATE", help="The last day on which it is good, UTC.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="$N/PERIOD", help="What its calls may cost: '$20/day'.")
    ] = None,
    rules: RulesOption = None,
    state: StateOption = None,
) -> None:
    """Make a key and print it: it is shown this once. It is good at once, without a restart."""
    wanted = _checked(
        name=name, models=models, endpoints=endpoints, providers=providers, expires=expires, budget=budget
    )
    with told():
        with_keys = _open(state, make=True)
        sharing = _sharing(rules, with_keys)
        with sharing.around():
            key = with_keys.add(
                wanted.name,
                now=_now(),
                models=wanted.models or (),
                endpoints=wanted.endpoints or (),
                providers=wanted.providers or (),
                expires=wanted.expires,
                budget=wanted.budget,
            )
            print(key)
        with_keys.close()
    say_plain(f"This is the key of {wanted.name}. It is stored nowhere: keep it now.")
    if not sharing.told():
        raise typer.Exit(1)


@app.command("list")
def list_(
    *,
    format_: Annotated[str, typer.Option("--format", metavar="F", help="table, json or csv.")] = "table",
    rules: RulesOption = None,
    state: StateOption = None,
) -> None:
    """List the keys: whose they are, what they are good for, and whether they still are."""
    if format_ not in _SHOW:
        refuse(f"--format {format_} is not known: there are {', '.join(_SHOW)}")
    with told():
        keys = _open(state, make=rules is not None)
        sharing = _sharing(rules, keys)
        sharing.exchange()
        rows = [_row(each) for each in keys.list()]
        keys.close()
    _SHOW[format_](rows)
    if sharing.failed:
        say_plain(f"Without keys that are new elsewhere: the store does not answer ({sharing.failed}).")


@app.command()
def revoke(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key is revoked.")],
    rules: RulesOption = None,
    state: StateOption = None,
) -> None:
    """Revoke a key, issued or listed in the rules: it is refused within a second, by interceptors that run as well."""
    from interpose.rules.problem import did_you_mean, printable

    with told():
        keys = _open(state, make=rules is not None)
        sharing = _sharing(rules, keys)
        listed = sharing.rules.clients.keys if sharing.rules is not None else ()
        with sharing.around():
            done = keys.revoke(name, now=_now())
            for key in listed:
                done |= key.name == name and keys.revoke_listed(key, now=_now())
        others = [each.name for each in keys.list() if each.revoked_at is None]
        others += [key.name for key in listed if not keys.revoked(key)]
        keys.close()
    if not done:
        hint = did_you_mean(name, others) or "`interpose keys list` tells which there are"
        refuse(f"{printable(name)} has no key that is good; {hint}")
    say_plain(f"The key of {name} is revoked.")
    if not sharing.told():
        raise typer.Exit(1)


def _open(state: Path | None, *, make: bool = False) -> Any:
    from interpose.issued import Keys
    from interpose.state import make_state_folder, state_path

    folder = state_path(state, os.environ)
    return Keys(make_state_folder(folder) if make else folder, timer=time.monotonic)


def _sharing(rules: Path | None, keys: Any) -> Any:
    from .sharing import Sharing

    return Sharing(rules, keys)


def _checked(**given: object) -> Any:
    """What was asked for, by the same rules as in a rules file."""
    from pydantic import ValidationError

    from interpose.rules.schema import ClientKeySpec
    from interpose.rules.values import shown

    try:
        return ClientKeySpec.model_validate({"sha256": "0" * 64, **{k: v for k, v in given.items() if v is not None}})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        said = first.get("ctx", {}).get("error")
        hint = getattr(said, "hint", "")
        where = "NAME" if option == "name" else f"--{option}"
        refuse(f"{where} {shown(first['input'])}: {said or first['msg']}" + (f"; {hint}" if hint else ""))


def _now() -> str:
    from interpose.ledger.record import utc_text

    return utc_text(time.time())


def _row(issued: Any) -> dict[str, Any]:
    row = asdict(issued)
    today = datetime.datetime.now(datetime.UTC).date()
    over = issued.expires is not None and issued.expires < today
    row["state"] = "revoked" if issued.revoked_at else "expired" if over else "good"
    row["budget"] = None if issued.budget is None else str(issued.budget)
    row["expires"] = None if issued.expires is None else issued.expires.isoformat()
    return row


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print("No keys yet: `interpose keys add NAME` makes one.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("client", "key", "state", "good for", "budget", "expires", "issued"):
        table.add_column(column)
    for row in rows:
        good_for = [
            f"{what} {' '.join(row[what])}" for what in ("models", "endpoints", "providers") if row[what] is not None
        ]
        shown = f"vk-…{row['ending']}" if row["ending"] else "of the rules"
        cells = (
            row["name"], shown, row["state"], ", ".join(good_for) or "everything",
            row["budget"] or "–", row["expires"] or "–", row["created_at"][:10],
        )  # fmt: skip
        table.add_row(*map(Text, cells), style="" if row["state"] == "good" else "dim")
    console(sys.stdout).print(table)


def _json(rows: Sequence[Mapping[str, Any]]) -> None:
    print(json.dumps(rows, indent=2))


def _csv(rows: Sequence[Mapping[str, Any]]) -> None:
    names = (
        "name",
        "ending",
        "state",
        "models",
        "endpoints",
        "providers",
        "expires",
        "created_at",
        "revoked_at",
        "budget",
    )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        writer.writerow([" ".join(row[name]) if isinstance(row[name], tuple) else row[name] for name in names])
    print(text.getvalue(), end="")


_SHOW: dict[str, Callable[[Sequence[Mapping[str, Any]]], None]] = {"table": _table, "json": _json, "csv": _csv}
