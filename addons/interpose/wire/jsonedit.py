"""Edits of a JSON object's top-level members in place: every byte outside of the edited values stays as it was.

That is law 1 for requests: parsing and serialising again would break signed blocks and prompt-cache prefixes. A
parser validates the body first, so the scanner below may trust its grammar (https://www.rfc-editor.org/rfc/rfc8259).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

import orjson

from .error import NotAnObject, TooComplex, WireError

BOM = b"\xef\xbb\xbf"
_TOO_COMPLEX = "the body has too many values to be read or edited"

# Possessive throughout: no backtracking, hence linear, and no recursion however deep the nesting.
_KEY = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_QUOTED = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SPACE = rb"[ \t\n\r]*+"
_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?" + _SPACE + rb"\{")
# A member up to its value's end, or to the bracket that opens its value.
_MEMBER = re.compile(
    rb"[ \t\n\r,]*+" + _KEY + _SPACE + rb":" + _SPACE + rb"(?:(" + _QUOTED + rb'|[^ \t\n\r,"\[\]{}]++)|[\[{])',
    re.DOTALL,
)
# A container that holds at most two more levels is one step, as messages are; of deeper ones each bracket is. A try
# that fails reads on for a level less each time, so that a byte is read no more than four times.
_FLAT = rb"[\[{](?:[^\"\[\]{}]++|" + _QUOTED + rb")*+[\]}]"
_SECOND = rb"[\[{](?:[^\"\[\]{}]++|" + _QUOTED + rb"|" + _FLAT + rb")*+[\]}]"
_THIRD = rb"[\[{](?:[^\"\[\]{}]++|" + _QUOTED + rb"|" + _SECOND + rb")*+[\]}]"
_TO_BRACKET = re.compile(rb"(?:[^\"\[\]{}]++|" + _QUOTED + rb"|" + _THIRD + rb")*+([\[\]{}])", re.DOTALL)
# A request of 8 MiB that is all brackets and commas would hold up every other call for seconds. The longest honest
# ones are arrays of token ids, of which providers take some hundred thousand in a call; the steps are the scanner's.
MOST_VALUES = 500_000
MOST_STEPS = 100_000
MOST_MEMBERS = 150_000
# A comma or a bracket outside of strings begins every value that is not its object's first.
_TOO_MANY = re.compile(
    rb'(?:[^",\[{]*+(?:' + _QUOTED + rb'[^",\[{]*+)*+[,\[{]){%d}+' % (MOST_VALUES + 1),
    re.DOTALL,
)


class _Member(NamedTuple):
    """A top-level member: its key, raw between the quotes, and the span of its value."""

    key: bytes
    start: int
    end: int


def spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """(start, end) of the value of every top-level member of that name, in order; duplicates and escaped names too.

    Raises WireError if `body` is not one JSON object in UTF-8, is nested too deeply for the parser, or has so many
    values that it would hold up everything else.
    """
    parse(body)
    return [(member.start, member.end) for member in _members(body) if _is(member.key, key)]


def spelled(body: bytes, key: str) -> list[tuple[str, bytes]]:
    """Name and raw value of every top-level member that a reader who ignores case, as Go's does
    (https://pkg.go.dev/encoding/json#Unmarshal), takes for `key`, in order. Raises WireError as `spans` does.
    """
    parse(body)
    named = ((_name(member.key), body[member.start : member.end]) for member in _members(body))
    return [(name, value) for name, value in named if name.casefold() == key.casefold()]


def replace(body: bytes, edits: Mapping[str, object]) -> bytes:
    """`body` with each key's value replaced, at all of its occurrences; a key that is not there is put at the end.

    Raises WireError as `spans` does, and for a value that JSON cannot hold.
    """
    parse(body)
    encoded = {key: _encode(value) for key, value in edits.items()}
    members = list(_members(body))
    pieces: list[bytes] = []
    at = 0
    missing = dict(encoded)
    for member in members:
        for key, value in encoded.items():
            if _is(member.key, key):
                pieces += (body[at : member.start], value)
                at = member.end
                missing.pop(key, None)
    if missing:
        # Behind the last value, or behind the brace that opens an empty object.
        end = members[-1].end if members else body.index(b"{") + 1
        added = b",".join(_encode(key) + b":" + value for key, value in missing.items())
        pieces += (body[at:end], b"," if members else b"", added)
        at = end
    pieces.append(body[at:])
    return b"".join(pieces)


def parse(body: bytes) -> dict[str, object]:
    """The members of a JSON object; the last duplicate counts. Raises WireError as `spans` does."""
    # Counted first with what stands in strings, which is faster.
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES and _TOO_MANY.match(body):
        raise TooComplex(_TOO_COMPLEX)
    try:
        document = orjson.loads(body.removeprefix(BOM))
    except orjson.JSONDecodeError:
        document = _parse_leniently(body.removeprefix(BOM))
    if not isinstance(document, dict):
        raise NotAnObject("the body is not a JSON object")
    return document


def _parse_leniently(body: bytes) -> object:
    """orjson refuses lone surrogates (`"\\ud83d"`), which the grammar allows and clients that cut strings do send."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise WireError("the body is nested too deeply") from None
    except ValueError as error:
        raise WireError(f"the body is not JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _members(body: bytes) -> Iterator[_Member]:
    """The members of a valid object."""
    opening = _OPENING.match(body)
    assert opening is not None
    at = opening.end()
    for _ in range(MOST_MEMBERS):
        member = _MEMBER.match(body, at)
        if member is None:  # nothing but the closing brace is left
            return
        start, at = member.span(2)
        if start < 0:
            start = member.end() - 1
            at = _container_end(body, start)
        yield _Member(member[1], start, at)
    raise TooComplex(_TOO_COMPLEX)


def _container_end(body: bytes, at: int) -> int:
    """The end of the object or array that begins at `at`."""
    depth, at = 1, at + 1
    for _ in range(MOST_STEPS):
        bracket = _TO_BRACKET.match(body, at)
        assert bracket is not None
        depth += 1 if bracket[1] in b"[{" else -1
        at = bracket.end()
        if not depth:
            return at
    raise TooComplex(_TOO_COMPLEX)


def _is(raw: bytes, key: str) -> bool:
    if b"\\" in raw:
        return _name(raw) == key
    return raw == key.encode("utf-8", "surrogatepass")


def _name(raw: bytes) -> str:
    """A member's key without its escapes."""
    return str(json.loads(b'"%b"' % raw)) if b"\\" in raw else raw.decode("utf-8", "surrogatepass")


def _encode(value: object) -> bytes:
    # Not orjson, which writes NaN and infinities as null and refuses integers beyond 64 bits.
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        try:
            return text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
            return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"the new value is not JSON: {error}") from None
