"""Traces, metrics and events of a real gateway and a real interceptor, as a collector gets them."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import pytest_asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.e2e.certificates import Authority
from tests.e2e.hosting import both_providers, changed
from tests.e2e.proxy import Gateway, Ledger, Proxy
from tests.e2e.replies import CHAT_JSON
from tests.e2e.settings import ENVIRON, OPENAI, PLACEHOLDER, VIRTUAL, acting_rules, audit_rules, gateway_rules
from tests.e2e.test_gateway import CLAUDE, HI
from tests.e2e.test_metrics import RULES, STREAM
from tests.e2e.upstream import Exchange, Upstream
from tests.telemetry.collector import Collector, collecting
from tests.telemetry.conventional import check

from interpose import AsyncTransport

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN = "sk-FAKE-otlp-token-0000000000"
SAID = "What nobody else is to read"


def telemetry(collector: Collector, **more: Any) -> dict[str, Any]:
    return {"telemetry": {"otlp": collector.url, "headers": {"authorization": "Bearer ${OTLP_TOKEN}"}, **more}}


# The client has had the first piece of a stream.
HEARD = asyncio.Event()


async def answer(exchange: Exchange) -> None:
    """By the model that is asked for."""
    asked = json.loads(exchange.request.body)
    if exchange.request.path == "/v1/messages":
        await exchange.json(json.dumps(CLAUDE).encode())
    elif asked["model"] in ("shaky-1", "gpt-5"):
        await exchange.json(b'{"error": {"message": "no"}}', 503)
    elif asked.get("stream"):
        await exchange.stream("text/event-stream")
        for number, piece in enumerate(STREAM):
            if number:
                await HEARD.wait()
            await exchange.chunk(piece)
        await exchange.end()
    else:
        await exchange.json(CHAT_JSON)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream, collector: Collector
) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("traced"))
    rules = {**json.loads(gateway_rules(authority, upstream)), **RULES, **telemetry(collector, interval="1s")}
    environ = {**ENVIRON, "OTLP_TOKEN": TOKEN, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
    await gateway.start(json.dumps(rules), environ)
    yield gateway
    assert await gateway.stop() == 0, gateway.errors
    assert TOKEN not in gateway.errors


@pytest_asyncio.fixture(loop_scope="session")
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=VIRTUAL, base_url=gateway.base_url, max_retries=0) as client:
        yield client


class Parent:
    """A client program's own span, by the real SDK."""

    def __init__(self) -> None:
        self._tracer = TracerProvider(shutdown_on_exit=False).get_tracer("client")

    def headers(self, **more: str) -> tuple[dict[str, str], str, str]:
        """What its instrumentation sends, and the ids of its trace and span."""
        with self._tracer.start_as_current_span("question") as span:
            carrier: dict[str, str] = dict(more)
            TraceContextTextMapPropagator().inject(carrier)
            context = span.get_span_context()
        return carrier, trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


async def asked(client: openai.AsyncOpenAI, model: str, headers: dict[str, str] | None = None, **more: Any) -> str:
    """The id of a call."""
    messages = more.pop("messages", [{"role": "user", "content": SAID}])
    raw = await client.chat.completions.with_raw_response.create(
        model=model, messages=messages, extra_headers=headers, **more
    )
    return str(raw.headers["x-interpose-id"])


