"""What must not be kept of a body is found however it is spelled, torn apart or cut, and nothing else is touched."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.capturing.decoding import plain
from interpose.capturing.pieces import Pieces, Room
from interpose.capturing.scrubbing import Moved, Secrets, clipped, find, scrubbed

KEY = "sk-FAKE-0123456789/abcDEF+ghij"
OTHER = 'vk"FAKE\\session~cookie'
SECRETS = Secrets((KEY,), (OTHER,), ())


def escaped(text: str) -> str:
    """As JSON may write it that escapes everything."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


def based(before: str) -> Callable[[str], str]:
    return lambda text: base64.b64encode(f"{before}{text} behind".encode()).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "escapes": escaped,
    "escapes in capitals": lambda text: re.sub(
        "u00..", lambda found: found[0].upper().replace("U", "u"), escaped(text)
    ),
    "JSON in JSON": lambda text: json.dumps(json.dumps(escaped(text))[1:-1])[1:-1],
    "URL": lambda text: quote(text, safe=""),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "hexadecimal": lambda text: text.encode().hex(),
    "HEXADECIMAL": lambda text: text.encode().hex().upper(),
    "base64, first": based(""),
    "base64, second": based("x"),
    "base64, third": based("Basic me:"),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in JSON": lambda text: based("")(text).replace("/", "\\/"),
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("secret", [KEY, OTHER])
def test_every_spelling_of_a_secret_is_found(spelled: Callable[[str], str], secret: str) -> None:
    """And what stands around it stays as it is."""
    body = f"before {spelled(secret)} after".encode()
    found = find(body, SECRETS)
    kept = scrubbed(body, found.spans).decode()
    assert found.words == (("credential",) if secret is KEY else ("secret",))
    assert kept.startswith("before ")
    assert kept.endswith(" after")
    assert "***" in kept
    # Of base64 a few digits at its ends are left, which hold bits of what is around.
    assert len(kept) <= len("before *** after") + len(based("Basic me:")("")) + 4


def pieces_of(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[start:end] for start, end in pairwise(places)]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="*"), max_size=40)


@given(
    words=st.lists(st.one_of(TEXT, st.sampled_from([KEY, OTHER])), max_size=8),
    spelled=st.sampled_from(sorted(SPELLINGS)),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    coding=st.sampled_from(["", "gzip"]),
)
def test_no_secret_is_kept_however_its_body_comes_in_pieces(
    words: list[str], spelled: str, cuts: list[int], coding: str
) -> None:
    """In any spelling, in chunks that end anywhere, inside a compressed body; all else is kept byte for byte."""
    spell = SPELLINGS[spelled]
    said = [spell(word) if word in (KEY, OTHER) else word for word in words]
    body = " | ".join(said).encode("utf-8", "surrogatepass")
    wire = gzip.compress(body) if coding else body
    held = Pieces(Room(1 << 20), 1 << 16)
    for number, chunk in enumerate(pieces_of(wire, cuts)):
        held.add(chunk, float(number))
    data = plain(held.chunks, held.moments, held.size, coding, 1 << 16)
    assert data.data == body
    kept = scrubbed(data.data, find(data.data, SECRETS).spans)
    if "base64" in spelled:
        assert base64.b64encode(KEY.encode())[4:-4] not in kept
    elif KEY not in "".join(word for word in words if word not in (KEY, OTHER)):
        expected = " | ".join("***" if word in (KEY, OTHER) else word for word in words).encode(
            "utf-8", "surrogatepass"
        )
        assert kept == expected


@given(
    cuts=st.lists(st.integers(0, len(KEY)), max_size=10),
    member=st.sampled_from(["content", "text", "partial_json", "thinking", "arguments"]),
)
def test_a_secret_that_a_stream_tears_apart_is_found(cuts: list[int], member: str) -> None:
    """A piece in each event, whatever the pieces are: none of them is kept, and what is said around it is."""
    parts = ["the key is ", *(part.decode() for part in pieces_of(KEY.encode(), cuts)), " indeed"]
    events = [{"index": 0, "delta": {"type": "x", member: part}} for part in parts]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    found = find(body, SECRETS, streamed=True)
    told = [json.loads(line[6:])["delta"][member] for line in scrubbed(body, found.spans).split(b"\n\n") if line]
    assert found.words == ("credential",)
    assert (told[0], told[-1]) == ("the key is ", " indeed")
    assert set(told[1:-1]) == {"***"}


