"""Command lines without secrets, in one line, and in no time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.hosts.commandline import COMMAND_LIMIT, scrub_command
from interpose.secret import MASK

SECRETS = [
    "sk-proj-abcdefghij0123456789",
    "sk-ant-api03-abcdefgh",
    "AIzaSyA1234567890abcdefgh",
    "xai-0123456789abcdef",
    "gsk_0123456789abcdef",
    "ghp_0123456789abcdef",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def",
    "vk-0123456789",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "shape",
    [
        "{}",
        "--key={}",
        "OPENAI_API_KEY={}",
        "Authorization: Bearer {}",
        "https://host/?key={}",
        'print("{}")',
        "x:{}@y",
    ],
)
def test_what_looks_like_a_key_is_masked(secret: str, shape: str) -> None:
    """Wherever in a word it stands."""
    assert secret not in scrub_command(["app", shape.format(secret), "after"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["app", "--api-key", "plain", "--model", "gpt-4o"], f"app --api-key {MASK} --model gpt-4o"),
        (["app", "--token=plain"], f"app --token={MASK}"),
        (["curl", "-u", "me:plain", "http://x"], f"curl -u {MASK} http://x"),
        (["curl", "https://me:plain@host/path"], f"curl https://{MASK}@host/path"),
        (["curl", "-H", "Authorization: Basic cGxhaW4="], f"curl -H Authorization: {MASK}"),
        (["curl", "-H", 'Authorization: Digest username="u", response="plain"'], f"curl -H Authorization: {MASK}"),
        (["curl", "--header=X-Api-Key: Token plain"], f"curl --header=X-Api-Key: {MASK}"),
        (["curl", "-H", "Cookie: sid=plain; b=plain"], f"curl -H Cookie: {MASK}"),
        (["sh", "-c", "curl -H 'Authorization: Token plain' x"], f"sh -c curl -H 'Authorization: {MASK}' x"),
        (["app", "-d", '{"api_key": "plain \\" text", "n": 1}'], f'app -d {{"api_key": "{MASK}", "n": 1}}'),
        (["sh", "-c", r'x "{\"password\": \"plain\", 1}"'], rf'sh -c x "{{\"password\": \"{MASK}\", 1}}"'),
        (["curl", "--user=me:plain", "-ume:plain", "-b", "plain"], f"curl --user={MASK} -u{MASK} -b {MASK}"),
        (["app", "--password=plain text", "--passphrase", "plain"], f"app --password={MASK} --passphrase {MASK}"),
        (["app", "PASSWORD='plain text' b"], f"app PASSWORD='{MASK}' b"),
        (["app", "db://me:p@plain@host/x?a=1@2"], f"app db://{MASK}@host/x?a=1@2"),
        (["sh", "-c", "PASSWORD='plain' app"], f"sh -c PASSWORD='{MASK}' app"),
        (["app", "a\x1b[2Jb", "c\nd"], "app a [2Jb c d"),
    ],
)
def test_what_is_named_as_a_secret_is_masked(arguments: list[str], text: str) -> None:
    """Whatever it looks like; the rest stays readable, and is one line that steers no terminal."""
    assert scrub_command(arguments) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["curl", "-d", '{"messages": "said"}', "http://x"], f"curl -d {MASK} http://x"),
        (["/bin/curl", "--data-raw=said", "--json", "said"], f"/bin/curl --data-raw={MASK} --json {MASK}"),
        (["curl", "-dsaid", "--form", "said"], f"curl -d={MASK} --form {MASK}"),
        (["curl", "-d", "@body.json", "-F", "file=said"], f"curl -d @body.json -F {MASK}"),
        (["wget", "--post-data=said", "--body-data", "said", "-d"], f"wget --post-data={MASK} --body-data {MASK} -d"),
        (["docker", "run", "-d", "image"], "docker run -d image"),
    ],
)
def test_a_body_in_a_command_line_is_not_kept(arguments: list[str], text: str) -> None:
    """What is said is kept if the rules ask for it; of other programs these options mean other things."""
    assert scrub_command(arguments) == text


@pytest.mark.parametrize("piece", ["a", "key", "-key", "key=", "eyJ-", "'", "\\'key: ", "bearer ", "a://", " "])
def test_a_command_line_is_scrubbed_in_no_time(piece: str) -> None:
    """Whatever a program's arguments are: the search holds the interpreter, and with it the event loop."""
    began = time.thread_time()
    scrub_command(["app", *[piece * (20_000 // len(piece))] * 20])
    assert time.thread_time() - began < 3


@given(st.lists(st.text(max_size=100), max_size=20), st.sampled_from(SECRETS))
def test_a_command_line_is_one_short_line_without_keys(arguments: list[str], secret: str) -> None:
    """Whatever the arguments are."""
    text = scrub_command([*arguments[:2], secret, *arguments[2:]])
    assert len(text) <= COMMAND_LIMIT
    assert text.isprintable()
    assert secret not in text
