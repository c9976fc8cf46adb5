"""Edits of a JSON object's top-level members in place: every byte outside of the edited values stays as it was.

That is law 1 for requests: parsing and serialising again would break signed blocks and prompt-cache prefixes. A
parser validates the body first, so the scanner below may trust its grammar (https://www.rfc-editor.org/rfc/rfc8259).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, NoReturn

import orjson

from .error import WireError

BOM = b"\xef\xbb\xbf"

# Possessive throughout: no backtracking, hence linear, and no recursion however deep the nesting.
_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\n\r,}\]]++")
# From inside a container to its next bracket, strings skipped.
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+([\[\]{}])', re.DOTALL)


class _Member(NamedTuple):
    """A top-level member: its key, raw between the quotes, and the span of its value."""

    key: bytes
    start: int
    end: int


def spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """(start, end) of the value of every top-level member of that name, in order; duplicates and escaped names too.

    Raises WireError if `body` is not one JSON object in UTF-8, or is nested too deeply for the parser.
    """
    _parse(body)
    return [(member.start, member.end) for member in _members(body) if _is(member.key, key)]


def replace(body: bytes, edits: Mapping[str, object]) -> bytes:
    """`body` with each key's value replaced, at all of its occurrences; a key that is not there is put at the end.

    Raises WireError as `spans` does, and for a value that JSON cannot hold.
    """
    _parse(body)
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


def peek(body: bytes, keys: Collection[str]) -> dict[str, object]:
    """Those of the keys that are there with a scalar value: str, int, float, bool or None. The last duplicate counts.

    Raises WireError as `spans` does.
    """
    document = _parse(body)
    return {key: document[key] for key in keys if key in document and not isinstance(document[key], dict | list)}


def _parse(body: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(body.removeprefix(BOM))
    except orjson.JSONDecodeError:
        document = _parse_leniently(body.removeprefix(BOM))
    if not isinstance(document, dict):
        raise WireError("the body is not a JSON object")
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
    at = _skip(body, len(BOM) if body.startswith(BOM) else 0) + 1
    while True:
        at = _skip(body, at)
        if body[at] == 0x7D:  # }
            return
        if body[at] == 0x2C:  # ,
            at = _skip(body, at + 1)
        name = _STRING.match(body, at)
        assert name is not None
        start = _skip(body, _skip(body, name.end()) + 1)
        at = _value_end(body, start)
        yield _Member(name[1], start, at)


def _skip(body: bytes, at: int) -> int:
    space = _SPACE.match(body, at)
    assert space is not None
    return space.end()


def _value_end(body: bytes, at: int) -> int:
    if body[at] not in b"[{":
        found = (_STRING if body[at] == 0x22 else _SCALAR).match(body, at)
        assert found is not None
        return found.end()
    depth = 0
    while True:
        bracket = _TO_BRACKET.match(body, at)
        assert bracket is not None
        depth += 1 if bracket[1] in b"[{" else -1
        at = bracket.end()
        if not depth:
            return at


def _is(raw: bytes, key: str) -> bool:
    if b"\\" in raw:
        return bool(json.loads(b'"%b"' % raw) == key)
    return raw == key.encode("utf-8", "surrogatepass")


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
