"""botocore as an oracle: the service's model, its validator, its real client's reading of replies and streams."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator

__all__ = ["ClientError", "EventStreamError"]


@cache
def operation(name: str) -> OperationModel:
    return client().meta.service_model.operation_model(name)


def validate(body: Any, model: str = "anthropic.claude-test", *, stream: bool = False) -> None:
    """Fails unless the service's model takes the body: names, types and required members by botocore's own validator,
    which leaves words, patterns and sizes to the service; these by `flaws`.
    """
    shape = operation("ConverseStream" if stream else "Converse").input_shape
    report = ParamValidator().validate({**body, "modelId": model}, shape)
    assert not report.has_errors(), report.generate_report()
    found = list(flaws(shape, {**body, "modelId": model}, "$"))
    assert not found, found


def flaws(shape: Any, value: Any, path: str) -> Iterator[str]:
    """Where a value breaks what the model says of words, patterns and sizes."""
    if shape.type_name == "structure":
        if getattr(shape, "is_document_type", False):
            return
        if getattr(shape, "is_tagged_union", False) and len(value) != 1:
            yield f"{path} has {len(value)} members"
        for name, inner in value.items():
            yield from flaws(shape.members[name], inner, f"{path}.{name}")
    elif shape.type_name == "list":
        yield from _sized(shape, len(value), path)
        for place, inner in enumerate(value):
            yield from flaws(shape.member, inner, f"{path}[{place}]")
    elif shape.type_name == "map":
        yield from _sized(shape, len(value), path)
        for name, inner in value.items():
            yield from flaws(shape.key, name, f"{path}.{name}")
            yield from flaws(shape.value, inner, f"{path}.{name}")
    elif shape.type_name == "string":
        yield from _sized(shape, len(value), path)
        if shape.enum and value not in shape.enum:
            yield f"{path} is {value!r}, none of {shape.enum}"
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            yield f"{path} is {value[:80]!r}, not {pattern}"
    elif shape.type_name == "blob" and not isinstance(value, bytes):
        base64.b64decode(value, validate=True)
    elif shape.type_name in ("integer", "float", "double", "long"):
        yield from _sized(shape, value, path)


def _sized(shape: Shape, size: float, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if (least is not None and size < least) or (most is not None and size > most):
        yield f"{path} is of {size}, not from {least} to {most}"


ASKED: Any = {"modelId": "anthropic.claude-test", "messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


@cache
def client() -> Any:
    """botocore's own client, which is boto3's: it signs with keys that are none, and tries once."""
    return botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id="FAKE-id",
        aws_secret_access_key="FAKE-secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


class _Raw(io.BytesIO):
    """The body of an HTTP reply, as botocore reads it."""

    def stream(self, amt: int = 1024, decode_content: bool | None = None) -> Iterator[bytes]:
        while data := self.read(amt):
            yield data


def _answered(call: Callable[[Any], Any], data: bytes, status: int = 200) -> Any:
    """What the client makes of a reply, which never came over a network."""

    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, status, {}, _Raw(data))

    sdk = client()
    sdk.meta.events.register_first("before-send.bedrock-runtime", answer, "answer")
    try:
        return call(sdk)
    finally:
        sdk.meta.events.unregister("before-send.bedrock-runtime", answer, "answer")


def parsed(body: Any, status: int = 200) -> Any:
    """A whole reply as botocore gives it to its caller. Raises ClientError for an error."""
    found = _answered(lambda sdk: sdk.converse(**ASKED), json.dumps(body).encode(), status)
    return {name: value for name, value in found.items() if name != "ResponseMetadata"}


def events(data: bytes) -> list[Any]:
    """The events of a stream as botocore gives them to its caller. Raises EventStreamError for an exception's frame."""
    return list(_answered(lambda sdk: sdk.converse_stream(**ASKED)["stream"], data))


def accumulated(data: bytes) -> Any:
    """The whole reply that the events amount to, as JSON: made from the types alone, for botocore collects none."""
    blocks: dict[int, Any] = {}
    inputs: dict[int, str] = {}
    reply: Any = {}
    for event in events(data):
        [(kind, told)] = event.items()
        index = told.get("contentBlockIndex")
        if kind == "contentBlockStart":
            blocks[index] = dict(told["start"])
        elif kind == "contentBlockDelta":
            _add(blocks.setdefault(index, {}), told["delta"], inputs, index)
        elif kind == "messageStop" or kind == "metadata":
            reply |= told
    for index, text in inputs.items():
        blocks[index]["toolUse"]["input"] = _input(text)
    reply["output"] = {"message": {"role": "assistant", "content": [wire(blocks[at]) for at in sorted(blocks)]}}
    return reply


def _input(text: str) -> Any:
    """Arguments that were cut off at the limit of tokens are no JSON: they stay text."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _add(block: Any, delta: Any, inputs: dict[int, str], index: int) -> None:
    [(kind, value)] = delta.items()
    if kind == "text":
        cited = block.get("citationsContent")
        if cited is None:
            block["text"] = block.get("text", "") + value
        else:
            content = cited.setdefault("content", [{"text": ""}])
            content[0]["text"] += value
    elif kind == "citation":
        cited = block.setdefault("citationsContent", {"citations": []})
        if "text" in block:
            cited["content"] = [{"text": block.pop("text")}]
        cited["citations"].append(value)
    elif kind == "toolUse":
        inputs[index] = inputs.get(index, "") + value["input"]
    elif kind == "toolResult":
        block["toolResult"].setdefault("content", []).extend(value)
    elif kind == "reasoningContent":
        told = block.setdefault("reasoningContent", {})
        if "redactedContent" in value:
            told["redactedContent"] = told.get("redactedContent", b"") + value["redactedContent"]
        else:
            text = told.setdefault("reasoningText", {})
            for name, piece in value.items():
                text[name] = text.get(name, "") + piece
    else:
        block.setdefault(kind, {}).update(value)


def wire(value: Any) -> Any:
    """As JSON has it: bytes are base64 there."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: wire(one) for name, one in value.items()}
    return [wire(one) for one in value] if isinstance(value, list) else value
