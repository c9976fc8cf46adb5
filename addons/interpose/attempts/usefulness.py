"""Which of several failures the client gets to see: the one that tells it best what to do.

In this order:

1. a 429 (or a 408) that passes by itself: among several the one with the longest wish to wait, so that no client comes
   back too early; one without a wish after those
2. 503 and 529: the provider is overloaded, or its circuit is open here
3. a 429 of a quota that is used up: waiting does not help, but somebody can pay
4. 502: the provider cannot be reached, or has hung up
5. 504: it was too slow
6. 500 and other 5xx
7. every other 4xx: it came from a way that the client did not ask for

Of two of the same kind, a provider's own reply goes before what we say of it, and then the first one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """`wish` is how long the reply asks to wait, `told` whether it is the provider's own reply."""

    status: int
    wish: float | None = None
    spent: bool = False
    told: bool = True


_ORDER = {429: 0, 408: 0, 503: 1, 529: 1, 502: 3, 504: 4}
_SPENT = 2
_OTHER_5XX = 5
_OTHER = 6


def place(failure: Failure) -> tuple[int, float, bool]:
    """The smaller, the more useful."""
    rank = _SPENT if failure.spent else _ORDER.get(failure.status, _OTHER_5XX if failure.status >= 500 else _OTHER)
    return rank, -failure.wish if rank == 0 and failure.wish is not None else 1.0, not failure.told
