"""What docs/deploy has, read for the tests, and what a container's command line means to the real command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml

from interpose.cli.commands import app
from interpose.rules.check import check
from interpose.rules.problem import Problem

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
RULES = DEPLOY / "rules"

Json = dict[str, Any]


def compose() -> Json:
    read: Json = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return read


def kubernetes() -> list[Json]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def instructions(name: str) -> list[str]:
    """The arguments of the Dockerfile's instructions of that name, in order."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE))
    return [line.partition(" ")[2].strip() for line in text.splitlines() if line.startswith(f"{name} ")]


def understood(arguments: Sequence[str]) -> tuple[str, Json]:
    """The command and the options of `interpose ARGUMENTS`, as it reads them itself. Raises click's UsageError."""
    command = typer.main.get_command(app)
    root = command.make_context("interpose", list(arguments))
    name, chosen, rest = command.resolve_command(root, [*root._protected_args, *root.args])  # type: ignore[attr-defined]
    assert name is not None
    assert chosen is not None
    return name, chosen.make_context(name, rest, parent=root).params


def problems(rules: str, folder: Path) -> list[Problem]:
    """What `interpose check` says of rules, which no machine of the tests has the providers' keys of."""
    file = folder / "rules.yaml"
    file.write_text(rules)
    return check(file)


def variables(value: object) -> Iterator[str]:
    """The names of `${NAME}` in all of its texts."""
    match value:
        case str():
            yield from re.findall(r"(?<!\$)\$\{([A-Z_]+)", value)
        case dict():
            for each in value.values():
                yield from variables(each)
        case list():
            for each in value:
                yield from variables(each)


@dataclass(frozen=True, slots=True)
class Server:
    """One that rules name by a URL, and how they get in: `variable` holds the password."""

    scheme: str
    user: str
    variable: str
    host: str
    port: int
    database: str


def servers(rules: str) -> list[Server]:
    """Where the state and the ledger are."""
    found = re.findall(r"(redis|postgresql)://(\w*):\$\{(\w+)\}@(\w+):(\d+)/(\w+)", rules)
    assert [each[0] for each in found] == ["redis", "postgresql"]
    return [Server(scheme, user, name, host, int(port), db) for scheme, user, name, host, port, db in found]
