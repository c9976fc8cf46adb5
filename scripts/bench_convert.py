"""What a conversion costs: ours, the parsing of the same bytes, and LiteLLM's transformation, as ratios.

Bytes in, bytes out, on one core, in turn round by round, so that a noisy machine is noisy for all. LiteLLM runs in an
environment of its own (`bench_litellm.py`), on the same bytes; what it is given is the transformation alone, without
its client, its callbacks and its logging.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from interpose.formats.capabilities import capabilities_of
from interpose.formats.codecs import CODECS, Asked, Client, Target
from interpose.formats.codecs.codec import encoded, parsed
from interpose.ir import Losses

HERE = Path(__file__).parent
THEIR_PYTHON = HERE.parent / ".venv" / "clients" / "bin" / "python"
MODEL = "claude-sonnet-4-5"
REPEATS = 200
WORDS = "The quick brown fox jumps over the lazy dog while the band plays on and nobody in the room takes note of it. "

Times = dict[str, list[int]]


def conversation() -> bytes:
    """An OpenAI request of some 11 kB: 20 messages with calls of tools and their results, and 5 tools."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": WORDS * 3}]
    for turn in range(6):
        call = f"call_{turn:024d}"
        arguments = json.dumps({"query": f"weather {turn}", "limit": turn, "where": ["Paris", "Rome"]})
        messages += [
            {"role": "user", "content": WORDS * 5},
            {
                "role": "assistant",
                "content": WORDS,
                "tool_calls": [
                    {"id": call, "type": "function", "function": {"name": f"tool_{turn % 5}", "arguments": arguments}}
                ],
            },
            {"role": "tool", "tool_call_id": call, "content": WORDS * 3},
        ]
    messages.append({"role": "user", "content": WORDS})
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"tool_{index}",
                "description": WORDS,
                "parameters": {
                    "type": "object",
                    "properties": {
                        "query": {"type": "string", "description": "What to look for."},
                        "limit": {"type": "integer", "description": "How many at most.", "minimum": 1},
                        "where": {"type": "array", "items": {"type": "string"}, "description": "Where to look."},
                    },
                    "required": ["query"],
                },
            },
        }
        for index in range(5)
    ]
    asked = {
        "model": MODEL, "messages": messages, "tools": tools, "temperature": 0.7, "max_tokens": 1024, "stream": True,
    }  # fmt: skip
    return json.dumps(asked).encode()


def claude_stream() -> list[bytes]:
    """Claude's events, as they come: text in 200 pieces and a call of a tool in 50."""

    def event(value: dict[str, Any]) -> bytes:
        return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()

    def delta(index: int, kind: str, name: str, text: str) -> bytes:
        return event({"type": "content_block_delta", "index": index, "delta": {"type": kind, name: text}})

    message = {
        "id": "msg_bench", "type": "message", "role": "assistant", "model": MODEL, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 1},
    }  # fmt: skip
    tool = {"type": "tool_use", "id": "toolu_bench", "name": "tool_0", "input": {}}
    return [
        event({"type": "message_start", "message": message}),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *(delta(0, "text_delta", "text", f"word {number} ") for number in range(200)),
        event({"type": "content_block_stop", "index": 0}),
        event({"type": "content_block_start", "index": 1, "content_block": tool}),
        *(delta(1, "input_json_delta", "partial_json", text) for text in ['{"a": "', *map(str, range(48)), '"}']),
        event({"type": "content_block_stop", "index": 1}),
        event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                "usage": {"output_tokens": 250},
            }
        ),
        event({"type": "message_stop"}),
    ]


def requests_to(target: str) -> Callable[[bytes], bytes]:
    """An OpenAI request's bytes as those of another format."""
    source, other = CODECS["openai-chat"], CODECS[target]
    asked, to = Asked("/chat/completions"), Target(MODEL, capabilities_of(MODEL))

    def convert(data: bytes) -> bytes:
        return encoded(other.write_request(source.read_request(parsed(data), asked), to, Losses()).body)

    return convert


