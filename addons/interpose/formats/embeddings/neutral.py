"""What every embedding API asks and answers, in no format's words, and vectors from one encoding into another.

A vector travels as its provider wrote it; it is recoded only for a client that asked for another encoding. Floats and
base64 (IEEE 754 single precision, little-endian) are recoded here, exactly. What else there is (int8, binary …) only
the model's provider can make, for it rests on how that model's values are spread.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from interpose.formats.codecs.codec import Malformed
from interpose.ir import Foreign, Losses, Media, Own, Text

# What the vectors are for. "image" is how Cohere says that the inputs are no texts.
Task = Literal[
    "query", "document", "similarity", "classification", "clustering", "answering", "verification", "code", "image"
]
RECODED = frozenset(("float", "base64"))


@dataclass(slots=True)
class Tokens:
    """A text as the numbers of its tokens, which mean something to one tokenizer alone."""

    numbers: list[int]
    at: str = ""


Part = Text | Tokens | Media | Foreign


@dataclass(slots=True)
class Input:
    """What becomes one vector. `task` and `dimensions` are said for each input by Gemini, for all by everybody else.

    `own` is what else stands beside the parts, `around` what stands on the object that holds them.
    """

    parts: list[Part]
    task: Task | None = None
    dimensions: int | None = None
    at: str = ""
    own: Own | None = None
    around: Own | None = None

    @property
    def text(self) -> str | None:
        """The input, if it is a text and nothing else."""
        return self.parts[0].text if len(self.parts) == 1 and isinstance(self.parts[0], Text) else None


@dataclass(slots=True)
class Request:
    """One request for vectors. `encodings` are what they may come in, none where the client left it to the default.

    `truncate` says at which end a text that is too long is cut, "none" that it is refused. `stream` is never true: it
    is what all kinds of requests have.
    """

    format: str
    model: str
    inputs: list[Input]
    encodings: tuple[str, ...] = ()
    truncate: Literal["none", "start", "end"] | None = None
    user: str | None = None
    stream: Literal[False] = False
    own: Own | None = None


@dataclass(slots=True)
class Vector:
    """One input's vector, by encoding: a list of numbers or a text, as the provider wrote it."""

    values: dict[str, Any]
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class Reply:
    """Vectors in the order of the inputs. `input_tokens` are those of texts, `image_tokens` those of images, `counted`
    is what stands beside these counts.
    """

    format: str
    vectors: list[Vector] = field(default_factory=list)
    model: str = ""
    id: str = ""
    input_tokens: int | None = None
    image_tokens: int | None = None
    counted: Own | None = None
    own: Own | None = None

    @property
    def tokens(self) -> int | None:
        told = [count for count in (self.input_tokens, self.image_tokens) if count is not None]
        return sum(told) if told else None


# Reading

NUMBER = (int, float)


def is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) in NUMBER for each in value)


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def take[T](body: dict[str, Any], key: str, kind: type[T]) -> T | None:
    """The value of a key, taken out of the body, if it is of that very type; else it is left over, and None."""
    return body.pop(key) if type(body.get(key)) is kind else None


def taken(body: dict[str, Any], key: str, kind: type[Any], what: str) -> Any:
    """The same for what must be there. Raises Malformed."""
    if type(body.get(key)) is not kind:
        raise Malformed(key, f"it must be {what}")
    return body.pop(key)


