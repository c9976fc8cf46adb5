"""Counts of tokens between formats: what is asked of each provider, what the client is told, and who cannot count."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from interpose.formats.codecs import Asked, Client, Malformed, Target
from interpose.formats.conversions import Asked as Addressed
from interpose.formats.conversions import between
from interpose.formats.counting import CLIENTS, PROVIDERS
from interpose.formats.dialects import Address
from interpose.ir import Losses

CLAUDE: dict[str, Any] = {
    "model": "c",
    "system": "Be terse.",
    "messages": [{"role": "user", "content": "Hi"}],
    "tools": [{"name": "look", "description": "Looks", "input_schema": {"type": "object"}}],
}
PATHS = {
    "anthropic": "/v1/messages/count_tokens",
    "openai-responses": "/responses/input_tokens",
    "gemini": "/v1beta/models/g:countTokens",
    "anthropic/bedrock": "/model/anthropic.claude-3/count-tokens",
    "bedrock": "/model/anthropic.claude-3/count-tokens",
}


def sent(provider: str, client: str, body: dict[str, Any]) -> tuple[str, Any, list[tuple[str, str]]]:
    request = PROVIDERS[client].read_request(copy.deepcopy(body), Asked(PATHS[client]))
    losses = Losses()
    written = PROVIDERS[provider].write_request(request, Target("m"), losses)
    return written.path, written.body, [(str(loss.severity), loss.path) for loss in losses]


def test_claudes_question_in_openais_words() -> None:
    """System, messages and tools; nothing that an endpoint which answers nothing would refuse."""
    path, body, losses = sent("openai", "anthropic", CLAUDE)
    assert path == "/responses/input_tokens"
    assert body["instructions"] == "Be terse."
    assert [tool["name"] for tool in body["tools"]] == ["look"]
    assert set(body) <= {"model", "input", "instructions", "tools"}
    assert losses == []


def test_claudes_question_in_geminis_words() -> None:
    """A whole request inside, on Google AI; its fields beside each other, on Vertex AI."""
    path, body, _ = sent("gemini", "anthropic", CLAUDE)
    assert path == "/v1beta/models/m:countTokens"
    assert set(body) == {"generateContentRequest"}
    inside = body["generateContentRequest"]
    assert inside["model"] == "models/m"
    assert inside["contents"][0]["parts"] == [{"text": "Hi"}]
    _, there, _ = sent("gemini/vertex", "anthropic", CLAUDE)
    assert there == {key: value for key, value in inside.items() if key != "model"}


def test_openais_question_in_claudes_words() -> None:
    """Without the limit that Claude demands of an answer, and with the version that it demands of everybody."""
    asked: dict[str, Any] = {"model": "o", "input": "Hi", "instructions": "Be terse."}
    request = PROVIDERS["openai"].read_request(asked, Asked(PATHS["openai-responses"]))
    losses = Losses()
    written = PROVIDERS["anthropic"].write_request(request, Target("claude-x"), losses)
    assert written.path == PATHS["anthropic"]
    assert written.headers["anthropic-version"]
    assert set(written.body) == {"model", "messages", "system"}
    assert not list(losses)


def test_claude_in_the_clouds() -> None:
    """Vertex AI names the version in the body, Bedrock takes a body of InvokeModel in base64."""
    path, body, losses = sent("anthropic/vertex", "openai-responses", {"model": "o", "input": "Hi"})
    assert (path, body["anthropic_version"], body["model"]) == (PATHS["anthropic"], "vertex-2023-10-16", "m")
    path, body, losses = sent("anthropic/bedrock", "openai-responses", {"model": "o", "input": "Hi"})
    inside = json.loads(base64.b64decode(body["input"]["invokeModel"]["body"]))
    assert path == "/model/m/count-tokens"
    assert inside["anthropic_version"] == "bedrock-2023-05-31"
    assert inside["messages"][0]["role"] == "user"
    assert losses == []


def test_a_question_to_bedrock_says_which_it_is() -> None:
    """A conversation of Converse, or a body of InvokeModel: both are read from a client, and the first is written."""
    client = next(each.codec for each in CLIENTS if each.format == "bedrock")
    inside = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    packed = base64.b64encode(json.dumps(inside).encode()).decode()
    for given in (
        {"converse": {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}},
        {"invokeModel": {"body": packed}},
    ):
        request = client.read_request({"input": given}, Asked(PATHS["bedrock"]))
        written = PROVIDERS["openai"].write_request(request, Target("m"), Losses())
        assert written.body["input"][0]["role"] == "user"
    path, body, losses = sent("bedrock", "anthropic", CLAUDE)
    assert path == "/model/m/count-tokens"
    assert set(body["input"]["converse"]) == {"messages", "system", "toolConfig"}
    assert losses == []


def test_what_bears_on_an_answer_alone_is_no_loss() -> None:
    """A limit and a temperature in a count change nothing, and are not sent where they would be refused."""
    asked: dict[str, Any] = {
        "generateContentRequest": {
            "model": "models/g",
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "generationConfig": {"maxOutputTokens": 5, "temperature": 2, "seed": 1, "candidateCount": 2},
        }
    }
    _, body, losses = sent("anthropic", "gemini", asked)
    assert set(body) == {"model", "messages"}
    assert losses == []


def test_a_previous_reply_that_only_openai_keeps_is_impossible() -> None:
    """What is to be counted is not there."""
    _, _, losses = sent(
        "anthropic", "openai-responses", {"model": "o", "input": "Hi", "previous_response_id": "resp_1"}
    )
    assert ("impossible", "previous_response_id") in losses


REPLIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # What the provider says, and what a client of its format is told of another's count.
    "anthropic": ({"input_tokens": 42}, {"input_tokens": 42}),
    "openai": (
        {"object": "response.input_tokens", "input_tokens": 42},
        {"object": "response.input_tokens", "input_tokens": 42},
    ),
    "gemini": (
        {"totalTokens": 42, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 42}]},
        {"totalTokens": 42},
    ),
    "anthropic/bedrock": ({"inputTokens": 42}, {"inputTokens": 42}),
    "bedrock": ({"inputTokens": 42}, {"inputTokens": 42}),
}


@pytest.mark.parametrize("provider", sorted(REPLIES))
@pytest.mark.parametrize("client", sorted(REPLIES))
def test_a_count_is_a_count(provider: str, client: str) -> None:
    """The provider's, in the client's words, and nothing is lost of it."""
    there = PROVIDERS[client]
    request = PROVIDERS["anthropic"].read_request(copy.deepcopy(CLAUDE), Asked(PATHS["anthropic"]))
    losses = Losses("reply")
    read = PROVIDERS[provider].read_reply(copy.deepcopy(REPLIES[provider][0]))
    body = there.write_reply(read, Client(request, "m", "call", 0), losses)
    assert body == REPLIES[client][0 if client == provider else 1]
    assert not list(losses)


def test_what_else_a_count_says_is_told() -> None:
    """Claude's note on edited contexts is none of another format."""
    request = PROVIDERS["openai"].read_request({"model": "o", "input": "Hi"}, Asked(PATHS["openai-responses"]))
    read = PROVIDERS["anthropic"].read_reply({"input_tokens": 5, "context_management": {"original_input_tokens": 9}})
    losses = Losses("reply")
    PROVIDERS["openai"].write_reply(read, Client(request, "m", "call", 0), losses)
    assert [loss.path for loss in losses] == ["context_management"]


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"error": {"message": "no"}},
        *(
            {key: value}
            for key in ("input_tokens", "totalTokens", "inputTokens")
            for value in (None, True, "5", -1, 1.5)
        ),
    ],
)
def test_what_is_no_count_is_refused(provider: str, body: dict[str, Any]) -> None:
    """Malformed, and nothing else is raised."""
    with pytest.raises(Malformed):
        PROVIDERS[provider].read_reply(copy.deepcopy(body))


