"""In what the SQL of the ledger's databases differs, where all of it is asked in one way (`source.py`)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Dialect:
    """`legs`, beside `calls` in a FROM, are the attempts of each, as `leg.value`.

    `like` compares with a `pattern`, which is made of one where `*` and `?` stand for anything. `also` is what calls
    are grouped by besides, so that no group is too large; `unsorted` has a query read a table as it lies. `gathered` is
    the SQL of all numbers of a column under a condition, of which `numbers` makes such.
    """

    legs: str
    like: str
    pattern: Callable[[str], str]
    also: tuple[str, ...]
    unsorted: str
    gathered: Callable[[str, str], str]
    numbers: Callable[[Any], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the table `calls`: the condition that makes it (of all parts of a source the same one) with these
    arguments, and how much is `done` (of 1) with it.
    """

    condition: str
    arguments: tuple[object, ...]
    done: float


def _parsed(text: str | None) -> Sequence[float]:
    if text is None:
        return ()
    try:
        return orjson.loads(f"[{text}]")  # type: ignore[no-any-return]  # numbers, as SQLite writes them
    except orjson.JSONDecodeError:
        return list(_finite(text.split(",")))  # somebody has put something else there


def _finite(words: Iterable[str]) -> Iterator[float]:
    for word in words:
        try:
            value = float(word)
        except ValueError:
            continue
        if math.isfinite(value):
            yield value


SQLITE = Dialect(
    legs="json_each(attempts) AS leg",
    like="GLOB",
    pattern=lambda text: text.replace("[", "[[]"),
    also=(),
    unsorted="NOT INDEXED",
    # As text with 15 digits, more than what we write has. A third of the time of handing over the numbers.
    gathered=lambda column, condition: f"group_concat(CASE WHEN {condition} THEN {column} END)",
    numbers=_parsed,
)
POSTGRES = Dialect(
    legs="json_array_elements(attempts::json) AS leg (value)",
    like="LIKE",
    pattern=lambda text: re.sub(r"([\\%_])", r"\\\1", text).replace("*", "%").replace("?", "_"),
    also=("substr(started_at, 1, 10)",),
    unsorted="",
    gathered=lambda column, condition: f"array_agg({column}) FILTER (WHERE {condition} AND {column} IS NOT NULL)",
    numbers=lambda found: found or (),
)
