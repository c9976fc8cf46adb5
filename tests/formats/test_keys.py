"""The client's keys: found wherever they stand, taken out without a trace, replaced in place."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.call import Headers, Login, Origin, Url
from interpose.formats import FORMATS
from interpose.formats.hosts import lookup
from interpose.formats.keys import ClientKey, Placement, client_keys, place, placement, proxy_login, strip

ORIGIN = Origin("https", "api.example.test", 443)
FAKE = "sk-fake-client-key"
PROVIDER = "sk-fake-provider-key"
PLACEMENTS: tuple[Placement, ...] = ("bearer", "x-api-key", "x-goog-api-key", "api-key", "query-key")


def url(target: str = "/v1/chat/completions") -> Url:
    return Url(ORIGIN, target)


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


SIGV4 = (
    b"AWS4-HMAC-SHA256 Credential=AKIAFAKEFAKEFAKE/20260101/us-east-1/bedrock/aws4_request, "
    b"SignedHeaders=host;x-amz-date, Signature=00ff"
)

FOUND = [
    ((b"Authorization", b"Bearer " + FAKE.encode()), FAKE, "bearer"),
    ((b"authorization", b"bearer   " + FAKE.encode() + b"  "), FAKE, "bearer"),
    ((b"AUTHORIZATION", b"BEARER " + FAKE.encode()), FAKE, "bearer"),
    ((b"Authorization", FAKE.encode()), FAKE, "authorization"),
    ((b"Authorization", b"Token " + FAKE.encode()), FAKE, "authorization"),
    ((b"Authorization", basic("user:" + FAKE)), FAKE, "basic"),
    ((b"Authorization", basic(FAKE + ":")), FAKE, "basic"),
    ((b"Authorization", basic(FAKE)), FAKE, "basic"),
    ((b"Authorization", basic("user:with:colons")), "with:colons", "basic"),
    ((b"Authorization", b"Basic !!not-base64!!"), "!!not-base64!!", "basic"),
    ((b"Authorization", b"Basic /w=="), "/w==", "basic"),
    ((b"Authorization", SIGV4), "AKIAFAKEFAKEFAKE", "sigv4"),
    ((b"Authorization", SIGV4.replace(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256")), "AKIAFAKEFAKEFAKE", "sigv4"),
    ((b"Authorization", b"AWS4-HMAC-SHA256 nonsense"), "nonsense", "sigv4"),
    ((b"x-api-key", FAKE.encode()), FAKE, "x-api-key"),
    ((b"X-Api-Key", b" " + FAKE.encode()), FAKE, "x-api-key"),
    ((b"x-goog-api-key", FAKE.encode()), FAKE, "x-goog-api-key"),
    ((b"API-Key", FAKE.encode()), FAKE, "api-key"),
    ((b"x-api-key", b"\xff\xfe"), "\xff\xfe", "x-api-key"),
]


@pytest.mark.parametrize(("pair", "value", "where"), FOUND)
def test_a_key_is_found_in_every_header_that_can_hold_one(pair: tuple[bytes, bytes], value: str, where: str) -> None:
    """Each header and scheme gives its key, the place it stood in, and the raw pair; stripping removes it."""
    found = client_keys((pair,), url())
    assert [(key.value, key.where, key.header) for key in found] == [(value, where, pair)]
    assert found[0].kind == ("sigv4" if where == "sigv4" else "key")
    assert strip((pair,), url()) == ((), url())


@pytest.mark.parametrize(
    ("target", "values", "stripped"),
    [
        ("/m:g?key=sk-fake", ["sk-fake"], "/m:g"),
        ("/m:g?alt=sse&key=sk-fake", ["sk-fake"], "/m:g?alt=sse"),
        ("/m:g?key=sk-fake&alt=sse", ["sk-fake"], "/m:g?alt=sse"),
        ("/m:g?a=%20+b&key=sk-fake&&c=%zz&d", ["sk-fake"], "/m:g?a=%20+b&&c=%zz&d"),
        ("/m:g?key=one&x=1&key=two", ["one", "two"], "/m:g?x=1"),
        ("/m:g?%6Bey=sk%2Dfake", ["sk-fake"], "/m:g"),
        ("/m:g?KEY=sk-fake", ["sk-fake"], "/m:g"),
        ("/m:g?api-key=sk-fake&access_token=ya29", ["sk-fake", "ya29"], "/m:g"),
        ("/m:g?key=", [], "/m:g"),
        ("/m:g?key", [], "/m:g"),
        ("/m:g?monkey=1&key2=2&x=key=3", [], "/m:g?monkey=1&key2=2&x=key=3"),
        ("/m:g?", [], "/m:g?"),
        ("/key=1", [], "/key=1"),
        ("/m:g?q=?key=1", [], "/m:g?q=?key=1"),
    ],
)
def test_a_key_in_the_query_is_found_and_removed(target: str, values: list[str], stripped: str) -> None:
    """Every spelling of a key parameter is found, and the rest of the query stays byte for byte."""
    assert [key.value for key in client_keys((), url(target))] == values
    assert strip((), url(target)) == ((), url(stripped))


def test_every_occurrence_is_found() -> None:
    """Several headers, the same one twice, and the query: all are found, in order, and all are stripped."""
    headers: Headers = (
        (b"Host", b"api.example.test"),
        (b"authorization", b"Bearer one"),
        (b"X-API-Key", b"two"),
        (b"Authorization", b"Bearer three"),
        (b"api-key", b""),
        (b"x-amz-security-token", b"fake-session"),
        (b"Proxy-Authorization", b"Basic eDp5"),
    )
    target = url("/v1beta/models/g:generateContent?key=four&alt=sse")
    assert [key.value for key in client_keys(headers, target)] == ["one", "two", "three", "four"]
    assert strip(headers, target) == (headers[:1], url("/v1beta/models/g:generateContent?alt=sse"))


def test_a_key_does_not_show_in_its_repr() -> None:
    """A client's key that ends up in a log by accident shows neither its value nor its header."""
    keys = client_keys(((b"x-api-key", FAKE.encode()),), url(f"/v1/x?key={FAKE}"))
    assert len(keys) == 2
    assert FAKE not in repr(keys)


