"""Whose price list holds for a host."""

from __future__ import annotations

import pytest
from genai_prices.data import providers

from interpose.formats.known_hosts import EVERY_ROW
from interpose.prices import vendor
from interpose.prices.vendors import _OF_DIALECT, _OF_FORMAT, _OF_HOST

CASES = [
    ("api.openai.com", None, "openai"),
    ("eu.api.openai.com", None, "openai"),
    ("api.anthropic.com", None, "anthropic"),
    ("generativelanguage.googleapis.com", None, "google"),
    ("us-central1-aiplatform.googleapis.com", None, "google"),
    ("acme.openai.azure.com", None, "azure"),
    ("bedrock-runtime.us-east-1.amazonaws.com", None, "aws"),
    ("api.mistral.ai", None, "mistral"),
    ("api.cohere.com", None, "cohere"),
    ("api.groq.com", None, "groq"),
    ("api.x.ai", None, "x-ai"),
    ("api.moonshot.cn", None, "moonshotai"),
    ("open.bigmodel.cn", "zai", "zhipuai"),
    ("llm.corp.example", "azure", "azure"),
    ("llm.corp.example", None, None),
    ("api.openai.com.evil.test", None, None),
    ("localhost", None, None),
    ("127.0.0.1", None, None),
    ("ollama.com", None, None),
]


@pytest.mark.parametrize(("host", "dialect", "expected"), CASES)
def test_a_host_or_a_dialect_names_the_vendor(host: str, dialect: str | None, expected: str | None) -> None:
    """A known host has its vendor, any other that of its dialect; a server of one's own has none."""
    assert vendor(host, dialect) == expected


@pytest.mark.parametrize(
    ("host", "spoken", "expected"),
    [
        ("127.0.0.1", "anthropic", "anthropic"),
        ("llm.corp.example", "openai-responses", "openai"),
        ("llm.corp.example", "gemini", "google"),
        ("llm.corp.example", "ollama", None),
        ("ollama.com", "openai", None),
        ("api.groq.com", "openai", "groq"),
    ],
)
def test_a_gateway_passes_on_what_the_maker_of_its_format_sells(host: str, spoken: str, expected: str | None) -> None:
    """Only where nobody knows the host: one that is known has its own prices, or none."""
    assert vendor(host, spoken=spoken) == expected


def test_every_vendor_is_one_that_the_data_know() -> None:
    """The ids are those of the installed release."""
    assert {*_OF_DIALECT.values(), *_OF_FORMAT.values(), *_OF_HOST.values()} <= {provider.id for provider in providers}


def test_every_host_of_the_table_is_a_host_that_we_know() -> None:
    """A pattern is written as the table of hosts writes it."""
    assert set(_OF_HOST) <= {row.pattern for row in EVERY_ROW}
    assert set(_OF_DIALECT) <= {row.dialect for row in EVERY_ROW}
