"""What a call's history has that the one before it had not, turn by turn and line by line.

Most often that is new turns at the end. What was changed further up (a system prompt, an edited or removed message, a
history that was cut or put into a summary) is told as a diff.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from interpose.transcripts import Transcript, Turn
from interpose.transcripts.text import turn_lines

from .conversations import key_of

# Comparing takes the square of the length where everything differs.
MOST_TURNS = 2000
MOST_LINES = 1500
# From here on, one text is the other one, edited; so many words are looked at, and so many turns ahead.
ALIKE = 0.4
MOST_WORDS = 1000
NEAR = 5
OFFERED = "offered"
# What differs in each call, and says nothing of the conversation.
PASSING = frozenset(("previous_response_id", "prompt_cache_key", "metadata", "stream"))

Mark = Literal["", "edited", "inserted", "removed"]


@dataclass(frozen=True, slots=True)
class Kept:
    """So many turns stand as they stood."""

    count: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A turn of this call that the one before had not; of a removed one, what that had. `diff` is against the turn that
    was there in its place.
    """

    turn: Turn
    mark: Mark = ""
    diff: tuple[str, ...] = ()


Piece = Kept | Shown


def pieces(before: Sequence[Turn] | None, now: Sequence[Turn]) -> list[Piece]:
    """The turns of a call, against those that the one before it had come to."""
    if before is None:
        return [Shown(turn) for turn in now]
    common = 0
    old, new = [key_of(turn) for turn in before], [key_of(turn) for turn in now]
    while common < min(len(old), len(new)) and old[common] == new[common]:
        common += 1
    found: list[Piece] = [Kept(common)] if common else []
    old, new = old[common:], new[common:]
    rest_before, rest_now = before[common:], now[common:]
    if max(len(old), len(new)) > MOST_TURNS:
        return [*found, *(Shown(turn, "removed") for turn in rest_before), *(Shown(turn) for turn in rest_now)]
    codes = difflib.SequenceMatcher(None, old, new).get_opcodes()
    for place, (code, i1, i2, j1, j2) in enumerate(codes):
        if code == "equal":
            found.append(Kept(i2 - i1))
        else:
            last = place == len(codes) - 1
            found += _changed(rest_before[i1:i2], rest_now[j1:j2], last=last)
    return found


def _changed(gone: Sequence[Turn], come: Sequence[Turn], *, last: bool) -> Iterator[Piece]:
    """What stands in the place of what is gone: edited, where it is like it."""
    left = list(gone)
    for turn in come:
        edited = next((place for place, each in enumerate(left[:NEAR]) if _alike(each, turn)), None)
        if edited is None:
            # What stands behind the end of what there was is simply new.
            yield Shown(turn, "" if last else "inserted")
            continue
        for each in left[:edited]:
            yield Shown(each, "removed")
        yield Shown(turn, "edited", lines_changed(text_of(left[edited]), text_of(turn)))
        del left[: edited + 1]
    for each in left:
        yield Shown(each, "removed")


def _alike(one: Turn, other: Turn) -> bool:
    """Whether one could be the other, edited: most of their words are the same."""
    if one.role != other.role:
        return False
    if one.role in ("system", "developer"):
        return True
    mine, its = (set(" ".join(text_of(turn)).split()[:MOST_WORDS]) for turn in (one, other))
    return len(mine & its) >= ALIKE * max(len(mine | its), 1)


def text_of(turn: Turn) -> list[str]:
    return list(turn_lines(turn))


def lines_changed(before: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """The lines that differ, with three around each: `+` new, `-` gone, `@` where it is."""
    cut = len(before) > MOST_LINES or len(now) > MOST_LINES
    told = list(difflib.unified_diff(before[:MOST_LINES], now[:MOST_LINES], lineterm="", n=3))[2:]
    return (*told, *(["@@ the rest is not compared @@"] if cut else []))


@dataclass(frozen=True, slots=True)
class Around:
    """What else differs from the call before: one line each."""

    what: str
    before: str
    now: str


def around(earlier: Transcript | None, now: Transcript) -> list[Around]:
    """The model, the parameters and the tools, as far as they are not what they were."""
    if earlier is None:
        return []
    old = {"model": earlier.model, **dict(earlier.parameters)}
    new = {"model": now.model, **dict(now.parameters)}
    found = [
        Around(name, old.get(name, ""), new.get(name, ""))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name) and name not in PASSING
    ]
    tools, now_tools = ({tool.name: tool.json for tool in each.tools} for each in (earlier, now))
    for name in dict.fromkeys((*tools, *now_tools)):
        if tools.get(name) != now_tools.get(name):
            before, after = (OFFERED if name in each else "" for each in (tools, now_tools))
            found.append(
                Around(f"tool {name}", before, f"{OFFERED}, with another schema" if before and after else after)
            )
    return found
