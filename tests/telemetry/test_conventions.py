"""Names are those of OpenTelemetry's own package, as far as it has them; values are the well-known ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum
from opentelemetry.semconv._incubating.attributes import (
    client_attributes,
    error_attributes,
    exception_attributes,
    gen_ai_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.schemas import Schemas
from tests.ledger.conftest import invented

from interpose.call import Origin
from interpose.metrics.counting import Models
from interpose.metrics.families import FAMILIES
from interpose.telemetry import conventions, measures
from interpose.telemetry.spans import told

DOCS = Path(__file__).parents[2] / "docs" / "telemetry.md"
# What the package has not (yet): the conventions' own repository does.
NEWER = {conventions.REASONING_TOKENS, conventions.TOKEN_MODALITY}
KNOWN = {
    value
    for module in (
        client_attributes,
        error_attributes,
        exception_attributes,
        gen_ai_attributes,
        http_attributes,
        server_attributes,
        url_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}


def constants() -> set[str]:
    return {
        value
        for name, value in vars(conventions).items()
        if name.isupper()
        and not name.startswith("_")
        and isinstance(value, str)
        and name not in ("SCHEMA_URL", "SCOPE", "DETAILS", "EXCEPTION")
    }


def test_every_attribute_is_one_of_the_conventions() -> None:
    """By the package of the SDK, which is newer than what is named, but for what it leaves to another repository."""
    assert constants() - KNOWN <= NEWER
    assert conventions.SCHEMA_URL in {schema.value for schema in Schemas}


def test_metrics_have_the_conventions_names() -> None:
    """Those of 1.41."""
    told = DOCS.read_text()
    for name in (
        "OPERATION_DURATION",
        "OPERATION_TIME_PER_OUTPUT_CHUNK",
        "OPERATION_TIME_TO_FIRST_CHUNK",
        "TOKEN_USAGE",
    ):
        assert f"`{getattr(gen_ai_metrics, f'GEN_AI_CLIENT_{name}')}`" in told
    assert measures.TOKENS[-1] == 67108864
    assert measures.SECONDS == (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


def test_well_known_values_are_used() -> None:
    """Operations and providers are what the package lists; what it does not know is said as it is."""
    operations = {each.value for each in gen_ai_attributes.GenAiOperationNameValues}
    providers = {each.value for each in gen_ai_attributes.GenAiProviderNameValues}
    assert {*conventions._OPERATIONS.values(), *conventions._OF_FORMAT.values()} <= operations
    named = {*conventions._OF_DIALECT.values(), *conventions._OF_PROVIDER_FORMAT.values()}
    assert named - providers <= {"ollama", "moonshot_ai"}


@pytest.mark.parametrize(
    ("endpoint", "format_", "path", "operation"),
    [
        ("chat", "openai", "/v1/chat/completions", "chat"),
        ("chat", "openai", "/v1/responses", "chat"),
        ("chat", "openai", "/v1/completions", "text_completion"),
        ("chat", "gemini", "/v1beta/models/g:generateContent", "generate_content"),
        ("chat", "anthropic", "/v1/messages", "chat"),
        ("chat", "bedrock", "/model/m/converse", "chat"),
        ("embeddings", "openai", "/v1/embeddings", "embeddings"),
        ("models", "openai", "/v1/models", "models"),
    ],
)
def test_operations(endpoint: str, format_: str, path: str, operation: str) -> None:
    """By the endpoint, the client's format, and the path where that says more."""
    assert conventions.operation(endpoint, format_, path) == operation


@pytest.mark.parametrize(
    ("host", "format_", "dialect", "provider"),
    [
        ("api.openai.com", "openai", None, "openai"),
        ("api.openai.com", None, None, "openai"),
        ("example.openai.azure.com", "openai", "azure", "azure.ai.openai"),
        ("example.openai.azure.com", "openai", None, "azure.ai.openai"),
        ("generativelanguage.googleapis.com", "gemini", None, "gcp.gemini"),
        ("us-central1-aiplatform.googleapis.com", "gemini", "vertex", "gcp.vertex_ai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "anthropic", "bedrock", "aws.bedrock"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock", None, "aws.bedrock"),
        ("api.mistral.ai", "mistral", None, "mistral_ai"),
        ("api.groq.com", "openai", None, "groq"),
        ("llm.internal", "anthropic", None, "anthropic"),
        ("llm.internal", None, None, "_OTHER"),
    ],
)
def test_providers(host: str, format_: str | None, dialect: str | None, provider: str) -> None:
    """By the dialect, else the host, else the format."""
    assert conventions.provider(host, format_, dialect) == provider


def test_the_documentation_has_every_name() -> None:
    """Each attribute, metric and event is in docs/telemetry.md."""
    told = DOCS.read_text()
    source = "".join(path.read_text() for path in Path(measures.__file__).parent.glob("*.py"))
    names = constants() | set(
        re.findall(r'"((?:interpose|gen_ai)\.(?:call|calls|cost|attempt|unpriced|client)[.a-z_]*)"', source)
    )
    missing = {name for name in names if name not in told and f".{name.partition('gen_ai.usage.')[2]}" not in told}
    assert (
        missing
        - {
            # Said without their names, as the HTTP conventions' and the exceptions' own.
            conventions.EXCEPTION_TYPE,
            conventions.EXCEPTION_MESSAGE,
        }
        == set()
    )


def test_what_is_ours_is_called_as_on_the_page_for_prometheus() -> None:
    """By the rules that make Prometheus' names of OpenTelemetry's: dots, units, and _total for counters.

    https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
    """
    reader = InMemoryMetricReader()
    by = measures.Measures(MeterProvider([reader], shutdown_on_exit=False).get_meter("test"), Models())
    record = invented(duration_ms=5.0, cost_usd=0.5)
    asked = Origin("https", "api.openai.com", 443)
    by.record(told(record, [], [], [], None, asked, {}))
    by.record(told(invented(input_tokens=1), [], [], [], None, asked, {}))
    data = reader.get_metrics_data()
    assert data is not None
    found = [metric for metric in data.resource_metrics[0].scope_metrics[0].metrics if "interpose" in metric.name]
    names = {
        metric.name.replace(".", "_") + {"s": "_seconds"}.get(metric.unit, "") + "_total" * isinstance(metric.data, Sum)
        for metric in found
    }
    assert names == {
        "interpose_calls_total", "interpose_call_duration_seconds", "interpose_cost_usd_total",
        "interpose_unpriced_calls_total",
    }  # fmt: skip
    assert names <= {family.shown for family in FAMILIES.values()}
