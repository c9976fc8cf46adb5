"""Which endpoint a request target is, in which format, and which targets must not be judged at all.

Pure functions over a host's row; the tables are in `surfaces` and `hosts`. A target that two servers could read in two
ways is never a known endpoint, so that no rule about paths can be walked around.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from .hostnames import HostRow
from .paths import MAX_PATH, EndpointName, Wire


@dataclass(frozen=True, slots=True)
class Match:
    """What a request target is.

    `format` is the contract's name of the client's format, `wire` the body that a reply to it has ("none": nothing to
    meter). `api_path` is the path to append to a provider's base_url in the format's plain dialect: "/chat/completions"
    for openai and openai-responses, the whole path ("/v1/messages") for every other format. `model` is the model that
    the URL names, decoded, and `model_span` its place in the target; `model_kept` says whether the plain dialect's URL
    names it, too, and not the body. `stream` is None where the body decides.
    """

    format: str
    wire: Wire
    endpoint: EndpointName
    api_path: str
    model: str | None = None
    model_span: tuple[int, int] | None = None
    model_kept: bool = True
    stream: bool | None = None
    known: bool = True


# Checked on the path alone; a query may hold anything but what would end the request line.
_SUSPICIOUS = (
    ("a control character, blank or non-ASCII byte", re.compile(r"[^\x21-\x7e]")),
    ("a backslash", re.compile(r"\\|%5[cC]")),
    ("an encoded control character", re.compile(r"%(?:[01][0-9a-fA-F]|7[fF])")),
    ("a double encoding", re.compile(r"%25(?:[0-9a-fA-F]{2}|\Z)")),
    ("a malformed escape", re.compile(r"%(?![0-9a-fA-F]{2})")),
    # No client escapes these: RFC 3986, section 2.3. "~" and "_" are left out, which old libraries did escape.
    ("a needlessly encoded character", re.compile(r"%(?:2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])")),
    ("an empty segment", re.compile(r"(?:/|%2[fF]){2}")),
    ("a dot segment", re.compile(r"(?:^|/|%2[fF])\.{1,2}(?:/|%2[fF]|;|%3[bB]|\Z)")),
    ("a fragment", re.compile(r"#")),
)
# One pass decides the common case: nothing but these characters and no "//" or "/." in it.
_CLEAN = re.compile(r"(?:/(?!\.{1,2}(?:[/;]|\Z))[A-Za-z0-9_.:@~!$&'()*+,;=-]+)+/?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# google-genai puts "/ws/…" behind a base URL that ends with a slash, and Google answers:
# https://github.com/googleapis/python-genai/blob/main/google/genai/live.py
_DOUBLED = re.compile(r"/(?=/ws/google\.(?:ai\.generativelanguage|cloud\.aiplatform)\.)")


def judged_path(target: str) -> str:
    """The path by which a target is judged, by rules too: as it came, but for the slash that an SDK doubles."""
    path = target.partition("?")[0]
    return path[1:] if _DOUBLED.match(path) else path


def suspicious(target: str) -> str | None:
    """What is wrong with a request target ("a dot segment", "a double encoding", …), or None.

    Escaped slashes and colons are right in the name of a model; a path that no two readers agree upon is not.
    """
    path, query = judged_path(target), target.partition("?")[2]
    if query and _CONTROL.search(query):
        return "a control character in the query"
    if _CLEAN.fullmatch(path) or path == "/":
        return None
    if not path.startswith("/"):
        return "a path that does not begin with a slash"
    for name, pattern in _SUSPICIOUS:
        if pattern.search(path):
            return name
    return None


def classify(host: HostRow, method: str, target: str) -> Match:
    """The endpoint of a raw request target (path and query) on a host; an unknown one is "other", known=False.

    A path longer than `MAX_PATH` is never a known one.
    """
    path = judged_path(target)
    doubled = len(target.partition("?")[0]) - len(path)
    if len(path) <= MAX_PATH and suspicious(target) is None:
        for mount in host.mounts:
            prefix = mount.regex.match(path)
            if prefix is None:
                continue
            found = mount.surface.find(method, path, prefix.end())
            if found is None:
                continue
            row, match = found
            span = _model_span(match) or _model_span(prefix)
            kept = _model_span(match) is not None if row.plain is None else "{model}" in row.plain
            if span is not None:
                span = span[0] + doubled, span[1] + doubled
            if span is None and row.endpoint == "realtime":
                span = _model_in_query(target)
                kept = True
            if row.plain is None:
                api_path = path[prefix.end() :]
            elif match is None:
                api_path = row.plain
            else:
                api_path = row.plain.format_map(match.groupdict())
            return Match(
                format=row.format or mount.surface.format,
                wire=row.wire if method == "POST" else "none",
                endpoint=row.endpoint,
                api_path=api_path,
                model=unquote(target[span[0] : span[1]], errors="replace") if span else None,
                model_span=span,
                model_kept=kept or span is None,
                stream=row.stream,
            )
    return Match(format=host.format, wire="none", endpoint="other", api_path=path, known=False)


def _model_span(match: re.Match[str] | None) -> tuple[int, int] | None:
    return match.span("model") if match is not None and "model" in match.re.groupindex else None


# https://platform.openai.com/docs/guides/realtime-websocket; Azure names a deployment of the user's instead.
_MODEL_IN_QUERY = re.compile(r"[?&](?:model|deployment)=([^&#]*)")


def _model_in_query(target: str) -> tuple[int, int] | None:
    """Where the query names a model; None if it names none, one longer than any is, or two, of which a provider takes
    who knows which.
    """
    found = [match.span(1) for match in _MODEL_IN_QUERY.finditer(target)]
    if len(found) != 1 or found[0][1] - found[0][0] > MAX_PATH:
        return None
    return found[0]


def replace_model(target: str, match: Match, model: str) -> str:
    """The target with another model in its place, escaped; unchanged if the URL names none.

    Raises ValueError for a name that would be a dot segment or nothing at all.
    """
    if match.model_span is None:
        return target
    if model in ("", ".", ".."):
        raise ValueError(f"{model!r} cannot be a model's name in a URL")
    start, end = match.model_span
    return target[:start] + quote(model, safe="@") + target[end:]
