"""Canonical JSON, hashes, and what may enter a record."""

import hashlib
import json
import math
import struct
from decimal import Decimal
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.ledger import Record, utc_text
from interpose.ledger.record import (
    CALLS,
    MAX_INTEGER,
    from_row,
    genesis,
    number,
    storable,
)

# fmt: off
CONTRACT = [
    "writer", "seq", "id", "started_at", "finished_at", "entrance", "client", "ip", "app", "method", "host",
    "path", "endpoint", "client_format", "asked_model", "route", "provider", "provider_format", "sent_model",
    "credential", "attempts", "status", "outcome", "stream", "input_tokens", "cache_read_tokens",
    "cache_write_tokens", "output_tokens", "reasoning_tokens", "usage_source", "cost_usd", "price_version",
    "ttft_ms", "duration_ms", "losses", "rules_version", "prev_hash", "hash",
]
# fmt: on

# https://www.rfc-editor.org/rfc/rfc8785#appendix-B: IEEE-754 bits and how JCS writes them.
JCS_NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


class Colour(StrEnum):
    GREEN = "green"


def row_of(record: Record) -> dict[str, object]:
    return dict(zip(CALLS.columns, storable(record), strict=True))


def test_the_columns_are_the_contract() -> None:
    """The record's fields are the contract's columns, in its order."""
    assert list(CALLS.columns) == CONTRACT


@pytest.mark.parametrize(("bits", "text"), JCS_NUMBERS)
def test_numbers_are_written_as_ecmascript_does(bits: str, text: str) -> None:
    """The examples of RFC 8785, Appendix B."""
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    """Canonical numbers lose nothing, and are JSON."""
    assert float(json.loads(number(value))) == value
    assert Decimal(number(value)) == Decimal(repr(value))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_json_number_is_refused(value: float) -> None:
    """NaN and infinity have no canonical form."""
    with pytest.raises(ValueError, match="not a JSON number"):
        number(value)


def test_an_integral_float_and_its_integer_have_one_form() -> None:
    """SQLite's REAL column turns 5 into 5.0: the hash does not."""
    assert number(5.0) == "5"


@given(st.text(), st.integers(-MAX_INTEGER, MAX_INTEGER), st.one_of(st.none(), st.text()))
def test_canonical_json_is_sorted_dense_and_utf8(record, text: str, tokens: int, model: str | None) -> None:
    """The standard library, told to sort and to leave spaces out, writes the same bytes."""
    row = storable(record(app=text.replace("?", ""), input_tokens=tokens, asked_model=model))
    named = dict(zip(CALLS.columns, row, strict=True))
    del named["hash"]
    expected = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert CALLS.canonical(row) == expected


def test_the_hash_is_sha256_over_previous_hash_and_canonical_json(record) -> None:
    """The law of the chain, computed by hand."""
    row = CALLS.seal(storable(record(7, ttft_ms=12.5)), writer="w", seq=3, prev_hash="a" * 64)
    named = dict(zip(CALLS.columns, row, strict=True))
    assert (named["writer"], named["seq"], named["prev_hash"]) == ("w", 3, "a" * 64)
    stored = named.pop("hash")
    text = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert stored == hashlib.sha256(("a" * 64 + text).encode()).hexdigest() == CALLS.digest(row)


def test_the_first_writer_of_all_begins_from_no_heads() -> None:
    """genesis() of an empty object is SHA-256 of `{}`."""
    assert genesis(b"{}") == hashlib.sha256(b"{}").hexdigest()


@given(st.data())
def test_any_other_value_in_any_column_gives_another_hash(record, data: st.DataObject) -> None:
    """No column is outside the hash."""
    row = CALLS.seal(storable(record(1)), writer="w", seq=1, prev_hash="0" * 64)
    place = data.draw(st.integers(0, len(CALLS.columns) - 2))
    other = data.draw(st.one_of(st.none(), st.text(max_size=5), st.integers(-5, 5), st.floats(-5, 5)))
    if other == row[place]:
        return
    changed = (*row[:place], other, *row[place + 1 :])
    assert CALLS.digest(changed) != row[-1]


def test_times_are_utc_with_microseconds_and_sort() -> None:
    """Text order is time order."""
    assert utc_text(1_793_491_200.000001) == "2026-11-01T00:00:00.000001Z"
    assert utc_text(1_793_491_200) < utc_text(1_793_491_200.5) < utc_text(1_793_491_201)


def test_a_row_gives_its_record_back(record) -> None:
    """from_row is the inverse of storable for what needs no repair."""
    known = record(3, stream=True, ttft_ms=2.5, asked_model="gpt-4o", losses='[{"class":"carried"}]')
    assert from_row(storable(known)) == known
    assert from_row(storable(known)).stream is True


