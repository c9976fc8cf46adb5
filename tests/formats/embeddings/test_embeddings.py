"""Embeddings between formats: what is asked of each provider, what each client is told, and what cannot be."""

from __future__ import annotations

import base64
import copy
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.formats.codecs import Asked, Client, Codec, Malformed, Target
from interpose.formats.embeddings import CLIENTS, PROVIDERS
from interpose.formats.embeddings.neutral import Reply, Request, Vector, floats, packed_floats
from interpose.ir import Failed, Losses
from interpose.ir.losses import Severity

OPENAI, GEMINI, COHERE, OLLAMA = "/embeddings", "/v1beta/models/g:batchEmbedContents", "/v2/embed", "/api/embed"
TITAN = "/model/amazon.titan-embed-text-v2:0/invoke"


def codec(path: str) -> Codec[Any, Any]:
    return next(each.codec for each in CLIENTS for format_ in {each.format} if each.takes(format_, "POST", path))


def sent(path: str, body: dict[str, Any], provider: str, model: str = "m") -> tuple[str, Any, list[tuple[str, str]]]:
    """Path and body for the provider, and the losses as (severity, path)."""
    request = codec(path).read_request(copy.deepcopy(body), Asked(path))
    losses = Losses()
    written = PROVIDERS[provider].write_request(request, Target(model), losses)
    return written.path, written.body, [(str(loss.severity), loss.path) for loss in losses]


def told(provider: str, body: dict[str, Any], path: str, asked: dict[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    """What the client is told of a provider's reply, and the losses as (severity, path)."""
    client = codec(path)
    request = client.read_request(copy.deepcopy(asked), Asked(path))
    losses = Losses("reply")
    reply = PROVIDERS[provider].read_reply(copy.deepcopy(body))
    written = client.write_reply(reply, Client(request, "asked", "call-1", 0), losses)
    return written, [(str(loss.severity), loss.path) for loss in losses]


ASKED = {"model": "e", "input": ["a", "b"], "dimensions": 256, "encoding_format": "base64", "user": "u"}
SENT = [
    (
        "gemini",
        "/v1beta/models/m:batchEmbedContents",
        {
            "requests": [
                {"content": {"parts": [{"text": text}]}, "model": "models/m", "outputDimensionality": 256}
                for text in "ab"
            ]
        },
        [("dropped", "user")],
    ),
    (
        "cohere",
        "/v2/embed",
        {
            "model": "m",
            "texts": ["a", "b"],
            "input_type": "search_document",
            "output_dimension": 256,
            "embedding_types": ["float"],
        },
        [("synthesised", "input_type"), ("dropped", "user")],
    ),
    ("ollama", "/api/embed", {"model": "m", "input": ["a", "b"], "dimensions": 256}, [("dropped", "user")]),
    (
        "mistral",
        "/v1/embeddings",
        {"model": "m", "input": ["a", "b"], "output_dimension": 256, "encoding_format": "float"},
        [("dropped", "user")],
    ),
]


@pytest.mark.parametrize(("provider", "path", "body", "losses"), SENT)
def test_openais_request_is_asked_in_the_providers_words(
    provider: str, path: str, body: dict[str, Any], losses: list[tuple[str, str]]
) -> None:
    """Several texts in order, how many dimensions; base64 is made here, so that floats are asked for."""
    assert sent(OPENAI, ASKED, provider) == (path, body, losses)


def test_one_text_is_geminis_embed_content() -> None:
    """A single text has an endpoint of its own there."""
    path, body, _ = sent(OPENAI, {"model": "e", "input": "a"}, "gemini")
    assert (path, body) == ("/v1beta/models/m:embedContent", {"content": {"parts": [{"text": "a"}]}})


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - {"openai", "openai-responses", "mistral"}))
@pytest.mark.parametrize(("tokens", "path"), [([1, 2], "input"), ([[1, 2], [3]], "input[0]")])
def test_token_numbers_mean_nothing_to_another_model(provider: str, tokens: Any, path: str) -> None:
    """They are refused by their path, with what to do instead."""
    request = codec(OPENAI).read_request({"model": "e", "input": tokens}, Asked(OPENAI))
    losses = Losses()
    PROVIDERS[provider].write_request(request, Target("amazon.titan-embed-text-v2:0"), losses)
    first = losses.impossibilities[0]
    assert first.path == path
    assert "send text" in first.reason


