"""Requests of generateContent and streamGenerateContent: https://ai.google.dev/api/generate-content

Model and streaming are in the path: `/v1beta/models/MODEL:streamGenerateContent`. A stream is SSE with `alt=sse` in the
query, else one JSON array.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from interpose.formats.codecs.codec import Asked, Json, Malformed, Target, Written
from interpose.ir import Block, Losses, Message, Own, Request, Text, ToolCall

from .parts import Calls, read_part, read_parts
from .settings import CONFIG, read_settings, respell_settings, write_settings
from .spelling import NAME, lay, leave, marked, marks_of, own_of, respell, snake, unify
from .tools import read_choice, read_tools, write_choice, write_tools
from .writing import Pen

REQUEST_NAMES = snake(
    "systemInstruction", "generationConfig", "toolConfig", "safetySettings", "cachedContent", "serviceTier"
)
_ROLES: dict[Any, Any] = {"user": "user", "model": "assistant", "function": "tool"}
# A prefix that Google has stored, an answer that it is to go on with: nobody else can know them.
_VITAL = frozenset(("cachedContent", "continuationToken"))
# https://ai.google.dev/gemini-api/docs/thought-signatures: Gemini 3 refuses a turn of calls whose first has no
# signature; this stands for one where the calls were made by another model.
UNSIGNED = "skip_thought_signature_validator"
_PLACES = ("tunedModels/", "publishers/", "projects/", "endpoints/")


def read_request(body: Any, asked: Asked) -> Request:
    if type(body) is not dict:
        raise Malformed("", "the request must be a JSON object")
    marks: set[str] = set()
    unify(body, REQUEST_NAMES, marks)
    model, method = _addressed(asked)
    request = Request(NAME, _model(body, model, marks), [], stream=method.startswith("stream"))
    if request.stream and ("alt", "sse") not in parse_qsl(asked.query):
        marks.add("alt:array")
    _read_system(body, request)
    _read_contents(body, request, marks)
    if type(tools := body.get("tools")) is list and tools:
        request.tools = read_tools(body.pop("tools"))
    if type(choice := body.get("toolConfig")) is dict and choice:
        request.tool_choice = read_choice(body.pop("toolConfig"))
    if type(config := body.get(CONFIG)) is dict and config:
        del body[CONFIG]
        leave(body, CONFIG, read_settings(config, request, marks))
    labels = body.get("labels")
    if type(labels) is dict and labels and all(type(label) is str for label in labels.values()):
        request.metadata = body.pop("labels")
    if type(body.get("serviceTier")) is str:
        request.service_tier = body.pop("serviceTier")
    request.own = own_of(body, marks)
    if request.own is not None:
        request.own.vital = _VITAL.intersection(body)
    return request


def _addressed(asked: Asked) -> tuple[str, str]:
    """The model and the method that the path names."""
    resource, _, method = asked.path.rpartition(":")
    before, _, model = resource.rpartition("/")
    model = unquote(model)
    kind = before.rpartition("/")[2]
    return (f"{kind}/{model}" if kind in ("tunedModels", "endpoints") else model), method


def _model(body: Json, model: str, marks: set[str]) -> str:
    """The path's model counts; a body's own `model` stays where it says the same."""
    told = body.get("model")
    if type(told) is str and (not model or told.removeprefix("models/") == model):
        marks.add("model:models/" if told.startswith("models/") else "model:")
        del body["model"]
        return told.removeprefix("models/")
    return model


def _read_system(body: Json, request: Request) -> None:
    system = body.get("systemInstruction")
    if type(system) is not dict:
        return
    del body["systemInstruction"]
    marks = {"top"}
    blocks = _read_blocks(system, "systemInstruction", Calls("system"), marks)
    if type(role := system.get("role")) is str:
        del system["role"]
        marks.add(f"role:{role}")
    request.messages.append(Message("system", blocks, at="systemInstruction", own=own_of(system, marks)))


def _read_contents(body: Json, request: Request, marks: set[str]) -> None:
    contents = body.pop("contents", None)
    if type(contents) is dict:
        marks.add("contents:object")
        contents = [contents]
    if type(contents) is not list:
        raise Malformed("contents", "the contents must be a list")
    calls = Calls("request")
    for place, content in enumerate(contents):
        at = f"contents[{place}]"
        if type(content) is not dict:
            raise Malformed(at, "a content must be an object")
        found: set[str] = set()
        blocks = _read_blocks(content, at, calls, found)
        told = content.get("role")
        role = _ROLES.get(told) if type(told) is str else None
        if role is not None:
            del content["role"]
        elif "role" not in content:
            found.add("role:none")
        request.messages.append(Message(role or "user", blocks, at=at, own=own_of(content, found)))


def _read_blocks(content: Json, at: str, calls: Calls, marks: set[str]) -> list[Block]:
    parts = content.get("parts")
    if type(parts) is list:
        del content["parts"]
        return read_parts(parts, f"{at}.parts", calls)
    if type(parts) is dict:
        marks.add("parts:object")
        del content["parts"]
        return [read_part(parts, f"{at}.parts", calls)]
    marks.add("parts:none")
    return []


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    native = request.format == NAME
    model = target.model.removeprefix("models/")
    newest = _is_gemini_3(model)
    pen = Pen(losses, native=native, nested=newest, signed=newest and not native)
    body: Json = {}
    if not native:
        losses.own(request.own, "", NAME)
    marks = marks_of(request.own)
    if (told := marked(marks, "model:")) is not None:
        body["model"] = told + model
    first = _write_system(request.messages, pen, body)
    contents: list[Json] = []
    for message in request.messages[first:]:
        _write_content(message, pen, contents)
    body["contents"] = contents[0] if "contents:object" in marks and contents else contents
    if request.tools and (tools := write_tools(request.tools, model, losses)):
        body["tools"] = tools
    if request.tool_choice is not None and (config := write_choice(request, request.tool_choice, losses)):
        body["toolConfig"] = config
    if config := write_settings(request, target.capabilities, model, losses):
        body[CONFIG] = config
        if not native and not newest and any("functionDeclarations" in wrapper for wrapper in body.get("tools", ())):
            _unform(config, losses)
    _write_rest(request, body, losses)
    if native:
        lay(body, request.own)
        if marks:
            respell_settings(body.get(CONFIG), marks)
            respell(body, REQUEST_NAMES, marks)
    method = "streamGenerateContent" if request.stream else "generateContent"
    path = f"/{target.version or 'v1beta'}/{_resource(model)}:{method}"
    return Written(path, body, "alt=sse" if request.stream else "")


def _unform(config: Json, losses: Losses) -> None:
    """Before Gemini 3: "Function calling with a response mime type: 'application/json' is unsupported"."""
    if config.get("responseMimeType") == "application/json":
        del config["responseMimeType"]
        for key in ("responseSchema", "responseJsonSchema"):
            config.pop(key, None)
        losses.dropped("response_format", "this model takes functions or a form of the answer, not both")


def _resource(model: str) -> str:
    """The model's name as a path below the version; nothing in it leads elsewhere."""
    if model.startswith(_PLACES) and ".." not in model:
        return quote(model, safe="/@-._~")
    return "models/" + quote(model, safe="@-._~")


