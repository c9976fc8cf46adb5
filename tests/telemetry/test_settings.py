"""Where telemetry goes: the rules first, then OpenTelemetry's variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpose.rules.load import parse
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber
from interpose.telemetry.settings import Settings, TelemetryError, settings_of


async def settings(section: str = "{}", scrubber: Scrubber | None = None, **environ: str) -> Settings | None:
    rules = parse(f"version: 1\ntelemetry: {section}\n", "r.yaml", Path())
    assert rules.telemetry is not None
    learn = (scrubber or Scrubber()).learn
    store = SecretStore(environ, clock=lambda: 0.0, learn=learn)
    return await settings_of(rules.telemetry, environ, store.resolve, learn)


async def found(section: str = "{}", **environ: str) -> Settings:
    given = await settings(section, **environ)
    assert given is not None
    return given


async def test_without_a_word_it_is_the_collector_of_this_machine() -> None:
    """All three kinds, at OTLP's paths."""
    here = await found()
    assert here.traces is not None
    assert here.metrics is not None
    assert here.events is not None
    assert [here.traces.url, here.metrics.url, here.events.url] == [
        f"http://localhost:4318/v1/{kind}" for kind in ("traces", "metrics", "logs")
    ]
    assert (here.interval, here.temporality) == (60.0, "cumulative")


async def test_content_is_a_word_of_the_rules_alone() -> None:
    """No variable turns it on, those of instrumentations included."""
    capture = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT"}
    assert not (await found(**capture)).content
    assert (await found("{content: true}")).content


async def test_the_environment_says_what_the_rules_leave_out() -> None:
    """One signal's variable stands above that of all, and is taken as it is."""
    here = await found(
        OTEL_EXPORTER_OTLP_ENDPOINT="https://c.test/otlp/",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://m.test/take",
        OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b, other=2,,bad",
        OTEL_EXPORTER_OTLP_TIMEOUT="1500",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_METRIC_EXPORT_INTERVAL="5000",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="Delta",
        OTEL_LOGS_EXPORTER="none",
    )
    assert here.traces is not None
    assert here.metrics is not None
    assert (here.traces.url, here.metrics.url, here.events) == (
        "https://c.test/otlp/v1/traces", "http://m.test/take", None,
    )  # fmt: skip
    assert here.traces.headers == {"x-key": "a b", "other": "2"}
    assert (here.traces.timeout, here.traces.gzip) == (1.5, True)
    assert (here.interval, here.temporality) == (5.0, "delta")


async def test_the_headers_of_another_collector_stay_away() -> None:
    """A credential goes where it belongs."""
    here = await found("{otlp: 'https://mine.test'}", OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer sk-FAKE-theirs")
    assert here.traces is not None
    assert (here.traces.url, here.traces.headers) == ("https://mine.test/v1/traces", {})


async def test_secrets_of_headers_are_known_to_the_scrubber_and_shown_nowhere() -> None:
    """Be they of the rules or of the environment."""
    scrubber = Scrubber()
    section = "{headers: {authorization: 'Bearer ${TOKEN}'}}"
    here = await settings(
        section, scrubber, TOKEN="sk-FAKE-of-rules", OTEL_EXPORTER_OTLP_HEADERS="x-key=sk-FAKE-of-environment"
    )
    assert here is not None
    assert here.traces is not None
    assert here.traces.headers == {"x-key": "sk-FAKE-of-environment", "authorization": "Bearer sk-FAKE-of-rules"}
    assert "FAKE" not in repr(here)
    assert scrubber.scrub("sk-FAKE-of-rules sk-FAKE-of-environment") == "*** ***"


async def test_the_environment_can_turn_it_off() -> None:
    """As it does with every SDK."""
    assert await settings(OTEL_SDK_DISABLED="true") is None
    assert await settings("{metrics: false, events: false}", OTEL_TRACES_EXPORTER="none") is None


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "is grpc, and telemetry is sent by http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "is no URL of http or https"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, "is no URL of http or https"),
    ],
)
async def test_what_cannot_be_sent_to_is_said_at_the_start(environ: dict[str, str], words: str) -> None:
    """In words that say what to do."""
    with pytest.raises(TelemetryError, match=words):
        await settings(**environ)
    assert await settings("{otlp: 'http://localhost:4318'}", **environ) is not None
