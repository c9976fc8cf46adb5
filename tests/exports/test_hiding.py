"""What stands in no export: keys and cookies of recordings that nobody has scrubbed."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest
from tests.exports.made import CHAT, QUESTION, SAYS, call, exported, recorded

from interpose.exports.hiding import hidden

OWN = "sk-FAKE-" + "a1b2c3d4e5f6g7h8"
COOKIE = "FAKE-cookie-0123456789"


@pytest.mark.parametrize("format_", ["html", "md", "json"])
def test_a_clients_key_stands_nowhere(format_: str) -> None:
    """Neither in its header, nor in the URL, nor where the provider repeats it."""
    headers = (
        (b"Authorization", f"Bearer {OWN}".encode()),
        (b"Cookie", f"session={COOKIE}".encode()),
        (b"X-Custom-Token", b"FAKE-token-9876543210"),
    )
    message = {"role": "user", "content": f"My key is {OWN}, my cookie {COOKIE}."}
    made = call(1, [message], f"You sent {OWN}.", url=f"{CHAT}?key={OWN}-2&model=x", headers=headers)
    shown = exported(hidden(made), format_=format_)
    for secret in (OWN, COOKIE, "FAKE-token-9876543210"):
        assert secret not in shown
    assert "My key is ***" in shown.replace("\\*", "*").replace("<em>", "*").replace("</em>", "*")


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-FAKE0123456789abcdef",
        "sk-ant-api03-FAKE0123456789abcdef",
        "AIza" + "FAKE0123456789abcdefFAKE0123456789a",
        "gsk_FAKE0123456789abcdefghij",
        "hf_FAKE0123456789abcdefghij",
        "xai-FAKE0123456789abcdefghij",
        "ghp_" + "FAKE0123456789abcdefFAKE0123456789ab",
        "vk-FAKE0123456789abcdef",
        "AKIA" + "FAKEFAKEFAKEFAKE",
    ],
)
def test_what_looks_like_a_key_is_masked(key: str) -> None:
    """In a tool's result, say, which has read a file."""
    shown = exported(hidden(call(1, [QUESTION, {"role": "user", "content": f"export KEY={key} # mine"}], SAYS)))
    assert key not in shown
    assert "export KEY=*** # mine" in shown


def test_words_are_no_keys() -> None:
    """Text that only begins like one."""
    text = (
        "sk-learn, the ask-me-anything-of-tomorrow, a risk-averse-and-slow-moving crowd, AKIA, hf_hub, bearer of news"
    )
    assert text in exported(hidden(call(1, [{"role": "user", "content": text}], SAYS)))


def test_a_compressed_body_is_no_hiding_place() -> None:
    """It is looked into."""
    made = call(1, [QUESTION], f"Take {OWN}.")
    assert made.answered is not None
    packed = gzip.compress(made.answered.body or b"")
    coding = (*made.answered.headers, (b"content-encoding", b"gzip"))
    made.answered = replace(made.answered, body=packed, headers=coding)
    clean = hidden(made)
    assert clean.answered is not None
    assert OWN.encode() not in (clean.answered.body or b"")
    assert "Take ***" in exported(clean)


def test_what_was_scrubbed_is_left_as_it_is() -> None:
    """By the ledger's capture, which knows more of it."""
    made = recorded("x", CHAT, json.dumps({"model": "m", "messages": [QUESTION]}).encode(), 200, b"{}", masked=True)
    assert hidden(made) is made


@pytest.mark.parametrize("secret", [OWN, "gsk_FAKE0123456789abcdefghij"])
def test_a_key_that_a_stream_tells_in_pieces_is_masked(secret: str) -> None:
    """The client's own, or what looks like one: the answer is shown put together."""
    said = f"Your key is {secret}, keep it."
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in said]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    made = call(1, [QUESTION], SAYS, headers=((b"Authorization", f"Bearer {OWN}".encode()),))
    assert made.answered is not None
    streamed = replace(made.answered, headers=((b"content-type", b"text/event-stream"),), body=body)
    shown = exported(hidden(replace(made, answered=streamed)), format_="json")
    assert "Your key is ***" in shown
    assert secret not in shown


def test_what_a_body_names_as_a_secret_is_masked() -> None:
    """What a provider is to show to servers of tools, whatever it looks like, and a header that somebody quotes."""
    servers = [{"type": "url", "url": "https://tools.example/", "authorization_token": "FAKE 1"}]
    tools = [{"type": "mcp", "headers": {"X-Tools-Secret": "FAKE 2"}, "authorization": {"value": "FAKE 3"}}]
    message = {"role": "user", "content": "curl -H 'x-api-key: FAKE-4567' a.test"}
    made = hidden(call(1, [message], SAYS, mcp_servers=servers, tools=tools))
    assert b"FAKE" not in (made.asked.body or b"")
    assert json.loads(made.asked.body or b"")["mcp_servers"][0] == {**servers[0], "authorization_token": "***"}
