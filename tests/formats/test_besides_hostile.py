"""Strange values wherever one can stand, in what is asked and answered beside conversations: nothing but Malformed.

Every value of a few well-formed bodies is replaced in turn by every strange one, or left out.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from interpose.formats import counting, embeddings, modellists
from interpose.formats.codecs import Asked, Client, Malformed, Target
from interpose.formats.codecs.codec import encoded
from interpose.ir import Losses

DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]
STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    10**40,
    1e308,
    "",
    "\ud800",
    "\x00",
    "../..",
    [],
    {},
    [None],
    [[]],
    [{}],
    {"": None},
    [True, "a"],
    DEEP,
)
GONE = object()

INVOKED = base64.b64encode(b'{"max_tokens":1,"messages":[{"role":"user","content":"a"}]}').decode()
IMAGE = "data:image/png;base64,aGk="
REQUESTS: list[tuple[Any, str, dict[str, Any]]] = [
    (
        embeddings,
        "/embeddings",
        {"model": "e", "input": ["a", [1, 2]], "dimensions": 2, "encoding_format": "base64", "user": "u"},
    ),
    (
        embeddings,
        "/v1beta/models/g:batchEmbedContents",
        {
            "requests": [
                {
                    "model": "models/g",
                    "content": {
                        "role": "user",
                        "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
                    },
                    "taskType": "CLUSTERING",
                    "title": "T",
                    "outputDimensionality": 2,
                }
            ]
        },
    ),
    (embeddings, "/v1beta/models/g:embedContent", {"content": {"parts": [{"text": "a"}]}, "task_type": "CLUSTERING"}),
    (
        embeddings,
        "/publishers/google/models/g:predict",
        {
            "instances": [{"content": "a", "task_type": "CLUSTERING", "title": "T"}],
            "parameters": {"outputDimensionality": 2, "autoTruncate": True},
        },
    ),
    (
        embeddings,
        "/v1beta/models/g:embedContent",
        {"content": {"parts": [{"text": "a"}]}, "embedContentConfig": {"taskType": "CLUSTERING", "title": "T"}},
    ),
    (
        embeddings,
        "/v2/embed",
        {
            "model": "e",
            "inputs": [
                {"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": IMAGE}}]}
            ],
            "input_type": "search_query",
            "embedding_types": ["float", "int8"],
            "output_dimension": 2,
            "truncate": "END",
        },
    ),
    (embeddings, "/v1/embed", {"model": "e", "texts": ["a"]}),
    (embeddings, "/v2/embed", {"model": "e", "images": [IMAGE]}),
    (
        embeddings,
        "/model/amazon.titan-embed-text-v2:0/invoke",
        {"inputText": "a", "dimensions": 2, "normalize": True, "embeddingTypes": ["float"]},
    ),
    (embeddings, "/api/embed", {"model": "e", "input": ["a"], "truncate": True, "dimensions": 2, "options": {"a": 1}}),
    (embeddings, "/api/embeddings", {"model": "e", "prompt": "a"}),
    (
        counting,
        "/v1/messages/count_tokens",
        {"model": "c", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "system": "s"},
    ),
    (counting, "/responses/input_tokens", {"model": "o", "input": [{"role": "user", "content": "a"}], "tools": []}),
    (
        counting,
        "/v1beta/models/g:countTokens",
        {"generateContentRequest": {"model": "models/g", "contents": [{"role": "user", "parts": [{"text": "a"}]}]}},
    ),
    (
        counting,
        "/model/anthropic.claude/count-tokens",
        {
            "input": {
                "converse": {"messages": [{"role": "user", "content": [{"text": "a"}]}], "system": [{"text": "s"}]}
            }
        },
    ),
    (counting, "/model/anthropic.claude/count-tokens", {"input": {"invokeModel": {"body": INVOKED}}}),
]
REPLIES: list[tuple[Any, str, dict[str, Any]]] = [
    (
        embeddings,
        "openai",
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.5, 1]},
                {"index": 1, "embedding": "AAAAPwAAgD8="},
            ],
            "model": "m",
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        },
    ),
    (embeddings, "gemini", {"embeddings": [{"values": [0.5, 1]}], "usageMetadata": {"promptTokenCount": 1}}),
    (
        embeddings,
        "cohere",
        {
            "id": "i",
            "embeddings": {"float": [[0.5, 1]], "int8": [[1, 2]], "base64": ["AAAAPwAAgD8="]},
            "texts": ["a"],
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 1, "images": 1}},
        },
    ),
    (
        embeddings,
        "gemini/vertex",
        {
            "predictions": [{"embeddings": {"values": [0.5, 1], "statistics": {"token_count": 1, "truncated": False}}}],
            "metadata": {"billableCharacterCount": 1},
        },
    ),
    (embeddings, "ollama", {"model": "m", "embeddings": [[0.5, 1]], "prompt_eval_count": 1}),
    (
        embeddings,
        "bedrock",
        {"embedding": [0.5, 1], "embeddingsByType": {"binary": [1, 0]}, "inputTextTokenCount": 1},
    ),
    (
        modellists,
        "openai",
        {"object": "list", "data": [{"id": "a", "created": 1, "owned_by": "o", "context_window": 5, "name": "A"}]},
    ),
    (
        modellists,
        "anthropic",
        {
            "data": [{"type": "model", "id": "a", "display_name": "A", "created_at": "2024-01-01T00:00:00Z"}],
            "has_more": True,
            "first_id": "a",
        },
    ),
    (modellists, "gemini", {"models": [{"name": "models/a", "inputTokenLimit": 5}], "nextPageToken": "x"}),
    (modellists, "cohere", {"models": [{"name": "a", "context_length": 5}], "next_page_token": "x"}),
    (modellists, "ollama", {"models": [{"name": "a", "model": "a"}]}),
    (counting, "anthropic", {"input_tokens": 5, "context_management": {"a": 1}}),
    (counting, "openai", {"object": "response.input_tokens", "input_tokens": 5}),
    (counting, "gemini", {"totalTokens": 5, "cachedContentTokenCount": 1, "promptTokensDetails": []}),
    (counting, "bedrock", {"inputTokens": 5}),
]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands in a JSON document, below its top."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*at, key)
        yield from places(each, (*at, key))


def spoilt(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with each of its values replaced by each strange one, or left out; and with a key that nobody knows."""
    yield {**copy.deepcopy(body), "unknown": {"\ud800": [10**40]}}
    for place in places(body):
        for strange in (GONE, *STRANGE):
            changed = copy.deepcopy(body)
            node: Any = changed
            for key in place[:-1]:
                node = node[key]
            if strange is GONE:
                del node[place[-1]]
            else:
                node[place[-1]] = copy.deepcopy(strange)
            yield changed


