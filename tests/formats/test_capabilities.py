"""What models can do: whose name means which row, what rules put in its place, and what the SDKs know of their own."""

import re
from fnmatch import fnmatchcase
from typing import Any, get_args

import pytest
from anthropic._data import DEPRECATED_MODELS, MODELS_TO_WARN_WITH_THINKING_ENABLED
from anthropic.types import ModelParam
from google.genai._gaos.types.interactions.model import Model as GoogleModel
from openai.types.shared import AllModels

from interpose.formats.capabilities import Capabilities, Change, capabilities_of, row_of
from interpose.formats.capabilities.lookup import ROWS


def names_in(annotation: Any) -> list[str]:
    """Every name in a type that is made of unions of literals."""
    if isinstance(annotation, str):
        return [annotation]
    return [name for part in get_args(annotation) for name in names_in(part)]


CLAUDE = names_in(ModelParam)
OPENAI = names_in(AllModels)
GOOGLE = [name for name in names_in(GoogleModel) if name.startswith(("gemini", "gemma"))]


@pytest.mark.parametrize("model", [*CLAUDE, *DEPRECATED_MODELS, *OPENAI, *GOOGLE])
def test_every_model_of_the_sdks_is_known(model: str) -> None:
    """Of each name in the official SDKs' own lists the tables say something."""
    assert capabilities_of(model) != Capabilities()


def test_the_sdks_lists_are_there() -> None:
    """The lists hold what they held when this was written: an SDK that moves them is noticed."""
    assert "claude-opus-4-8" in CLAUDE
    assert "gpt-4.1" in OPENAI
    assert "gemini-2.5-pro" in GOOGLE


@pytest.mark.parametrize("model", [*CLAUDE, *DEPRECATED_MODELS])
def test_every_claude_of_the_sdk_is_known_by_name(model: str) -> None:
    """No Claude that the SDK lists falls to the row of all Claudes: each has a limit of its output."""
    assert capabilities_of(model).max_output is not None


@pytest.mark.parametrize("model", MODELS_TO_WARN_WITH_THINKING_ENABLED)
def test_no_budget_is_written_where_the_sdk_warns_of_it(model: str) -> None:
    """The models of which Anthropic's SDK says that a budget is deprecated are not asked by a budget."""
    assert capabilities_of(model).thinking != "budget"


