"""The types of the schema's single fields: what text they take, and what editors are told of it.

Sections and their fields are in `schema`; the parsers of texts with a unit in `values`.
"""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from . import abilities, scrubs, sinks, stores, telemetry, urls, values
from .compiled import HEADER_WORD, OF_ATTEMPT, OF_CALL, VIRTUAL_PREFIX
from .facts import ENDPOINTS
from .patterns import checked_glob, is_glob, parsed_network
from .problem import BadValue, did_you_mean
from .values import Budget, Condition, Range, Rate, Shares, Size


class OrWord:
    """Marks a section that may be written as one word, which stands for itself."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def checked(value: object, inner: core_schema.ValidatorFunctionWrapHandler) -> object:
            return value if value == self._word else inner(value)

        def written(value: object, inner: core_schema.SerializerFunctionWrapHandler) -> object:
            return value if value == self._word else inner(value)

        return core_schema.no_info_wrap_validator_function(
            checked, handler(source), serialization=core_schema.wrap_serializer_function_ser_schema(written)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"const": self._word}, handler(schema)]}


class OneOrMany:
    """Marks a list that may be written as its single item."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def listed(value: object) -> object:
            return value if isinstance(value, list) or value is None else [value]

        return core_schema.no_info_before_validator_function(listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def _as_text(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


# For the version of the rules, which is made of their values: pydantic warns of dataclasses that it has not made.
_AS_IT_IS = PlainSerializer(repr, return_type=str)

Duration = Annotated[float, PlainValidator(values.duration), _as_text(values.DURATION_PATTERN)]
Age = Annotated[float, PlainValidator(values.age), _as_text(values.DURATION_PATTERN)]
DurationRange = Annotated[Range, _AS_IT_IS, PlainValidator(values.duration_range), _as_text(values.RANGE_PATTERN)]
RateText = Annotated[Rate, _AS_IT_IS, PlainValidator(values.rate), _as_text(values.RATE_PATTERN)]
BudgetText = Annotated[Budget, _AS_IT_IS, PlainValidator(values.budget), _as_text(values.BUDGET_PATTERN)]
SizeText = Annotated[Size, _AS_IT_IS, PlainValidator(values.size), _as_text(values.SIZE_PATTERN)]
BodyLimit = Annotated[int, PlainValidator(values.body_limit), _as_text(values.BYTES_PATTERN)]
Day = Annotated[datetime.date, BeforeValidator(values.date), _as_text(values.DATE_PATTERN)]
QuotaBelow = Annotated[
    Shares,
    _AS_IT_IS,
    PlainValidator(values.shares),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": values.PERCENT_PATTERN},
                {
                    "type": "object",
                    "additionalProperties": {"type": "string", "pattern": values.PERCENT_PATTERN},
                    "minProperties": 1,
                },
            ]
        }
    ),
]
ConditionText = Annotated[Condition, _AS_IT_IS, PlainValidator(values.condition), _as_text(values.CONDITION_PATTERN)]
Retryable = Annotated[
    int | str,
    PlainValidator(values.retryable),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 400, "maximum": 599},
                {"enum": [*values.STATUS_CLASSES, *values.FAILURES]},
            ]
        }
    ),
]


def _name(text: str) -> str:
    # Names travel in reply headers, log lines and reports.
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text) is None:
        raise BadValue("is not a usable name", "use up to 64 letters, digits, dots, dashes and underscores")
    return text


def _line(text: str) -> str:
    if not text or not text.isprintable():
        raise BadValue("is empty or contains control characters")
    return text


def _variable(text: str) -> str:
    # The value is not shown: the likeliest mistake is the key itself in place of its variable's name.
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", text) is None:
        raise BadValue("is not the name of an environment variable", "write the variable's name, never the key itself")
    return text


def _sha256(text: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text) is None:
        hint = "write the digest of the key, never the key itself: printf %s KEY | sha256sum"
        raise BadValue("is not a SHA-256 (64 hexadecimal digits)", hint)
    return text.lower()


def _header_name(text: str) -> str:
    # RFC 9110, 5.6.2: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
    if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", text) is None:
        raise BadValue("is not the name of a header", "the name stands left of the colon, its pattern right")
    return text


def _endpoint(text: str) -> str:
    if not is_glob(checked_glob(text)) and text not in ENDPOINTS:
        hint = did_you_mean(text, ENDPOINTS) or f"known are {', '.join(ENDPOINTS)}"
        raise BadValue(f"{values.shown(text)} is no endpoint", hint)
    return text


