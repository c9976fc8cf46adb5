"""Recorded calls and rules for the tests of replays to put together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from interpose.call import Headers, Origin, Url
from interpose.ledger.record import Record, utc_text
from interpose.prices import Catalogue
from interpose.recordings import Answered, Asked, Recorded
from interpose.recordings.records import recorded
from interpose.replays.pricing import Pricing
from interpose.replays.prospects import Prospects
from interpose.replays.replay import Replay
from interpose.replays.summary import Compared, Summary
from interpose.rules.compiled import ClientKey, Rules
from interpose.rules.load import parse

START = 1_800_000_000.0
PROVIDERS = """
version: 1
prices:
  gpt-4o: {input: 2, output: 10}
  claude-sonnet-4-5: {input: 3, output: 15}
providers:
  openai: {format: openai, base_url: https://api.openai.com/v1, credential: {env: OPENAI_API_KEY}}
  claude: {format: anthropic, base_url: https://api.anthropic.com, credential: {exec: [no-such-program]}}
"""
TO_CLAUDE = (
    PROVIDERS
    + """
routes:
  - {name: gpt-to-claude, match: {endpoint: chat, model: "gpt-*"}, to: {provider: claude, model: claude-sonnet-4-5}}
"""
)


def rules(text: str) -> Rules:
    return parse(text, "rules.yaml", Path.cwd())


def chat(
    number: int = 0,
    *,
    at: float = 0.0,
    model: str = "gpt-4o",
    status: int = 200,
    took: float = 2.0,
    host: str = "api.openai.com",
    headers: Headers = ((b"authorization", b"Bearer sk-FAKE-own"), (b"content-type", b"application/json")),
    reply_headers: Headers = (),
    tokens: tuple[int, int] = (1000, 100),
    **body: Any,
) -> Recorded:
    """A chat completion as another tool has recorded it."""
    asked = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **body}
    answered: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }
    if status >= 400:
        answered = {"error": {"message": "no", "type": "x", "param": None, "code": None}}
    return Recorded(
        id=f"call-{number}",
        place=f"made#{number}",
        started_at=START + at,
        asked=Asked(
            "POST",
            Url(Origin("https", host, 443), "/v1/chat/completions"),
            ((b"host", host.encode()), *headers),
            json.dumps(asked).encode(),
        ),
        answered=Answered(
            status,
            ((b"content-type", b"application/json"), *reply_headers),
            json.dumps(answered).encode(),
            began=took / 2,
            ended=took,
        ),
        ip="127.0.0.1",
    )


def record(number: int = 0, *, at: float = 0.0, **replaced: Any) -> Record:
    """The record of a chat that was answered by OpenAI, with what is replaced."""
    told: dict[str, Any] = {
        "id": f"ip_{number}",
        "started_at": utc_text(START + at),
        "finished_at": utc_text(START + at + 2),
        "entrance": "intercept",
        "method": "POST",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "endpoint": "chat",
        "client_format": "openai",
        "asked_model": "gpt-4o",
        "provider": "openai",
        "provider_format": "openai",
        "sent_model": "gpt-4o",
        "credential": "env:OPENAI_API_KEY",
        "status": 200,
        "outcome": "ok",
        "input_tokens": 1000,
        "output_tokens": 100,
        "usage_source": "provider",
        "cost_usd": 0.003,
        "price_version": Pricing(Catalogue.empty(), rules(PROVIDERS).prices).version,
        "duration_ms": 2000.0,
        "ip": "127.0.0.1",
        "attempts": json.dumps(
            [
                {
                    "provider": "openai",
                    "origin": "https://api.openai.com",
                    "model": "gpt-4o",
                    "credential": "env:OPENAI_API_KEY",
                    "status": 200,
                    "reason": None,
                }
            ]
        ),
    }
    return Record(**{**told, **replaced})


def of_record(number: int = 0, **replaced: Any) -> Recorded:
    """A call of which there is the record alone."""
    return recorded(record(number, **replaced), f"made#{number}")


def prospects(text: str | Rules, *issued: ClientKey) -> Prospects:
    by = rules(text) if isinstance(text, str) else text
    named = {key.name: key for key in issued}
    digests = {key.sha256: key for key in issued}
    from interpose.rules.compiled import key_digest

    return Prospects(
        by,
        Pricing(Catalogue.empty(), by.prices),
        issued=lambda key: digests.get(key_digest(key)),
        named=named.get,
    )


def replayed(
    text: str | Rules, *calls: Recorded, against: str | None = None, issued: tuple[ClientKey, ...] = ()
) -> tuple[list[Compared], Summary]:
    """Each call as it compares, in the order of their ids, and the summary."""
    run = Replay(prospects(text, *issued), prospects(against, *issued) if against is not None else None)
    found = list(run.run(calls))
    return sorted(found, key=lambda one: int(one.id.replace("_", "-").rpartition("-")[2])), run.summary