def test_titan_takes_one_text_a_call() -> None:
    """Two are impossible, and nothing but the first of what is too much is named."""
    _, _, losses = sent(OPENAI, {"model": "e", "input": ["a", "b", "c"]}, "bedrock", "amazon.titan-embed-text-v2:0")
    assert losses == [("impossible", "input[1]")]
    path, body, losses = sent(
        OPENAI, {"model": "e", "input": ["a"], "dimensions": 512}, "bedrock", "amazon.titan-embed-text-v2:0"
    )
    assert (path, body) == ("/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": "a", "dimensions": 512})
    assert losses == []


def test_titan_v1_has_one_size() -> None:
    """Another is impossible; its own need not be said."""
    model = "amazon.titan-embed-text-v1"
    assert sent(OPENAI, {"model": "e", "input": "a", "dimensions": 1536}, "bedrock", model)[1] == {"inputText": "a"}
    assert sent(OPENAI, {"model": "e", "input": "a", "dimensions": 512}, "bedrock", model)[2] == [
        ("impossible", "dimensions")
    ]


def test_cohere_on_bedrock_takes_many() -> None:
    """Its own bodies, with the model in the URL alone."""
    path, body, losses = sent(OPENAI, {"model": "e", "input": ["a", "b"]}, "bedrock", "cohere.embed-v4:0")
    assert path == "/model/cohere.embed-v4%3A0/invoke"
    assert body == {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]}
    assert losses == [("synthesised", "input_type")]


def test_a_model_without_known_bodies_is_refused() -> None:
    """Every family on Bedrock has its own; none is guessed."""
    _, _, losses = sent(OPENAI, {"model": "e", "input": "a"}, "bedrock", "amazon.nova-2-multimodal-embeddings-v1:0")
    assert ("impossible", "model") in losses


TASKS = [
    ("RETRIEVAL_QUERY", "search_query", []),
    ("RETRIEVAL_DOCUMENT", "search_document", []),
    ("CLASSIFICATION", "classification", []),
    ("CLUSTERING", "clustering", []),
    ("SEMANTIC_SIMILARITY", "clustering", [("approximated", "task")]),
    ("QUESTION_ANSWERING", "search_query", [("approximated", "task")]),
    ("FACT_VERIFICATION", "search_query", [("approximated", "task")]),
    ("CODE_RETRIEVAL_QUERY", "search_query", [("approximated", "task")]),
    # A word of a later version says nothing to others: it is told.
    ("NEWER", "search_document", [("synthesised", "input_type"), ("dropped", "requests[0].taskType")]),
]


@pytest.mark.parametrize(("gemini", "cohere", "losses"), TASKS)
def test_what_a_vector_is_for(gemini: str, cohere: str, losses: list[tuple[str, str]]) -> None:
    """Gemini's task types are Cohere's input types where it has them, else the nearest, which is told."""
    asked = {"requests": [{"content": {"parts": [{"text": "a"}]}, "taskType": gemini}]}
    _, body, found = sent(GEMINI, asked, "cohere")
    assert body["input_type"] == cohere
    assert found == losses


def test_what_differs_between_inputs_cannot_be_said_once() -> None:
    """Gemini's requests have their own settings; a provider that is told once cannot take two."""
    asked = {
        "requests": [
            {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8},
            {"content": {"parts": [{"text": "b"}]}, "taskType": "RETRIEVAL_DOCUMENT", "outputDimensionality": 9},
        ]
    }
    _, _, losses = sent(GEMINI, asked, "cohere")
    assert ("impossible", "task") in losses
    assert ("impossible", "dimensions") in losses


def test_images_and_parts() -> None:
    """An image goes where images are taken, and is impossible elsewhere; so are several parts of one vector."""
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    asked = {"requests": [{"content": {"parts": [image]}}]}
    _, body, losses = sent(GEMINI, asked, "cohere")
    assert (body["images"], body["input_type"], losses) == (["data:image/png;base64,aGk="], "image", [])
    back = {"model": "e", "input_type": "image", "images": ["data:image/png;base64,aGk="]}
    assert sent(COHERE, back, "gemini")[1] == {"content": {"parts": [image]}}
    asked = {"requests": [{"content": {"parts": [{"text": "a"}, image]}}]}
    _, body, losses = sent(GEMINI, asked, "cohere")
    assert [each["type"] for each in body["inputs"][0]["content"]] == ["text", "image_url"]
    for provider in ("openai", "ollama", "mistral"):
        asked = {"requests": [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}}]}
        assert ("impossible", "requests[0]") in sent(GEMINI, asked, provider)[2]
        asked = {"requests": [{"content": {"parts": [image]}}]}
        assert ("impossible", "requests[0].content.parts[0]") in sent(GEMINI, asked, provider)[2]


