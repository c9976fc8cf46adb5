"""Cohere's chat as its SDK's types have it, printed as JSON Schemas: its request, or all of it by name (`all`)."""

import inspect
import json
import sys
from typing import get_type_hints

import pydantic
from cohere.v2.client import V2Client
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse


def strict(schema):
    """Without what the SDK takes so as to outlive its release: any word where there is an enum, any key."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if any("enum" in each for each in made.get("anyOf", ())):
        made["anyOf"] = [each for each in made["anyOf"] if each]
    if "properties" in made:
        made.pop("additionalProperties", None)
    return made


hints = get_type_hints(V2Client.chat, include_extras=True)
told = {
    name: (hints[name], ... if parameter.default is inspect.Parameter.empty else None)
    for name, parameter in inspect.signature(V2Client.chat).parameters.items()
    if name not in ("self", "request_options")
}
told["stream"] = (bool, None)  # the SDK's method says it by its name
kinds = {
    "Request": pydantic.create_model("ChatRequest", **told),
    "Reply": V2ChatResponse,
    "Event": V2ChatStreamResponse,
}
schemas = {name: strict(pydantic.TypeAdapter(kind).json_schema()) for name, kind in kinds.items()}
if "all" in sys.argv:
    named = [schema.pop("$defs") for schema in schemas.values()]
    print(json.dumps({name: each for some in (*named, schemas) for name, each in some.items()}))
else:
    print(json.dumps(schemas["Request"]))