def _is_gemini_3(model: str) -> bool:
    """Whether the model asks for signatures of calls, and takes media in a function's result."""
    name = model.rpartition("/")[2]
    return name.startswith("gemini-") and not name.startswith(("gemini-1", "gemini-2"))


def _write_system(messages: list[Message], pen: Pen, body: Json) -> int:
    """The messages with which the conversation begins, as long as they are the system's; says how many they are."""
    count = 0
    parts: list[Json] = []
    own: Own | None = None
    for message in messages:
        if message.role not in ("system", "developer"):
            break
        count += 1
        for block in message.blocks:
            if not isinstance(block, Text) and not pen.native:
                pen.losses.impossible(block.at, "a system instruction is text")
            else:
                parts += pen.parts([block])
        own = message.own
        _tell(message, pen)
    if not count or (not parts and not pen.native):
        return count
    system: Json = {"parts": parts}
    if pen.native:
        marks = marks_of(own)
        _put_parts(system, parts, marks)
        if (role := marked(marks, "role:")) is not None:
            system["role"] = role
        lay(system, own)
    body["systemInstruction"] = system
    return count


def _write_content(message: Message, pen: Pen, contents: list[Json]) -> None:
    parts = pen.parts(message.blocks)
    if pen.native:
        marks = marks_of(message.own)
        content: Json = {"role": _role(message)}
        if "role:none" in marks:
            del content["role"]
        _put_parts(content, parts, marks)
        lay(content, message.own)
        contents.append(content)
        return
    _tell(message, pen)
    if message.role in ("system", "developer") and parts:
        pen.losses.approximated(message.at, "Gemini has no system in mid-conversation; the user says it")
    if not parts:
        return
    role = "model" if message.role == "assistant" else "user"
    if not contents or contents[-1]["role"] != role:
        contents.append({"role": role, "parts": []})
    turn = contents[-1]["parts"]
    if pen.signed and role == "model":
        _sign(turn, parts, message, pen.losses)
    turn += parts


def _role(message: Message) -> str:
    return {"assistant": "model", "tool": "function"}.get(message.role, "user")


def _put_parts(content: Json, parts: list[Json], marks: frozenset[str]) -> None:
    if "parts:none" in marks:
        content.pop("parts", None)
    else:
        content["parts"] = parts[0] if "parts:object" in marks and parts else parts


def _tell(message: Message, pen: Pen) -> None:
    if message.own is not None:
        pen.losses.own(message.own, message.at, NAME)
    if message.name is not None:
        pen.losses.dropped(message.at, "Gemini's contents have no name")


def _sign(before: list[Json], parts: list[Json], message: Message, losses: Losses) -> None:
    """The first call of a turn of the model's, if it is here."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is None or "thoughtSignature" in first or any("functionCall" in part for part in before):
        return
    first["thoughtSignature"] = UNSIGNED
    at = next((block.at for block in message.blocks if isinstance(block, ToolCall)), message.at)
    losses.synthesised(at, "the call has no signature of Gemini's; it is told to do without")


def _write_rest(request: Request, body: Json, losses: Losses) -> None:
    native = request.format == NAME
    if request.metadata is not None:
        if native:
            body["labels"] = request.metadata
        else:
            losses.dropped("metadata", "Gemini takes none")
    if request.service_tier is not None:
        if native:
            body["serviceTier"] = request.service_tier
        elif request.service_tier not in ("auto", "default", "standard", "standard_only"):
            losses.dropped("service_tier", "tiers differ between providers")
    if request.user is not None:
        losses.dropped("user", "Gemini takes no end user's name")