def test_vertex_predicts_and_has_settings_apart() -> None:
    """Older models by :predict, newer ones as on Google AI, with the settings in an object of their own."""
    path, body, losses = sent(OPENAI, ASKED, "gemini/vertex", "text-embedding-005")
    assert path == "/v1beta/models/text-embedding-005:predict"
    assert body == {
        "instances": [{"content": "a"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 256},
    }
    assert losses == [("dropped", "user")]
    assert sent(OPENAI, ASKED, "gemini/vertex", "gemini-embedding-001")[0].endswith(":predict")
    asked = {"model": "e", "texts": ["a"], "input_type": "search_query", "output_dimension": 8}
    path, body, _ = sent(COHERE, asked, "gemini/vertex", "gemini-embedding-2")
    assert path == "/v1beta/models/gemini-embedding-2:embedContent"
    config = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}
    assert body == {"content": {"parts": [{"text": "a"}]}, "embedContentConfig": config}
    # And read so, from a client of Vertex AI.
    _, there, losses = sent("/v1beta/models/g:embedContent", body, "cohere")
    assert (there["input_type"], there["output_dimension"], losses) == ("search_query", 8, [])
    predicted: dict[str, Any] = {
        "instances": [{"content": "a", "task_type": "CLUSTERING", "title": "T"}],
        "parameters": {"outputDimensionality": 8, "autoTruncate": False},
    }
    _, there, losses = sent("/publishers/google/models/g:predict", predicted, "cohere")
    assert (there["texts"], there["input_type"], there["output_dimension"]) == (["a"], "clustering", 8)
    assert losses == [("dropped", "parameters"), ("dropped", "instances[0].title")]


def test_vertex_counts_the_tokens_of_each_text() -> None:
    """Their sum is the usage; what a client of Vertex AI cannot be told of each text is told as lost."""
    embeddings = [{"embeddings": {"values": each, "statistics": {"token_count": 3}}} for each in VECTORS]
    body, losses = told("gemini/vertex", {"predictions": embeddings}, OPENAI, {"model": "e", "input": ["a", "b"]})
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert losses == []
    asked = {"instances": [{"content": "a"}, {"content": "b"}]}
    body, losses = told("openai", REPLIES["openai"], "/publishers/google/models/g:predict", asked)
    assert [each["embeddings"]["values"] for each in body["predictions"]] == VECTORS
    assert losses == [("dropped", "usage")]


def test_titles_and_other_fields_are_told() -> None:
    """What one format alone has is dropped by its name, and nothing else is."""
    asked = {"requests": [{"content": {"role": "user", "parts": [{"text": "a"}]}, "title": "T", "model": "models/g"}]}
    assert sent(GEMINI, asked, "openai")[2] == [("dropped", "requests[0].title")]
    asked = {"model": "e", "input": ["a"], "keep_alive": "5m", "options": {}, "truncate": False}
    assert sent(OLLAMA, asked, "openai")[2] == [("dropped", "keep_alive")]


def test_only_a_models_provider_makes_its_small_encodings() -> None:
    """int8 and binary rest on how a model's values are spread: asked of another provider they are impossible."""
    asked: dict[str, Any] = {"model": "e", "texts": ["a"], "input_type": "clustering", "embedding_types": ["int8"]}
    assert sent(COHERE, asked, "openai")[2] == [("impossible", "encodings"), ("dropped", "task")]
    titan = {"inputText": "a", "embeddingTypes": ["float", "binary"]}
    assert sent(TITAN, titan, "cohere")[1]["embedding_types"] == ["float", "binary"]


# Replies

VECTORS = [[0.5, -0.25], [1.0, 0.125]]
PACKED = [base64.b64encode(struct.pack("<2f", *each)).decode() for each in VECTORS]
REPLIES: dict[str, dict[str, Any]] = {
    "openai": {
        "object": "list",
        # Out of order, as its indexes say.
        "data": [{"object": "embedding", "index": at, "embedding": VECTORS[at]} for at in (1, 0)],
        "model": "real",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    },
    "gemini": {"embeddings": [{"values": each} for each in VECTORS], "usageMetadata": {"promptTokenCount": 7}},
    "cohere": {
        "id": "x",
        "embeddings": {"float": VECTORS},
        "texts": ["a", "b"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}},
        "response_type": "embeddings_by_type",
    },
    "ollama": {"model": "real", "embeddings": VECTORS, "total_duration": 5, "prompt_eval_count": 7},
}


