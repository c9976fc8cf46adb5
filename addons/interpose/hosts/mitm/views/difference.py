"""Two texts, line by line: what they share, and what one of them alone has. For JSON whatever its depth: lines that
differ in nothing but how far they are moved in, or in a comma at their end, are the same.

Bounded: a comparison is quadratic in what differs, so that texts of which too much differs are shown one after the
other, shortened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

CONTEXT = 3
# Lines that differ, on either side, up to which they are held against each other; and what is shown of more.
MOST_COMPARED = 3000
MOST_LINES = 300


def difference(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """`before` and `after` in one: lines with "-" are of the first alone, with "+" of the second, with " " of both.
    Where much is the same, the lines near to what differs stand for it.
    """
    ours, theirs = [*map(_key, before)], [*map(_key, after)]
    start = _shared(ours, theirs)
    end = _shared(ours[start:][::-1], theirs[start:][::-1])
    left, right = len(ours) - start - end, len(theirs) - start - end
    if left > MOST_COMPARED or right > MOST_COMPARED:
        yield from _same(after[:start], first=True, last=False)
        yield from _clipped("-", before[start : start + left])
        yield from _clipped("+", after[start : start + right])
        yield from _same(after[start + right :], first=False, last=True)
        return
    matcher = SequenceMatcher(None, ours[start : start + left], theirs[start : start + right])
    found = [
        *([("equal", 0, start, 0, start)] if start else []),
        *((tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in matcher.get_opcodes()),
        *([("equal", start + left, len(ours), start + right, len(theirs))] if end else []),
    ]
    for place, (tag, a, b, c, d) in enumerate(found):
        if tag == "equal":
            yield from _same(after[c:d], first=place == 0, last=place == len(found) - 1)
        else:
            yield from _clipped("-", before[a:b])
            yield from _clipped("+", after[c:d])


def same(before: Sequence[str], after: Sequence[str]) -> bool:
    return [*map(_key, before)] == [*map(_key, after)]


def _key(line: str) -> str:
    return line.strip().removesuffix(",")


def _shared(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    return next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def _same(lines: Sequence[str], *, first: bool, last: bool) -> Iterator[str]:
    """Lines of both, those in the midst of them left out."""
    head, tail = 0 if first else CONTEXT, 0 if last else CONTEXT
    if len(lines) <= head + tail + 1:
        yield from (f"  {line}" for line in lines)
        return
    yield from (f"  {line}" for line in lines[:head])
    yield f"  … {len(lines) - head - tail:,} lines that are the same"
    yield from (f"  {line}" for line in lines[len(lines) - tail :])


def _clipped(sign: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"{sign} {line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"{sign} … {len(lines) - MOST_LINES:,} lines more"
