"""Real WebSocket clients under `interpose run`: the SDKs' own realtime clients, and the two common libraries.

What passes in a session is tested frame by frame in test_websocket.py; here it is that these clients find us, trust
us, agree on compression with the provider, and are metered for all that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.program import Program, rules, script
from tests.e2e.proxy import Row
from tests.e2e.settings import ENVIRON, GEMINI, OPENAI, PLACEHOLDER, canary, real
from tests.e2e.talk import Talk
from tests.e2e.upstream import Exchange, Upstream
from wsproto.events import CloseConnection

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWN = canary("own-of-sessions")


def provider(name: str, url: str) -> Mapping[str, object]:
    """Rules with one provider, whose credential they inject for a placeholder."""
    form = {"openai": "openai", "gemini": "gemini"}[name]
    credential = {"env": f"FAKE_{name.upper()}_KEY"}
    return {
        "providers": {name: {"format": form, "base_url": url, "credential": credential}},
        "intercept": {"placeholders": [PLACEHOLDER]},
    }


def counted(given: int, made: int) -> dict[str, object]:
    return {
        "total_tokens": given + made,
        "input_tokens": given,
        "output_tokens": made,
        "input_token_details": {"cached_tokens": 3, "text_tokens": given, "audio_tokens": 0},
        "output_token_details": {"text_tokens": made, "audio_tokens": 0},
    }


async def answer(talk: Talk, turn: int, kind: str) -> None:
    """https://platform.openai.com/docs/api-reference/realtime-server-events"""
    done = {"output_audio_transcript": "response.done", "output_text": "response.completed"}[kind]
    where = {"event_id": f"e{turn}", "response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
    await talk.say({"type": f"response.{kind}.delta", **where, "delta": "Hallo"})
    response = {"id": "r", "object": "realtime.response", "status": "completed", "usage": counted(100 + turn, 10)}
    await talk.say({"type": done, "event_id": f"d{turn}", "response": response})


def session(row: Row) -> dict[str, object]:
    (attempt,) = json.loads(row["attempts"])
    return dict(attempt["websocket"])


@pytest.mark.parametrize("own", [True, False], ids=["own key", "placeholder"])
@pytest.mark.parametrize("name", ["openai_realtime", "websocket_client_session"])
async def test_openai_realtime(
    authority: Authority, upstream: Upstream, tmp_path: Path, name: str, *, own: bool
) -> None:
    """A session of two answers: events reach the client's types, each message the provider, tokens the ledger."""
    heard, codes = [], []

    async def realtime(exchange: Exchange) -> None:
        talk = Talk(exchange)
        await talk.accept()
        await talk.say({"type": "session.created", "event_id": "s", "session": {"model": "gpt-realtime-x"}})
        for turn in range(2):
            heard.extend([(await talk.hear())["type"] for _ in range(2)])
            await answer(talk, turn, "output_audio_transcript")
        codes.append(await talk.goodbye())

    text = rules(authority, upstream, **({} if own else provider("openai", f"https://{OPENAI}/v1")))
    environ = {**ENVIRON, "OPENAI_API_KEY": OWN if own else PLACEHOLDER}
    with upstream.answering(realtime, reads_itself=True):
        async with await Program.start(tmp_path, text, *script(name), environ=environ) as program:
            assert await program.told("session") == "session.created"
            for turn in range(2):
                told = ["response.output_audio_transcript.delta", "Hallo", 110 + turn]
                assert await program.told(f"turn {turn}") == told
            await program.succeeds()
        assert upstream.request.values("authorization") == [f"Bearer {OWN if own else real('openai')}".encode()]
        assert not upstream.request.anywhere(PLACEHOLDER)
    assert heard == ["conversation.item.create", "response.create"] * 2
    assert codes == [1000]
    (row,) = program.calls()
    assert (row["endpoint"], row["status"], row["outcome"], row["stream"]) == ("realtime", 101, "ok", 1)
    assert (row["asked_model"], row["app"]) == ("gpt-realtime", "python")
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (201, 20, 6)
    assert row["credential"] == (None if own else "env:FAKE_OPENAI_KEY")
    told = session(row)
    assert (told["requests"], told["responses"], told["messages_up"], told["close"]) == (2, 2, 4, 1000)


async def test_websockets_with_responses_over_a_websocket(
    authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """Compressed messages are metered, pings are answered, the provider's close code reaches the client."""
    compressed = []

    async def responses(exchange: Exchange) -> None:
        talk = Talk(exchange)
        await talk.accept()
        compressed.append(talk.compressed)
        for turn in range(2):
            assert (await talk.hear())["model"] == "gpt-5-mini"
            await answer(talk, turn, "output_text")
        await talk.pong()
        await talk.send(CloseConnection(1011, "busy"))
        await talk.goodbye()

    with upstream.answering(responses, reads_itself=True):
        text, environ = rules(authority, upstream), {"OPENAI_API_KEY": OWN}
        async with await Program.start(tmp_path, text, *script("websockets_session"), environ=environ) as program:
            for turn in range(2):
                told = ["response.output_text.delta", "Hallo", 110 + turn]
                assert await program.told(f"turn {turn}") == told
            assert await program.told("ping")
            assert await program.told("closed") == [1011, "busy"]
            await program.succeeds()
    assert compressed == [True]
    (row,) = program.calls()
    assert (row["input_tokens"], row["output_tokens"], row["outcome"]) == (201, 20, "error")
    assert session(row)["close"] == 1011


@pytest.mark.parametrize("own", [True, False], ids=["own key", "placeholder"])
async def test_gemini_live(authority: Authority, upstream: Upstream, tmp_path: Path, *, own: bool) -> None:
    """google-genai's Live client: set up, one turn in two messages, the turn's tokens in the ledger."""
    heard = []

    async def live(exchange: Exchange) -> None:
        talk = Talk(exchange)
        await talk.accept()
        heard.append(await talk.hear())
        await talk.say({"setupComplete": {}})
        heard.append(await talk.hear())
        await talk.say({"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": "Ciao"}]}}})
        used = {"promptTokenCount": 103, "responseTokenCount": 26, "totalTokenCount": 129}
        await talk.say({"serverContent": {"turnComplete": True}, "usageMetadata": used})
        await talk.goodbye()

    text = rules(authority, upstream, **({} if own else provider("gemini", f"https://{GEMINI}")))
    environ = {**ENVIRON, "GEMINI_API_KEY": OWN if own else PLACEHOLDER}
    with upstream.answering(live, reads_itself=True):
        async with await Program.start(tmp_path, text, *script("gemini_live"), environ=environ) as program:
            assert await program.told("message") == ["Ciao", None]
            assert await program.told("message") == [None, 129]
            await program.succeeds()
        assert upstream.request.anywhere(OWN if own else real("gemini"))
        assert not upstream.request.anywhere(PLACEHOLDER)
    assert [list(message) for message in heard] == [["setup"], ["client_content"]]
    (row,) = program.calls()
    assert (row["endpoint"], row["outcome"], row["app"]) == ("realtime", "ok", "python")
    assert (row["input_tokens"], row["output_tokens"]) == (103, 26)
    assert session(row)["responses"] == 1