@pytest.mark.parametrize("provider", sorted(REPLIES))
def test_openais_client_gets_vectors_in_order(provider: str) -> None:
    """As floats, or as base64 where it asked for that (as its Python SDK does unasked), with the usage."""
    asked: dict[str, Any] = {"model": "e", "input": ["a", "b"]}
    body, losses = told(provider, REPLIES[provider], OPENAI, asked)
    assert [each["embedding"] for each in body["data"]] == VECTORS
    if provider == "openai":
        return
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert (body["object"], body["model"], losses) == ("list", "asked", [])
    body, _ = told(provider, REPLIES[provider], OPENAI, {**asked, "encoding_format": "base64"})
    assert [each["embedding"] for each in body["data"]] == PACKED


@pytest.mark.parametrize("provider", sorted(REPLIES))
def test_other_clients_get_the_same(provider: str) -> None:
    """Each in its own shape, with the usage where it has a place for it."""
    gemini = {"requests": [{"content": {"parts": [{"text": text}]}} for text in "ab"]}
    body, losses = told(provider, REPLIES[provider], GEMINI, gemini)
    assert ([each["values"] for each in body["embeddings"]], losses) == (VECTORS, [])
    assert body["usageMetadata"]["promptTokenCount"] == 7
    cohere: dict[str, Any] = {"model": "e", "texts": ["a", "b"], "embedding_types": ["float", "base64"]}
    if provider != "cohere":
        body, _ = told(provider, REPLIES[provider], COHERE, cohere)
        assert body["embeddings"] == {"float": VECTORS, "base64": PACKED}
        assert (body["texts"], body["meta"]["billed_units"]) == (["a", "b"], {"input_tokens": 7})
    body, _ = told(provider, REPLIES[provider], OLLAMA, {"model": "e", "input": ["a", "b"]})
    assert (body["embeddings"], body["model"], body["prompt_eval_count"]) == (VECTORS, "asked", 7)


def test_usage_that_nobody_told_is_told_to_be_missing() -> None:
    """OpenAI's clients want a number: it is 0, and said to be ours. The others' have no field then."""
    untold = {"embeddings": [{"values": each} for each in VECTORS]}
    body, losses = told("gemini", untold, OPENAI, {"model": "e", "input": ["a", "b"]})
    assert body["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    assert losses == [("synthesised", "usage")]
    untold = {"embeddings": [{"values": each} for each in VECTORS]}
    body, losses = told("gemini", untold, OLLAMA, {"model": "e", "input": ["a", "b"]})
    assert "prompt_eval_count" not in body
    assert losses == []


def test_older_endpoints_get_their_own_shapes() -> None:
    """Ollama's first one has one vector, Cohere's v1 a plain list, Gemini's embedContent one object."""
    one: dict[str, Any] = {"embedding": {"values": VECTORS[0]}}
    body, _ = told("gemini", one, "/api/embeddings", {"model": "e", "prompt": "a"})
    assert body == {"embedding": VECTORS[0]}
    body, _ = told("gemini", one, "/v1/embed", {"model": "e", "texts": ["a"]})
    assert (body["embeddings"], body["response_type"]) == ([VECTORS[0]], "embeddings_floats")
    asked = {"content": {"parts": [{"text": "a"}]}}
    body, _ = told("ollama", {"embeddings": [VECTORS[0]]}, "/v1beta/models/g:embedContent", asked)
    assert body == {"embedding": {"values": VECTORS[0]}}
    body, _ = told("openai", {"data": [{"index": 0, "embedding": VECTORS[0]}]}, TITAN, {"inputText": "a"})
    assert body == {"embedding": VECTORS[0], "embeddingsByType": {"float": VECTORS[0]}}


@pytest.mark.parametrize("path", [OPENAI, COHERE, OLLAMA, GEMINI])
def test_a_missing_vector_is_no_success(path: str) -> None:
    """One for two inputs: nobody could say whose it is."""
    asked: dict[str, dict[str, Any]] = {
        OPENAI: {"model": "e", "input": ["a", "b"]},
        COHERE: {"model": "e", "texts": ["a", "b"]},
        OLLAMA: {"model": "e", "input": ["a", "b"]},
        GEMINI: {"requests": [{"content": {"parts": [{"text": text}]}} for text in "ab"]},
    }
    request = codec(path).read_request(asked[path], Asked(path))
    reply = Reply("another", [Vector({"float": [1.0]})])
    with pytest.raises(Malformed, match="1 vectors for 2 inputs"):
        codec(path).write_reply(reply, Client(request, "m", "i", 0), Losses("reply"))


WRONG = [
    (OPENAI, {"input": 5, "model": "e"}, "input"),
    (OPENAI, {"input": [], "model": "e"}, "input"),
    (OPENAI, {"input": ["a", 5], "model": "e"}, "input[1]"),
    (OPENAI, {"input": ["a", [True]], "model": "e"}, "input[1]"),
    (OPENAI, {"input": "a", "model": 5}, "model"),
    (OPENAI, {"model": "e"}, "input"),
    (GEMINI, {"requests": {}}, "requests"),
    (GEMINI, {"requests": ["a"]}, "requests[0].content"),
    (GEMINI, {"requests": [{"content": {"parts": []}}]}, "requests[0].content"),
    ("/v1beta/models/g:embedContent", {"content": "a"}, "content"),
    (COHERE, {"texts": ["a"]}, "model"),
    (COHERE, {"model": "e"}, "texts"),
    (COHERE, {"model": "e", "texts": ["a"], "images": ["b"]}, "images"),
    (COHERE, {"model": "e", "texts": [5]}, "texts[0]"),
    (COHERE, {"model": "e", "texts": "a"}, "texts"),
    (COHERE, {"model": "e", "inputs": [{"content": [5]}]}, "inputs[0].content"),
    (TITAN, {"inputText": ["a"]}, "inputText"),
    (OLLAMA, {"model": "e", "input": [5]}, "input"),
    ("/api/embeddings", {"model": "e", "prompt": 5}, "prompt"),
]


@pytest.mark.parametrize(("path", "body", "at"), WRONG)
def test_a_body_that_its_own_format_would_not_take(path: str, body: dict[str, Any], at: str) -> None:
    """Refused, naming the place."""
    with pytest.raises(Malformed) as caught:
        codec(path).read_request(body, Asked(path))
    assert caught.value.path == at


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"error": {"message": "no"}},
        {"data": [5], "embeddings": [5], "embedding": 5},
        {"data": [{"embedding": ["a"]}], "embeddings": {"float": [["a"]]}, "embedding": {"values": ["a"]}},
        {"data": [{"embedding": None}], "embeddings": {"float": [[1]], "int8": []}, "embedding": [True]},
        {"data": {}, "embeddings": "a", "embedding": None},
    ],
)
def test_what_is_no_reply_is_refused(provider: str, body: dict[str, Any]) -> None:
    """An error object with status 200, wrong types: Malformed, and nothing else is raised."""
    with pytest.raises(Malformed):
        PROVIDERS[provider].read_reply(body)


