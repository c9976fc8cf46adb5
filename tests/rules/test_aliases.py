"""`models:` as names for models: what an id stands for, and lists that make no sense."""

from pathlib import Path

import pytest

from interpose.rules.check import check
from interpose.rules.load import parse

HEAD = (
    "version: 1\n"
    "providers:\n"
    "  p: {format: openai, base_url: https://a.test/v1}\n"
    "  q: {format: anthropic, base_url: https://b.test}\n"
    "models:\n"
)


def problems(tmp_path: Path, *entries: str) -> list[str]:
    file = tmp_path / "r.yaml"
    file.write_text(HEAD + "".join(f"- {{{entry}}}\n" for entry in entries))
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in check(file)]


def named(*entries: str) -> dict[tuple[str, str], str]:
    rules = parse(HEAD + "".join(f"- {{{entry}}}\n" for entry in entries), "r.yaml", Path("/"))
    return {(model.provider, model.id): model.model for model in rules.models}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["id: a, provider: p"], {("p", "a"): "a"}),
        (["id: a, provider: p, model: a"], {("p", "a"): "a"}),
        (["id: a, provider: p, model: b"], {("p", "a"): "b"}),
        (
            ["id: a, provider: p, model: b", "id: b, provider: p, model: c", "id: c, provider: p"],
            {("p", "a"): "c", ("p", "b"): "c", ("p", "c"): "c"},
        ),
        # Another provider's id is no name of this one's.
        (
            ["id: a, provider: p, model: b", "id: b, provider: q, model: a"],
            {("p", "a"): "b", ("q", "b"): "a"},
        ),
        (["id: a, provider: p, model: b", "id: a, provider: q, model: c"], {("p", "a"): "b", ("q", "a"): "c"}),
        # Models are told apart by case, as providers do.
        (["id: a, provider: p, model: A", "id: A, provider: p, model: b"], {("p", "a"): "b", ("p", "A"): "b"}),
    ],
)
def test_what_an_id_stands_for(entries: list[str], expected: dict[tuple[str, str], str]) -> None:
    """Ids are followed within their provider, to a name that is none of its ids."""
    assert named(*entries) == expected


LOOPS = [
    (["id: a, provider: p, model: b", "id: b, provider: p, model: a"], "r.yaml:6:31: models[0].model", "a → b → a"),
    (
        [
            "id: x, provider: p, model: a",
            "id: a, provider: p, model: b",
            "id: b, provider: p, model: c",
            "id: c, provider: p, model: a",
        ],
        "r.yaml:7:31: models[1].model",
        "a → b → c → a",
    ),
]


@pytest.mark.parametrize(("entries", "where", "names"), LOOPS)
def test_an_id_that_leads_back_to_itself_is_an_error(
    tmp_path: Path, entries: list[str], where: str, names: str
) -> None:
    """Told once, at its first line, with the way round; an id that only leads there is not blamed for it."""
    assert problems(tmp_path, *entries) == [
        f"{where}: leads back to itself: {names}; one of them must be a name that the provider knows"
    ]


def test_an_id_stands_once_for_each_provider(tmp_path: Path) -> None:
    """Twice for one is an error, at the second."""
    (problem,) = problems(tmp_path, "id: a, provider: p", "id: a, provider: q", "id: a, provider: p, model: b")
    assert problem.startswith('r.yaml:8:8: models[2].id: a model "a" of p stands already in line 6')


def test_a_provider_that_models_alone_name_is_in_use(tmp_path: Path) -> None:
    """No note about it, though no route names it."""
    entries = "- {id: a, provider: q}\nroutes: [{name: r, match: {model: x}, to: {provider: p}}]\n"
    file = tmp_path / "r.yaml"
    file.write_text(HEAD + entries)
    assert check(file) == []