BYSTANDERS: Headers = (
    (b"Host", b"api.example.test"),
    (b"User-Agent", b"sk-fake in an agent"),
    (b"Cookie", b"key=value"),
    (b"X-Thing", b"\xff raw \x80"),
)
EXPECTED = {
    "bearer": (b"authorization", b"Bearer " + PROVIDER.encode()),
    "x-api-key": (b"x-api-key", PROVIDER.encode()),
    "x-goog-api-key": (b"x-goog-api-key", PROVIDER.encode()),
    "api-key": (b"api-key", PROVIDER.encode()),
}


@pytest.mark.parametrize("where", list(EXPECTED))
def test_a_placed_key_takes_the_first_keys_position(where: Placement) -> None:
    """One key is put where the first of the client's stood; bystanders keep bytes and order (attack cases 21, 22)."""
    headers = (
        *BYSTANDERS[:2],
        (b"x-api-key", b"one"),
        BYSTANDERS[2],
        (b"Authorization", b"Bearer two"),
        (b"authorization", b"Bearer three"),
        BYSTANDERS[3],
    )
    placed, at = place(headers, url("/v1/x?a=1&key=four&b=2"), PROVIDER, where)
    assert placed == (*BYSTANDERS[:2], EXPECTED[where], *BYSTANDERS[2:])
    assert at == url("/v1/x?a=1&b=2")


def test_a_placed_key_keeps_the_headers_own_spelling() -> None:
    """Where the same header is replaced, its name stays as the client wrote it."""
    placed, _ = place(((b"AUTHORIZATION", b"Bearer one"),), url(), PROVIDER, "bearer")
    assert placed == ((b"AUTHORIZATION", b"Bearer " + PROVIDER.encode()),)


def test_proxy_authorization_gives_its_place_to_nobody() -> None:
    """It is dropped, and a key that replaces none goes to the end."""
    placed, _ = place(((b"Proxy-Authorization", b"Basic eDp5"), *BYSTANDERS), url(), PROVIDER, "bearer")
    assert placed == (*BYSTANDERS, EXPECTED["bearer"])


@pytest.mark.parametrize(
    ("target", "placed"),
    [
        ("/m:g", "/m:g?key=sk%2Ffake"),
        ("/m:g?", "/m:g?key=sk%2Ffake"),
        ("/m:g?alt=sse", "/m:g?alt=sse&key=sk%2Ffake"),
        ("/m:g?key=old&alt=sse", "/m:g?key=sk%2Ffake&alt=sse"),
        ("/m:g?a=%zz&key=old&key=older&b", "/m:g?a=%zz&key=sk%2Ffake&b"),
    ],
)
def test_a_key_is_placed_in_the_query(target: str, placed: str) -> None:
    """It stands where the old one stood, else at the end, escaped; header keys are gone."""
    headers = ((b"x-goog-api-key", b"old"), *BYSTANDERS)
    assert place(headers, url(target), "sk/fake", "query-key") == (BYSTANDERS, url(placed))


@pytest.mark.parametrize("value", ["", "sk-fake\r\nHost: evil.test", "sk-fake\n", "sk\0fake", "\x7f"])
@pytest.mark.parametrize("where", PLACEMENTS)
def test_a_key_that_would_break_its_line_is_refused(value: str, where: Placement) -> None:
    """Attack case 27: such a value is a ValueError that does not repeat it."""
    with pytest.raises(ValueError, match="no header can carry") as refused:
        place((), url(), value, where)
    assert not value or value not in str(refused.value)


