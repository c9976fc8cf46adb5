"""How much of a body a view reads: views run on the loop where calls wait.

What takes time is what a body consists of, not its bytes: a picture of 10 MB costs less than 5,000 messages. Counting
that costs next to nothing. What is allowed here takes a third of a second at most on one slow core.
"""

from __future__ import annotations

# Of JSON: its bytes, its objects and lists, and its values.
MOST_BYTES = 32 * 1024 * 1024
MOST_PARTS = 12_000
MOST_VALUES = 200_000
# Of anything else, which is read from its beginning as far as this goes.
MOST_READ = 4 * 1024 * 1024
MOST_LINES = 30_000


def is_json(data: bytes) -> bool:
    """Whether a body looks like JSON."""
    return data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def too_much(data: bytes) -> str | None:
    """Why a body of JSON cannot be read here, if it cannot: half of it is none."""
    if not is_json(data):
        return None
    if len(data) > MOST_BYTES:
        return f"A body of {len(data):,} bytes is too large to be read here; see it as Raw."
    if (parts := data.count(b"{") + data.count(b"[")) > MOST_PARTS:
        return f"A body of {parts:,} parts is too large to be read here; see it as JSON or Raw."
    if (values := data.count(b",")) > MOST_VALUES:
        return f"A body of {values:,} values is too large to be read here; see it as JSON or Raw."
    return None


def readable(data: bytes) -> bytes:
    """As much of a body as is read here: JSON whole, anything else from its beginning."""
    if is_json(data):
        return data
    data = data[:MOST_READ]
    if data.count(b"\n") > MOST_LINES:
        data = data[: -len(data.split(b"\n", MOST_LINES)[-1])]
    return data


def left_out(data: bytes) -> list[str]:
    """What is said at the end of what was read."""
    read = len(readable(data))
    return [] if read == len(data) else [f"… read up to here, {read:,} of {len(data):,} bytes; see all of it as Raw."]
