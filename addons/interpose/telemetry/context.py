"""W3C trace context: the trace that a client's request is a part of, and how an attempt continues it.

https://www.w3.org/TR/trace-context/ : a traceparent that is invalid, or there twice, is as if it were not there, and
what it came with is not read either. What a client has sent goes on to the provider with our attempt as the parent, in
the same place, and where the attempt has a span; tracestate and baggage go on as they came. Nothing is ever added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from interpose.call import Headers, header_values

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
SAMPLED = 0x01
# Of level 2: the trace id is random.
RANDOM = 0x02
# What is read of a tracestate, which must be 512 characters at least:
# https://www.w3.org/TR/trace-context/#tracestate-header
LONGEST_STATE = 8192
MOST_MEMBERS = 32

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER = re.compile(
    r"([a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)
_NOTHING = frozenset(b"0")


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of the client."""

    trace_id: int
    span_id: int
    flags: int
    state: tuple[tuple[str, str], ...] = ()


def parent_of(headers: Headers) -> Parent | None:
    """The span that a request names as its parent, if it names one."""
    values = header_values(headers, TRACEPARENT)
    if len(values) != 1:
        return None
    found = _PARENT.fullmatch(values[0].strip(b" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or not set(trace_id) - _NOTHING or not set(span_id) - _NOTHING:
        return None
    return Parent(int(trace_id, 16), int(span_id, 16), int(flags, 16), _state(headers))


def _state(headers: Headers) -> tuple[tuple[str, str], ...]:
    """The members of a tracestate; none of one that is not as it has to be."""
    text = b",".join(header_values(headers, TRACESTATE)).decode("latin-1")
    if not text or len(text) > LONGEST_STATE:
        return ()
    found: dict[str, str] = {}
    for member in text.split(","):
        if not (member := member.strip(" \t")):
            continue
        match = _MEMBER.fullmatch(member)
        if match is None or match[1] in found or len(found) >= MOST_MEMBERS:
            return ()
        found[match[1]] = match[2]
    return tuple(found.items())


def traceparent(trace_id: int, span_id: int, flags: int) -> bytes:
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)


def continued(headers: Headers, value: bytes) -> Headers:
    """The headers with that traceparent in the place of theirs, unless the client has signed it: AWS' signatures name
    the headers that they are of, and one that has changed is refused.
    """
    for signature in header_values(headers, b"authorization"):
        if b"SignedHeaders=" in signature and TRACEPARENT in signature:
            return headers
    return tuple((name, value if name.lower() == TRACEPARENT else told) for name, told in headers)
