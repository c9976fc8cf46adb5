"""How hard a model may be told to think: the words in their order, and the one that is nearest to what was asked."""

from __future__ import annotations

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def nearest(effort: str, taken: tuple[str, ...]) -> str:
    """The word of `taken` that is nearest to `effort`, the lesser of two; all are taken where none is known.

    Who asked for some thinking is not given none.
    """
    if not taken or effort in taken or effort not in EFFORTS:
        return effort
    wanted = EFFORTS.index(effort)
    thinking = [word for word in taken if word != "none"] or list(taken)
    return min(thinking, key=lambda word: (abs(EFFORTS.index(word) - wanted), EFFORTS.index(word)))
