"""Routes that can only be refused: named when the rules are read, and never where one call could be carried."""

from pathlib import Path

import pytest

from interpose.rules.load import parse
from interpose.rules.problem import RulesError

PROVIDERS = """version: 1
providers:
  openai: {format: openai, base_url: https://api.openai.com/v1}
  responses: {format: openai-responses, base_url: https://gw.test/v1}
  groq: {format: openai, dialect: groq, base_url: https://api.groq.com/openai/v1}
  claude: {format: anthropic, base_url: https://api.anthropic.com}
  gemini: {format: gemini, base_url: https://generativelanguage.googleapis.com}
  azure: {format: openai, dialect: azure, base_url: https://me.openai.azure.com/openai/v1}
  vertex: {format: gemini, dialect: vertex, base_url: https://aiplatform.googleapis.com}
  mistral: {format: openai, dialect: mistral, base_url: https://api.mistral.ai/v1}
"""


def said(to: str, match: str, more: str = "") -> list[str]:
    text = f"{PROVIDERS}routes:\n- name: a\n  match: {match}\n{more}  to:\n    provider: {to}\n"
    try:
        parse(text, "r.yaml", Path("/etc/rules"))
    except RulesError as error:
        return [str(problem).removeprefix(f"r.yaml:{len(text.splitlines())}:15: ") for problem in error.problems]
    return []


WHERE = "routes[0].to.provider: "
REFUSED = [
    ("claude", "{host: api.openai.com, endpoint: embeddings}", "conversion from openai to anthropic is"),
    ("claude", "{host: [api.openai.com, api.groq.com], endpoint: files}", "conversion from openai to anthropic is"),
    ("claude", "{host: api.openai.com, path: '/v1/embeddings*'}", "conversion from openai to anthropic is"),
    ("claude", "{host: API.OpenAI.com., endpoint: [files, batches]}", "conversion from openai to anthropic is"),
    ("openai", "{host: api.anthropic.com, endpoint: other}", "conversion from anthropic to openai is"),
    ("openai", "{host: generativelanguage.googleapis.com, endpoint: files}", "conversion from gemini to openai is"),
    (
        "gemini",
        "{host: [api.openai.com, api.anthropic.com], endpoint: batches}",
        "conversion from openai to gemini and conversion from anthropic to gemini are",
    ),
]


@pytest.mark.parametrize(("to", "match", "what"), REFUSED)
def test_a_route_that_can_only_be_refused_is_refused_when_read(to: str, match: str, what: str) -> None:
    """The problem stands at the route's provider and names the conversion, or the style of URLs."""
    (problem,) = said(to, match)
    assert problem.startswith(f"{WHERE}{what} not supported in this version")


CARRIED = [
    # Conversations are converted.
    ("openai", "{host: api.anthropic.com}"),
    ("openai", "{host: api.anthropic.com, path: /v1/messages}"),
    ("openai", "{host: generativelanguage.googleapis.com}"),
    ("claude", "{host: api.openai.com}"),
    ("claude", "{host: api.openai.com, endpoint: models}"),
    ("openai", "{host: api.anthropic.com, endpoint: count_tokens}"),
    ("gemini", "{host: api.openai.com, endpoint: embeddings}"),
    ("gemini", "{host: api.openai.com, path: /v1/completions}"),
    ("claude", "{host: api.openai.com, endpoint: [chat, embeddings]}"),
    ("gemini", "{host: [api.openai.com, api.anthropic.com], endpoint: chat}"),
    ("responses", "{host: api.anthropic.com, endpoint: chat}"),
    ("openai", "{endpoint: chat}"),
    ("claude", "{model: 'gpt-*'}"),
    ("azure", "{endpoint: chat}"),
    ("openai", "{host: api.openai.com}"),
    ("groq", "{host: api.openai.com}"),
    ("claude", "{host: [api.openai.com, api.anthropic.com]}"),
    ("claude", "{host: [api.openai.com, llm.corp.test]}"),
    ("claude", "{host: '*.openai.com'}"),
    ("claude", "{host: [api.openai.com, '*.anthropic.com']}"),
    ("claude", "{host: llm.corp.test}"),
    ("claude", "{host: chatgpt.com}"),
    ("azure", "{host: api.openai.com}"),
    ("azure", "{host: [api.groq.com, you.openai.azure.com]}"),
    ("azure", "{host: llm.corp.test}"),
    ("azure", "{host: api.anthropic.com}"),
    ("openai", "{host: you.openai.azure.com}"),
    ("claude", "{host: me.openai.azure.com}"),
    ("vertex", "{host: generativelanguage.googleapis.com}"),
    ("vertex", "{host: us-central1-aiplatform.googleapis.com}"),
    ("gemini", "{host: us-central1-aiplatform.googleapis.com}"),
    ("azure", "{host: me.openai.azure.com}"),
    ("azure", "{host: [api.openai.com, me.openai.azure.com]}"),
    ("vertex", "{host: aiplatform.googleapis.com}"),
    # The provider's own origin is addressed: nothing is converted, whatever its format is called.
    ("mistral", "{host: api.mistral.ai}"),
    # Responses go there as they are.
    ("responses", "{host: api.openai.com, endpoint: chat}"),
    # These hosts have other formats beside their own, and the route chooses them.
    ("claude", "{host: api.deepseek.com, path: '/anthropic/*'}"),
    ("openai", "{host: api.anthropic.com, path: /v1/chat/completions}"),
    ("openai", "{host: api.anthropic.com, path: /v1/chat/completions/}"),
    ("openai", "{host: api.anthropic.com, endpoint: embeddings}"),
    ("openai", "{host: api.anthropic.com, endpoint: 'none*'}"),
    ("openai", "{host: api.anthropic.com, path: '/v1/models/gpt-4o'}"),
    ("openai", "{host: api.anthropic.com, path: '*'}"),
]


