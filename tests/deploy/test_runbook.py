"""The runbook: what it tells people to type, to open and to look for is there."""

from __future__ import annotations

import re

import pytest
import typer
from tests.deploy.manifests import DEPLOY, ROOT
from typer.core import TyperGroup

from interpose.cli.commands import app
from interpose.metrics.families import FAMILIES

TEXT = re.sub(r"\s+", " ", (DEPLOY / "README.md").read_text())
CODE = re.findall(r"`([^`]+)`", TEXT)


def test_it_names_files_that_are_there() -> None:
    """Beside it."""
    named = [code for code in CODE if re.fullmatch(r"(rules/)?\w+\.(yaml|cfg|conf)", code)]
    assert len(named) > 3
    assert [name for name in named if not (DEPLOY / name).exists()] == []


def test_it_names_commands_that_exist() -> None:
    """Of ours with their options, and of the scripts."""
    named = [code.split()[1:] for code in CODE if code.startswith("interpose ")]
    assert len(named) > 3
    for words in named:
        command = typer.main.get_command(app)
        while isinstance(command, TyperGroup) and words and not words[0].startswith("--"):
            word = words.pop(0)
            assert word in command.commands, word
            command = command.commands[word]
        known = {name for each in command.params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= known
    measures = [code.split()[1] for code in CODE if code.startswith("scripts/bench ")]
    assert len(measures) > 1
    assert all(f"{name}) " in (ROOT / "scripts" / "bench").read_text() for name in measures)


def test_it_names_metrics_that_there_are() -> None:
    """By the names that Prometheus scrapes."""
    named = [code for code in CODE if code.startswith("interpose_")]
    assert len(named) > 3
    assert set(named) <= {family.shown for family in FAMILIES.values()}


@pytest.mark.parametrize("words", ["is away", "is back"])
def test_it_names_words_of_the_log(words: str) -> None:
    """They are what an alarm looks for."""
    assert words in TEXT
    sources = (path.read_text() for path in (ROOT / "addons" / "interpose").rglob("*.py"))
    assert any(words in re.sub(r'"\s+f?"', "", text) for text in sources)
