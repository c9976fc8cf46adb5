"""Dialects: which URL a cloud has for what its format says plainly, and which calls go there as they are."""

import pytest

from interpose.formats.codecs import CODECS
from interpose.formats.conversions import Asked, carries
from interpose.formats.dialects import Address, Place, as_it_is, between, codec_of_client, locate

AZURE = Address("openai", "azure", "")
AZURE_V1 = Address("openai", "azure", "/openai/v1")
VERTEX = Address("gemini", "vertex", "/v1/projects/p/locations/us-central1")
VERTEX_CLAUDE = Address("anthropic", "vertex", "/v1/projects/p/locations/global")
BEDROCK_CLAUDE = Address("anthropic", "bedrock", "")

LOCATED = [
    # Plainly: below the base, and without what belongs to another dialect.
    (Address("openai", None, "/v1"), "/chat/completions", "", "m", Place("/v1/chat/completions")),
    (Address("openai", "groq", "/openai/v1"), "/models", "a=b&api-version=7", None, Place("/openai/v1/models", "a=b")),
    # https://learn.microsoft.com/azure/ai-foundry/openai/reference
    (
        AZURE,
        "/chat/completions",
        "",
        "my gpt",
        Place("/openai/deployments/my%20gpt/chat/completions", "api-version=2024-10-21", model_inside=False),
    ),
    (
        Address("openai", "azure", "/openai", "2025-01-01-preview"),
        "/embeddings",
        "api-version=1999-01-01&x=y",
        "e",
        Place("/openai/deployments/e/embeddings", "x=y&api-version=2025-01-01-preview", model_inside=False),
    ),
    (AZURE, "/responses", "", "m", Place("/openai/responses", "api-version=2024-10-21")),
    (AZURE_V1, "/chat/completions", "", "m", Place("/openai/v1/chat/completions")),
    (
        Address("openai", "azure", "/openai/v1", "preview"),
        "/responses",
        "",
        "m",
        Place("/openai/v1/responses", "api-version=preview"),
    ),
    # https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
    (
        VERTEX,
        "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
        "alt=sse",
        "gemini-2.5-pro",
        Place(
            "/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro:streamGenerateContent",
            "alt=sse",
            model_inside=False,
        ),
    ),
    (
        Address("gemini", "vertex", ""),
        "/v1beta/models/gemini-2.5-pro:countTokens",
        "",
        "gemini-2.5-pro",
        Place("/v1/publishers/google/models/gemini-2.5-pro:countTokens", model_inside=False),
    ),
    # https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai
    (
        VERTEX_CLAUDE,
        "/v1/messages",
        "",
        "claude-sonnet-4-5@20250929",
        Place(
            "/v1/projects/p/locations/global/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
            model_inside=False,
        ),
    ),
    (
        VERTEX_CLAUDE,
        "/v1/messages/count_tokens",
        "",
        "c",
        Place("/v1/projects/p/locations/global/publishers/anthropic/models/count-tokens:rawPredict"),
    ),
]


@pytest.mark.parametrize(("to", "api_path", "query", "model", "place"), LOCATED)
def test_a_target_is_spelt_as_the_provider_spells_it(
    to: Address, api_path: str, query: str, model: str | None, place: Place
) -> None:
    """The path of the format's plain dialect, as the provider has it."""
    assert locate(to, api_path, query, model) == place


def test_a_stream_of_claude_on_vertex_has_a_verb_of_its_own() -> None:
    """streamRawPredict, where Anthropic's own API says it in the body."""
    assert locate(VERTEX_CLAUDE, "/v1/messages", "", "c", stream=True).path.endswith("/c:streamRawPredict")


@pytest.mark.parametrize(
    ("to", "api_path", "model", "said"),
    [
        (AZURE, "/chat/completions", None, "names no model"),
        (AZURE, "/chat/completions", "..", "cannot be a model's name"),
        (VERTEX, "/v1beta/files", "m", "no /v1beta/files"),
        (VERTEX_CLAUDE, "/v1/models", None, "no /v1/models"),
    ],
)
def test_what_a_dialect_has_not_is_said(to: Address, api_path: str, model: str | None, said: str) -> None:
    """A call that has no place there is named, not sent to a URL that was made up."""
    with pytest.raises(LookupError, match=said):
        locate(to, api_path, "", model)


AS_IT_IS = [
    (("openai", "openai-chat", "chat", None), AZURE_V1, True),
    (("openai", "openai-chat", "chat", "deployment"), Address("openai", None, "/v1"), True),
    (("gemini", "gemini", "chat", "gemini-2.5-pro"), VERTEX, True),
    (("anthropic", "anthropic", "chat", None), Address("anthropic", None, ""), True),
    (("anthropic", "anthropic", "chat", "claude"), VERTEX_CLAUDE, True),
    (("bedrock", "bedrock-invoke", "chat", "anthropic.claude-v2"), Address("bedrock", "bedrock", ""), True),
    # Claude's own API and its clouds: one conversation, three envelopes.
    (("anthropic", "anthropic", "chat", None), VERTEX_CLAUDE, False),
    (("anthropic", "anthropic", "chat", None), BEDROCK_CLAUDE, False),
    (("anthropic", "anthropic", "chat", "claude"), Address("anthropic", None, ""), False),
    # A server without Responses.
    (("openai-responses", "openai-responses", "chat", None), Address("openai", "deepseek", "", responses=False), False),
    (("openai-responses", "openai-responses", "chat", None), Address("openai", None, "/v1"), True),
    (("openai", "openai-chat", "chat", None), Address("anthropic", None, ""), False),
]


@pytest.mark.parametrize(("call", "to", "same"), AS_IT_IS)
def test_a_call_goes_as_it_is_where_its_body_is_understood(
    call: tuple[str, str, str, str | None], to: Address, same: bool
) -> None:
    """One format, one envelope; everything else of a conversation is converted."""
    assert as_it_is(*call, to) is same
    format_, wire, endpoint, model = call
    assert carries(endpoint, Asked(format_, wire, model), to)


@pytest.mark.parametrize(
    ("wire", "model", "to", "names"),
    [
        ("anthropic", None, VERTEX_CLAUDE, ("anthropic", "vertex-anthropic")),
        ("anthropic", "claude", BEDROCK_CLAUDE, ("vertex-anthropic", "bedrock-anthropic")),
        ("openai-chat", None, BEDROCK_CLAUDE, ("openai-chat", "bedrock-anthropic")),
        (
            "bedrock-invoke",
            "eu.anthropic.claude-sonnet-4",
            Address("openai", None, "/v1"),
            ("bedrock-anthropic", "openai-chat"),
        ),
        ("openai-responses", None, Address("openai", "deepseek", ""), ("openai-responses", "openai-chat")),
    ],
)
def test_clouds_have_codecs_of_their_own(wire: str, model: str | None, to: Address, names: tuple[str, str]) -> None:
    """The client's by what it sent and where, the provider's by format and dialect."""
    assert between(wire, model, to) == (CODECS[names[0]], CODECS[names[1]])


def test_invoke_model_is_converted_for_claude_alone() -> None:
    """Titan's, Llama's and Nova's bodies are formats of their own."""
    assert codec_of_client("bedrock-invoke", "meta.llama3-70b-instruct-v1:0") not in CODECS
    assert between("bedrock-invoke", "meta.llama3-70b-instruct-v1:0", AZURE) is None