async def test_a_call_is_a_span_with_an_attempt_below_it(
    client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """Below the client's own span; the provider is told of the attempt's, in the header that the client has sent."""
    headers, trace_id, parent = Parent().headers(tracestate="vendor=1", baggage="who=me")
    with upstream.answering(answer):
        id_ = await asked(client, "gpt-4o", headers)
        (request,) = upstream.requests
    call = await asyncio.to_thread(collector.call, id_)
    assert (call.trace, call.parent, call.state, call.kind, call.name) == (
        trace_id, parent, "vendor=1", "SERVER", "chat gpt-4o",
    )  # fmt: skip
    (attempt,) = collector.attempts(call)
    assert (attempt.trace, attempt.kind, attempt.name, attempt.status) == (trace_id, "CLIENT", "chat gpt-4o", "UNSET")
    assert request.values("traceparent") == [f"00-{trace_id}-{attempt.id}-{headers['traceparent'][-2:]}".encode()]
    assert (request.values("tracestate"), request.values("baggage")) == ([b"vendor=1"], [b"who=me"])
    assert call.start <= attempt.start <= attempt.end <= call.end
    assert attempt.attributes == attempt.attributes | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": json.loads(CHAT_JSON)["model"],
        "gen_ai.usage.input_tokens": json.loads(CHAT_JSON)["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": json.loads(CHAT_JSON)["usage"]["completion_tokens"],
        "server.address": "api.openai.com",
        "server.port": 443,
        "http.response.status_code": 200,
    }
    assert call.attributes == call.attributes | {
        "interpose.client": "ci",
        "interpose.provider": "openai",
        "interpose.outcome": "ok",
        "interpose.entrance": "gateway",
        "interpose.usage_source": "provider",
        "http.response.status_code": 200,
    }
    assert "error.type" not in call.attributes
    assert call.resource == call.resource | {
        "service.name": "interpose",
        "deployment.environment.name": "test",
        "telemetry.sdk.name": "opentelemetry",
    }
    details = (await events(collector, call))["gen_ai.client.inference.operation.details"]
    assert (details.trace, details.span) == (trace_id, attempt.id)
    assert details.attributes["gen_ai.usage.input_tokens"] == attempt.attributes["gen_ai.usage.input_tokens"]


async def events(collector: Collector, call: Any) -> Any:
    await asyncio.to_thread(collector.until, lambda here: here.events(call))
    return collector.events(call)


async def test_a_client_without_a_trace_begins_one_and_sends_no_header_on(
    client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """Nothing is added to what goes to a provider."""
    with upstream.answering(answer):
        id_ = await asked(client, "gpt-4o")
        (request,) = upstream.requests
    call = await asyncio.to_thread(collector.call, id_)
    assert call.parent == ""
    assert request.values("traceparent") == []


async def test_a_trace_that_is_not_sampled_is_not_told(
    client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """Its header goes on as it came, and it is counted all the same."""
    quiet = f"00-{'a' * 32}-{'b' * 16}-00"
    with upstream.answering(answer):
        id_ = await asked(client, "gpt-4o", {"traceparent": quiet})
        assert upstream.requests[-1].values("traceparent") == [quiet.encode()]
        after = await asked(client, "gpt-4o")
    await asyncio.to_thread(collector.call, after)
    assert collector.calls(id=id_) == []


async def test_a_failover_shows_both_attempts(
    client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """Each with its own provider, model, time and end; what was converted is said."""
    headers, trace_id, _ = Parent().headers()
    with upstream.answering(answer):
        id_ = await asked(client, "shaky", headers)
        parents = [request.values("traceparent")[0].split(b"-")[2].decode() for request in upstream.requests]
    call = await asyncio.to_thread(collector.call, id_)
    first, second = collector.attempts(call)
    assert parents == [first.id, second.id]
    assert (first.name, first.status, first.attributes["error.type"]) == ("chat shaky-1", "ERROR", "503")
    assert (second.name, second.status, second.attributes["gen_ai.provider.name"]) == (
        "chat claude-x", "UNSET", "anthropic",
    )  # fmt: skip
    assert second.attributes["http.request.resend_count"] == 1
    assert (second.attributes["server.address"], call.attributes["interpose.route"]) == ("api.anthropic.com", "shaky")
    assert first.end <= second.start
    assert call.status == "UNSET"
    told = await events(collector, call)
    assert told["interpose.call.converted"].trace == trace_id


async def test_streams_say_when_their_pieces_came(
    client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """The time to the first piece on the span, and between pieces as a metric."""
    with upstream.answering(answer):
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        async for _ in raw.parse():
            HEARD.set()
    call = await asyncio.to_thread(collector.call, str(raw.headers["x-interpose-id"]))
    (attempt,) = collector.attempts(call)
    assert attempt.attributes["gen_ai.request.stream"] is True
    assert 0 <= attempt.attributes["gen_ai.response.time_to_first_chunk"] <= (attempt.end - attempt.start) / 1e9
    assert attempt.attributes["gen_ai.usage.cache_read.input_tokens"] == 5
    assert attempt.attributes["gen_ai.usage.reasoning.output_tokens"] == 2
    await asyncio.to_thread(
        collector.until, lambda here: here.value("gen_ai.client.operation.time_per_output_chunk") > 0
    )


async def test_what_we_refuse_has_no_attempt(
    client: openai.AsyncOpenAI, gateway: Gateway, collector: Collector, upstream: Upstream
) -> None:
    """A limit, an unknown key: the span says why, and so does an event."""
    with upstream.answering(answer):
        await asked(client, "rare")
        with pytest.raises(openai.RateLimitError) as limited:
            await asked(client, "rare")
        with pytest.raises(openai.AuthenticationError) as refused:
            await asked(client.with_options(api_key="vk-FAKE-unknown"), "gpt-4o")
    for error, outcome, why in (
        (limited.value, "limited", "rate_limit_exceeded"),
        (refused.value, "refused", "invalid_api_key"),
    ):
        call = await asyncio.to_thread(collector.call, error.response.headers["x-interpose-id"])
        assert (call.attributes["interpose.outcome"], call.attributes["error.type"]) == (outcome, why)
        assert (call.status, collector.attempts(call)) == ("ERROR", [])
        told = await events(collector, call)
        assert told[f"interpose.call.{outcome}"].severity == "WARN"


async def test_a_provider_that_fails_is_an_exception(
    client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """With its status as the type of the error."""
    with upstream.answering(answer), pytest.raises(openai.InternalServerError) as failed:
        await asked(client, "gpt-5")
    call = await asyncio.to_thread(collector.call, failed.value.response.headers["x-interpose-id"])
    assert call.status == "ERROR"
    assert {attempt.attributes["error.type"] for attempt in collector.attempts(call)} == {"503"}
    assert (await events(collector, call))["gen_ai.client.operation.exception"].severity == "WARN"


async def test_the_metrics_are_the_ledgers(
    client: openai.AsyncOpenAI, gateway: Gateway, collector: Collector, upstream: Upstream
) -> None:
    """Calls and tokens, with units and bounds as the conventions have them; each model by its name."""
    HEARD.set()
    with upstream.answering(answer):
        for _ in range(2):
            stream = await client.chat.completions.create(model="gpt-4o", messages=HI, stream=True)
            assert [chunk async for chunk in stream]
            with suppress(openai.RateLimitError):
                await asked(client, "rare")
        last = await asked(client, "fast")
    # One process: what came before is recorded when the last one is.
    async with asyncio.timeout(30):
        while last not in {row["id"] for row in gateway.ledger.after()}:
            await asyncio.sleep(0.02)
    rows = gateway.ledger.after()
    await asyncio.to_thread(collector.until, lambda here: here.value("interpose.calls") >= len(rows))
    sums = {
        name: sum(row[name] or 0 for row in rows if row["usage_source"] == "provider")
        for name in ("input_tokens", "output_tokens", "cache_read_tokens")
    }
    assert collector.value("gen_ai.client.token.usage", gen_ai__token__type="input") == sums["input_tokens"] > 0
    assert collector.value("gen_ai.client.token.usage", gen_ai__token__type="output") == sums["output_tokens"] > 0
    used = "gen_ai.client.inference.usage."
    assert collector.value(f"{used}input_tokens") == sums["input_tokens"]
    assert collector.value(f"{used}cache_read.input_tokens") == sums["cache_read_tokens"] > 0
    limited = sum(row["outcome"] == "limited" for row in rows)
    assert collector.value("interpose.calls", interpose__outcome="limited") == limited > 0
    assert collector.value("interpose.cost_usd") == pytest.approx(sum(row["cost_usd"] or 0 for row in rows))
    shapes = {point.metric: (point.unit, point.bounds[:2], len(point.bounds)) for point in collector.points}
    assert shapes["gen_ai.client.token.usage"] == ("{token}", (1, 4), 14)
    assert shapes["gen_ai.client.operation.duration"] == ("s", (0.01, 0.02), 14)
    assert shapes["gen_ai.client.operation.time_to_first_chunk"][0] == "s"
    seen = {point.attributes.get("gen_ai.request.model") for point in collector.points}
    assert {"gpt-4o", "claude-x"} <= seen
    assert "nobodys" not in seen


async def test_nothing_that_was_said_and_no_secret_is_told(
    client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """Not the question, not the answer, not a key; the collector's own header is there."""
    with upstream.answering(answer):
        id_ = await asked(client, "gpt-4o")
    await asyncio.to_thread(collector.call, id_)
    everything = b"".join(seen.body for seen in collector.seen)
    answered = json.loads(CHAT_JSON)["choices"][0]["message"]["content"]
    for text in (SAID, answered, VIRTUAL, TOKEN, *ENVIRON.values()):
        assert text.encode() not in everything
    assert {seen.headers["authorization"] for seen in collector.seen if seen.headers["authorization"] != "a"} == {
        f"Bearer {TOKEN}"
    }


async def test_a_collector_that_comes_and_goes_and_a_gateway_that_is_killed(
    tmp_path: Path, authority: Authority, upstream: Upstream
) -> None:
    """Calls go on. The ledger at the collector gets each record, from the spool of the killed one as well; of the
    telemetry what fits is told when the collector is back.
    """
    with collecting() as collector:
        rules = {
            **json.loads(gateway_rules(authority, upstream)),
            **telemetry(collector),
            "ledger": {"to": ["sqlite:usage.db", f"otlp:{collector.url}?header=x-key:${{OTLP_TOKEN}}"]},
        }
        collector.stop()
        environ = {**ENVIRON, "OTLP_TOKEN": TOKEN}
        gateway = Gateway(tmp_path)
        await gateway.start(json.dumps(rules), environ, "--workers", "2")
        made: list[str] = []
        ledger = Ledger(tmp_path / "usage.db")
        try:
            with upstream.answering(answer):
                async with openai.AsyncOpenAI(api_key=VIRTUAL, base_url=gateway.base_url, max_retries=0) as client:
                    made += [await asked(client, "gpt-4o") for _ in range(3)]
                    await ledger.rows("", 3)
                    collector.start()
                    await asyncio.to_thread(
                        collector.until,
                        lambda here: set(made) <= {log.attributes["interpose.id"] for log in calls(here)},
                    )
                    await asyncio.to_thread(collector.until, lambda here: all(here.calls(id=id_) for id_ in made))
                    collector.stop()
                    made += [await asked(client, "gpt-4o") for _ in range(3)]
                    await ledger.rows("", 6)
                    # Acknowledged by the file; for the collector they lie in the spool.
                    await asyncio.to_thread(spooled, gateway.state, 3)
                    await killed(gateway)
                    collector.start()
                    again = Gateway(tmp_path)
                    again.state = gateway.state
                    gateway = again
                    await gateway.start(json.dumps(rules), environ)
                    await asyncio.to_thread(
                        collector.until,
                        lambda here: set(made) <= {log.attributes["interpose.id"] for log in calls(here)},
                    )
            chains: dict[str, dict[int, tuple[str, str]]] = {}
            for log in calls(collector):
                told = {name.removeprefix("interpose."): value for name, value in log.attributes.items()}
                chains.setdefault(told["writer"], {})[told["seq"]] = (told["prev_hash"], told["hash"])
            for chain in chains.values():
                assert sorted(chain) == list(range(1, len(chain) + 1))
                assert all(chain[seq][0] == chain[seq - 1][1] for seq in range(2, len(chain) + 1))
            assert sum(map(len, chains.values())) == len(made) == len(ledger.after())
        finally:
            assert await gateway.stop() == 0, gateway.errors
        assert TOKEN not in gateway.errors


def arrived(collector: Collector) -> set[str]:
    """The calls whose records have come."""
    return {log.attributes["interpose.id"] for log in calls(collector)}


def calls(collector: Collector) -> list[Any]:
    return [log for log in list(collector.logs) if log.event == "interpose.ledger.calls"]


def spooled(state: Path, count: int) -> None:
    """Waits until so many records of calls are in the spool."""
    end = time.monotonic() + 30
    while sum(path.read_bytes().count(b'"calls"') for path in (state / "spool").rglob("*.jsonl")) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


async def killed(gateway: Gateway) -> None:
    """All of its processes at once, as by the kernel."""
    process = psutil.Process(gateway.pid)
    everybody = [process, *process.children(recursive=True)]
    for each in everybody:
        each.kill()
    assert await gateway.stop() == -9
    await asyncio.to_thread(psutil.wait_procs, everybody, 30)


async def test_a_program_that_embeds_the_engine_tells_as_well(
    authority: Authority, upstream: Upstream, collector: Collector
) -> None:
    """What is left is told when the transport is closed; a variable of the environment gives the collector."""
    rules = changed(both_providers(authority, upstream), telemetry={"metrics": False})
    environ = {**ENVIRON, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=a"}
    headers, trace_id, parent = Parent().headers()
    with upstream.answering(answer):
        async with (
            AsyncTransport(rules, environ=environ) as transport,
            httpx.AsyncClient(transport=transport) as client,
        ):
            reply = await client.post(
                f"https://{OPENAI}/v1/chat/completions",
                json={"model": "gpt-4o", "messages": HI},
                headers={"authorization": f"Bearer {PLACEHOLDER}", **headers},
            )
            assert reply.status_code == 200
        (request,) = upstream.requests
    (call,) = collector.calls(entrance="embedded")
    assert (call.trace, call.parent) == (trace_id, parent)
    (attempt,) = collector.attempts(call)
    assert request.values("traceparent") == [f"00-{trace_id}-{attempt.id}-03".encode()]
    ours = {each.path for each in list(collector.seen) if each.headers["authorization"] == "a"}
    assert ours == {"/v1/traces", "/v1/logs"}


async def test_what_was_said_is_told_where_the_rules_want_it(authority: Authority, upstream: Upstream) -> None:
    """What the SDKs ask, with tools and a picture, in a stream and converted; without keys and the picture's bytes."""
    with collecting() as collector:
        rules = changed(both_providers(authority, upstream), telemetry={"otlp": collector.url, "content": True})
        picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8).decode()
        content = [
            {"type": "text", "text": f"{SAID}: {PLACEHOLDER}"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        ]
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
        tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
        HEARD.set()
        with upstream.answering(answer):
            async with (
                AsyncTransport(rules, environ=ENVIRON) as transport,
                openai.AsyncOpenAI(
                    api_key=PLACEHOLDER, max_retries=0, http_client=httpx.AsyncClient(transport=transport)
                ) as client,
            ):
                ids = [
                    await asked(client, model, messages=[{"role": "user", "content": content}], tools=tools)
                    for model in ("gpt-4o", "fast")
                ]
                raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI, stream=True)
                assert [chunk async for chunk in raw.parse()]
                ids.append(raw.headers["x-interpose-id"])
        # All is told when the transport is closed.
        told = [collector.events(collector.call(id_))["gen_ai.client.inference.operation.details"] for id_ in ids]
        for log in told:
            check(log.attributes)
        answers = [log.attributes["gen_ai.output.messages"][0] for log in told]
        assert [each["finish_reason"] for each in answers[:2]] == ["stop", "stop"]
        assert answers[0]["parts"] == [{"type": "text", "content": "Good morning ☀"}]
        assert answers[1]["parts"] == [{"type": "text", "content": CLAUDE["content"][0]["text"]}]
        assert answers[2]["parts"] == [{"type": "text", "content": "one"}]
        for log in told[:2]:
            (message,) = log.attributes["gen_ai.input.messages"]
            assert message["parts"][0] == {"type": "text", "content": f"{SAID}: ***"}
            assert (message["parts"][1]["type"], message["parts"][1]["mime_type"]) == ("blob", "image/png")
            assert log.attributes["gen_ai.tool.definitions"][0]["parameters"] == parameters
        everything = b"".join(seen.body for seen in collector.seen)
        assert SAID.encode() in everything
        for text in (PLACEHOLDER, picture[:40], *ENVIRON.values()):
            assert text.encode() not in everything


async def test_a_reload_leaves_telemetry_as_it_is(
    gateway: Gateway, client: openai.AsyncOpenAI, collector: Collector, upstream: Upstream
) -> None:
    """It says so, and goes on telling."""
    file = gateway.folder / "rules.yaml"
    before = file.read_text()
    rules = json.loads(before)
    rules["telemetry"]["otlp"] = "http://127.0.0.1:9"
    try:
        file.write_text(json.dumps(rules))
        async with asyncio.timeout(30):
            while "telemetry has changed in the rules" not in gateway.errors:
                await asyncio.sleep(0.02)
        with upstream.answering(answer):
            id_ = await asked(client, "gpt-4o")
        await asyncio.to_thread(collector.call, id_)
    finally:
        file.write_text(before)


APP = """
import sys
import httpx, openai
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider

def instrumented(request):
    inject(request.headers)

tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")
http = openai.DefaultHttpxClient(event_hooks={"request": [instrumented]})
client = openai.OpenAI(api_key=KEY, max_retries=0, http_client=http)
with tracer.start_as_current_span("question") as span:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    context = span.get_span_context()
    print(f"{context.trace_id:032x} {context.span_id:016x}")
"""


async def test_a_program_that_is_run_goes_on_in_its_own_trace(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream, collector: Collector
) -> None:
    """It is instrumented and knows nothing of a proxy; when it has ended, everything is told."""
    (tmp_path / "app.py").write_text(f"KEY = {PLACEHOLDER!r}\n{APP}")
    (tmp_path / "rules.yaml").write_text(changed(acting_rules(authority, dial), **telemetry(collector)))
    with upstream.answering(answer):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "interpose", "run", "--rules", "rules.yaml", "--state", "state"),
            *("--", sys.executable, "app.py"),
            cwd=tmp_path,
            env=Proxy(tmp_path).environ({**ENVIRON, "OTLP_TOKEN": TOKEN}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, told = await process.communicate()
        (request,) = upstream.requests
    assert process.returncode == 0, told.decode()
    trace_id, parent = out.decode().split()
    (call,) = (span for span in collector.calls() if span.trace == trace_id)
    (attempt,) = collector.attempts(call)
    assert call.parent == parent
    assert request.values("traceparent")[0].split(b"-")[1:3] == [trace_id.encode(), attempt.id.encode()]
    assert call.attributes["interpose.entrance"] == "intercept"
    assert "python" in call.attributes["interpose.app"] or "app.py" in call.attributes["interpose.app"]


AUDIT_PARENT = f"00-{'c' * 32}-{'d' * 16}-01"


async def test_an_interceptor_that_only_observes_changes_no_header(
    tmp_path: Path, authority: Authority, upstream: Upstream, collector: Collector
) -> None:
    """Its spans are the client's children, and the provider gets the client's header as it is."""
    rules = {**json.loads(audit_rules(authority, upstream)), **telemetry(collector)}
    proxy = await Proxy(tmp_path).start(json.dumps(rules), {"OTLP_TOKEN": TOKEN})
    try:
        with upstream.answering(answer):
            context = ssl.create_default_context(cafile=str(proxy.ca))
            async with httpx.AsyncClient(proxy=proxy.url, verify=context) as client:
                reply = await client.post(
                    f"https://{OPENAI}/v1/chat/completions",
                    json={"model": "gpt-4o", "messages": HI},
                    headers={"authorization": "Bearer sk-FAKE-own", "traceparent": AUDIT_PARENT},
                )
            assert reply.status_code == 200
            assert upstream.requests[-1].values("traceparent") == [AUDIT_PARENT.encode()]
            row = await proxy.ledger.row("")
        call = await asyncio.to_thread(collector.call, row["id"])
        assert (call.trace, call.parent) == ("c" * 32, "d" * 16)
        assert call.attributes["interpose.entrance"] == "intercept"
        assert (call.attributes["interpose.app"] or "").strip()
    finally:
        assert await proxy.stop() == 0, proxy.errors