ALIASES = [
    ("claude-sonnet-4-5-20250929", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("claude-sonnet-4-5-20250929", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("claude-sonnet-4-5-20250929", "us-gov.anthropic.claude-sonnet-4-5-20250929-v1%3A0"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5@20250929"),
    ("claude-sonnet-4-5", "publishers/anthropic/models/claude-sonnet-4-5@20250929"),
    ("claude-sonnet-4-5", "anthropic/claude-sonnet-4.5"),
    ("claude-sonnet-4-5", "bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("claude-3-7-sonnet-20250219", "anthropic/claude-3.7-sonnet:thinking"),
    ("claude-3-7-sonnet-20250219", "databricks-claude-3-7-sonnet"),
    ("claude-3-5-haiku-latest", "anthropic/claude-3.5-haiku"),
    ("claude-opus-4-0", "claude-4-opus-20250514"),
    ("claude-opus-4-7", "anthropic/claude-4.7-opus"),
    ("claude-opus-4-8", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-8"),
    ("gpt-4o", "openai/gpt-4o"),
    ("gpt-4o", "GPT-4o"),
    ("gpt-4o-mini", "ft:gpt-4o-mini-2024-07-18:acme::abc123"),
    ("gpt-3.5-turbo", "gpt-35-turbo"),
    ("gpt-5.6-luna", "openai.gpt-5.6-luna"),
    ("gemini-2.5-flash", "models/gemini-2.5-flash"),
    ("gemini-2.5-flash", "google/gemini-2.5-flash:free"),
    ("llama-3.1-8b-instant", "meta.llama3-1-70b-instruct-v1:0"),
    ("llama-3.1-8b-instant", "meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo"),
    ("llama-3.1-8b-instant", "@cf/meta/llama-3.3-70b-instruct-fp8-fast"),
    ("llama-3.2-11b-vision", "us.meta.llama3-2-90b-instruct-v1:0"),
    ("command-r", "cohere.command-r-v1:0"),
    ("command-a-03-2025", "cohere/command-a"),
    ("command-a-03-2025", "CohereLabs/c4ai-command-a-03-2025"),
    ("nova-2-lite", "us.amazon.nova-2-lite-v1%3A0"),
    ("jamba-1-5-large", "ai21.jamba-1-5-mini-v1:0"),
    ("pixtral-large-latest", "us.mistral.pixtral-large-2502-v1:0"),
    ("grok-4-fast", "x-ai/grok-4-fast"),
]


@pytest.mark.parametrize(("plain", "alias"), ALIASES)
def test_a_model_is_known_under_the_names_that_others_give_it(plain: str, alias: str) -> None:
    """Prefixes, regions, dates and dots around a name lead to the same row as the provider's own name."""
    assert row_of(plain) is not None
    assert row_of(alias) is row_of(plain)


@pytest.mark.parametrize("model", ["", "my-deployment", "/", "default", "*", "[", "clau", "us.acme.thing-v1:0"])
def test_of_an_unknown_name_nothing_is_said(model: str) -> None:
    """A name that is in no table means the permissive default."""
    assert row_of(model) is None
    assert capabilities_of(model) == Capabilities()


NEIGHBOURS = [
    ("claude-opus-4-20250514", "claude-opus-4-5-20251101"),
    ("claude-opus-5", "claude-opus-5-5"),
    ("claude-sonnet-4-5", "claude-sonnet-4-6"),
    ("gpt-4", "gpt-4-turbo"),
    ("gpt-4-0613", "gpt-4-0125-preview"),
    ("gpt-4o", "gpt-4o-2024-05-13"),
    ("gpt-4o", "gpt-4o-audio-preview"),
    ("gpt-5", "gpt-5-chat-latest"),
    ("gpt-5.4-mini", "gpt-5.4-pro"),
    ("o3", "o3-mini"),
    ("gemini-2.5-flash", "gemini-2.5-flash-image"),
    ("gemini-3.5-flash", "gemini-3.5-flash-lite"),
    ("grok-4", "grok-4.3"),
    ("nova-lite", "nova-2-lite"),
    ("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-8b-instruct-v1:0"),
    ("us.meta.llama3-2-90b-instruct-v1:0", "us.meta.llama3-2-3b-instruct-v1:0"),
    ("deepseek-r1", "us.deepseek.r1-v1:0"),
    ("titan-text-express-v1", "titan-text-premier-v1:0"),
]


@pytest.mark.parametrize(("one", "other"), NEIGHBOURS)
def test_the_glob_that_says_most_wins(one: str, other: str) -> None:
    """A name that two globs match means the more specific row, wherever that stands in the tables."""
    assert capabilities_of(one) != capabilities_of(other)


def test_no_name_stands_in_two_rows() -> None:
    """Each name and each glob belongs to one row."""
    names = [name for row in ROWS for name in row.names]
    assert sorted(set(names)) == sorted(names)


def test_no_two_globs_of_one_weight_match_one_known_name() -> None:
    """Which row is meant never hangs on the order of the tables: of the globs that match, one is longest."""
    patterns = [name for row in ROWS for name in row.names]
    for model in (*CLAUDE, *OPENAI, *GOOGLE):
        matching = [pattern for pattern in patterns if fnmatchcase(model, pattern)]
        weights = sorted((len(pattern.replace("*", "").replace("?", "")) for pattern in matching), reverse=True)
        assert model in matching or len(weights) == 1 or weights[0] > weights[1], (model, matching)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_every_row_can_be_found_and_has_its_source(row: Any) -> None:
    """A row's names are written as names are looked up, and a page says what it says."""
    assert row.sources
    assert all(re.match(r"https://[a-z0-9.-]+\.[a-z]+/\S+$", source) for source in row.sources)
    for name in row.names:
        assert row_of(name.replace("*", "").replace("?", "1")) is not None
        assert name == name.lower()
        assert "/" not in name


def test_an_override_changes_what_it_names_and_no_more() -> None:
    """What rules leave out of a model stays as the tables have it."""
    known = capabilities_of("claude-sonnet-4-5")
    found = capabilities_of("claude-sonnet-4-5", {"claude-sonnet-4-5": Change((("max_output", 100),))})
    assert (found.max_output, found.cache_field) == (100, known.cache_field)


def test_an_override_may_say_all() -> None:
    """Capabilities given as a whole stand in place of the tables'."""
    whole = Capabilities(max_output=5, tools=False)
    assert capabilities_of("gpt-4o", {"gpt-4o": whole}) == whole
    assert capabilities_of("gpt-4o-mini", {"gpt-4o": whole}) == capabilities_of("gpt-4o-mini")


def test_an_exact_override_goes_before_globs_and_the_longest_of_these_first() -> None:
    """The order in which overrides are written does not matter."""
    limits = {"*": 1, "my-*": 2, "my-big-*": 3, "my-big-model": 4}
    for order in (limits, dict(reversed(limits.items()))):
        overrides = {name: Change((("max_output", most),)) for name, most in order.items()}
        found = [capabilities_of(model, overrides).max_output for model in ("x", "my-x", "my-big-x", "my-big-model")]
        assert found == [1, 2, 3, 4]


def test_an_override_knows_a_model_by_either_name() -> None:
    """It may name the model as it is sent, or as its provider calls it; as it is sent goes first."""
    sent = "us.anthropic.claude-opus-4-8"
    plain, whole = Change((("max_output", 1),)), Change((("max_output", 2),))
    assert capabilities_of(sent, {"claude-opus-4-8": plain}).max_output == 1
    assert capabilities_of(sent, {"claude-opus-4-8": plain, sent: whole}).max_output == 2
