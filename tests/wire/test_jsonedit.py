"""Edits in place: the edited value changes, no other byte does."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.wire.error import WireError
from interpose.wire.jsonedit import parse, replace, spans

BOM = b"\xef\xbb\xbf"

# body, key -> the raw values that are found
FOUND: dict[tuple[bytes, str], list[bytes]] = {
    (b'{"model":"a"}', "model"): [b'"a"'],
    (b' \n{ "model" : "a" , "n" : 1 }\n ', "model"): [b'"a"'],
    (b' \n{ "model" : "a" , "n" : 1 }\n ', "n"): [b"1"],
    (BOM + b'{"model":"a"}', "model"): [b'"a"'],
    (BOM + b' {"n":-1.5e+3}', "n"): [b"-1.5e+3"],
    (b'{"model":"a","x":{"model":"no"},"model":"b"}', "model"): [b'"a"', b'"b"'],
    (b'{"mod\\u0065l":"a","model":"b"}', "model"): [b'"a"', b'"b"'],
    (b'{"mod\\\\u0065l":"a"}', "model"): [],
    (b'{"a\\"b":1}', 'a"b'): [b"1"],
    ('{"schlüssel":1,"schl\\u00fcssel":2}'.encode(), "schlüssel"): [b"1", b"2"],
    (b'{"\\ud83d\\ude42":1}', "🙂"): [b"1"],
    (b'{"m":[{"model":1},"model",["]}"]],"model":{"a":[]}}', "model"): [b'{"a":[]}'],
    (b'{"m":[{"model":1},"model",["]}"]],"model":{"a":[]}}', "m"): [b'[{"model":1},"model",["]}"]]'],
    (b'{"a":"\\\\","model":"\\"}{"}', "model"): [b'"\\"}{"'],
    (b'{"a":true,"b":null,"c":false}', "b"): [b"null"],
    (b'{"":0}', ""): [b"0"],
    (b"{}", "model"): [],
    (b'{"model":"x\xe2\x80\xa8y"}', "model"): [b'"x\xe2\x80\xa8y"'],
    # Lone surrogates: orjson refuses them, the grammar does not.
    (b'{"a":"\\ud83d","model":"b"}', "model"): [b'"b"'],
}
MALFORMED = {
    "nothing": b"",
    "a list": b"[]",
    "a string": b'"model"',
    "cut": b'{"model":"a"',
    "cut late": b'{"model":"a","messages":[{"role":"user"}',
    "trailing data": b'{"model":"a"}x',
    "two objects": b'{"model":"a"}{}',
    "a trailing comma": b'{"model":"a",}',
    "malformed deep inside": b'{"model":"a","x":[{"y":[tru]}]}',
    "NaN": b'{"model":"a","x":NaN}',
    "no UTF-8": b'{"model":"\xff"}',
    "UTF-16": '{"model":"a"}'.encode("utf-16"),
    "single quotes": b"{'model':'a'}",
    "control characters": b'{"model":"a\nb"}',
    "two byte order marks": BOM + BOM + b"{}",
    "100000 open lists": b'{"x":' + b"[" * 100_000,
    "100000 lists": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize(("asked", "values"), FOUND.items(), ids=repr)
def test_spans(asked: tuple[bytes, str], values: list[bytes]) -> None:
    """Every top-level occurrence is found, however its key is written, and none inside."""
    body, key = asked
    assert [body[start:end] for start, end in spans(body, key)] == values


@pytest.mark.parametrize(("asked", "values"), FOUND.items(), ids=repr)
def test_bytes_outside_of_the_spans_stay(asked: tuple[bytes, str], values: list[bytes]) -> None:
    """What lies between the values is the same, byte for byte."""
    body, key = asked
    assert replace(body, {}) == body
    if values:
        edited = replace(body, {key: "new"})
        assert outside(edited, key) == outside(body, key)
        assert [edited[start:end] for start, end in spans(edited, key)] == [b'"new"'] * len(values)


def outside(body: bytes, key: str) -> list[bytes]:
    pieces, at = [], 0
    for start, end in spans(body, key):
        pieces.append(body[at:start])
        at = end
    return [*pieces, body[at:]]


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_bodies(body: bytes) -> None:
    """A body that is malformed anywhere is neither read nor edited."""
    for act in (lambda: spans(body, "model"), lambda: replace(body, {"model": "b"}), lambda: parse(body)):
        with pytest.raises(WireError):
            act()


def test_several_edits_at_once() -> None:
    """Edits and additions come in one pass; what is added goes behind the last member."""
    body = b'{ "a" : 1, "b": [ ], "a":2 }'
    assert replace(body, {"b": {"x": True}, "a": None}) == b'{ "a" : null, "b": {"x":true}, "a":null }'
    assert replace(body, {"c": "é", "d": 1}) == '{ "a" : 1, "b": [ ], "a":2,"c":"é","d":1 }'.encode()
    assert replace(b" { } ", {"c": 1, "d": 2}) == b' {"c":1,"d":2 } '


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["model", "stream", "a", "é", ""]) | st.text()


@settings(deadline=None)
@given(
    st.dictionaries(KEYS, JSON, max_size=6), KEYS, JSON, st.booleans(), st.sampled_from([None, 1, "\t"]), st.booleans()
)
def test_the_law(
    document: dict[str, Any], key: str, value: Any, ascii_only: bool, indent: int | str | None, bom: bool
) -> None:
    """parse(replace(b, k, v)) == {**parse(b), k: v}, and nothing outside of the spans changes."""
    body = BOM * bom + json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    edited = replace(body, {key: value})
    assert json.loads(edited.removeprefix(BOM)) == {**document, key: value}
    if key in document:
        assert outside(edited, key) == outside(body, key)
    else:
        [(_, end)] = spans(edited, key)
        added = len(edited) - len(body)
        assert added > 0
        assert edited[: end - added] + edited[end:] == body


def test_large_strings_and_many_members() -> None:
    """Megabytes of escapes and a hundred thousand members are no problem, nor is nesting that a parser takes."""
    for text in ('"' * 3_000_000, "\\" * 3_000_000, "x" * 8_000_000, "é\n" * 1_000_000):
        body = json.dumps({"messages": [text], "model": "a"}).encode()
        assert replace(body, {"model": "b"}) == body.replace(b'"model": "a"', b'"model": "b"')
    body = json.dumps({str(number): number for number in range(100_000)}).encode()
    assert json.loads(replace(body, {"99999": "x"}))["99999"] == "x"
    deep = b'{"x":' + b"[" * 900 + b"]" * 900 + b',"model":"a"}'
    assert replace(deep, {"model": "b"}) == deep.replace(b'"a"', b'"b"')


def test_values_that_json_does_not_have() -> None:
    """NaN, objects and cycles are errors; large integers and lone surrogates are not."""
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (float("inf"), [float("nan")], object(), cycle, {1, 2}):
        with pytest.raises(WireError, match="not JSON"):
            replace(b"{}", {"a": value})
    assert replace(b"{}", {"a": 10**30}) == b'{"a":' + b"1" + b"0" * 30 + b"}"
    assert replace(b"{}", {"a": "\ud83d"}) == b'{"a":"\\ud83d"}'


def test_parse() -> None:
    """Members by name, the last duplicate, however the name is written."""
    body = BOM + b'{"model":"a","n":null,"t":1.5,"tools":[],"mod\\u0065l":"b"}'
    assert parse(body) == {"model": "b", "n": None, "t": 1.5, "tools": []}


# Bodies of some megabytes with as many values as fit, and whether they can be edited.
MANY: dict[str, tuple[bytes, bool]] = {
    "empty arrays": (b'{"a":[' + b"[]," * 2_700_000 + b'1],"model":"m"}', False),
    "objects": (b'{"a":[' + b'{"a":1},' * 1_000_000 + b'1],"model":"m"}', False),
    "members": (b"{" + b'"a":1,' * 1_300_000 + b'"model":"m"}', False),
    "members under the bound of values": (b"{" + b'"a":1,' * 300_000 + b'"model":"m"}', False),
    "deep arrays under the bound of values": (b'{"a":[' + b"[[[[[[]]]]]]," * 70_000 + b'1],"model":"m"}', False),
    "numbers": (b'{"a":[' + b"1," * 4_000_000 + b'1],"model":"m"}', False),
    "token ids": (b'{"a":[' + b"[" + b"50256," * 150_000 + b"1],[1]" + b",50256" * 150_000 + b'],"model":"m"}', True),
    "messages": (
        json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "{[,"}]}] * 50_000}).encode()[
            :-1
        ]
        + b',"model":"m"}',
        True,
    ),
    "brackets and commas in a text": (json.dumps({"a": '[{,",}] ' * 900_000}).encode()[:-1] + b',"model":"m"}', True),
    "the same in a text that does not end": (b'{"a":"' + b"[{,}]" * 1_500_000, False),
    "values, then a text": (b'{"a":"' + b"," * 600_000 + b'","b":"' + b"a" * 6_000_000 + b'","model":"m"}', True),
    "nothing but text": (b"," * 600_000 + b"a" * 6_000_000, False),
}


@pytest.mark.parametrize(("body", "editable"), MANY.values(), ids=MANY)
def test_many_values(body: bytes, editable: bool) -> None:
    """What would hold up everything else is an error, an honest large request is not; either is found soon."""
    began = time.perf_counter()
    if editable:
        assert parse(body)["model"] == "m"
        assert replace(body, {"model": "n"}) == body[:-3] + b'n"}'
    else:
        with pytest.raises(WireError):
            replace(body, {"model": "n"})
    assert time.perf_counter() - began < 2


def test_too_many_values_is_said() -> None:
    """Each of the three bounds says that the body is too large in values, not that it is broken."""
    for name in (
        "empty arrays",
        "numbers",
        "members under the bound of values",
        "deep arrays under the bound of values",
    ):
        with pytest.raises(WireError, match="too many values"):
            spans(MANY[name][0], "model")
