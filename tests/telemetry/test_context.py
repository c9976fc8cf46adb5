"""W3C trace context, as hostile as it comes: https://www.w3.org/TR/trace-context/"""

from __future__ import annotations

import pytest

from interpose.call import Headers
from interpose.telemetry.context import Parent, continued, parent_of, traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def headers(*values: str, **more: str) -> Headers:
    return (
        (b"Content-Type", b"application/json"),
        *((b"TraceParent", value.encode("latin-1")) for value in values),
        *((name.encode(), value.encode("latin-1")) for name, value in more.items()),
    )


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (GOOD, 1),
        (f" {GOOD}\t", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
    ],
)
def test_a_valid_header_names_the_parent(value: str, flags: int) -> None:
    """Of whatever version, as far as this one is."""
    assert parent_of(headers(value)) == Parent(int(TRACE, 16), int(SPAN, 16), flags)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        GOOD.upper(),
        GOOD[:-1],
        f"{GOOD}-more",
        f"{GOOD}x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00_{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0",
        f"cc-{TRACE}-{SPAN}-01.",
        "\xff" * 60,
        "a" * 100_000,
    ],
)
def test_an_invalid_header_is_as_if_it_were_not_there(value: str) -> None:
    """The call begins a trace of its own."""
    assert parent_of(headers(value)) is None


def test_two_headers_are_none() -> None:
    """Nobody can say which of them holds."""
    assert parent_of(headers(GOOD, GOOD)) is None
    assert parent_of(headers()) is None


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1,b=2", (("a", "1"), ("b", "2"))),
        (" a=1 , ,b@c=x y", (("a", "1"), ("b@c", "x y"))),
        ("", ()),
        ("a=" + "1" * 256, (("a", "1" * 256),)),
        ("a=" + "1" * 257, ()),
        (",".join(f"k{number}=1" for number in range(33)), ()),
        (",".join(f"k{number}={'1' * 250}" for number in range(33)), ()),
        ("a=1,a=2", ()),
        ("A=1", ()),
        ("a", ()),
        ("a=1=2", ()),
        ("a=\xe9", ()),
    ],
)
def test_a_state_is_read_where_it_is_as_it_has_to_be(state: str, kept: tuple[tuple[str, str], ...]) -> None:
    """Else the trace goes on without it, and nobody's log is filled."""
    parent = parent_of(headers(GOOD, tracestate=state))
    assert parent is not None
    assert parent.state == kept


def test_a_continued_trace_changes_one_value_in_its_place() -> None:
    """Order, spelling and every other header stay."""
    before = headers(GOOD, tracestate="a=1", baggage="b=2")
    value = traceparent(int(TRACE, 16), 7, 1)
    after = continued(before, value)
    assert value == f"00-{TRACE}-0000000000000007-01".encode()
    assert after == (before[0], (b"TraceParent", value), *before[2:])


def test_what_a_client_has_signed_stays() -> None:
    """AWS would refuse a request whose signed header has changed."""
    signed = "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host;traceparent, Signature=y"
    before = headers(GOOD, authorization=signed)
    assert continued(before, b"x") == before
    unsigned = headers(GOOD, authorization=signed.replace(";traceparent", ""))
    assert continued(unsigned, b"x") != unsigned
