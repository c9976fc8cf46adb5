"""What a hostile request holds many of costs each time the same: no codec looks through all for each."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from interpose.formats.capabilities import capabilities_of
from interpose.formats.codecs import CODECS, Asked, Target
from interpose.ir import Losses

PATHS = {
    "openai-chat": "/chat/completions",
    "openai-responses": "/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}
MODELS = {"anthropic": "claude-opus-4-8", "gemini": "gemini-2.5-pro"}
Body = dict[str, Any]


def chat(calls: list[Body], results: list[Body], **settings: Any) -> Body:
    asked = {"role": "user", "content": "Hello"}
    return {"model": "m", "messages": [asked, {"role": "assistant", "tool_calls": calls}, *results], **settings}


def call(id_: str, name: str = "f") -> Body:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": "{}"}}


def result(id_: str) -> Body:
    return {"role": "tool", "tool_call_id": id_, "content": "x"}


def reversed_results(count: int) -> Body:
    return chat([call(f"c{n}") for n in range(count)], [result(f"c{n}") for n in reversed(range(count))])


def strangers_results(count: int) -> Body:
    return chat([call(f"c{n}") for n in range(count)], [result(f"z{n}") for n in range(count)])


def allowed_tools(count: int) -> Body:
    def named() -> list[Body]:
        return [{"type": "function", "function": {"name": f"f{n}"}} for n in range(count)]

    allowed = {"mode": "auto", "tools": named()}
    return chat([], [], tools=named(), tool_choice={"type": "allowed_tools", "allowed_tools": allowed})


def systems(count: int) -> Body:
    return chat([], [{"role": "user", "content": "u"}, *({"role": "system", "content": "s"} for _ in range(count))])


def gemini(calls: list[str], results: list[str]) -> Body:
    return {
        "contents": [
            {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}} for name in calls]},
            {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {}}} for name in results]},
        ]
    }


def named_in_reverse(count: int) -> Body:
    return gemini([f"f{n}" for n in range(count)], [f"f{n}" for n in reversed(range(count))])


def named_otherwise(count: int) -> Body:
    return gemini(["f"] * count, [f"z{n}" for n in range(count)])


CASES: list[tuple[str, Callable[[int], Body]]] = [
    ("openai-chat", reversed_results),
    ("openai-chat", strangers_results),
    ("openai-chat", allowed_tools),
    ("openai-chat", systems),
    ("gemini", named_in_reverse),
    ("gemini", named_otherwise),
]


@contextmanager
def lines_run() -> Iterator[list[int]]:
    """Counts the lines of Python that are run: unlike the time that they take, the same wherever the test is run."""
    counted, monitoring = [0], sys.monitoring
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)

    def line(*_: Any) -> None:
        counted[0] += 1

    monitoring.use_tool_id(tool, "lines_run")
    monitoring.register_callback(tool, monitoring.events.LINE, line)
    monitoring.set_events(tool, monitoring.events.LINE)
    try:
        yield counted
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)


def cost(source: str, target: str, body: Body) -> int:
    model = MODELS.get(target, "gpt-4o")
    with lines_run() as counted:
        request = CODECS[source].read_request(body, Asked(PATHS[source]))
        CODECS[target].write_request(request, Target(model, capabilities_of(model)), Losses())
    return counted[0]


@pytest.mark.parametrize("target", PATHS)
@pytest.mark.parametrize(("source", "made"), CASES, ids=[made.__name__ for _, made in CASES])
def test_twice_as_many_cost_twice_as_much(source: str, made: Callable[[int], Body], target: str) -> None:
    """Results in any order, of anybody's calls, with ids or without, choices of tools, system messages."""
    cost(source, target, made(10))
    assert cost(source, target, made(800)) < 2.5 * cost(source, target, made(400))
