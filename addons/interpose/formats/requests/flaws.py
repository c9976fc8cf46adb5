"""A validator's error in the words of OpenAI's own: which field, a code, and what was expected instead.

https://platform.openai.com/docs/guides/error-codes: `param` is a path like `messages[0].role`. Texts that the client
sent are never repeated, since one of them may be a secret; numbers are, if they are short.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import ValidationError

MOST_SHOWN = 40
# A name that is a client's own stands in the path of what is wrong with its value.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")

_KINDS = {
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "boolean": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a body. `param` is None where it is the body as a whole."""

    code: str
    message: str
    param: str | None


def flaw_of(error: ValidationError, schemas: Mapping[str, Any]) -> Flaw:
    """That error, told; of alternatives the one which comes nearest."""
    found = _nearest(error)
    kind = found[0].kind.name
    return _TOLD.get(kind, _other)(found, schemas)


def _nearest(error: ValidationError) -> list[ValidationError]:
    """The error itself; several where alternatives differ in nothing but the type that they want there."""
    branches: Sequence[Sequence[ValidationError]] | None = getattr(error.kind, "context", None)
    if not branches:
        return [error]
    nearest = [_nearest(branch[0]) for branch in branches if branch]
    deepest = max(nearest, key=lambda errors: _place(errors[0]))
    alike = [errors for errors in nearest if _place(errors[0]) == _place(deepest[0])]
    other = next((errors for errors in alike if errors[0].kind.name != "type"), None)
    return other or [error for errors in alike for error in errors]


def _place(error: ValidationError) -> tuple[int, list[int]]:
    """How far into the body it lies."""
    return len(error.instance_path), [step for step in error.instance_path if isinstance(step, int)]


def param_of(path: Sequence[str | int]) -> str:
    """`messages[0].role`"""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _PLAIN.fullmatch(step) else "*")
    return text


def _wrong_type(errors: Sequence[ValidationError], schemas: Mapping[str, Any]) -> Flaw:
    wanted = {name: None for error in errors for name in _facts(error)["types"]}
    # Null stands for "left out", and is not what anybody should send instead.
    kinds = [told for name, told in _KINDS.items() if name in wanted and (name != "null" or len(wanted) == 1)]
    expected = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
    param = param_of(errors[0].instance_path)
    return Flaw(
        "invalid_type",
        f"Invalid type for {_named(param)}: expected {expected}, but got {_got(errors[0])} instead.",
        param or None,
    )


def _missing(errors: Sequence[ValidationError], schemas: Mapping[str, Any]) -> Flaw:
    param = param_of([*errors[0].instance_path, _facts(errors[0])["property"]])
    return Flaw("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def _bound(side: str, sign: str) -> Callable[[Sequence[ValidationError], Mapping[str, Any]], Flaw]:
    def tell(errors: Sequence[ValidationError], schemas: Mapping[str, Any]) -> Flaw:
        error, limit = errors[0], _facts(errors[0])["limit"]
        kind = "integer" if "integer" in _types(error, schemas) else "decimal"
        param, shown = param_of(error.instance_path), str(error.instance)
        got = shown if len(shown) <= MOST_SHOWN else "one of many digits"
        message = f"{kind} {side}imum value. Expected a value {sign} {limit}, but got {got} instead."
        return Flaw(f"{kind}_{side.replace(' ', '_')}_value", f"Invalid {_named(param)}: {message}", param or None)

    return tell


def _facts(error: ValidationError) -> Mapping[str, Any]:
    """What the keyword at fault wanted: a limit, types, options, the property that is missing."""
    return error.kind.as_dict()


def _types(error: ValidationError, schemas: Mapping[str, Any]) -> Any:
    """The types that the schema at fault asks for."""
    node: Any = {"$defs": schemas}
    for step in error.schema_path[:-1]:
        node = node[step]
    return node.get("type", ())


def _too_short(errors: Sequence[ValidationError], schemas: Mapping[str, Any]) -> Flaw:
    param = param_of(errors[0].instance_path)
    kind = "array" if errors[0].kind.name == "minItems" else "string"
    return Flaw(
        f"empty_{kind}", f"Invalid {_named(param)}: empty {kind}. Expected one that is not empty.", param or None
    )


def _too_long(errors: Sequence[ValidationError], schemas: Mapping[str, Any]) -> Flaw:
    param = param_of(errors[0].instance_path)
    return Flaw(
        "string_above_max_length",
        f"Invalid {_named(param)}: string too long. Expected at most {_facts(errors[0])['limit']} characters.",
        param or None,
    )


def _not_among(errors: Sequence[ValidationError], schemas: Mapping[str, Any]) -> Flaw:
    options = [f"'{option}'" for option in _facts(errors[0])["options"] if option is not None]
    supported = ", ".join(options[:-1]) + f" and {options[-1]}" if len(options) > 1 else options[0]
    param = param_of(errors[0].instance_path)
    message = f"Invalid value for {_named(param)}. Supported values are: {supported}."
    return Flaw("invalid_value", message, param or None)


def _other(errors: Sequence[ValidationError], schemas: Mapping[str, Any]) -> Flaw:
    param = param_of(errors[0].instance_path)
    return Flaw("invalid_value", f"Invalid value for {_named(param)}.", param or None)


def _named(param: str) -> str:
    return f"'{param}'" if param else "the body"


def _got(error: ValidationError) -> str:
    kind = _NAMES.get(type(error.instance))
    return _KINDS[kind] if kind is not None else "null"


_TOLD: dict[str, Callable[[Sequence[ValidationError], Mapping[str, Any]], Flaw]] = {
    "type": _wrong_type,
    "required": _missing,
    "minimum": _bound("below min", ">="),
    "maximum": _bound("above max", "<="),
    "minItems": _too_short,
    "minLength": _too_short,
    "maxLength": _too_long,
    "enum": _not_among,
}
