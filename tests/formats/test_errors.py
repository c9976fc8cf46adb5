"""Refusals in each format's own shape, read back by the real SDKs where they are at hand."""

import importlib
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google_types
from hypothesis import given
from hypothesis import strategies as st

from interpose.errors import Refusal
from interpose.formats import FORMATS, same_family

NAMES = ("openai", "openai-responses", "anthropic", "gemini", "bedrock", "cohere", "mistral", "ollama")
STATUSES = (400, 401, 403, 404, 413, 429, 500, 502, 503, 504)
MESSAGE = "The key is not known here. „Ask“ for a valid one."


def refusal(status: int = 401) -> Refusal:
    return Refusal(status, "invalid_api_key", MESSAGE, param="model")


def test_the_contracts_names_are_all_there() -> None:
    """FORMATS has exactly the format names of the rules file, and cannot be changed."""
    assert tuple(FORMATS) == NAMES
    with pytest.raises(TypeError):
        FORMATS["x"] = FORMATS["openai"]  # type: ignore[index]


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "openai": lambda status: {"error": {"message": MESSAGE, "param": "model", "code": "invalid_api_key"}},
    "openai-responses": lambda status: {"error": {"message": MESSAGE, "param": "model", "code": "invalid_api_key"}},
    "anthropic": lambda status: {"type": "error", "error": {"message": MESSAGE}},
    "gemini": lambda status: {"error": {"code": status, "message": MESSAGE}},
    "bedrock": lambda status: {"message": MESSAGE},
    "cohere": lambda status: {"message": MESSAGE},
    "mistral": lambda status: {"object": "error", "message": MESSAGE, "code": "invalid_api_key"},
    "ollama": lambda status: {"error": MESSAGE},
}


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    return bool(whole == part)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", STATUSES)
def test_an_error_body_has_the_formats_shape(name: str, status: int) -> None:
    """JSON in the format's own fields, with its content type."""
    rendered = FORMATS[name].error(refusal(status))
    assert contains(json.loads(rendered.body), SHAPES[name](status))
    assert rendered.headers[0] == (b"content-type", b"application/json")


@given(st.text(), st.integers(min_value=100, max_value=599), st.sampled_from(NAMES))
def test_any_message_and_status_can_be_rendered(message: str, status: int, name: str) -> None:
    """Control characters, lone surrogates and odd statuses give valid UTF-8 JSON, never an exception."""
    said = Refusal(status, "code", message + "\ud800")
    body = FORMATS[name].error(said).body
    assert contains(json.loads(body.decode("utf-8")), {})
    assert FORMATS[name].stream_error(said)


OPENAI_TYPES = {
    **dict.fromkeys((400, 404, 405, 413, 415, 422), "invalid_request_error"),
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


@pytest.mark.parametrize("status", OPENAI_TYPES)
@pytest.mark.parametrize("name", ["openai", "openai-responses"])
def test_openais_types_follow_the_status(status: int, name: str) -> None:
    """What is wrong with a request is an invalid_request_error, an unknown model included; four fields, no other."""
    error = json.loads(FORMATS[name].error(refusal(status)).body)["error"]
    assert error["type"] == OPENAI_TYPES[status]
    assert error.keys() == {"message", "type", "param", "code"}


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    418: "invalid_request_error",
}
GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
AMAZON_TYPES = {
    400: b"ValidationException",
    401: b"UnrecognizedClientException",
    403: b"AccessDeniedException",
    404: b"ResourceNotFoundException",
    413: b"ValidationException",
    429: b"ThrottlingException",
    500: b"InternalServerException",
    502: b"ServiceUnavailableException",
    503: b"ServiceUnavailableException",
    504: b"ModelTimeoutException",
}


@pytest.mark.parametrize("status", ANTHROPIC_TYPES)
def test_anthropics_types_follow_the_status(status: int) -> None:
    """The type is the one that Anthropic documents for that status."""
    body = json.loads(FORMATS["anthropic"].error(refusal(status)).body)
    assert body["error"]["type"] == ANTHROPIC_TYPES[status]


@pytest.mark.parametrize("status", GOOGLE_STATUSES)
def test_googles_status_names_follow_the_status(status: int) -> None:
    """The name is google.rpc's for that status."""
    body = json.loads(FORMATS["gemini"].error(refusal(status)).body)
    assert body["error"]["status"] == GOOGLE_STATUSES[status]


