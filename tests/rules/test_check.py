"""`check`: problems, and what is odd about rules that can be used."""

from collections.abc import Callable
from pathlib import Path

import pytest

from interpose.rules.check import check

Said = Callable[[str], list[str]]
HEAD = "version: 1\nproviders:\n  p: {format: openai, base_url: https://a.test/v1}\n"


@pytest.fixture
def said(tmp_path: Path) -> Callable[[str], list[str]]:
    def said(text: str) -> list[str]:
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return [str(problem).removeprefix(f"{tmp_path}/") for problem in check(path)]

    return said


def routes(*matches: str) -> str:
    entries = (f"- {{name: r{index}, to: {{provider: p}}, {match}}}\n" for index, match in enumerate(matches))
    return f"{HEAD}routes:\n{''.join(entries)}"


def test_a_file_that_cannot_be_loaded_gives_its_problems(said: Said, tmp_path: Path) -> None:
    """The problems are those of loading, as values and not as an exception."""
    assert said("version: 1\na: 1\n") == ["r.yaml:2:1: a: unknown key"]
    assert [problem.message for problem in check(tmp_path / "none.yaml")] == ["there is no such file"]


UNREACHED = [
    ("match: {}", "match: {endpoint: chat}"),
    ("match: {endpoint: chat}", "match: {endpoint: chat}"),
    ("match: {model: 'gpt-*'}", "match: {model: [gpt-4, gpt-5], client: ci}"),
    ("match: {host: A.test}", "match: {host: a.test}"),
    ("except: {client: ci}", "except: {client: ci}, match: {endpoint: chat}"),
]
REACHED = [
    ("match: {endpoint: chat}", "match: {}"),
    ("match: {endpoint: chat}, except: {client: ci}", "match: {endpoint: chat}"),
    ("match: {model: gpt-4}", "match: {model: 'gpt-*'}"),
    ("match: {ip: 10.0.0.0/8}", "match: {ip: 11.0.0.0/8}"),
]


@pytest.mark.parametrize(("first", "second"), UNREACHED)
def test_a_route_behind_a_wider_one_is_never_reached(said: Said, first: str, second: str) -> None:
    """The warning stands at the route that is lost, and names the one that takes its calls."""
    (only,) = said(routes(first, second))
    assert only.startswith('r.yaml:6:3: routes[1]: warning: is never reached: the route "r0" above takes all its calls')


@pytest.mark.parametrize(("first", "second"), REACHED)
def test_a_route_that_may_be_reached_is_left_alone(said: Said, first: str, second: str) -> None:
    """No warning without certainty."""
    assert said(routes(first, second)) == []


def test_a_provider_that_no_route_names_is_noted(said: Said) -> None:
    """With routes, a provider that none of them uses is odd; without any, it serves its own origin."""
    other = "  q: {format: openai, base_url: https://b.test/v1}\n"
    assert said(f"{HEAD}{other}") == []
    (note,) = said(f"{HEAD}{other}routes: [{{name: r, to: {{provider: p}}}}]\n")
    assert note.startswith("r.yaml:4:3: providers.q: note: no route names this provider")
