"""What a page of the documentation shows, as tests run it: blocks of code, and console transcripts of curl.

A transcript is a ```console block whose commands are all curl's: `$ ` begins a command, a `\\` at its end continues it,
and what follows up to the next `$ ` is its output. Of that,

- a line break and one blank after it are left out: long lines are folded for readers;
- `<id>`, `<time>`, `<message>`, `<n>` and `<duration>` stand for what differs from run to run (PLACEHOLDERS).

Everything else is what curl prints, character by character.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .certificates import Authority
from .settings import ANTHROPIC, OPENAI, connect_to
from .upstream import Exchange, Upstream

ROOT = Path(__file__).parents[2]

# Of an output: what stands in the page, and what may come in its place.
PLACEHOLDERS = {
    "<id>": r"[A-Za-z0-9_-]+",  # of a completion, a call
    "<time>": r"[0-9]{10}",  # Unix seconds
    "<message>": r'[^"\n]+',  # of an error: for people, in words that may change
    "<n>": r"[0-9]+",  # what is left of a limit
    "<duration>": r"(?:[0-9.]+(?:ms|[dhms]))+",  # how long until it is whole again
}
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the page in which that begins."""

    page: str
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a transcript and the output that the page shows."""

    page: str
    line: int
    command: str
    output: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    return [Block(page, found[1], found[2], text.count("\n", 0, found.start()) + 2) for found in _BLOCK.finditer(text)]


def transcripts(page: str) -> Iterator[Step]:
    """Each command of the page's transcripts. Raises ValueError for a block that is half a transcript: nobody would
    notice that its other half is not run.
    """
    for block in blocks(page):
        if block.language != "console":
            continue
        steps = list(_steps(page, block))
        ours = [step.command.startswith("curl ") for step in steps]
        if any(ours) and not all(ours):
            raise ValueError(f"{page}:{block.line}: commands of curl stand apart from others, so that they are run")
        if any(ours):
            yield from steps


def _steps(page: str, block: Block) -> Iterator[Step]:
    lines = block.text.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        shown = start + 1
        while lines[shown - 1].endswith("\\"):
            shown += 1
        command = "\n".join(lines[start:shown]).removeprefix("$ ")
        yield Step(page, block.line + start, command, "\n".join(lines[shown:end]))


def pattern(shown: str) -> re.Pattern[str]:
    """What an output must look like that a page shows so."""
    unfolded = shown.replace("\n ", "")
    parts, place = [], 0
    for found in _PLACEHOLDER.finditer(unfolded):
        parts += [re.escape(unfolded[place : found.start()]), PLACEHOLDERS[found[0]]]
        place = found.end()
    return re.compile("".join(parts) + re.escape(unfolded[place:]))


def rules(page: str, authority: Authority, upstream: Upstream, *sections: str) -> str:
    """The first rules file of a page, with further `sections`, as they stand there; providers are the played ones."""
    first = next(block.text for block in blocks(page) if block.language == "yaml")
    played = {"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC))}
    return "\n".join((first, *sections, f"upstream: {json.dumps(played)}\n"))


async def ran(*command: str, environ: Mapping[str, str], folder: Path) -> str:
    """What a command prints; carriage returns, which a terminal does not show, and the last line break are left out."""
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environ), cwd=folder,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, _ = await process.communicate()
    return out.decode().replace("\r", "").rstrip("\n")


SAYS = "Hello! How can I help you?"
MODELS = {
    # https://docs.anthropic.com/en/api/models-list
    ANTHROPIC: {
        "data": [
            {
                "type": "model",
                "id": "claude-sonnet-4-5",
                "display_name": "Claude Sonnet 4.5",
                "created_at": "2025-09-29T00:00:00Z",
            }
        ],
        "has_more": False,
        "first_id": "claude-sonnet-4-5",
        "last_id": "claude-sonnet-4-5",
    },
    # https://platform.openai.com/docs/api-reference/models/list
    OPENAI: {
        "object": "list",
        "data": [
            {"id": "text-embedding-3-small", "object": "model", "created": 1705948997, "owned_by": "system"},
        ],
    },
}


async def providers(exchange: Exchange) -> None:
    """Claude and OpenAI as the pages have them."""
    request = exchange.request
    host = request.values("host")[0].decode()
    if request.path.startswith("/v1/models"):
        await exchange.json(json.dumps(MODELS[host]).encode())
        return
    asked = json.loads(request.body)
    if host == OPENAI:
        assert request.path == "/v1/embeddings", request.path
        await exchange.json(json.dumps(embeddings(asked)).encode())
        return
    assert request.path == "/v1/messages", request.path
    if asked.get("stream"):
        await exchange.stream("text/event-stream")
        for event in events(asked):
            await exchange.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await exchange.end()
        return
    await exchange.json(json.dumps(message(asked)).encode())


def embeddings(asked: dict[str, Any]) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/embeddings"""
    texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    vector: Any = [0.25, -0.5, 1.0]
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
    usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
    return {"object": "list", "data": data, "model": asked["model"], "usage": usage}


def message(asked: dict[str, Any]) -> dict[str, Any]:
    """A greeting; the weather, by its tool, for whoever brings that along. https://docs.anthropic.com/en/api/messages"""
    last = asked["messages"][-1]["content"]
    results = [part for part in last if isinstance(part, dict) and part["type"] == "tool_result"]
    content: dict[str, Any] = {"type": "text", "text": SAYS}
    if results:
        told = results[0]["content"]
        told = told if isinstance(told, str) else told[0]["text"]
        content["text"] = f"In Paris it is {told}."
    elif asked.get("tools"):
        content = {"type": "tool_use", "id": "toolu_1", "name": asked["tools"][0]["name"], "input": {"city": "Paris"}}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [content],
        "stop_reason": "tool_use" if content["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 8},
    }


def events(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The greeting, word by word. https://docs.anthropic.com/en/docs/build-with-claude/streaming"""
    whole = message(asked)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for piece in ("Hello!", " How can I", " help you?"):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 8}}
    yield {"type": "message_stop"}