WRONG = [
    ("anthropic", {"model": "c"}),
    ("openai-responses", {"model": "c", "input": 5}),
    ("gemini", {"generateContentRequest": []}),
    ("gemini", {}),
    ("anthropic/bedrock", {"input": {"invokeModel": {"body": "?"}}}),
    ("anthropic/bedrock", {"input": {"invokeModel": {"body": base64.b64encode(b"[]").decode()}}}),
    ("anthropic/bedrock", {"input": {"invokeModel": {"body": base64.b64encode(b"\xff").decode()}}}),
    ("anthropic/bedrock", {"input": []}),
    ("bedrock", {"input": []}),
    ("bedrock", {"input": {}}),
    ("bedrock", {"input": {"converse": []}}),
    ("anthropic/bedrock", {"input": {"invokeModel": {"body": 5}}}),
]


@pytest.mark.parametrize(("client", "body"), WRONG)
def test_what_is_no_question_is_refused(client: str, body: dict[str, Any]) -> None:
    """Malformed, and nothing else is raised."""
    with pytest.raises(Malformed):
        PROVIDERS[client].read_request(copy.deepcopy(body), Asked(PATHS[client]))


@pytest.mark.parametrize(
    "to",
    [
        Address("openai", "groq", "/openai/v1", responses=False),
        Address("cohere", None, ""),
        Address("mistral", None, ""),
        Address("ollama", None, ""),
    ],
)
def test_who_cannot_count_is_not_asked(to: Address) -> None:
    """Nor is a count made up here: there is no conversion to those."""
    for entry in CLIENTS:
        asked = Addressed(entry.format, "none", None)
        assert between("count_tokens", asked, "POST", PATHS.get(entry.format, "/x"), to) is None