NAMES = st.sampled_from(
    [b"Host", b"Authorization", b"authorization", b"X-API-Key", b"x-goog-api-key", b"api-key", b"Accept", b"cookie"]
)
VALUES = st.sampled_from([b"", b"Bearer fake", b"Basic ", b"Basic eDp5", b"AWS4-HMAC-SHA256 x"]) | st.binary(
    max_size=20
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(tuple)
PART = st.sampled_from(["key=a", "key=", "k%65y=b", "alt=sse", "", "a=b=c", "api-key=x"]) | st.text(
    "abk%=+.", max_size=6
)
TARGETS = st.lists(PART, max_size=5).map(lambda parts: "/v1/x" + ("?" + "&".join(parts) if parts else ""))


@given(HEADERS, TARGETS, st.sampled_from(PLACEMENTS))
def test_after_placing_there_is_exactly_one_key(headers: Headers, target: str, where: Placement) -> None:
    """Whatever the client sent, the only key that leaves is the provider's; all else is what stripping leaves.

    But for a question mark with nothing behind it, which goes with the key that stood there.
    """
    stripped = strip(headers, url(target))
    assert client_keys(*stripped) == []
    placed = place(headers, url(target), PROVIDER, where)
    assert [(key.value, key.where) for key in client_keys(*placed)] == [(PROVIDER, where)]
    for left, right in zip(strip(*placed), strip(*stripped), strict=True):
        assert str(left).removesuffix("?") == str(right).removesuffix("?")
    assert place(*placed, PROVIDER, where) == placed


@given(HEADERS, TARGETS)
def test_stripping_keeps_everything_else(headers: Headers, target: str) -> None:
    """What is not a key stays, in order, byte for byte; and stripping twice strips no more."""
    kept, at = strip(headers, url(target))
    assert kept == tuple(pair for pair in headers if pair[0] in (b"Host", b"Accept", b"cookie"))
    assert at.path == "/v1/x"
    assert strip(kept, at) == (kept, at)


def found(where: str) -> ClientKey:
    [key] = client_keys(
        {
            "bearer": ((b"authorization", b"Bearer fake"),),
            "basic": ((b"authorization", basic("u:fake")),),
            "sigv4": ((b"authorization", SIGV4),),
            "x-api-key": ((b"x-api-key", b"fake"),),
        }[where],
        url(),
    )
    return key


@pytest.mark.parametrize(
    ("form", "dialect", "host", "where", "expected"),
    [
        ("openai", None, None, None, "bearer"),
        ("openai", "groq", None, "x-api-key", "bearer"),
        ("openai-responses", None, None, "bearer", "bearer"),
        ("mistral", None, None, None, "bearer"),
        ("cohere", None, None, None, "bearer"),
        ("ollama", None, None, None, "bearer"),
        ("anthropic", None, None, None, "x-api-key"),
        ("anthropic", None, None, "x-api-key", "x-api-key"),
        ("anthropic", None, None, "bearer", "bearer"),
        ("anthropic", None, None, "basic", "x-api-key"),
        ("anthropic", "vertex", None, "x-api-key", "bearer"),
        ("anthropic", "azure", None, None, "x-api-key"),
        ("anthropic", "bedrock", None, "sigv4", "bearer"),
        ("gemini", None, None, "bearer", "x-goog-api-key"),
        ("gemini", "vertex", None, None, "bearer"),
        ("openai", "azure", None, "bearer", "api-key"),
        ("openai-responses", "azure", None, None, "api-key"),
        ("bedrock", None, None, "sigv4", "bearer"),
        ("openai", None, "r.openai.azure.com", "bearer", "api-key"),
        ("openai", "openai", "r.openai.azure.com", "bearer", "bearer"),
        ("gemini", None, "us-east5-aiplatform.googleapis.com", None, "bearer"),
        ("anthropic", None, "api.deepseek.com", None, "x-api-key"),
    ],
)
def test_a_key_is_placed_where_its_provider_takes_it(
    form: str, dialect: str | None, host: str | None, where: str | None, expected: str
) -> None:
    """By format, then dialect (the rules' or else the host's), and for Claude's API by what the client used."""
    row = lookup(host, 443) if host else None
    assert placement(form, dialect, row, found(where) if where else None) == expected


def test_every_format_has_its_usual_placement() -> None:
    """The table of formats and the placement without a dialect agree."""
    for name, row in FORMATS.items():
        assert placement(name, None, None, None) == row.placement


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (basic("ci:vk-fake"), Login("ci", "vk-fake")),
        (basic(":vk-fake"), Login(None, "vk-fake")),
        (basic("vk-fake:"), Login(None, "vk-fake")),
        (basic("vk-fake"), Login(None, "vk-fake")),
        (basic("ci:vk:fake"), Login("ci", "vk:fake")),
        (b"bearer vk-fake", Login(None, "vk-fake")),
        (basic(""), None),
        (basic(":"), None),
        (b"Bearer ", None),
        (b"Basic not/base64!", None),
        (b"Basic /w==", None),
        (b"Negotiate abc", None),
        (b"", None),
    ],
)
def test_what_a_client_tells_its_proxy(value: bytes, expected: Login | None) -> None:
    """The key is the password, or the user where there is none; no text of ours shows it."""
    found = proxy_login(((b"Proxy-Authorization", value),))
    assert found == expected
    assert "fake" not in repr(found)
    assert proxy_login(()) is None
