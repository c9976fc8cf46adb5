"""What a request's body must be: what is refused, in which words, and what is not."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from interpose.formats.operations import OPERATIONS, body_at, methods_at
from interpose.formats.requests import flaw_in, schemas

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
CLAUDE: dict[str, Any] = {**CHAT, "max_tokens": 9}
GEMINI: dict[str, Any] = {"contents": [{"parts": [{"text": "Hi"}]}]}
GENERATE = "GenerateContentRequest"

# schema, what is put over a good body (None of a key: left out), param, code
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("ChatCompletionRequest", {"model": ...}, "model", "missing_required_parameter"),
    ("ChatCompletionRequest", {"model": 5}, "model", "invalid_type"),
    ("ChatCompletionRequest", {"model": None}, "model", "invalid_type"),
    ("ChatCompletionRequest", {"model": ""}, "model", "empty_string"),
    ("ChatCompletionRequest", {"model": "m" * 5000}, "model", "string_above_max_length"),
    ("ChatCompletionRequest", {"messages": ...}, "messages", "missing_required_parameter"),
    ("ChatCompletionRequest", {"messages": "Hi"}, "messages", "invalid_type"),
    ("ChatCompletionRequest", {"messages": []}, "messages", "empty_array"),
    ("ChatCompletionRequest", {"messages": [5]}, "messages[0]", "invalid_type"),
    ("ChatCompletionRequest", {"messages": [{"content": "Hi"}]}, "messages[0].role", "missing_required_parameter"),
    ("ChatCompletionRequest", {"messages": [{"role": "robot"}]}, "messages[0].role", "invalid_value"),
    ("ChatCompletionRequest", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
    (
        "ChatCompletionRequest",
        {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
        "messages[0].content[0].type",
        "missing_required_parameter",
    ),
    ("ChatCompletionRequest", {"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    (
        "ChatCompletionRequest",
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
        "missing_required_parameter",
    ),
    ("ChatCompletionRequest", {"temperature": 3}, "temperature", "decimal_above_max_value"),
    ("ChatCompletionRequest", {"temperature": -0.1}, "temperature", "decimal_below_min_value"),
    ("ChatCompletionRequest", {"temperature": "hot"}, "temperature", "invalid_type"),
    ("ChatCompletionRequest", {"temperature": True}, "temperature", "invalid_type"),
    ("ChatCompletionRequest", {"top_p": 1.5}, "top_p", "decimal_above_max_value"),
    ("ChatCompletionRequest", {"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
    ("ChatCompletionRequest", {"max_tokens": 1.5}, "max_tokens", "invalid_type"),
    ("ChatCompletionRequest", {"max_completion_tokens": -1}, "max_completion_tokens", "integer_below_min_value"),
    ("ChatCompletionRequest", {"n": 0}, "n", "integer_below_min_value"),
    ("ChatCompletionRequest", {"stream": "yes"}, "stream", "invalid_type"),
    ("ChatCompletionRequest", {"stop": 5}, "stop", "invalid_type"),
    ("ChatCompletionRequest", {"stop": ["a", 5]}, "stop[1]", "invalid_type"),
    ("ChatCompletionRequest", {"tools": {}}, "tools", "invalid_type"),
    (
        "ChatCompletionRequest",
        {"tools": [{"type": "function", "function": {}}]},
        "tools[0].function.name",
        "missing_required_parameter",
    ),
    ("ChatCompletionRequest", {"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
    ("ChatCompletionRequest", {"tools": [{}]}, "tools[0].function", "missing_required_parameter"),
    ("ChatCompletionRequest", {"response_format": {}}, "response_format.type", "missing_required_parameter"),
    ("EmbeddingRequest", {"input": ...}, "input", "missing_required_parameter"),
    ("EmbeddingRequest", {"input": 5}, "input", "invalid_type"),
    ("EmbeddingRequest", {"input": None}, "input", "invalid_type"),
    ("EmbeddingRequest", {"input": []}, "input", "empty_array"),
    ("EmbeddingRequest", {"input": [[]]}, "input[0]", "empty_array"),
    ("EmbeddingRequest", {"input": [1, "a"]}, "input[1]", "invalid_type"),
    ("EmbeddingRequest", {"input": [[1, "a"]]}, "input[0][1]", "invalid_type"),
    ("EmbeddingRequest", {"encoding_format": "hex"}, "encoding_format", "invalid_value"),
    ("EmbeddingRequest", {"dimensions": 0}, "dimensions", "integer_below_min_value"),
    ("CompletionRequest", {"prompt": ...}, "prompt", "missing_required_parameter"),
    ("CompletionRequest", {"prompt": {}}, "prompt", "invalid_type"),
    ("CompletionRequest", {"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
    ("ResponseRequest", {"input": ...}, "input", "missing_required_parameter"),
    ("ResponseRequest", {"model": ...}, "model", "missing_required_parameter"),
    ("ResponseRequest", {"input": 5}, "input", "invalid_type"),
    ("ResponseRequest", {"input": [{"role": "robot"}]}, "input[0].role", "invalid_value"),
    ("ResponseRequest", {"max_output_tokens": -1}, "max_output_tokens", "integer_below_min_value"),
    ("MessagesRequest", {"max_tokens": ...}, "max_tokens", "missing_required_parameter"),
    ("MessagesRequest", {"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
    ("MessagesRequest", {"messages": []}, "messages", "empty_array"),
    ("MessagesRequest", {"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    ("MessagesRequest", {"temperature": 1.5}, "temperature", "decimal_above_max_value"),
    ("CountTokensRequest", {"messages": ...}, "messages", "missing_required_parameter"),
    (GENERATE, {"contents": ...}, "contents", "missing_required_parameter"),
    (GENERATE, {"contents": []}, "contents", "empty_array"),
    (GENERATE, {"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text", "invalid_type"),
    (GENERATE, {"generationConfig": {"temperature": 3}}, "generationConfig.temperature", "decimal_above_max_value"),
    (GENERATE, {"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature", "invalid_value"),
    (
        GENERATE,
        {"generation_config": {"max_output_tokens": -1}},
        "generation_config.max_output_tokens",
        "integer_below_min_value",
    ),
]
GOOD: dict[str, dict[str, Any]] = {
    "ChatCompletionRequest": CHAT,
    "EmbeddingRequest": {"model": "m", "input": "Hi"},
    "CompletionRequest": {"model": "m", "prompt": "Hi"},
    "ResponseRequest": {"model": "m", "input": "Hi"},
    "MessagesRequest": CLAUDE,
    "CountTokensRequest": CHAT,
    GENERATE: GEMINI,
}


def over(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (GOOD[name] | changes).items() if value is not ...}


@pytest.mark.parametrize(("name", "changes", "param", "code"), WRONG, ids=lambda part: str(part)[:60])
def test_what_is_wrong_is_named(name: str, changes: dict[str, Any], param: str, code: str) -> None:
    """By the path to the field, and by a code as OpenAI has them; the message names the field, too."""
    flaw = flaw_in(name, over(name, changes))
    assert flaw is not None
    assert (flaw.param, flaw.code) == (param, code)
    assert f"'{param}'" in flaw.message


MESSAGES = [
    ({"temperature": "hot"}, "Invalid type for 'temperature': expected a number, but got a string instead."),
    ({"stop": 5}, "Invalid type for 'stop': expected a string or an array, but got an integer instead."),
    (
        {"temperature": 3},
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    ),
    ({"n": -(10**60)}, "Invalid 'n': integer below minimum value. Expected a value >= 1, but got one of many digits "),
    ({"messages": []}, "Invalid 'messages': empty array. Expected one that is not empty."),
]


@pytest.mark.parametrize(("changes", "message"), MESSAGES)
def test_what_is_wrong_is_told(changes: dict[str, Any], message: str) -> None:
    """What was expected, and what came instead."""
    flaw = flaw_in("ChatCompletionRequest", over("ChatCompletionRequest", changes))
    assert flaw is not None
    assert flaw.message.startswith(message)


# What providers take, however odd: schema, what is put over a good body
TAKEN: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in GOOD),
    *((name, {"of_some_provider": {"any": ["thing"]}}) for name in GOOD),
    ("ChatCompletionRequest", {"temperature": None, "max_tokens": None, "stop": None, "tools": None, "n": None}),
    ("ChatCompletionRequest", {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]}),
    ("ChatCompletionRequest", {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}, {"role": "tool"}]}),
    ("ChatCompletionRequest", {"messages": [{"role": "user", "content": None}]}),
    ("ChatCompletionRequest", {"tools": [{"type": "openrouter:web_search"}], "stop": []}),
    ("ChatCompletionRequest", {"tools": [{"function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}]}),
    ("EmbeddingRequest", {"input": ["a", "b"]}),
    ("EmbeddingRequest", {"input": [1, 2]}),
    ("EmbeddingRequest", {"input": [[1], [2, 3]], "encoding_format": "base64", "dimensions": 1}),
    ("EmbeddingRequest", {"input": ["a", {"image": "https://images.test/a.png"}], "encoding_format": None}),
    ("CompletionRequest", {"prompt": [1, 2], "max_tokens": 0}),
    ("ResponseRequest", {"model": ..., "input": ..., "prompt": {"id": "pmpt_1"}}),
    ("ResponseRequest", {"input": []}),
    ("ResponseRequest", {"input": ..., "previous_response_id": "resp_1"}),
    ("ResponseRequest", {"input": ..., "conversation": {"id": "conv_1"}}),
    ("MessagesRequest", {"max_tokens": 0, "top_k": -1, "tools": [{"type": "mcp_toolset", "mcp_server_name": "a"}]}),
    (GENERATE, {"contents": {"parts": {"text": "Hi"}}}),
    (GENERATE, {"generationConfig": {"temperature": "0.5", "maxOutputTokens": "34"}, "safety_settings": None}),
]


@pytest.mark.parametrize(("name", "changes"), TAKEN, ids=lambda part: str(part)[:60])
def test_what_some_provider_takes_is_not_refused(name: str, changes: dict[str, Any]) -> None:
    """Fields that nobody has described, null for what is left out, one value where there may be many."""
    assert flaw_in(name, over(name, changes)) is None


def test_what_a_client_wrote_is_not_repeated() -> None:
    """Neither a text nor a name of its own, of which any may be a secret."""
    for changes in ({"temperature": "sk-FAKE-1"}, {"logit_bias": {"sk-FAKE-1": "x"}}, {"stop": [{"sk-FAKE-1": 1}]}):
        flaw = flaw_in("ChatCompletionRequest", over("ChatCompletionRequest", changes))
        assert flaw is not None
        assert "FAKE" not in f"{flaw}"


def test_half_a_character_is_no_obstacle() -> None:
    """Clients cut strings: a lone surrogate stands neither in the way of a good body nor of a refusal."""
    half = {"messages": [{"role": "user", "content": "\ud83d"}]}
    assert flaw_in("ChatCompletionRequest", over("ChatCompletionRequest", half)) is None
    flaw = flaw_in("ChatCompletionRequest", over("ChatCompletionRequest", {**half, "temperature": "\ud83d"}))
    assert flaw is not None
    assert flaw.param == "temperature"


def test_depth_is_no_obstacle() -> None:
    """A body as deep as a parser takes is judged like any other."""
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"a": deep}
    assert flaw_in("ChatCompletionRequest", over("ChatCompletionRequest", {"metadata": deep})) is None
    flaw = flaw_in("ChatCompletionRequest", over("ChatCompletionRequest", {"metadata": deep, "n": deep}))
    assert flaw is not None
    assert flaw.param == "n"


def test_the_schemas_are_schemas() -> None:
    """Of 2020-12; and each operation's body is one of them."""
    for name, schema in schemas().items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        assert name[0].isupper()
    assert {each.body for each in OPERATIONS if each.body} <= schemas().keys()
    assert {each.body for each in OPERATIONS if each.body} == GOOD.keys()


JUDGED = [
    ("/v1/chat/completions", "ChatCompletionRequest"),
    ("/v1/chat/completions/", "ChatCompletionRequest"),
    ("/openai/v1/embeddings", "EmbeddingRequest"),
    ("/v1/messages/count_tokens", "CountTokensRequest"),
    ("/v1beta/models/gemini-x:generateContent", GENERATE),
    ("/v1/models/gemini-x%3AstreamGenerateContent", GENERATE),
    ("/v1/models/gemini-x:countTokens", None),
    ("/api/embeddings", None),
    ("/v1/prompts/p/completions", None),
    ("/v1/files", None),
]


@pytest.mark.parametrize(("path", "name"), JUDGED)
def test_a_path_says_what_is_judged(path: str, name: str | None) -> None:
    """Other servers' paths that only end alike are not."""
    assert body_at("POST", path) == name
    assert body_at("GET", path) is None


def test_a_path_says_its_methods() -> None:
    """None for a path that is no operation's."""
    assert methods_at("/v1/models/a/b") == ("GET", "HEAD")
    assert methods_at("/v1/models") == ("GET", "HEAD")
    assert methods_at("/v1/responses") == ("POST",)
    assert methods_at("/v1/files") == ()