@pytest.mark.parametrize(("kind", "path", "body"), REQUESTS)
def test_a_request_is_written_or_refused(kind: Any, path: str, body: dict[str, Any]) -> None:
    """Malformed, or told as impossible, or written in JSON that can be sent."""
    client = next(each.codec for each in kind.CLIENTS for name in [each.format] if each.takes(name, "POST", path))
    written = refused = 0
    for changed in spoilt(body):
        try:
            request = client.read_request(copy.deepcopy(changed), Asked(path))
        except Malformed:
            refused += 1
            continue
        for name, provider in kind.PROVIDERS.items():
            model = "amazon.titan-embed-text-v2:0" if name == "bedrock" else "real-one"
            losses = Losses()
            sent = provider.write_request(request, Target(model), losses)
            if not losses.impossibilities:
                json.loads(encoded(sent.body))
                written += 1
    assert written
    assert refused


@pytest.mark.parametrize(("kind", "provider", "body"), REPLIES)
def test_a_reply_is_told_or_refused(kind: Any, provider: str, body: dict[str, Any]) -> None:
    """Malformed (for the client a 502), or told in JSON that can be sent."""
    asked = {
        embeddings: ("/embeddings", {"model": "e", "input": ["a"]}),
        counting: ("/responses/input_tokens", {"model": "o", "input": "a"}),
        modellists: ("/models", {}),
    }[kind]
    told = refused = 0
    for changed in spoilt(body):
        for entry in kind.CLIENTS:
            request = kind.PROVIDERS["openai"].read_request(copy.deepcopy(asked[1]), Asked(asked[0]))
            try:
                reply = kind.PROVIDERS[provider].read_reply(copy.deepcopy(changed))
                made = entry.codec.write_reply(reply, Client(request, "m", "call", 0), Losses("reply"))
            except Malformed:
                refused += 1
                continue
            json.loads(encoded(made))
            told += 1
    assert told
    assert refused
