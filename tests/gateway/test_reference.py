"""The API reference: the OpenAPI document is one, it says what holds, and its examples are examples of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from interpose.call import Call, Entrance, Origin, Peer, Reply, Url, header
from interpose.engine.witness import Witness
from interpose.formats.operations import OPERATIONS
from interpose.formats.requests import flaw_in, schemas
from interpose.gateway import Front, page_of_json, said
from interpose.gateway.reference import described
from interpose.gateway.reference.data import errors, operations
from interpose.gateway.reference.document import LIMITS, document
from interpose.rules.load import load
from interpose.wire.sse import SseDecoder

ROOT = Path(__file__).parents[2]
PATHS = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")
DOCUMENT = document("http://gateway.test:8080", PATHS)
POSTS = [operation for operation in OPERATIONS if operation.body is not None]


def test_it_is_openapi() -> None:
    """Of version 3.1, by the schema that its authors publish; nothing in it leads nowhere."""
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_operation_is_in_it() -> None:
    """Each under the name and path by which it is judged, and each page that is there; no others."""
    found = {
        (described["operationId"], method.upper(), path)
        for path, methods in DOCUMENT["paths"].items()
        for method, described in methods.items()
    }
    assert {(each.name, each.method, each.path) for each in OPERATIONS} <= found
    assert {path for _, _, path in found} == {*(each.path for each in OPERATIONS), *PATHS}
    assert "/metrics" not in document("http://gateway.test", ("/healthz",))["paths"]


@pytest.mark.parametrize("operation", POSTS, ids=lambda operation: operation.name)
def test_a_request_schema_is_the_one_that_judges(operation: Any) -> None:
    """But for where its references lead."""
    body = DOCUMENT["paths"][operation.path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].removeprefix("#/components/schemas/")
    told = json.dumps(DOCUMENT["components"]["schemas"][name]).replace("#/components/schemas/", "#/$defs/")
    assert name == operation.body
    assert json.loads(told) == schemas()[name]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_its_examples_are_examples(operation: Any) -> None:
    """Of what is sent, as the gateway judges it, and of what is answered."""
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]
    if operation.body is not None:
        example = described["requestBody"]["content"]["application/json"]["examples"]["simple"]["value"]
        assert flaw_in(operation.body, example) is None
    answer = described["responses"]["200"]["content"]["application/json"]
    validator = jsonschema_rs.Draft202012Validator({**answer["schema"], "components": DOCUMENT["components"]})
    assert [error.message for error in validator.iter_errors(answer["examples"]["simple"]["value"])] == []
    assert not validator.is_valid("nothing of the kind")


@pytest.mark.parametrize(
    "told", [told for told in operations().values() if "streamed" in told], ids=lambda told: told["summary"]
)
def test_its_streams_are_streams(told: Any) -> None:
    """Whole events, each of JSON."""
    decoder = SseDecoder()
    events = decoder.feed(told["streamed"].encode())
    assert len(events) >= 2
    assert decoder.finish() == []
    assert all(json.loads(event.data) for event in events if event.data != b"[DONE]")


def test_nothing_is_told_of_what_is_not_there() -> None:
    """Every operation has its text, and every text its operation."""
    assert operations().keys() == {each.name for each in OPERATIONS}


def test_the_limits_are_those_of_the_default_rules() -> None:
    """Requests a minute, per key and address."""
    limits = load(ROOT / "rules" / "gateway.yaml").limits
    told = {limit["name"]: limit["requests"] for limit in LIMITS}
    assert {limit.name: (limit.requests.count, limit.requests.seconds) for limit in limits if limit.requests} == {
        name: (count, 60) for name, count in told.items()
    }


def test_every_code_of_the_error_table_exists() -> None:
    """Somewhere in the code: a word that is gone is in no table."""
    source = "".join(path.read_text() for path in (ROOT / "addons" / "interpose").rglob("*.py"))
    made = {f"{kind}_{side}_value" for kind in ("integer", "decimal") for side in ("below_min", "above_max")}
    made |= {"empty_array", "empty_string"}
    told = {code for error in errors() for code in error["codes"]}
    assert {code for code in told if f'"{code}"' not in source and f"'{code}'" not in source} == made
    assert [error["status"] for error in errors()] == sorted({error["status"] for error in errors()})


class Engine:
    async def handle(self, call: Call, witnesses: Sequence[Witness] = ()) -> Reply:
        return said(418, b"", "text/plain")


async def got(path: str, host: str = "gateway.test") -> tuple[Reply, bytes]:
    front = Front(Engine(), described({"/healthz": page_of_json(lambda: (200, {}))}))
    call = Call("GET", Url(Origin("http", host, 8080), path), (), b"", Peer("127.0.0.1"), Entrance.GATEWAY)
    reply = await front.handle(call)
    return reply, b"".join([piece async for piece in reply.body])


async def test_it_is_served() -> None:
    """As a document that names the address by which it was asked for, and the pages that there are."""
    reply, body = await got("/openapi.json")
    assert (reply.status, header(reply.headers, b"content-type")) == (200, b"application/json")
    served = json.loads(body)
    assert served == document("http://gateway.test:8080", ("/healthz", "/openapi.json", "/docs"))
    assert served["servers"] == [{"url": "http://gateway.test:8080"}]


async def test_the_page_is_whole() -> None:
    """It has every operation, field, status and code, and asks nobody for anything."""
    reply, body = await got("/docs")
    page = body.decode()
    policy = header(reply.headers, b"content-security-policy")
    assert (reply.status, header(reply.headers, b"content-type")) == (200, b"text/html; charset=utf-8")
    assert policy is not None
    assert policy.startswith(b"default-src 'none'; style-src 'sha256-")
    assert set(re.findall(r'(?:src|href)="([a-z]+:[^"]*)"', page)) == set()
    assert "<script" not in page
    assert "style=" not in page
    for word in (
        *(f'id="{each.name}"' for each in OPERATIONS),
        *(f"<code>{code}</code>" for error in errors() for code in error["codes"]),
        *(f'id="error-{error["status"]}"' for error in errors()),
        *("max_completion_tokens", "messages[].role", "X-API-Key: KEY", "http://gateway.test:8080/v1"),
    ):
        assert word in page, word


async def test_what_a_client_calls_us_is_no_markup() -> None:
    """The name by which we were called stands in the page as text."""
    _, body = await got("/docs", 'a"><script>alert(1)</script>')
    assert b"<script" not in body
