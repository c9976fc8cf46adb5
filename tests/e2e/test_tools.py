"""Tools that people have on their machines, unmodified under `interpose run`: llm, a coding agent, curl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import replies
from tests.e2e.certificates import Authority
from tests.e2e.played import Stage
from tests.e2e.program import CLIENTS, Program, rules
from tests.e2e.settings import OPENAI, PLACEHOLDER, canary
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = canary("openai-of-tools", "real-")
OWN = canary("own-of-tools")


def keeping_the_key(authority: Authority, upstream: Upstream) -> str:
    """Rules by which the key in OPENAI_API_KEY stays with interpose."""
    openai = {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "OPENAI_API_KEY"}}
    return rules(authority, upstream, providers={"openai": openai}, intercept={"placeholders": [PLACEHOLDER]})


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_llm(authority: Authority, upstream: Upstream, tmp_path: Path, *, streamed: bool) -> None:
    """`llm` prints the first words while the provider holds the rest back, and is known by its name."""
    stage = Stage()
    environ = {"OPENAI_API_KEY": KEY, "LLM_USER_PATH": str(tmp_path / "llm")}
    command = (str(CLIENTS / "llm"), "-m", "gpt-4o-mini", "Hi", *(() if streamed else ("--no-stream",)))
    with upstream.answering(stage):
        text = keeping_the_key(authority, upstream)
        async with await Program.start(tmp_path, text, *command, environ=environ) as program:
            if streamed:
                assert await program.read(4) == "Good"
                stage.go_on()
                assert await program.line() == " morning ☀"
            else:
                assert await program.line() == "Good morning ☀"
            ended = await program.succeeds()
        assert upstream.request.values("authorization") == [f"Bearer {KEY}".encode()]
    (row,) = program.calls()
    assert (row["app"], row["provider"], row["asked_model"], row["stream"]) == (
        "llm",
        "openai",
        "gpt-4o-mini",
        streamed,
    )
    assert (row["input_tokens"], row["output_tokens"]) == (replies.CHAT.tokens if streamed else (13, 5))
    assert "caught 1 AI call, 18 tokens" in ended.summary
    (connection,) = program.connections()
    assert (connection["app"], connection["host"], connection["kind"]) == ("llm", OPENAI, "ai")


def turn(number: int, command: str) -> bytes:
    """An answer that calls the agent's one tool."""
    call = {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": "bash", "arguments": json.dumps({"command": command})},
    }
    message = {"role": "assistant", "content": f"Step {number}", "tool_calls": [call]}
    return json.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {
                "prompt_tokens": 1000 + number,
                "completion_tokens": 50 + number,
                "total_tokens": 1050 + 2 * number,
            },
        }
    ).encode()


async def test_a_coding_agent(authority: Authority, upstream: Upstream, tmp_path: Path) -> None:
    """mini-swe-agent does a task in three turns: it writes a file, what it starts is caught as well, it is done."""
    commands = [
        "echo 'written by the agent' > note.txt && cat note.txt",
        f"curl --silent https://{OPENAI}/v1/models > models.json && wc -c < models.json",
        "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
    ]
    asked: list[Any] = []

    async def play(exchange: Exchange) -> None:
        if exchange.request.method == b"GET":
            await exchange.json(replies.MODELS_JSON)
            return
        asked.append(json.loads(bytes(exchange.request.body)))
        await exchange.json(turn(len(asked), commands[len(asked) - 1]))

    environ = {
        "OPENAI_API_KEY": KEY,
        "MSWEA_CONFIGURED": "true",
        "MSWEA_GLOBAL_CONFIG_DIR": str(tmp_path / "agent"),
        # litellm would ask the network for its list of prices.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    agent = (str(CLIENTS / "mini"), "--model", "openai/gpt-4o-mini", "--task", "Write a note", "--yolo")
    with upstream.answering(play):
        text = keeping_the_key(authority, upstream)
        async with await Program.start(tmp_path, text, *agent, "--exit-immediately", environ=environ) as program:
            ended = await program.end()
        assert ended.status == 0, ended.summary
        for request in upstream.requests:
            assert request.values("authorization") == [f"Bearer {KEY}".encode()]
    assert (tmp_path / "note.txt").read_text() == "written by the agent\n"
    assert (tmp_path / "models.json").read_bytes() == replies.MODELS_JSON
    # Each turn has seen what the one before has done.
    said = [json.dumps(each["messages"][-1]) for each in asked]
    assert "Write a note" in said[0]
    assert "written by the agent" in said[1]
    assert str(len(replies.MODELS_JSON)) in said[2]
    rows = program.calls()
    told = [(row["app"], row["endpoint"], row["outcome"], row["input_tokens"], row["output_tokens"]) for row in rows]
    assert told == [
        ("mini", "chat", "ok", 1001, 51),
        ("mini", "chat", "ok", 1002, 52),
        ("curl", "models", "ok", None, None),
        ("mini", "chat", "ok", 1003, 53),
    ]
    assert {row["app"] for row in program.connections()} == {"mini", "curl"}


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_curl(authority: Authority, upstream: Upstream, tmp_path: Path, version: str) -> None:
    """curl prints a stream as it comes, and uploads what it reads from its standard input."""
    stage = Stage()
    hi = json.dumps({"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hi"}]})
    curl = ("curl", "--silent", "--show-error", version, "-H", f"Authorization: Bearer {OWN}")
    with upstream.answering(stage):
        chat = (*curl, "--no-buffer", "-d", hi, f"https://{OPENAI}/v1/chat/completions")
        async with await Program.start(tmp_path / "chat", rules(authority, upstream), *chat) as program:
            for piece in replies.CHAT.pieces[:2]:
                assert await program.read(len(piece)) == piece.decode()
            stage.go_on()
            rest = b"".join(replies.CHAT.pieces[2:])
            assert await program.read(len(rest)) == rest.decode()
            await program.succeeds()
        assert bytes(upstream.request.body) == hi.encode()
        assert upstream.request.values("authorization") == [f"Bearer {OWN}".encode()]
    (row,) = program.calls()
    assert (row["app"], row["stream"], row["input_tokens"], row["output_tokens"]) == ("curl", 1, *replies.CHAT.tokens)

    content = bytes(range(256)) * 40_000  # larger than what is kept whole
    with upstream.answering(received):
        upload = (*curl, "--upload-file", "-", f"https://{OPENAI}/v1/files/f")
        async with await Program.start(tmp_path / "file", rules(authority, upstream), *upload, feed=content) as program:
            assert await program.line() == str(len(content))
            await program.succeeds()
        assert bytes(upstream.request.body) == content
    (row,) = program.calls()
    assert (row["app"], row["endpoint"], row["method"], row["outcome"]) == ("curl", "files", "PUT", "ok")


async def received(exchange: Exchange) -> None:
    await exchange.reply(b"%d\n" % len(exchange.request.body))
