"""Regular expressions where globs belong: recognising them, and saying which globs are meant.

What is no glob at all is refused by `patterns`; what is one, but hardly the one that was meant, is warned of.
"""

from __future__ import annotations

import re

from .problem import printable

GENERIC = "patterns are globs: * ? [abc]; a list means any of"

# No name of a model, a client or a host begins with ^, ends with $ or holds one of these.
_CERTAIN = re.compile(r"^\^|\$$|[\\|()]")

# Legal globs that somebody wrote with regular expressions in mind. `anthropic.*` and `ai21.*` are ordinary globs over
# Bedrock's model ids, bedrock-runtime.*.amazonaws.com is one over hosts: they are left alone.
_LIKELY_MODEL = re.compile(
    r"^\.\*|(?<!ai21)(?<=[0-9_/:\]-])\.\*|\b(?:chatgpt|claude|codestral|command|gemini|gpt|grok|llama)\.\*|[.\]]\+"
)
_LIKELY_HOST = re.compile(r"^\.\*|\.\*(?=[a-z0-9])|[.\]]\+", re.IGNORECASE)

_MAX = 200  # characters of an expression that is translated
_ALTERNATIVES = 8

_GROUP = re.compile(r"\((?:\?:)?([^()]*)\)(?![*+?{])")
_TOKEN = re.compile(
    r"""(?P<run> (?:\.|\\[dwSDW]|\[\^?[A-Za-z0-9._:@/-]+\]) (?:[*+]\??|\{[0-9,]+\}) )   # any run of something
      | (?P<any> \\[wSDW])
      | (?P<digit> \\d)
      | (?P<set> \[\^?[A-Za-z0-9._:@/-]+\])
      | \\(?P<plain> [^A-Za-z0-9*?\[])
      | (?P<star> \*)
      | (?P<text> [^\\\[*+?(){}|^$])(?![+?{])
    """,
    re.VERBOSE,
)


def certainly(text: str) -> bool:
    """Whether `text` can be nothing but a regular expression."""
    return _CERTAIN.search(text) is not None


def likely(text: str, *, host: bool) -> bool:
    """Whether `text`, a glob over models or (`host`) over hosts, was probably meant as a regular expression."""
    return (_LIKELY_HOST if host else _LIKELY_MODEL).search(text) is not None


def advice(text: str) -> str:
    """What to write in place of that regular expression."""
    meant = [f'"{printable(glob)}"' for glob in globs(text)]
    if not meant:
        return GENERIC
    return f"patterns are globs: write {meant[0] if len(meant) == 1 else '[' + ', '.join(meant) + ']'}"


def globs(text: str) -> tuple[str, ...]:
    """The globs that together say what a regular expression means; none where that cannot be told."""
    if len(text) > _MAX or re.search(r"\\[|()]", text):
        return ()
    found: dict[str, None] = {}
    for alternative in _alternatives(text):
        glob = _glob(alternative)
        if not glob or certainly(glob):
            return ()
        found[glob] = None
    return tuple(found)


def _alternatives(text: str) -> tuple[str, ...]:
    open_, done = [text], []
    while open_:
        text = open_.pop(0)
        if (group := _GROUP.search(text)) is not None:
            open_ += [text[: group.start()] + part + text[group.end() :] for part in group[1].split("|")]
        else:
            done += text.split("|")
        if len(open_) + len(done) > _ALTERNATIVES:
            return ()
    return tuple(done)


def _glob(text: str) -> str:
    """One alternative as a glob, "" where there is none."""
    first, last = text.startswith("^"), text.endswith("$")
    inner, at, parts = text[first : len(text) - last], 0, []
    while at < len(inner):
        token = _TOKEN.match(inner, at)
        if token is None:
            return ""
        parts.append(_WRITTEN.get(token.lastgroup or "", token[token.lastgroup or 0]))
        at = token.end()
        if token.lastgroup == "set" and parts[-1].startswith("[^"):
            parts[-1] = f"[!{parts[-1][2:]}"
    # An end that only one of the two signs pins down is open at the other.
    glob = f"{'*' if last and not first else ''}{''.join(parts)}{'*' if first and not last else ''}"
    return re.sub(r"\*{2,}", "*", glob)


_WRITTEN = {"run": "*", "any": "?", "digit": "[0-9]", "star": "*"}