def apart(body: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Those of the keys that are there, taken out of the body."""
    return {key: body.pop(key) for key in keys if key in body}


# Writing


def texts(request: Request, target: str, losses: Losses, more: str = "") -> list[str]:
    """The inputs for a format that takes texts alone; everything else is impossible."""
    found = []
    for each in request.inputs:
        if each.text is not None:
            found.append(each.text)
            continue
        for part in each.parts if len(each.parts) == 1 else []:
            refuse_part(part, target, losses)
        if len(each.parts) != 1:
            losses.impossible(each.at, f"{target} makes a vector of one text, and not of several parts")
    if more and len(request.inputs) > 1:
        losses.impossible(request.inputs[1].at, more)
    return found


def refuse_part(part: Part, target: str, losses: Losses) -> None:
    """A part that the target cannot take."""
    kind = "token numbers" if isinstance(part, Tokens) else part.kind if isinstance(part, Media | Foreign) else "text"
    reason = f"{target} has another tokenizer" if isinstance(part, Tokens) else f"{target} takes no {kind}"
    losses.impossible(part.at, f"{reason}: send text" if isinstance(part, Tokens) else reason)


def common[T](request: Request, of: Callable[[Input], T | None], at: str, losses: Losses) -> T | None:
    """What all inputs want, for a format that is told once; inputs that want different things are impossible."""
    wanted = {of(each) for each in request.inputs}
    if len(wanted) > 1:
        losses.impossible(at, "the inputs differ in it, and it can be said only for all of them: send them apart")
        return None
    return next(iter(wanted), None)


def task_of(request: Request, losses: Losses) -> Task | None:
    return common(request, lambda each: each.task, "task", losses)


def dimensions_of(request: Request, losses: Losses) -> int | None:
    return common(request, lambda each: each.dimensions, "dimensions", losses)


def only_recoded(request: Request, target: str, losses: Losses) -> None:
    """What is asked for in an encoding that neither the target nor we can make is impossible."""
    for encoding in request.encodings:
        if encoding not in RECODED:
            losses.impossible("encodings", f"{target} gives no vectors as {encoding}")


def tell_own(request: Request, target: str, losses: Losses) -> None:
    """Every leftover of another format."""
    losses.own(request.own, "", target)
    for each in request.inputs:
        losses.own(each.own, each.at, target)
        losses.own(each.around, each.at, target)
        for part in each.parts:
            if not isinstance(part, Tokens):
                losses.own(part.own, part.at, target)


# Vectors


def recoded(reply: Reply, request: Request, encoding: str) -> list[Any]:
    """The vectors in that encoding, one for each input. Raises Malformed where there are more or fewer of them (whose
    they are, nobody could say), or where they did not come in it, and it cannot be made of what came.
    """
    if len(reply.vectors) != len(request.inputs):
        raise Malformed("", f"it has {len(reply.vectors)} vectors for {len(request.inputs)} inputs")
    pairs = zip(reply.vectors, request.inputs, strict=True)
    return [_recoded(vector, encoding, each.dimensions) for vector, each in pairs]


def _recoded(vector: Vector, encoding: str, dimensions: int | None) -> Any:
    if encoding in vector.values:
        return vector.values[encoding]
    if encoding == "float" and isinstance(packed := vector.values.get("base64"), str):
        numbers = floats(packed, vector.at)
        if dimensions not in (None, len(numbers)):
            # Some servers pack doubles or bytes.
            raise Malformed(vector.at, f"it is no base64 of {dimensions} numbers in single precision")
        return numbers
    if encoding == "base64" and isinstance(given := vector.values.get("float"), list):
        return packed_floats(given, vector.at)
    raise Malformed(vector.at, f"the provider gave no vector as {encoding}")


def packed_floats(numbers: list[float], at: str = "") -> str:
    """Base64 of the numbers in single precision, little-endian: as OpenAI writes it. Raises Malformed."""
    try:
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    except (struct.error, OverflowError):
        raise Malformed(at, "the vector holds what is no number in single precision") from None


def floats(packed: str, at: str = "") -> list[float]:
    """The numbers of that base64. Raises Malformed, also for infinities and NaN, which JSON cannot hold."""
    try:
        data = base64.b64decode(packed, validate=True)
        numbers = list(struct.unpack(f"<{len(data) // 4}f", data))
    except (binascii.Error, struct.error, ValueError):
        raise Malformed(at, "the vector is no base64 of numbers in single precision") from None
    if not all(number - number == 0 for number in numbers):
        raise Malformed(at, "the vector holds what is no number")
    return numbers


def tell_reply(reply: Reply, target: str, losses: Losses) -> None:
    """Every leftover of another format."""
    losses.own(reply.own, "", target)
    losses.own(reply.counted, "usage", target)
    for vector in reply.vectors:
        # Of each kind once: a reply may have thousands of vectors.
        losses.own(vector.own, "vectors", target)
