"""Data -> validated schema, with the validator's complaints put into plain words at their place in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from .document import Document
from .problem import BadValue, Path, did_you_mean, printable
from .relations import as_dialect
from .schema import RulesSpec, fields
from .support import found, matches
from .values import kind, shown

FIELDS = tuple(fields())


def validate(document: Document) -> RulesSpec | None:
    """The schema's view of a document, None if it has none. All that is wrong is reported in the document."""
    if not isinstance(document.data, dict):
        if not document.problems:
            _not_a_mapping(document)
        return None
    if not _version(document):
        return None
    _nulls(document, document.data, ())
    spec = None
    try:
        spec = RulesSpec.model_validate(document.data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _complain(document, dict(details))
    for path, row in found(document.data):
        message = f"{row.what} is not supported in this version".lstrip()
        document.report(path, message, row.hint, key=not row.what)
    return spec


def _not_a_mapping(document: Document) -> None:
    if document.data is None:
        document.report((), "is empty", 'a rules file begins with "version: 1"')
    else:
        document.report((), f"is not a mapping but {kind(document.data)}", 'a rules file begins with "version: 1"')


def _version(document: Document) -> bool:
    assert isinstance(document.data, dict)
    if "version" not in document.data:
        hint = next((did_you_mean(name, ["version"]) for name in document.data if did_you_mean(name, ["version"])), "")
        document.report(("version",), "is missing", hint or 'a rules file begins with "version: 1"')
        return False
    version = document.data["version"]
    if type(version) is not int or version != 1:
        document.report(("version",), f"{shown(version)} is not a version that can be read here", "write version: 1")
        return False
    return True


def _nulls(document: Document, value: object, path: Path) -> None:
    """`key:` with nothing after it is ambiguous (a default? an unset template variable?), so it is an error."""
    if value is None and not document.reported(path):
        document.report(path, "has no value", "give it one, or remove it", key=True)
    elif isinstance(value, dict):
        for name, item in value.items():
            _nulls(document, item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _nulls(document, item, (*path, index))


Said = tuple[str, str]


def _type(expected: str, hint: str = "") -> Callable[[Any], Said]:
    return lambda details: (f"expected {expected}, got {kind(details['input'])}", hint)


def _literal(details: Any) -> Said:
    known = re.findall(r"'([^']*)'", details["ctx"]["expected"])
    value = details["input"]
    if not isinstance(value, str):
        return f"expected text, got {kind(value)}", f"known are {', '.join(known)}"
    hint = as_dialect(value) if details["loc"][-1:] == ("format",) else ""
    hint = hint or did_you_mean(value, known) or f"known are {', '.join(known)}"
    return f'"{printable(value)}" is not known here', hint


def _refused(details: Any) -> Said:
    error = details["ctx"]["error"]
    return str(error), error.hint if isinstance(error, BadValue) else ""


def _bool(details: Any) -> Said:
    return f"expected true or false, got {shown(details['input'])}", "write true or false"


def _integer(details: Any) -> Said:
    return f"expected a whole number, got {shown(details['input'])}", ""


# The validator's error types: https://docs.pydantic.dev/latest/errors/validation_errors/
_WORDS: Mapping[str, Callable[[Any], Said]] = {
    "value_error": _refused,
    "literal_error": _literal,
    "string_type": _type("text", "put it in quotes if it is meant as text"),
    "bool_type": _bool,
    "int_type": _integer,
    "int_from_float": _integer,
    "list_type": _type("a list"),
    "dict_type": _type("a mapping"),
    "model_type": _type("a mapping"),
    "model_attributes_type": _type("a mapping"),
    "too_short": lambda details: ("is empty", "remove it, or say something"),
    "greater_than_equal": lambda details: (f"must be at least {details['ctx']['ge']}", ""),
    "less_than_equal": lambda details: (f"must be at most {details['ctx']['le']}", ""),
    "missing": lambda details: ("is missing", ""),
}


def _complain(document: Document, details: dict[str, Any]) -> None:
    location = details["loc"]
    of_key = bool(location) and location[-1] == "[key]"
    path = document.real_path(location[:-1] if of_key else location)
    if details["type"] == "extra_forbidden":
        document.report(path, "unknown key", _where(str(path[-1]), path[:-1]), key=True)
    elif not document.reported(path):
        say = _WORDS.get(details["type"])
        message, hint = say(details) if say is not None else (printable(str(details["msg"]), 200), "")
        document.report(path, message, hint, key=of_key)


def _where(name: str, section: Path) -> str:
    """Where a key that `section` does not know may belong, or what it may be a misspelling of."""
    known = known_keys(section)
    steps = tuple(step for step in section if isinstance(step, str))
    if steps and name in known_keys(steps[:-1]):
        return f"`{name}` stands beside `{printable(steps[-1])}`, not in it"
    if steps and f"{name}s" not in known:
        homes = [f"`{home}`" for home in known if home not in _ECHOES and name in known_keys((*steps, home))]
        if homes:
            return f"it belongs in {' or in '.join(homes)}"
    if hint := did_you_mean(name, known):
        return hint
    above = [field for field in FIELDS if field[-1] == name and len(field) <= 2]
    return f"it belongs under {'.'.join(above[0][:-1]) or 'the top level'}" if above else ""


# Sections that have the fields of another one, which is the likelier home of a key that has lost its own.
_ECHOES = frozenset({"except", "fallback"})


def known_keys(path: Path) -> list[str]:
    """The keys that the schema knows at a path."""
    steps = tuple(step for step in path if isinstance(step, str))
    return [field[-1] for field in FIELDS if matches(field[:-1], steps) and field[-1] != "*"]