@pytest.mark.parametrize(
    "path",
    ["/v1beta/models/m:generateContent?key=AIza-fake-not-a-key", "/v1beta/models/m:generateContent#AIza-fake"],
)
def test_queries_are_not_recorded(record, path: str) -> None:
    """A path keeps neither query nor fragment, and nothing of them is anywhere in the row."""
    row = row_of(record(path=path))
    assert row["path"] == "/v1beta/models/m:generateContent"
    assert "AIza" not in repr(row)


def test_a_long_query_is_no_loss(record) -> None:
    """Only the path counts towards its limit."""
    row = row_of(record(path="/v1/x?" + "k" * 5000))
    assert (row["path"], row["losses"]) == ("/v1/x", "[]")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("input_tokens", 10**30),
        ("input_tokens", -(2**53)),
        ("input_tokens", "12"),
        ("output_tokens", 1.5),
        ("cost_usd", math.nan),
        ("ttft_ms", math.inf),
        ("cost_usd", 10**400),
        ("duration_ms", "soon"),
    ],
)
def test_a_number_that_cannot_be_kept_is_absent_and_named(record, column: str, value: object) -> None:
    """Neither a wrong number nor silence: NULL, and a line among the losses."""
    row = row_of(record(**{column: value, "losses": '[{"class":"carried"}]'}))
    assert row[column] is None
    first, second = json.loads(str(row["losses"]))
    assert first == {"class": "carried"}
    assert second["class"] == "dropped"
    assert second["path"] == f"ledger.{column}"


def test_an_explicit_zero_stays_zero(record) -> None:
    """None is "not told", 0 is 0."""
    row = row_of(record(input_tokens=0, output_tokens=None))
    assert (row["input_tokens"], row["output_tokens"]) == (0, None)


def test_a_long_text_is_clipped_and_named(record) -> None:
    """A model name of a megabyte is not for the ledger."""
    row = row_of(record(asked_model="m" * 1_000_000))
    assert len(str(row["asked_model"])) == 2048
    assert str(row["asked_model"]).endswith("m…")
    assert json.loads(str(row["losses"])) == [
        {"class": "dropped", "path": "ledger.asked_model", "reason": "1000000 characters"}
    ]


@pytest.mark.parametrize("column", ["attempts", "losses"])
def test_json_is_left_out_whole(record, column: str) -> None:
    """Half a JSON list is none: an overlong one becomes empty, and the losses say so."""
    row = row_of(record(**{column: json.dumps(["x" * 70_000])}))
    assert json.loads(str(row["attempts"])) == []
    assert [loss["path"] for loss in json.loads(str(row["losses"]))] == [f"ledger.{column}"]


def test_losses_that_are_no_list_are_kept_beside_ours(record) -> None:
    """What the engine wrote is not thrown away for being malformed."""
    row = row_of(record(losses="not json", input_tokens=10**30))
    assert json.loads(str(row["losses"]))[0] == "not json"


def test_lone_surrogates_stay_readable(record) -> None:
    """JSON's \\ud800 is no UTF-8, SQLite and SHA-256 want some."""
    assert row_of(record(asked_model="gpt\ud800"))["asked_model"] == "gpt\\ud800"


def test_enums_become_plain_text(record) -> None:
    """A StrEnum is stored by its value, of type str."""
    row = row_of(record(entrance=Colour.GREEN))
    assert row["entrance"] == "green"
    assert type(row["entrance"]) is str


def test_secrets_are_scrubbed_from_every_text(record) -> None:
    """`scrub` sees all text columns before they are clipped."""
    fake = "sk-fake-not-a-key"
    known = record(**{name: f"a {fake} b" for name in CALLS.columns if isinstance(getattr(record(), name), str)})
    known.asked_model = "m" * 2040 + fake
    row = storable(known, lambda text: text.replace(fake, "***"))
    assert fake[:8] not in repr(row)


@given(
    st.dictionaries(
        st.sampled_from([name for name in CALLS.columns if name not in ("writer", "seq", "prev_hash", "hash")]),
        st.one_of(
            st.none(), st.text(), st.integers(), st.floats(), st.binary(), st.booleans(), st.lists(st.integers())
        ),
    )
)
def test_whatever_comes_can_be_sealed(record, fields: dict[str, object]) -> None:
    """No value of any column keeps a record from being stored and hashed."""
    row = CALLS.seal(storable(record(**fields)), writer="w", seq=1, prev_hash="0" * 64)
    assert CALLS.digest(row) == row[-1]
    assert all(value is None or type(value) in (str, int, float) for value in row)


def test_values_are_in_column_order(record) -> None:
    """`values` is what rows are made of."""
    assert CALLS.values(record(5))[2:5] == ("call-5", utc_text(1_793_491_205), utc_text(1_793_491_206.5))
