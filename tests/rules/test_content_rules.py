"""`telemetry.content` in the rules: where it goes is said before it goes there."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpose.rules.check import check
from interpose.rules.load import parse

TOLD = [
    ("content: true", "telemetry.content: warning: goes to whatever collector the environment names"),
    (
        "content: true, otlp: 'http://collector.test:4318'",
        "telemetry.content: warning: goes to another machine without TLS: who listens on the way reads it",
    ),
    (
        "content: true, events: false, otlp: 'https://collector.test'",
        "telemetry.content: is told in events, and they are off",
    ),
    ("content: 'yes', otlp: 'https://collector.test'", "telemetry.content: expected true or false"),
]


def told(section: str, folder: Path) -> list[str]:
    path = folder / "r.yaml"
    path.write_text(f"version: 1\ntelemetry: {{{section}}}\n")
    return [str(problem) for problem in check(path)]


@pytest.mark.parametrize(("section", "said"), TOLD, ids=[said for _, said in TOLD])
def test_check_tells_who_may_read_what_is_said(tmp_path: Path, section: str, said: str) -> None:
    """Or why nobody will."""
    (problem,) = told(section, tmp_path)
    assert said in problem


@pytest.mark.parametrize(
    "section",
    ["content: true, otlp: 'https://collector.test'", "content: true, otlp: 'http://localhost:4318'", "content: false"],
)
def test_check_says_nothing_of_what_is_safe(tmp_path: Path, section: str) -> None:
    """A collector by TLS, or on this machine; or no content."""
    assert told(section, tmp_path) == []


def test_content_is_off_by_default(tmp_path: Path) -> None:
    """A word in the rules turns it on, and nothing else."""
    rules = parse("version: 1\ntelemetry: {}\n", "r.yaml", tmp_path)
    assert rules.telemetry is not None
    assert not rules.telemetry.content