@pytest.mark.parametrize("size", [4, 9, len(KEY) - 1])
def test_the_beginning_of_a_secret_at_the_end_is_masked(size: int) -> None:
    """Where a body was cut off, by its limit or by whoever sent it."""
    body = f"the key is {KEY[:size]}".encode()
    assert scrubbed(body, find(body, SECRETS).spans) == b"the key is ***"
    assert find(f"the key is {KEY[:3]}".encode(), SECRETS).spans == ()


def test_a_secret_across_the_cut_is_masked() -> None:
    """It is found in what is behind the cut, too."""
    body = f"0123456789{KEY} and more".encode()
    spans = clipped(find(body, SECRETS).spans, 14)
    assert scrubbed(body[:14], spans) == b"0123456789***"


def test_virtual_keys_are_masked_whoever_has_them() -> None:
    """Any text that begins like one and is as long."""
    body = b'{"a": "vk-0123456789abcdefABCDEF_-", "b": "vk-short", "c": "rvk-0123456789abcdefABCDEF"}'
    found = find(body, Secrets())
    assert found.words == ("secret",)
    assert scrubbed(body, found.spans) == b'{"a": "***", "b": "vk-short", "c": "rvk-0123456789abcdefABCDEF"}'


@pytest.mark.parametrize(
    "member",
    [
        *("api_key", "apiKey", "x-api-key", "access_token", "refreshToken", "client_secret", "Authorization"),
        *("authorization_token", "apiKeyString", "bearer_token", "X-Figma-Token", "proxy-authorization"),
    ],
)
def test_members_that_are_named_as_secrets_are_masked(member: str) -> None:
    """Whatever their value is; a token of a text is none of them, nor is a schema that describes one."""
    body = json.dumps({member: 'any "value"', "token": "Hello", "properties": {member: {"type": "string"}}}).encode()
    found = find(body, Secrets())
    assert json.loads(scrubbed(body, found.spans)) == {
        member: "***", "token": "Hello", "properties": {member: {"type": "string"}},
    }  # fmt: skip


def test_what_an_object_holds_is_masked_by_the_name_of_the_object() -> None:
    """Where the secret itself is called a value: connectors, the secrets of a container's network."""
    connector = {"type": "connector", "authorization": {"type": "api-key", "value": "FAKE-1"}}
    secrets = [{"domain": "a.test", "name": "KEY", "value": f"FAKE-{number}"} for number in (2, 3)]
    policy = {"type": "allowlist", "domain_secrets": secrets}
    body = json.dumps({"tools": [connector, policy], "filter": {"value": "a word"}}).encode()
    kept = scrubbed(body, find(body, Secrets()).spans).decode()
    assert "FAKE" not in kept
    assert json.loads(kept)["tools"][1]["domain_secrets"][1] == {"domain": "a.test", "name": "KEY", "value": "***"}
    assert json.loads(kept)["filter"] == {"value": "a word"}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('curl -H "Authorization: Bearer FAKE-0123456789" x', 'curl -H "Authorization: Bearer ***" x'),
        ("x-api-key:FAKE-0123456789\r\n", "x-api-key:***\r\n"),
        ("Proxy-Authorization: basic RkFLRTpGQUtF", "Proxy-Authorization: basic ***"),
        ("authorization: see below", "authorization: see below"),
    ],
)
def test_headers_within_a_text_are_masked(said: str, kept: str) -> None:
    """In a command that somebody asks about, in a part of a batch."""
    assert scrubbed(said.encode(), find(said.encode(), Secrets()).spans).decode() == kept


