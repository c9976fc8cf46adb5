"""What can be wrong with a rules file, said the way compilers say it: file:line:column, the path into the data, what
is wrong and what to write instead. Values of secrets never enter a message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from interpose.errors import InterposeError

Path = tuple[str | int, ...]
Severity = Literal["error", "warning", "note"]

_PLAIN = re.compile(r"[A-Za-z0-9_*-]+\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a rules file: line and column count from 1, `path` is written as in `routes[0].match.model`."""

    file: str
    line: int
    column: int
    path: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.path}" if self.path else where

    def problem(self, message: str, hint: str = "", severity: Severity = "error") -> Problem:
        return Problem(self.file, self.line, self.column, self.path, message, hint, severity)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong (error), dangerous (warning) or odd (note)."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        place = Place(self.file, self.line, self.column, self.path)
        kind = "" if self.severity == "error" else f"{self.severity}: "
        return f"{place}: {kind}{self.message}" + (f"; {self.hint}" if self.hint else "")


class RulesError(InterposeError):
    """A rules file that cannot be used, with every problem found in it, in the order of the file.

    A mistake behind an anchor is said once, however many aliases repeat it.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        distinct: dict[tuple[int, int, str, str], Problem] = {}
        for problem in sorted(problems, key=lambda problem: (problem.line, problem.column)):
            key = (problem.line, problem.column, problem.path.rpartition(".")[2], problem.message)
            distinct.setdefault(key, problem)
        self.problems = tuple(distinct.values())
        super().__init__("\n".join(map(str, self.problems)))


class BadValue(ValueError):
    """A value that a parser refuses. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def written(path: Path) -> str:
    """A path as people write it: `providers.openai.base_url`, `routes[0].to`, `upstream.connect_to["a.b:443"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.match(step):
            text += f".{step}" if text else step
        else:
            text += f'["{printable(step)}"]'
    return text


def printable(text: str, limit: int = 60) -> str:
    """A stranger's text made fit for one line of a terminal: no control characters, not endless."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:limit])
    return shown + "…" if len(text) > limit else shown


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "openai"?`, or nothing if no known word is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word[:100].lower(), names, n=1, cutoff=0.6)
    return f'did you mean "{names[near[0]]}"?' if near else ""