@pytest.mark.parametrize("status", AMAZON_TYPES)
def test_bedrocks_exception_name_is_a_header(status: int) -> None:
    """AWS SDKs pick their exception class by x-amzn-errortype."""
    assert (b"x-amzn-errortype", AMAZON_TYPES[status]) in FORMATS["bedrock"].error(refusal(status)).headers


# The HTTP library that the Anthropic SDK is built on, httpx or its successor, depending on the SDK's version.
anthropic_http = importlib.import_module(anthropic.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


def replying(name: str, status: int, http: Any = httpx) -> Any:
    rendered = FORMATS[name].error(refusal(status))
    return http.MockTransport(
        lambda request: http.Response(status, content=rendered.body, headers=list(rendered.headers))
    )


def streaming(start: bytes, end: bytes, http: Any = httpx) -> Any:
    headers = {"content-type": "text/event-stream"}
    return http.MockTransport(lambda request: http.Response(200, content=start + end, headers=headers))


def openai_client(transport: httpx.MockTransport) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-fake", max_retries=0, http_client=httpx.Client(transport=transport))


def anthropic_client(transport: httpx.MockTransport) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk-fake", max_retries=0, http_client=anthropic_http.Client(transport=transport))


def google_client(transport: httpx.MockTransport) -> genai.Client:
    options = google_types.HttpOptions(httpx_client=httpx.Client(transport=transport))
    return genai.Client(api_key="fake", http_options=options)


OPENAI_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    413: openai.APIStatusError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}


@pytest.mark.parametrize("status", OPENAI_ERRORS)
def test_openais_sdk_raises_its_own_exception(status: int) -> None:
    """Its class follows the status; message, code and param are ours."""
    with openai_client(replying("openai", status)) as client, pytest.raises(OPENAI_ERRORS[status]) as raised:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    error = raised.value
    assert (error.status_code, error.code, error.param) == (status, "invalid_api_key", "model")
    assert MESSAGE in str(error)


ANTHROPIC_ERRORS = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    503: anthropic.APIStatusError,
    504: anthropic.APIStatusError,
}


@pytest.mark.parametrize("status", ANTHROPIC_ERRORS)
def test_anthropics_sdk_raises_its_own_exception(status: int) -> None:
    """Its class follows the status, and the body parses into its error model."""
    with (
        anthropic_client(replying("anthropic", status, anthropic_http)) as client,
        pytest.raises(ANTHROPIC_ERRORS[status]) as raised,
    ):
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    assert raised.value.status_code == status
    parsed = anthropic.types.ErrorResponse.model_validate(raised.value.body)
    assert (parsed.error.message, parsed.error.type) == (MESSAGE, ANTHROPIC_TYPES[status])


@pytest.mark.parametrize("status", GOOGLE_STATUSES)
def test_googles_sdk_raises_its_own_exception(status: int) -> None:
    """A ClientError or ServerError with our message and google.rpc's status name."""
    expected = google_errors.ClientError if status < 500 else google_errors.ServerError
    with google_client(replying("gemini", status)) as client, pytest.raises(expected) as raised:
        client.models.generate_content(model="m", contents="x")
    assert (raised.value.code, raised.value.status, raised.value.message) == (status, GOOGLE_STATUSES[status], MESSAGE)


CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}'
)
CREATED = b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r"}}'
BLOCK = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Hel"}}'
)
SNAPSHOT = b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]}}]}'
# A stream can be cut after a whole event, or before the empty line that ends one.
ENDINGS = [b"\n\n", b"\n", b"", b"\r\n\r\n", b"\r\n"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_openais_sdk_raises_in_mid_stream(ending: bytes) -> None:
    """The chunks before it arrive, then an APIError with our message: no silent end."""
    transport = streaming(CHUNK + ending, FORMATS["openai"].stream_error(refusal(502)))
    got = []
    with openai_client(transport) as client, pytest.raises(openai.APIError, match="not known here"):
        got.extend(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True))
    assert len(got) <= 1


def test_openais_chunks_before_an_error_are_kept() -> None:
    """What came before the error event is delivered."""
    transport = streaming(CHUNK + b"\n\n", FORMATS["openai"].stream_error(refusal(502)))
    with openai_client(transport) as client:
        chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        assert next(chunks).choices[0].delta.content == "Hel"
        with pytest.raises(openai.APIError):
            next(chunks)


