"""What the gateway judges, held against recorded traffic: nothing that a provider took is refused."""

from __future__ import annotations

from collections import Counter

from tests.corpus import lines

from interpose.formats.operations import body_at
from interpose.formats.requests import flaw_in


def test_no_request_that_a_provider_took_is_refused() -> None:
    """Of all that were recorded at these operations' paths."""
    taken: Counter[str] = Counter()
    for line in lines():
        name = body_at(line.method, line.path)
        if name is not None and line.ok and line.request_kind == "json":
            taken[name] += 1
            assert (line.id, flaw_in(name, line.request)) == (line.id, None)
    assert taken == {
        "ChatCompletionRequest": 2463,
        "ResponseRequest": 1217,
        "MessagesRequest": 1148,
        "GenerateContentRequest": 828,
        "EmbeddingRequest": 141,
        "CompletionRequest": 82,
        "CountTokensRequest": 7,
    }


def test_what_is_refused_was_refused_by_its_provider() -> None:
    """By a 4xx. Most of what providers refuse is no matter of a schema: keys, models, what does not go together."""
    refused: Counter[tuple[str, str | None]] = Counter()
    for line in lines():
        name = body_at(line.method, line.path)
        if name is None or line.ok or line.request_kind != "json":
            continue
        if (flaw := flaw_in(name, line.request)) is not None:
            assert 400 <= line.status < 500, line.id
            refused[name, flaw.param] += 1
    assert sum(refused.values()) == 8, refused
