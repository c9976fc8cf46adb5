"""The name of a model -> what it can do. Exact names go first, then the glob that says most.

Understood are the names of the providers themselves, and those under which others offer the same models: Bedrock's
(`us.anthropic.claude-…-v1:0`, ARNs), Vertex AI's (`publishers/anthropic/models/claude-…@20250929`), OpenRouter's
(`anthropic/claude-sonnet-4.5:free`), Databricks' (`databricks-claude-…`) and fine-tuned ones (`ft:gpt-4o-…`). The
name of a deployment at Azure may be anything: most are the model's own, of the others nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import unquote

from . import anthropic, google, openai, others
from .shape import Capabilities, Change, Overrides, Row

ROWS: tuple[Row, ...] = (*openai.ROWS, *anthropic.ROWS, *google.ROWS, *others.ROWS)

_UNKNOWN = Capabilities()
_MAGIC = re.compile(r"[*?\[]")

# Labels before the model: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
# A version's dot comes after a digit, so that it is not taken for one.
_LABELS = re.compile(r"databricks-|(?:[a-z]+(?:-[a-z]+)*\.){1,2}(?=[a-z])")
# Claude's versions are written with a dot by OpenRouter and others, and dates with an @ by Vertex AI:
# https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai
_CLAUDE_MARKS = str.maketrans(".@", "--")
# claude-4-opus-20250514 and claude-4.7-opus are claude-opus-4-… too. Up to 3.7 that order is the usual one.
_CLAUDE_TURNED = re.compile(r"claude-([4-9](?:-[0-9]{1,2})?)-([a-z]+)(.*)")


def capabilities_of(model: str, overrides: Overrides | None = None) -> Capabilities:
    """What the model of that name can do: as the tables say, with what the best matching override says in its place."""
    known = _known(model)
    if not overrides:
        return known
    name = _best((model, plain_name(model)), overrides)
    if name is None:
        return known
    override = overrides[name]
    return override.of(known) if isinstance(override, Change) else override


def row_of(model: str) -> Row | None:
    """The row of the tables for that name."""
    name = _best((plain_name(model),), _BY_NAME)
    return None if name is None else _BY_NAME[name]


def plain_name(model: str) -> str:
    """The name as the tables have it: lower case, without prefixes of a provider, a region or a fine-tuning."""
    name = unquote(model).lower().strip("/").rpartition("/")[2].removeprefix("ft:")
    name = name[labels.end() :] if (labels := _LABELS.match(name)) else name
    if name.startswith("claude"):
        name = name.translate(_CLAUDE_MARKS)
        if turned := _CLAUDE_TURNED.fullmatch(name):
            name = f"claude-{turned[2]}-{turned[1]}{turned[3]}"
    return name


# Names are the clients': the memory for them is bounded.
@lru_cache(maxsize=1024)
def _known(model: str) -> Capabilities:
    row = row_of(model)
    return _UNKNOWN if row is None else row.can


def _best(names: tuple[str, ...], patterns: Iterable[str]) -> str | None:
    """The first of the names that is there as it stands, else the matching glob with the most literal characters."""
    known = list(patterns)
    for name in names:
        if name in known:
            return name
    matching = [
        pattern for pattern in known if _MAGIC.search(pattern) and any(fnmatchcase(name, pattern) for name in names)
    ]
    return max(matching, key=lambda pattern: len(_MAGIC.sub("", pattern)), default=None)


_BY_NAME = {name: row for row in ROWS for name in row.names}
