"""Rows of paths and how they are found: the small pattern language in which `surfaces` and the host table are written.

No provider is named here. Paths are compared as they came, escapes and all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Wire = Literal[
    "openai-chat",
    "openai-responses",
    "openai-completions",
    "openai-embeddings",
    "openai-other",
    "anthropic",
    "gemini",
    "gemini-interactions",
    "bedrock-converse",
    "bedrock-invoke",
    "cohere",
    "mistral",
    "ollama",
    "none",
]
EndpointName = Literal[
    "chat",
    "embeddings",
    "models",
    "completions",
    "count_tokens",
    "files",
    "batches",
    "images",
    "audio",
    "moderations",
    "rerank",
    "realtime",
    "other",
]


ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Path:
    """One row: `pattern` is literal but for `{model}` and `*` (one segment), `**` (any further segments, or none) and
    the names of `NAMES` in braces.

    `wire` is the body that a POST answers with. Every other method reads back or deletes, which bills nothing: its wire
    is "none". `stream` is None where the body decides. `plain`, if given, is the same path in the format's plain
    dialect, with the pattern's groups in braces.
    """

    pattern: str
    endpoint: EndpointName
    wire: Wire = "none"
    methods: tuple[str, ...] = ("POST",)
    stream: bool | None = None
    format: str | None = None
    plain: str | None = None


# Longer paths are no endpoint that anybody has documented, and cost no time to judge.
MAX_PATH = 4096

NAMES = {
    "model": r"[^/]+",
    # Google's API versions; a model's name without the colon that begins its verb, which some clients escape.
    "google": r"v1(?:(?:alpha|beta)\d*)?",
    "google_model": r"[^/:]+?",
    "colon": r"(?::|%3[Aa])",
    # Bedrock: a model id or an ARN, whose slash some clients escape and some do not.
    "bedrock_model": r"(?:arn(?::|%3[Aa])[^/]+/[^/]+|[^/]+)",
    "embedding_model": r"[^/:]+?",
    "bedrock_embedding_model": r"[^/]+",
    "bedrock_image_model": r"(?:[a-z]+\.)?(?:stability\.|amazon\.nova-canvas|amazon\.titan-image)[^/]*",
    "bedrock_rerank_model": r"[^/]+",
    "image_model": r"imagen[^/:]*?",
    # Whatever stands behind the list itself: the gateway's names hold slashes and colons.
    "listed_model": r".+",
    # What a gateway puts before the path that it stands in for.
    "gateway": r"(?:/[^/]+){0,8}?",
}
# What a model's name says of itself is looked for in the matched segment: a pattern with a word between two unbounded
# runs would cost the square of a hostile name's length.
WORDS: dict[str, Callable[[str], bool]] = {
    "embedding_model": lambda model: "embed" in model or "gecko" in model,
    "bedrock_embedding_model": lambda model: "embed" in model,
    "bedrock_rerank_model": lambda model: ".rerank" in model,
}
MODEL_NAMES = frozenset(name for name in NAMES if name.endswith("model"))
_TOKEN = re.compile(rf"\{{({'|'.join(NAMES)})\}}|(/\*\*)|(\*)")


def pattern_regex(pattern: str) -> str:
    """A pattern of this module as the source of a regular expression; a model's name is the group `model`."""
    parts, at = [], 0
    for token in _TOKEN.finditer(pattern):
        parts.append(re.escape(pattern[at : token.start()]))
        at = token.end()
        name, rest, _ = token.groups()
        if name in MODEL_NAMES:
            parts.append(f"(?P<model>{NAMES[name]})")
        elif name:
            parts.append(f"(?P<{name}>{NAMES[name]})")
        else:
            parts.append(r"(?:/.+)?" if rest else r"[^/]+")
    return "".join(parts) + re.escape(pattern[at:])


class _Row(NamedTuple):
    """A row that is a pattern; `holds`, if there is one, is asked whether the model's name is of that kind."""

    regex: re.Pattern[str]
    holds: Callable[[str], bool] | None
    path: Path


@dataclass(frozen=True, slots=True)
class Surface:
    """One API: `format` is the contract's name, `paths` its table.

    A literal row goes before a pattern; of several patterns that fit, the first holds.
    """

    format: str
    paths: tuple[Path, ...]
    _exact: dict[tuple[str, str], Path] = field(init=False, repr=False, compare=False, default_factory=dict)
    _patterns: dict[str, tuple[_Row, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        patterns: dict[str, list[_Row]] = {}
        for path in self.paths:
            tokens = list(_TOKEN.finditer(path.pattern))
            holds = next((WORDS[token[1]] for token in tokens if token[1] in WORDS), None)
            row = _Row(re.compile(pattern_regex(path.pattern)), holds, path)
            for method in path.methods:
                if tokens:
                    patterns.setdefault(method, []).append(row)
                else:
                    self._exact.setdefault((method, path.pattern), path)
        self._patterns.update({method: tuple(rows) for method, rows in patterns.items()})

    def find(self, method: str, path: str, start: int) -> tuple[Path, re.Match[str] | None] | None:
        """The row for `path[start:]` (one final slash is ignored), and the match where the row is a pattern."""
        end = len(path) - 1 if path.endswith("/") and len(path) > start + 1 else len(path)
        exact = self._exact.get((method, path[start:end]))
        if exact is not None:
            return exact, None
        for regex, holds, row in self._patterns.get(method, ()):
            match = regex.fullmatch(path, start, end)
            if match is not None and (holds is None or holds(match["model"])):
                return row, match
        return None


def under(prefix: str, paths: Iterable[Path]) -> tuple[Path, ...]:
    """The same rows below a path prefix."""
    return tuple(Path(prefix + p.pattern, p.endpoint, p.wire, p.methods, p.stream, p.format, p.plain) for p in paths)
