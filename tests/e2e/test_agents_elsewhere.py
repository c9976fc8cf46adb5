"""An agent and a command-line tool, unmodified under `interpose run`, answered by another provider than theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.program import CLIENTS, PLAYED, Program
from tests.e2e.settings import ANTHROPIC, PLACEHOLDER, canary, connect_to, rules_text
from tests.e2e.test_conversions import CLAUDE_SAYS
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = canary("claude-of-tools", "real-")


def to_claude(authority: Authority, upstream: Upstream) -> str:
    """Rules that send every conversation to Claude."""
    claude = {"format": "anthropic", "base_url": f"https://{ANTHROPIC}", "credential": {"env": "FAKE_CLAUDE_KEY"}}
    return rules_text(
        providers={"claude": claude},
        intercept={"placeholders": [PLACEHOLDER]},
        routes=[
            {"name": "all", "match": {"endpoint": "chat"}, "to": {"provider": "claude", "model": "claude-opus-4-1"}}
        ],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (*PLAYED, ANTHROPIC))},
    )


async def test_llm_is_answered_by_claude(authority: Authority, upstream: Upstream, tmp_path: Path) -> None:
    """`llm` speaks OpenAI's API, streams, and prints what Claude says; the ledger names both."""

    async def claude(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS)
        await exchange.end()

    environ = {"OPENAI_API_KEY": PLACEHOLDER, "FAKE_CLAUDE_KEY": KEY, "LLM_USER_PATH": str(tmp_path / "llm")}
    with upstream.answering(claude):
        text = to_claude(authority, upstream)
        command = (str(CLIENTS / "llm"), "-m", "gpt-4o-mini", "-s", "Be brief.", "Hi")
        async with await Program.start(tmp_path, text, *command, environ=environ) as program:
            assert await program.line() == "Good day"
            ended = await program.succeeds()
        asked = json.loads(bytes(upstream.request.body))
    assert (asked["model"], asked["stream"], asked["system"][0]["text"]) == ("claude-opus-4-1", True, "Be brief.")
    (row,) = program.calls()
    assert [row[name] for name in ("app", "asked_model", "provider", "sent_model", "outcome", "input_tokens")] == [
        "llm", "gpt-4o-mini", "claude", "claude-opus-4-1", "ok", 9,
    ]  # fmt: skip
    assert "caught 1 AI call, 13 tokens" in ended.summary


def turn(number: int, command: str) -> dict[str, Any]:
    """A turn of Claude's: signed thinking, words, a call of the agent's one tool."""
    return {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-opus-4-1",
        "content": [
            {"type": "thinking", "thinking": f"Thought {number}", "signature": f"c2lnbmVk{number}"},
            {"type": "text", "text": f"Step {number}"},
            {"type": "tool_use", "id": f"toolu_{number}", "name": "bash", "input": {"command": command}},
        ],
        "stop_reason": "tool_use", "stop_sequence": None,
        "usage": {"input_tokens": 1000 + number, "output_tokens": 50 + number},
    }  # fmt: skip


async def test_a_coding_agent_on_claude(authority: Authority, upstream: Upstream, tmp_path: Path) -> None:
    """mini-swe-agent, which speaks OpenAI's API, does its task with Claude: calls and results are paired, and each
    request begins with the one before, so that Claude's cache and signatures hold.
    """
    commands = ["echo 'written by the agent' > note.txt && cat note.txt", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"]
    turns = [turn(number, command) for number, command in enumerate(commands, 1)]
    asked: list[Any] = []

    async def claude(exchange: Exchange) -> None:
        asked.append(json.loads(bytes(exchange.request.body)))
        await exchange.json(json.dumps(turns[len(asked) - 1]).encode())

    environ = {
        "OPENAI_API_KEY": PLACEHOLDER,
        "FAKE_CLAUDE_KEY": KEY,
        "MSWEA_CONFIGURED": "true",
        "MSWEA_GLOBAL_CONFIG_DIR": str(tmp_path / "agent"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    agent = (str(CLIENTS / "mini"), "--model", "openai/gpt-4o-mini", "--task", "Write a note", "--yolo")
    with upstream.answering(claude):
        text = to_claude(authority, upstream)
        async with await Program.start(tmp_path, text, *agent, "--exit-immediately", environ=environ) as program:
            ended = await program.end()
        assert ended.status == 0, ended.summary
        assert [request.values("x-api-key") for request in upstream.requests] == [[KEY.encode()]] * 2
    assert (tmp_path / "note.txt").read_text() == "written by the agent\n"
    first, second = asked
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert (second["system"], second["tools"]) == (first["system"], first["tools"])
    said, result = second["messages"][len(first["messages"]) :]
    assert [block for block in said["content"] if block["type"] != "thinking"] == turns[0]["content"][1:]
    assert (result["role"], result["content"][0]["tool_use_id"]) == ("user", "toolu_1")
    assert "written by the agent" in json.dumps(result)
    assert [(row["outcome"], row["input_tokens"], row["output_tokens"]) for row in program.calls()] == [
        ("ok", 1001, 51),
        ("ok", 1002, 52),
    ]