@pytest.mark.parametrize("size", [8, 40, 164, 2000])
@pytest.mark.parametrize("told", [str, json.dumps, lambda text: json.dumps(json.dumps(text))])
@pytest.mark.parametrize("coded", [base64.encodebytes, lambda data: bytes.hex(data, "\n", 30).encode()])
def test_a_secret_is_found_whose_digits_are_broken_into_lines(
    size: int, told: Callable[[str], str], coded: Callable[[bytes], bytes]
) -> None:
    """As programs print them, and a tool hands on what they print."""
    secret = "".join(chr(ord("a") + number * number % 23) for number in range(size))
    for before in range(0, 60, 7):
        text = told(coded(b"x" * before + secret.encode() + b" behind").decode().replace("\n", "\n  ")).encode()
        kept = scrubbed(text, find(text, Secrets((secret,))).spans).decode()
        # A few digits, which hold bits of what is around.
        digits = re.sub(r"\\+[rn]|[^A-Za-z0-9+/=]", "", kept.replace("***", "", 1))
        assert "***" in kept
        assert len(digits) <= len(coded(b"x" * before + b" behind")) + 8


@pytest.mark.parametrize("size", [160, 161, 2000, 9000])
def test_a_long_secret_is_masked_as_a_whole(size: int) -> None:
    """As clouds lend them; it is known by its beginning, and what follows it is masked with it."""
    secret = "".join(chr(ord("a") + number * number % 23) for number in range(size))
    coded = base64.encodebytes(secret.encode()).decode()
    for spelled in (secret, quote(secret), base64.b64encode(secret.encode()).decode(), json.dumps(coded)[1:-1]):
        body = f'{{"a": "{spelled}", "b": 1}}'.encode()
        kept = scrubbed(body, find(body, Secrets((secret,))).spans)
        assert kept.endswith(b'", "b": 1}')
        assert len(kept) < 40


def test_patterns_of_the_rules_are_masked() -> None:
    """All that each of them matches; what overlaps with a secret is masked as one."""
    secrets = Secrets((KEY,), (), (r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", r"(?i)key is sk-\S+", "ü+"))
    body = f"ssn 123-45-6789, Key is {KEY}, 1234-45-6789 grüüße".encode()
    found = find(body, secrets)
    assert scrubbed(body, found.spans).decode() == "ssn ***, *** 1234-45-6789 gr***ße"
    assert found.words == ("credential", "pattern")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_a_pattern_that_a_stream_tears_apart_is_masked(size: int) -> None:
    """Models say a few letters at a time, and what is read of it later is the whole."""
    said = "Her number is 078-05-1120, friend."
    events = [{"delta": {"text": said[at : at + size]}} for at in range(0, len(said), size)]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    found = find(body, Secrets((), (), (r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",)), streamed=True)
    kept = scrubbed(body, found.spans)
    told = "".join(json.loads(line[6:])["delta"]["text"] for line in kept.split(b"\n\n") if line)
    assert found.words == ("pattern",)
    assert re.sub(r"\*+", "***", told) == "Her number is ***, friend."


def test_a_pattern_takes_no_longer_for_what_is_made_to_be_slow() -> None:
    """A text on which a backtracking engine would run for longer than the sun burns."""
    body = b"a" * 200_000 + b"!"
    found = find(body, Secrets((), (), ("(a+)+$", "(a|a)*b", "(.*a){20}x")))
    assert found.spans == ()


def test_what_is_no_text_is_looked_through_all_the_same() -> None:
    """Bytes that are no UTF-8, as of audio, hide no secret and stop no search."""
    body = b"\xff\xfe\x00RIFF" + KEY.encode() + b"\x80\x81" * 100
    assert scrubbed(body, find(body, SECRETS).spans) == b"\xff\xfe\x00RIFF***" + b"\x80\x81" * 100


@given(spans=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5), place=st.integers(0, 60))
def test_a_place_is_found_again_behind_what_was_masked(spans: list[tuple[int, int]], place: int) -> None:
    """As the length of what stands before it, scrubbed; within what was masked, at its end."""
    apart: list[tuple[int, int]] = []
    for start, end in sorted((min(pair), max(pair)) for pair in spans):
        if start < end and (not apart or start > apart[-1][1]):
            apart.append((start, end))
    body = bytes(range(60))
    inside = next((span for span in apart if span[0] < place < span[1]), None)
    at = inside[1] if inside is not None else place
    before = [span for span in apart if span[1] <= at]
    assert Moved(apart).at(place) == len(scrubbed(body[:at], before))
