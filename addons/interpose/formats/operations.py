"""What the gateway answers by a description of its own: each operation's method, path, and the schema of its body.

`/openapi.json` names these and no others, and what they are sent is judged before anything else happens to it. Every
other path that a surface knows still leads somewhere, unjudged. The schemas themselves are in `requests`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Operation:
    """One row. `path` is as OpenAPI writes it, `format` the contract's name of what is spoken there; `body` names the
    schema of `requests`, None where none is sent.
    """

    name: str
    method: str
    path: str
    format: str
    body: str | None = None
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_regex", re.compile(_source(self.path)))

    def answers_at(self, path: str) -> bool:
        """Whether that path (escapes and all, without its query) is this one's."""
        return self._regex.fullmatch(path) is not None


# A model's name holds slashes where it ends the path, and a colon never where a verb follows: some clients escape it.
_PARAMETERS = {"{model}:": r"[^/:]+?(?::|%3[Aa])", "{model}": r"[^:]+"}
# What clients of OpenAI's put before its paths; Google's SDK takes either version.
_PREFIXES = {"/v1/": r"(?:/openai|/api)?/v1/", "/v1beta/": r"/v1(?:beta)?/"}


def _source(path: str) -> str:
    prefix = next(each for each in _PREFIXES if path.startswith(each))
    rest = re.escape(path.removeprefix(prefix))
    for written, regex in _PARAMETERS.items():
        rest = rest.replace(re.escape(written), regex)
    return f"{_PREFIXES[prefix]}{rest}/?"


OPERATIONS = (
    Operation("createChatCompletion", "POST", "/v1/chat/completions", "openai", "ChatCompletionRequest"),
    Operation("createEmbedding", "POST", "/v1/embeddings", "openai", "EmbeddingRequest"),
    Operation("listModels", "GET", "/v1/models", "openai"),
    Operation("retrieveModel", "GET", "/v1/models/{model}", "openai"),
    Operation("createResponse", "POST", "/v1/responses", "openai-responses", "ResponseRequest"),
    Operation("createMessage", "POST", "/v1/messages", "anthropic", "MessagesRequest"),
    Operation("countMessageTokens", "POST", "/v1/messages/count_tokens", "anthropic", "CountTokensRequest"),
    Operation("createCompletion", "POST", "/v1/completions", "openai", "CompletionRequest"),
    *(
        Operation(verb, "POST", f"/v1beta/models/{{model}}:{verb}", "gemini", "GenerateContentRequest")
        for verb in ("generateContent", "streamGenerateContent")
    ),
)


def body_at(method: str, path: str) -> str | None:
    """The schema of what that operation is sent; None for what is no operation, or is sent nothing."""
    if method != "POST":
        return None
    return next((each.body for each in OPERATIONS if each.method == method and each.answers_at(path)), None)


def methods_at(path: str) -> tuple[str, ...]:
    """The methods of the operations at that path. What may be got, may be asked for its head."""
    methods = dict.fromkeys(each.method for each in OPERATIONS if each.answers_at(path))
    return (*methods, "HEAD") if "GET" in methods else tuple(methods)


def format_at(path: str) -> str | None:
    """What is spoken at that path, whatever the method: a call that is no operation is refused in that, too."""
    return next((each.format for each in OPERATIONS if each.answers_at(path)), None)
