"""Unmodified clients of Bedrock, Cohere, Mistral and Ollama as programs under `interpose run`.

The environment that `interpose run` gives is all that leads them here. Each tells what it got, event by event; what
the provider got is compared with what it gets without us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.played import Stage
from tests.e2e.program import OLLAMA_HERE, Program, rules, script
from tests.e2e.proxy import Row
from tests.e2e.relay import Relay
from tests.e2e.settings import BEDROCK, COHERE, MISTRAL, OLLAMA_CLOUD, PLACEHOLDER, canary
from tests.e2e.signatures import assert_signed
from tests.e2e.upstream import Request, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWN = canary("own-of-programs")
SECRET = canary("aws-secret", "")
SIGNING = {
    "AWS_ACCESS_KEY_ID": "AKIAFAKEFAKEFAKEFAKE",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    # botocore writes a set into its User-Agent.
    "PYTHONHASHSEED": "0",
}
HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
# One call each: what the ledger says of it.
Recorded = tuple[str, str | None, int, int | None, int | None, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A program of tests/clients/python: its environment, what it tells in order, and what is recorded of it.

    A "first" is told while the stream is held back behind it.
    """

    name: str
    environ: Mapping[str, str]
    tells: tuple[tuple[str, Any], ...]
    records: tuple[Recorded, ...]


def chat(model: str, stream: int, given: int | None, made: int | None, outcome: str = "ok") -> Recorded:
    return ("chat", model, stream, given, made, outcome)


def whole_streamed_refused_broken(model: str, first: tuple[int, int], second: tuple[int, int]) -> tuple[Recorded, ...]:
    return (
        chat(model, 0, *first),
        chat(model, 1, *second),
        chat(model, 0, None, None, "error"),
        chat(model, 1, None, None, "truncated"),
    )


