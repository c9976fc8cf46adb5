"""The rules that a gateway serves without a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpose.errors import InterposeError
from interpose.hosts.served import default_file, served
from interpose.rules.load import load
from interpose.rules.problem import RulesError

VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "cohere": "CO_API_KEY",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_providers_are_those_that_have_a_key(name: str) -> None:
    """The others are left out, and it is known which variable each of them wants; limits and clients stay."""
    found = served(None, {VARIABLES[name]: "sk-FAKE-key"})
    assert list(found.rules.providers) == [name]
    assert found.without == {other: variable for other, variable in VARIABLES.items() if other != name}
    assert [(limit.name, limit.requests.count if limit.requests else None) for limit in found.rules.limits] == [
        ("standard", 60),
        ("chat", 20),
        ("embeddings", 100),
    ]
    assert found.rules.clients.required


def test_all_of_them_are_the_example() -> None:
    """What is served is rules/gateway.yaml."""
    environ = dict.fromkeys(VARIABLES.values(), "sk-FAKE-key")
    assert served(None, environ).rules == load(default_file())


def test_no_key_at_all_is_said_with_what_to_set() -> None:
    """A variable that is set to nothing is not set."""
    with pytest.raises(InterposeError, match="OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, MISTRAL_API_KEY, CO_"):
        served(None, {"OPENAI_API_KEY": ""})


def test_a_file_of_ones_own_is_served_as_it_is(tmp_path: Path) -> None:
    """Nobody is left out there: a credential that is missing is an error, told where the credentials are read."""
    file = tmp_path / "rules.yaml"
    file.write_bytes(default_file().read_bytes())
    assert list(served(file, {}).rules.providers) == list(VARIABLES)
    with pytest.raises(RulesError):
        served(tmp_path / "none.yaml", {})