def test_indexes_that_are_not_the_inputs_are_refused() -> None:
    """Two vectors of the same place, or of none."""
    with pytest.raises(Malformed):
        PROVIDERS["openai"].read_reply({"data": [{"index": 1, "embedding": [1]}, {"index": 1, "embedding": [2]}]})


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=50))
def test_base64_is_exact(numbers: list[float]) -> None:
    """Numbers of single precision come back as they were, little-endian as OpenAI's are."""
    packed = packed_floats(numbers)
    assert packed == base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    assert floats(packed) == numbers


@pytest.mark.parametrize(
    "packed", ["?", "AAA=", base64.b64encode(struct.pack("<f", float("nan"))).decode(), "AAAAAAA="]
)
def test_what_is_no_base64_of_numbers_is_refused(packed: str) -> None:
    """Not base64, not whole numbers, not a number."""
    with pytest.raises(Malformed):
        floats(packed)


def test_a_number_beyond_single_precision_is_refused() -> None:
    """It has no base64 of four bytes."""
    with pytest.raises(Malformed):
        packed_floats([1e39])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (OPENAI, {"error": {"message": "slow", "type": "rate_limit_error", "param": None, "code": None}}),
        (GEMINI, {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}),
        (COHERE, {"message": "slow"}),
        (OLLAMA, {"error": "slow"}),
        (TITAN, {"__type": "ThrottlingException", "message": "slow"}),
    ],
)
def test_errors_are_the_clients_own(path: str, error: dict[str, Any]) -> None:
    """Whatever the provider's shape is, the client's SDK finds the message where it looks."""
    assert codec(path).write_error(Failed("slow", 429)) == error
    for body in (b'{"message":"slow"}', b'{"error":"slow"}', b'{"error":{"message":"slow"}}'):
        for provider in PROVIDERS.values():
            assert provider.read_error(429, {}, body).message == "slow"


def test_impossible_is_told_of_everything_at_once() -> None:
    """All that stands in the way, not the first of it."""
    asked = {"model": "e", "input": ["a", [1], [2]], "dimensions": 3}
    request: Request = codec(OPENAI).read_request(asked, Asked(OPENAI))
    losses = Losses()
    PROVIDERS["gemini"].write_request(request, Target("m"), losses)
    assert [loss.path for loss in losses if loss.severity is Severity.IMPOSSIBLE] == ["input[1]", "input[2]"]