BEDROCK_CASE = Case(
    "bedrock",
    SIGNING,
    (
        (
            "whole",
            [
                [
                    {"text": "Hola"},
                    {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Lima"}}},
                ],
                {"inputTokens": 47, "outputTokens": 12, "totalTokens": 59},
                "tool_use",
            ],
        ),
        ("first", "Hola"),
        ("rest", [" mundo", {"inputTokens": 41, "outputTokens": 2, "totalTokens": 43}]),
        ("invoked", ["Hola de nuevo", {"input_tokens": 53, "output_tokens": 14}]),
        ("first", "Buenas"),
        ("rest", [" noches"]),
        ("refused", ["ThrottlingException", 429, "slow down"]),
        ("first", "Hola"),
        ("broken", "ProtocolError"),
    ),
    (
        chat(HAIKU, 0, 47, 12),
        chat(HAIKU, 1, 41, 2),
        chat(HAIKU, 0, 53, 14),
        chat(HAIKU, 1, 59, 15),
        chat(HAIKU, 0, None, None, "error"),
        chat(HAIKU, 1, None, None, "truncated"),
    ),
)
COHERE_CASE = Case(
    "cohere_chat",
    {"CO_API_KEY": OWN},
    (
        ("whole", ["weather", '{"city":"Lima"}', 61, 16]),
        ("first", "Salut"),
        ("rest", [" monde", 18]),
        ("embedded", [[[0.25, -0.5]], 71]),
        ("refused", ["TooManyRequestsError", 429, {"message": "slow down"}]),
        ("first", "Salut"),
        ("broken", "RemoteProtocolError"),
    ),
    (
        chat("command-a-03-2025", 0, 61, 16),
        chat("command-a-03-2025", 1, 67, 18),
        ("embeddings", "embed-v4.0", 0, 71, None, "ok"),
        chat("command-a-03-2025", 0, None, None, "error"),
        chat("command-a-03-2025", 1, None, None, "truncated"),
    ),
)
MISTRAL_CASE = Case(
    "mistral_chat",
    {"MISTRAL_API_KEY": OWN},
    (
        ("whole", ["weather", '{"city":"Lima"}', 73, 21]),
        ("first", "Bon"),
        ("rest", ["soir", 22]),
        ("refused", ["SDKError", 429, '{"message":"slow down"}']),
        ("first", "Bon"),
        ("broken", "RemoteProtocolError"),
    ),
    whole_streamed_refused_broken("mistral-small-latest", (73, 21), (79, 22)),
)
OLLAMA_TELLS: tuple[tuple[str, Any], ...] = (
    ("whole", ["weather", {"city": "Lima"}, 83, 24]),
    ("first", "Hallo"),
    ("rest", [" Welt", 4]),
    ("refused", ["ResponseError", 429, "slow down"]),
    ("first", "Hallo"),
    ("broken", "RemoteProtocolError"),
)
OLLAMA_RECORDS = whole_streamed_refused_broken("llama3.2", (83, 24), (37, 4))
CLOUD_CASE = Case(
    "ollama_chat",
    {"OLLAMA_HOST": f"https://{OLLAMA_CLOUD}", "OLLAMA_API_KEY": OWN},
    OLLAMA_TELLS,
    OLLAMA_RECORDS,
)
LOCAL_CASE = Case("ollama_chat", {}, OLLAMA_TELLS, OLLAMA_RECORDS)

# What a client makes up anew for each request, where it signs it. Connection is for the hop alone (RFC 9110, 7.6.1).
FRESH = {b"authorization", b"x-amz-date", b"amz-sdk-invocation-id"}
HOP = {b"connection"}


def plain(request: Request) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """The request as it came, but for what is never the same twice."""
    line = request.head.partition(b"\r\n")[0]
    left_out = HOP | FRESH if request.values("x-amz-date") else HOP
    return line, [pair for pair in request.headers if pair[0].lower() not in left_out], bytes(request.body)


async def hear(program: Program, stage: Stage, case: Case) -> None:
    """Each thing that the program tells must be what the case says; held streams go on when their first was told."""
    for name, value in case.tells:
        assert await program.told(name) == value
        if name == "first":
            stage.go_on()


def recorded(rows: list[Row]) -> list[Recorded]:
    """What the rows say; tokens where they are the provider's own count, and no estimate for a reply that was cut."""
    return [
        (
            row["endpoint"],
            row["asked_model"],
            row["stream"],
            *((row[name] if row["usage_source"] == "provider" else None) for name in ("input_tokens", "output_tokens")),
            row["outcome"],
        )
        for row in rows
    ]


@pytest.mark.parametrize("case", [BEDROCK_CASE, COHERE_CASE, MISTRAL_CASE, CLOUD_CASE], ids=lambda case: case.name)
async def test_the_client_and_its_provider_see_no_difference(
    authority: Authority, upstream: Upstream, tmp_path: Path, case: Case
) -> None:
    """Every request arrives as it does without us, every answer, stream, error and cut reaches the client's types."""
    stage = Stage()
    async with Relay(("127.0.0.1", upstream.port)) as relay:
        with upstream.answering(stage):
            alone = Program.start_alone(tmp_path / "alone", authority, relay, *script(case.name), environ=case.environ)
            async with await alone as program:
                await hear(program, stage, case)
                await program.succeeds()
            wanted = [plain(request) for request in upstream.requests]
    with upstream.answering(stage):
        under = Program.start(tmp_path / "under", rules(authority, upstream), *script(case.name), environ=case.environ)
        async with await under as program:
            await hear(program, stage, case)
            ended = await program.succeeds()
        assert [plain(request) for request in upstream.requests] == wanted
        if case is BEDROCK_CASE:
            for request in upstream.requests:
                assert_signed(request, SIGNING["AWS_ACCESS_KEY_ID"], SECRET)
    rows = program.calls()
    assert recorded(rows) == list(case.records)
    assert {(row["app"], row["provider"], row["credential"]) for row in rows} == {("python", None, None)}
    assert f"caught {len(rows)} AI calls" in ended.summary


async def test_ollama_on_this_machine_in_plain_http(
    authority: Authority, upstream: Upstream, plain_upstream: Upstream, tmp_path: Path
) -> None:
    """The client's default, http://127.0.0.1:11434, is caught too, though such addresses often bypass proxies."""
    stage = Stage()
    text = rules(authority, upstream, plain_upstream)
    with plain_upstream.answering(stage):
        async with await Program.start(tmp_path, text, *script(LOCAL_CASE.name)) as program:
            await hear(program, stage, LOCAL_CASE)
            await program.succeeds()
        assert {request.values("host")[0].decode() for request in plain_upstream.requests} == {OLLAMA_HERE}
    assert recorded(program.calls()) == list(LOCAL_CASE.records)


# By the variable in which the user has the key, and the program looks for it: the provider that it is for.
KEYS = {
    "AWS_BEARER_TOKEN_BEDROCK": ("bedrock", f"https://{BEDROCK}"),
    "CO_API_KEY": ("cohere", f"https://{COHERE}"),
    "MISTRAL_API_KEY": ("mistral", f"https://{MISTRAL}"),
    "OLLAMA_API_KEY": ("ollama", f"https://{OLLAMA_CLOUD}"),
}
REAL = {name: canary(f"real-{form}", "real-") for name, (form, _) in KEYS.items()}


async def test_keys_stay_with_interpose_and_reach_their_providers(
    authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """The programs see placeholders where the user's environment has keys; each provider gets its own key, once."""
    providers = {
        form: {"format": form, "base_url": url, "credential": {"env": name}} for name, (form, url) in KEYS.items()
    }
    text = rules(authority, upstream, providers=providers, intercept={"placeholders": [PLACEHOLDER]})
    environ = {**REAL, "OLLAMA_HOST": f"https://{OLLAMA_CLOUD}"}
    with upstream.answering(Stage()):
        async with await Program.start(tmp_path, text, *script("keys_from_environment"), environ=environ) as program:
            assert await program.told("keys") == [PLACEHOLDER] * 4
            assert await program.told("bedrock") == "Hola"
            assert await program.told("bedrock signed") == "Hola"
            for name in ("cohere", "mistral", "ollama"):
                assert await program.told(name) == "weather"
            await program.succeeds()
        names = ("AWS_BEARER_TOKEN_BEDROCK", *KEYS)
        for request, name in zip(upstream.requests, names, strict=True):
            assert request.values("authorization") == [f"Bearer {REAL[name]}".encode()]
            assert not request.anywhere(PLACEHOLDER)
            assert not request.anywhere("AKIAFAKE")
    rows = program.calls()
    assert [(row["provider"], row["credential"], row["outcome"]) for row in rows] == [
        (KEYS[name][0], f"env:{name}", "ok") for name in names
    ]