def timed(action: Callable[[], object], repeats: int, into: list[int]) -> None:
    for _ in range(repeats):
        began = time.perf_counter_ns()
        action()
        into.append(time.perf_counter_ns() - began)


def our_stream(events: list[bytes], target: str, into: list[int]) -> None:
    """Each event of Claude's through our reader and a client's writer."""
    request = CODECS["openai-chat"].read_request({"model": MODEL, "messages": [], "stream": True}, Asked())
    reader = CODECS["anthropic"].reader()
    writer = CODECS[target].writer(Client(request, MODEL, "bench", 0), Losses("reply"))
    for event in events:
        began = time.perf_counter_ns()
        writer.write(reader.feed(event))
        into.append(time.perf_counter_ns() - began)


@contextmanager
def litellm() -> Iterator[Callable[[dict[str, Any]], Times]]:
    """LiteLLM in a process of its own, which answers each order with nanoseconds by name."""
    program = [str(THEIR_PYTHON), str(HERE / "bench_litellm.py")]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def ask(order: dict[str, Any]) -> Times:
            print(json.dumps(order), file=orders, flush=True)
            answer = answers.readline()
            if not answer:
                raise SystemExit("scripts/bench: LiteLLM has ended; what it said stands above")
            told: Times = json.loads(answer)
            return told

        yield ask
        orders.close()


def measure(rounds: int, console: Console) -> Times:
    request, events = conversation(), claude_stream()
    found: Times = {}

    def into(name: str) -> list[int]:
        return found.setdefault(name, [])

    others = [name for name in CODECS if name not in ("openai-chat", "anthropic", "openai-completions")]
    with litellm() as theirs, Progress(console=console, transient=True) as progress:
        order = {"model": MODEL, "request": request.decode(), "events": [event.decode() for event in events]}
        theirs({**order, "repeats": 5})  # warm
        for _ in progress.track(range(rounds), description="measuring"):
            convert = requests_to("anthropic")
            timed(lambda convert=convert: convert(request), REPEATS, into("request"))
            timed(lambda: json.loads(request), REPEATS, into("json"))
            timed(lambda: orjson.loads(request), REPEATS, into("orjson"))
            for _ in range(4):
                our_stream(events, "openai-chat", into("chunk"))
            for other in others:
                another = requests_to(other)
                timed(lambda another=another: another(request), REPEATS // 4, into(f"to {other}"))
            for name, times in theirs({**order, "repeats": REPEATS // 4}).items():
                into(f"litellm {name}").extend(times)
    found["bytes"] = [len(request)]
    return found


def show(found: Times, console: Console) -> None:
    def median(name: str) -> float:
        return statistics.median(found[name]) / 1000

    table = Table(title=f"a request of {found['bytes'][0] / 1000:.1f} kB: 20 messages, 5 tools; medians, one core")
    for column in ("what", "µs", "against json.loads", "LiteLLM, µs", "LiteLLM / ours"):
        table.add_column(column, justify="left" if column == "what" else "right")

    def row(what: str, ours: str, theirs: str | None = None) -> None:
        their = "" if theirs is None else f"{median(theirs):.0f}"
        ratio = "" if theirs is None else f"{median(theirs) / median(ours):.1f}"
        against = f"{median(ours) / median('json'):.2f}" if ours != "chunk" else ""
        table.add_row(what, f"{median(ours):.1f}", against, their, ratio)

    row("request, OpenAI to Anthropic", "request", "litellm request")
    row("stream event, Anthropic to OpenAI", "chunk", "litellm chunk")
    row("  the same against LiteLLM's stream wrapper", "chunk", "litellm wrapped")
    for name in found:
        if name.startswith("to "):
            row(f"request, OpenAI {name}", name)
    row("json.loads of the request", "json")
    row("orjson.loads of the request", "orjson")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench convert", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    asked = parser.parse_args()
    if not THEIR_PYTHON.exists():
        sys.exit("scripts/bench: LiteLLM's environment is not there: run scripts/install test")
    console = Console(width=None if sys.stdout.isatty() else 120)
    show(measure(asked.rounds, console), console)


if __name__ == "__main__":
    main()