@pytest.mark.parametrize(("to", "match"), CARRIED)
def test_a_route_that_may_carry_a_call_is_left_alone(to: str, match: str) -> None:
    """What depends on the call is decided when it is made."""
    assert said(to, match) == []


@pytest.mark.parametrize("unless", ["{path: /v1/agents}", "{endpoint: files}"])
def test_an_except_that_spares_calls_is_not_judged(unless: str) -> None:
    """What is left of a host's calls may be in another of its formats."""
    match = "{host: api.anthropic.com, endpoint: other}"
    assert said("openai", match, f"  except: {unless}\n") == []
    assert said("openai", match, "  except: {client: ci}\n") != []


def test_the_hint_names_the_calls_that_can_go_there() -> None:
    """A host that offers the provider's format beside its own is answered with the path of that; the path works."""
    (problem,) = said("openai", "{host: api.anthropic.com, endpoint: other}")
    path = '"/v1/responses/compact*"'
    assert problem.endswith(f"only its calls in that format can go there: narrow `match` by path: {path}")
    assert said("openai", f"{{host: api.anthropic.com, path: {path}}}") == []


def test_every_target_of_a_list_is_judged_at_its_place() -> None:
    """`to` as a list has its problem at the entry that is wrong."""
    match = "{host: api.openai.com, endpoint: files}"
    text = f"{PROVIDERS}routes:\n- name: a\n  match: {match}\n  to: [{{provider: claude}}]\n"
    with pytest.raises(RulesError) as caught:
        parse(text, "r.yaml", Path("/etc/rules"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.path) == (14, 19, "routes[0].to[0].provider")


def test_a_conversion_is_named_beside_everything_else_that_is_not_supported() -> None:
    """The design's own example says of its first route all that this version does not do, conversion included."""
    text = """version: 1
providers:
  openai:
    format: openai
    dialect: azure
    base_url: https://api.openai.com/v1
    credential: {env: OPENAI_API_KEY}
  claude:
    format: anthropic
    base_url: https://api.anthropic.com
    credential: {env: ANTHROPIC_API_KEY}
routes:
  - name: gpt-to-claude
    match: {endpoint: files, model: ["gpt-4*", "gpt-5*"], client: ci, host: api.groq.com, header: {x-team: research}}
    to: {provider: claude, model: claude-sonnet-4-5}
    fallback: [{provider: openai}]
    retry: {attempts: 3, on: [429, 5xx, connect, timeout], backoff: 0.5s..20s}
    usage: request
  - name: canary
    match: {endpoint: chat}
    to: [{provider: openai, weight: 90}, {provider: claude, model: claude-haiku-4-5, weight: 10}]
"""
    with pytest.raises(RulesError) as caught:
        parse(text, "r.yaml", Path("/etc/rules"))
    found = {problem.path: problem for problem in caught.value.problems}
    assert found["routes[0].to.provider"].line == 15
    assert found["routes[0].to.provider"].message == (
        "conversion from openai to anthropic is not supported in this version"
    )
    assert set(found) == {"routes[0].to.provider"}


@pytest.mark.parametrize(
    "broken",
    [
        "{host: 7}",
        "{host: [api.openai.com, 7], endpoint: 7, path: {}}",
        "[api.openai.com]",
        "{host: 'a b'}",
        "{host: []}",
    ],
)
def test_what_has_a_wrong_type_is_left_to_the_schema(broken: str) -> None:
    """A malformed match is reported as such, and judging conversions never raises."""
    problems = said("claude", broken)
    assert problems
    assert not any("conversion from" in problem for problem in problems)