@pytest.mark.parametrize("ending", ENDINGS)
def test_openais_responses_stream_raises(ending: bytes) -> None:
    """A Responses stream that breaks raises too, and keeps the documented flat fields."""
    said = FORMATS["openai-responses"].stream_error(refusal(502))
    with openai_client(streaming(CREATED + ending, said)) as client, pytest.raises(openai.APIError, match="not known"):
        list(client.responses.create(model="m", input="x", stream=True))
    event, data = said.strip().split(b"\n")
    assert event == b"event: error"
    body = json.loads(data.removeprefix(b"data: "))
    assert (body["type"], body["code"], body["message"], body["param"]) == (
        "error",
        "invalid_api_key",
        MESSAGE,
        "model",
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_anthropics_sdk_raises_in_mid_stream(ending: bytes) -> None:
    """An `error` event raises; a missing message_stop alone would pass silently."""
    transport = streaming(BLOCK + ending, FORMATS["anthropic"].stream_error(refusal(502)), anthropic_http)
    with anthropic_client(transport) as client, pytest.raises(anthropic.APIStatusError, match="not known here"):
        list(client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}], stream=True))


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\n", b"\r\n"])
def test_googles_sdk_raises_in_mid_stream(ending: bytes) -> None:
    """An error object as data raises a ServerError."""
    transport = streaming(SNAPSHOT + ending, FORMATS["gemini"].stream_error(refusal(502)))
    with google_client(transport) as client, pytest.raises(google_errors.ServerError, match="not known here"):
        list(client.models.generate_content_stream(model="m", contents="x"))


@pytest.mark.parametrize("name", ["openai", "openai-responses", "anthropic", "gemini", "cohere", "mistral"])
def test_stream_errors_are_one_whole_event_without_an_end_marker(name: str) -> None:
    """One SSE event of one data line; nothing that would say that the reply ended well."""
    said = FORMATS[name].stream_error(refusal(502))
    assert said.startswith(b"\n\n")
    assert said.endswith(b"\n\n")
    lines = said.strip(b"\n").split(b"\n")
    assert [line.partition(b": ")[0] for line in lines[-1:]] == [b"data"]
    assert len(lines) <= 2
    assert MESSAGE in json.dumps(json.loads(lines[-1].removeprefix(b"data: ")), ensure_ascii=False)
    assert b"[DONE]" not in said
    assert b"message_stop" not in said


def test_ollamas_stream_error_is_one_line() -> None:
    """NDJSON: one object, one line end, and no empty line in front, which its client would try to parse."""
    said = FORMATS["ollama"].stream_error(refusal(502))
    assert said.count(b"\n") == 1
    assert json.loads(said) == {"error": MESSAGE}


def test_bedrocks_stream_error_is_an_exception_frame() -> None:
    """Lengths and both checksums are right, and the headers name the exception as the event stream's model does."""
    frame = FORMATS["bedrock"].stream_error(refusal(429))
    total, headers_length, prelude_crc = struct.unpack(">III", frame[:12])
    assert total == len(frame)
    assert prelude_crc == zlib.crc32(frame[:8])
    assert struct.unpack(">I", frame[-4:])[0] == zlib.crc32(frame[:-4])
    headers, payload = frame[12 : 12 + headers_length], frame[12 + headers_length : -4]
    assert json.loads(payload) == {"message": MESSAGE}
    read = {}
    while headers:
        name_end = 1 + headers[0]
        assert headers[name_end] == 7
        value_end = name_end + 3 + struct.unpack(">H", headers[name_end + 1 : name_end + 3])[0]
        read[headers[1:name_end]] = headers[name_end + 3 : value_end]
        headers = headers[value_end:]
    assert read == {
        b":exception-type": b"throttlingException",
        b":content-type": b"application/json",
        b":message-type": b"exception",
    }


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize("endpoint", ["chat", "embeddings", "other"])
def test_same_family(client: str, provider: str, endpoint: str) -> None:
    """Equal formats need no conversion; OpenAI's two differ only where conversations go to Responses alone."""
    expected = client == provider or (
        {client, provider} == {"openai", "openai-responses"} and (provider == "openai" or endpoint != "chat")
    )
    assert same_family(client, provider, endpoint) is expected