def _counted(text: str) -> str:
    if text.startswith(HEADER_WORD):
        return HEADER_WORD + _header_name(text.removeprefix(HEADER_WORD)).lower()
    words = (*OF_CALL, *OF_ATTEMPT)
    if text not in words:
        hint = did_you_mean(text, words) or f"known are {', '.join(words)} and {HEADER_WORD}NAME"
        raise BadValue(f"{values.shown(text)} is nobody that a limit could count", hint)
    return text


def _network(text: str) -> str:
    parsed_network(text)
    return text


def _path(text: str) -> str:
    if checked_glob(text)[0] not in "/*?[":
        raise BadValue("begins with no slash, as every path does", f"write /{text}")
    if re.search(r"\?[\w.-]+=", text):
        raise BadValue("has a query, which is no part of a path", "write what stands before the ?")
    return text


def _method(text: str) -> str:
    if re.fullmatch(r"[A-Za-z*?]+", text) is None:
        raise BadValue("is not an HTTP method", "write for example POST")
    return text.upper()


def _url(text: str) -> str:
    urls.base_url(text)
    return text


def _collector(text: str) -> str:
    telemetry.base(text)
    return text


def _proxy(text: str) -> str:
    urls.proxy(text)
    return text


def _address(text: str) -> str:
    urls.address(text)
    return text


def _claimed(text: str) -> str:
    urls.claimed_host(text)
    return text


def _placeholder(text: str) -> str:
    if text.startswith(VIRTUAL_PREFIX):
        raise BadValue(f"begins with {VIRTUAL_PREFIX}, which marks virtual keys", "a placeholder is any other text")
    return _line(text)


def _keyring(text: str) -> str:
    service, _, user = text.rpartition("/")
    if not service or not user:
        raise BadValue("does not name an entry of the keyring", 'write "service/user"')
    return _line(text)


def _ability(text: str) -> str:
    abilities.ability(text)
    return text


def _abilities(texts: list[str]) -> list[str]:
    abilities.change(texts)
    return texts


def _scrub(text: str) -> str:
    return scrubs.pattern(text)


def _store(text: str) -> str:
    stores.store(text)
    return text


def _sink(text: str) -> str:
    sinks.check(text)
    return text


Name = Annotated[str, AfterValidator(_name)]
Line = Annotated[str, AfterValidator(_line)]
Glob = Annotated[str, AfterValidator(checked_glob)]
Globs = Annotated[list[Glob], OneOrMany(), Field(min_length=1)]
# The value of a header may well hold parentheses: any line will do.
HeaderGlobs = Annotated[list[Line], OneOrMany(), Field(min_length=1)]
Lines = Annotated[list[Line], OneOrMany()]
Ability = Annotated[str, AfterValidator(_ability), _as_text(abilities.PATTERN)]
Abilities = Annotated[list[Ability], AfterValidator(_abilities), OneOrMany(), Field(min_length=1)]
Endpoints = Annotated[list[Annotated[str, AfterValidator(_endpoint)]], OneOrMany(), Field(min_length=1)]
Counted = Annotated[
    str,
    AfterValidator(_counted),
    WithJsonSchema({"anyOf": [{"enum": [*OF_CALL, *OF_ATTEMPT]}, {"type": "string", "pattern": f"^{HEADER_WORD}."}]}),
]
Addresses = Annotated[list[Annotated[str, AfterValidator(_network)]], OneOrMany(), Field(min_length=1)]
Paths = Annotated[list[Annotated[str, AfterValidator(_path)]], OneOrMany(), Field(min_length=1)]
Methods = Annotated[list[Annotated[str, AfterValidator(_method)]], OneOrMany(), Field(min_length=1)]
Sinks = Annotated[list[Annotated[str, AfterValidator(_sink)]], OneOrMany(), Field(min_length=1)]
Scrubs = Annotated[
    list[Annotated[str, AfterValidator(_scrub)]], OneOrMany(), Field(min_length=1, max_length=scrubs.MOST)
]
Variable = Annotated[str, AfterValidator(_variable)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
Store = Annotated[str, AfterValidator(_store)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HostGlobs = Annotated[list[Annotated[str, AfterValidator(urls.host_glob)]], OneOrMany(), Field(min_length=1)]
ClaimedHosts = Annotated[list[Annotated[str, AfterValidator(_claimed)]], OneOrMany()]
Placeholders = Annotated[list[Annotated[str, AfterValidator(_placeholder)]], OneOrMany()]
VirtualHost = Annotated[str, AfterValidator(urls.virtual_host)]
Url = Annotated[str, AfterValidator(_url)]
CollectorUrl = Annotated[str, AfterValidator(_collector)]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]
HostPort = Annotated[str, AfterValidator(_address)]
Keyring = Annotated[str, AfterValidator(_keyring)]
Dollars = Annotated[float, PlainValidator(values.dollars), WithJsonSchema({"type": "number", "minimum": 0})]
Count = Annotated[int, Field(ge=1)]
