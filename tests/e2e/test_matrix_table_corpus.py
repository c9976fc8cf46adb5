"""The matrix itself: which recordings are played, what a strict provider refuses, and the table in the README."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.e2e.matrix.loops import refused
from tests.e2e.matrix.providers import PROVIDERS, loops, recordings
from tests.e2e.matrix.table import README, planned, shown, table

CALLS: tuple[tuple[str, Any], ...] = (("weather", {"city": "Paris"}), ("weather", {"city": "Rome"}))
FIRST: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
SECOND: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "b", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "18 degrees"},
                {"type": "tool_result", "tool_use_id": "b", "content": "19 degrees"},
            ],
        },
    ],
}


def test_what_is_played_has_all_kinds() -> None:
    """Of every provider texts and calls, whole and streamed, several calls at once, and a picture or a thought."""
    for provider in PROVIDERS:
        kinds = {(recording.streamed, recording.kind) for recording in recordings(provider)}
        assert kinds >= {(streamed, kind) for streamed in (False, True) for kind in ("text", "call")}
        assert {kind for _, kind in kinds} >= {"calls", "thought"}
        assert any(len(first.answer.calls) > 1 for first, *_ in loops(provider))


def test_the_readme_has_this_table() -> None:
    """What the README shows is what is tested here: `scripts/matrix --write` brings it up to date."""
    assert shown(README.read_text()) == table(planned())


def _strict(second: dict[str, Any]) -> list[str]:
    return refused("anthropic", FIRST, second, CALLS, ["18 degrees", "19 degrees"])


def test_a_strict_provider_takes_what_is_right() -> None:
    """Calls and results as they were, in order, behind what was said before."""
    assert _strict(SECOND) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model",), "n"),
        (("messages", 0, "content"), "Hello"),
        (("messages", 1, "content", 1, "id"), "c"),
        (("messages", 1, "content", 1, "id"), "b"),
        (("messages", 1, "content", 1, "name"), "time"),
        (("messages", 1, "content", 1, "input"), {"city": "Bern"}),
        (("messages", 2, "content", 0, "content"), "19 degrees"),
        (("messages", 2, "content", 0, "tool_use_id"), "b"),
        (("messages", 2, "content", 0), {"type": "text", "text": "18 degrees"}),
    ],
)
def test_a_strict_provider_refuses_what_is_wrong(path: tuple[str | int, ...], value: Any) -> None:
    """Another model, another beginning, ids that do not match or are the same, other calls, other results."""
    second = copy.deepcopy(SECOND)
    inner: Any = second
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert _strict(second)
