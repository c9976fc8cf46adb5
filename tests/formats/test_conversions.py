"""The table of conversions: which kind of call goes to whom, and what goes nowhere."""

from __future__ import annotations

import pytest

from interpose.formats.conversions import CONVERSIONS, Asked, between, carries
from interpose.formats.dialects import Address

CLAUDE, GEMINI = Address("anthropic", None, ""), Address("gemini", None, "")
OPENAI, COHERE = Address("openai", None, "/v1"), Address("cohere", None, "")

CONVERTED = [
    ("chat", ("openai", "openai-chat"), "POST", "/chat/completions", CLAUDE, ("openai-chat", "anthropic")),
    (
        "completions",
        ("openai", "openai-completions"),
        "POST",
        "/completions",
        CLAUDE,
        ("openai-completions", "anthropic"),
    ),
    ("completions", ("ollama", "ollama"), "POST", "/api/generate", GEMINI, ("ollama", "gemini")),
    ("embeddings", ("gemini", "gemini"), "POST", "/v1/models/g:embedContent", COHERE, ("gemini", "cohere")),
    ("models", ("anthropic", "none"), "GET", "/v1/models/claude-x", OPENAI, ("anthropic", "openai-models")),
    ("count_tokens", ("anthropic", "none"), "POST", "/v1/messages/count_tokens", GEMINI, ("anthropic", "gemini")),
]


@pytest.mark.parametrize(("endpoint", "client", "method", "path", "to", "names"), CONVERTED)
def test_every_kind_of_call_has_its_codecs(
    endpoint: str, client: tuple[str, str], method: str, path: str, to: Address, names: tuple[str, str]
) -> None:
    """The client's by what it asked, the provider's by its format."""
    asked = Asked(*client, None)
    found = between(endpoint, asked, method, path, to)
    assert found is not None
    assert (found.client.name, found.provider.name) == names
    assert carries(endpoint, asked, to)


NOWHERE = [
    # Anthropic has no embeddings, and its old completions are a body of their own; so are Cohere's.
    ("embeddings", ("openai", "openai-embeddings"), "POST", "/embeddings", CLAUDE),
    ("completions", ("anthropic", "none"), "POST", "/v1/complete", OPENAI),
    ("completions", ("cohere", "cohere"), "POST", "/v1/generate", OPENAI),
    # Neither a deletion nor what looks alike.
    ("models", ("openai", "none"), "DELETE", "/models/ft:mine", CLAUDE),
    ("models", ("ollama", "none"), "POST", "/api/show", OPENAI),
    ("models", ("gemini", "none"), "GET", "/v1beta/tunedModels", OPENAI),
    ("embeddings", ("openai", "openai-embeddings"), "POST", "/multimodalembeddings", COHERE),
    ("embeddings", ("gemini", "none"), "POST", "/v1/models/e:predictLongRunning", COHERE),
    ("embeddings", ("bedrock", "bedrock-invoke"), "POST", "/model/amazon.nova-2-multimodal-embeddings/invoke", OPENAI),
    ("count_tokens", ("anthropic", "none"), "POST", "/v1/messages/count_tokens", COHERE),
    ("files", ("openai", "none"), "GET", "/files", CLAUDE),
]


@pytest.mark.parametrize(("endpoint", "client", "method", "path", "to"), NOWHERE)
def test_what_nobody_can_say_otherwise_goes_nowhere(
    endpoint: str, client: tuple[str, str], method: str, path: str, to: Address
) -> None:
    """There is no pair of codecs: such a call is refused by name."""
    assert between(endpoint, Asked(*client, None), method, path, to) is None


def test_the_kinds_are_known() -> None:
    """What the table holds is what the documentation names."""
    assert set(CONVERSIONS) == {"chat", "completions", "count_tokens", "embeddings", "models"}
