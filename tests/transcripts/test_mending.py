"""JSON that was cut off is read as far as it goes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.transcripts import Material, Raw, Text, read
from interpose.transcripts.mending import mended

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=6), inside, max_size=4),
    max_leaves=15,
)


def begins(part: Any, whole: Any) -> bool:
    """Whether `part` is what a beginning of `whole` can tell."""
    if isinstance(whole, dict) and isinstance(part, dict):
        keys, known = list(part), list(whole)[: len(part)]
        return keys == known and all(begins(part[key], whole[key]) for key in keys)
    if isinstance(whole, list) and isinstance(part, list):
        return len(part) <= len(whole) and all(begins(one, other) for one, other in zip(part, whole, strict=False))
    if isinstance(whole, str) and isinstance(part, str):
        return whole.startswith(part)
    return bool(part == whole)


@given(document=st.dictionaries(st.text(max_size=6), JSON, min_size=1), ascii_=st.booleans(), data=st.data())
def test_whatever_is_cut_is_its_own_beginning(document: Any, ascii_: bool, data: st.DataObject) -> None:
    """Wherever the cut is: within a word, an escape, a letter of several bytes."""
    body = json.dumps(document, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    cut = body[: data.draw(st.integers(1, len(body)))]
    assert begins(json.loads(mended(cut)), document)


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"}", b'"', b"[1, 2]", b'{"a": [}', b"\xff\xfe", b"{" * 10_000, b'{"a" 1']
)
def test_what_cannot_be_mended_is_no_trouble(body: bytes) -> None:
    """It comes back, or something that is JSON."""
    made = mended(body)
    assert made == body or json.loads(made) is not None


def test_a_request_that_was_kept_in_part_is_still_a_conversation() -> None:
    """Its turns as far as they go, and a note."""
    messages = [{"role": "user", "content": f"Question {number}. " + "word " * 50} for number in range(20)]
    body = json.dumps({"model": "gpt-4o", "messages": messages}).encode()
    material = {"url": "https://api.openai.com/v1/chat/completions", "request": body[:3000]}
    found = read(Material(**material, request_cut=True))  # type: ignore[arg-type]
    assert found.model == "gpt-4o"
    assert [turn.role for turn in found.turns] == ["user"] * len(found.turns)
    assert len(found.turns) > 5
    assert found.turns[0].blocks == (Text(messages[0]["content"]),)
    assert found.notes == ("the request was kept in part only: 3,000 bytes of it are read",)
    # What was not cut by us is broken, and shown as it is.
    broken = read(Material(**material))  # type: ignore[arg-type]
    assert isinstance(broken.turns[0].blocks[0], Raw)


def test_a_reply_that_was_kept_in_part_is_still_an_answer() -> None:
    """And no failure of the provider."""
    message = {"role": "assistant", "content": "word " * 500}
    reply = {"id": "x", "object": "chat.completion", "model": "gpt-4o", "choices": [{"index": 0, "message": message}]}
    found = read(
        Material(
            url="https://api.openai.com/v1/chat/completions",
            request=b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}',
            status=200,
            reply=json.dumps(reply).encode()[:1500],
            reply_cut=True,
        )
    )
    (block,) = found.answers[0].turn.blocks
    assert isinstance(block, Text)
    assert block.text.startswith("word word")
    assert found.failure is None
    assert found.notes == ("the reply was kept in part only: 1,500 bytes of it are read",)
