"""What one field of a rules file means for another: names that must exist or be unique, URLs that must fit a format.

Works on the plain data, so that these problems are found together with wrong types elsewhere in the same file;
whatever has a wrong type is passed over here, the schema reports it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from interpose.formats.aws import region_of

from . import alerts, keeping, telemetry, unreadable, urls
from .compiled import HEADER_WORD, OF_ATTEMPT
from .document import Document
from .problem import BadValue, Path, did_you_mean, printable
from .schema import NO_CREDENTIAL
from .stores import MEMORY
from .support import at

OPENAI = frozenset({"openai", "openai-responses"})

# Providers that speak OpenAI's format, each with URLs or habits of its own.
_OPENAI_LIKE = (
    "ai21 avian cerebras cloudflare copilot crusoe dashscope deepinfra deepseek doubleword fireworks github groq "
    "heroku huggingface hyperbolic jina minimax mistral moonshot nvidia openrouter perplexity portkey replicate "
    "sambanova together venice vercel voyage writer xai zai"
)

# dialect -> the formats that it is a dialect of
DIALECTS: Mapping[str, frozenset[str]] = {
    "azure": OPENAI,
    "vertex": frozenset({"openai", "gemini", "anthropic"}),
    "bedrock": frozenset({"openai", "anthropic", "bedrock"}),
    **dict.fromkeys(_OPENAI_LIKE.split(), OPENAI),
}

# Dialects of OpenAI's format whose API may begin right at the origin.
BARE = frozenset({"azure", "copilot", "deepseek", "github", "perplexity", "voyage"})

ENDPOINT_PATHS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/models", "/messages")

# The version that a format's own paths begin with (ollama's is /api), perhaps with an endpoint behind it.
_VERSION = r"/v[0-9]+(?:(?:alpha|beta)[0-9]*)?"
_ENDPOINT = r"(?:/(?:messages|models|chat|chat/completions|complete|completions|embed|embeddings|generate|rerank))?"

SOURCES = ("env", "file", "keyring", "exec", "aws", "google")
# What a limit may limit.
_LIMITED = ("requests", "tokens", "concurrent", "budget")

# What must be unique: where it stands, and what it is called.
_UNIQUE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("routes", "name"), "route"),
    (("limits", "name"), "limit"),
    (("alerts", "name"), "alert"),
    (("clients", "keys", "name"), "client"),
    (("clients", "keys", "sha256"), "key"),
)

_PROVIDER_NAMES = (
    ("routes", "to", "provider"),
    ("routes", "fallback", "provider"),
    ("models", "provider"),
    ("clients", "keys", "providers"),
)


def check(document: Document) -> None:
    """Reports every broken relation in the document."""
    for relation in (
        _providers,
        _credentials,
        _references,
        _uniqueness,
        _excepts,
        _headers,
        _connect_to,
        _weights,
        _quotas,
        _trust,
        _nothing,
        _waits,
        _prices,
        _sends,
        _store_errors,
        alerts.check,
        keeping.check,
        unreadable.check,
        telemetry.check,
    ):
        relation(document)


def _texts(data: object, pattern: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    for path, value in at(data, pattern):
        for index, text in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(text, str):
                yield path if index is None else (*path, index), text


def _references(document: Document) -> None:
    known = document.data.get("providers", {}) if isinstance(document.data, dict) else None
    if not isinstance(known, dict):
        return
    for pattern in _PROVIDER_NAMES:
        for path, name in _texts(document.data, pattern):
            if name not in known:
                hint = did_you_mean(name, known) or (
                    f"known are {printable(', '.join(known))}" if known else "there are no providers in this file"
                )
                document.report(path, f'there is no provider "{printable(name)}"', hint)


def _uniqueness(document: Document) -> None:
    for pattern, what in _UNIQUE:
        first: dict[str, Path] = {}
        for path, name in _texts(document.data, pattern):
            # Hex digits are the same in either case; names are compared the same way, since people read them so.
            if (earlier := first.setdefault(name.lower(), path)) is not path:
                line = document.place(earlier).line
                # A digest is not repeated: what stands there may be a key, by mistake.
                named = f"this {what}" if what == "key" else f'a {what} named "{printable(name)}"'
                document.report(path, f"{named} stands already in line {line}")


def _credentials(document: Document) -> None:
    for path, value in at(document.data, ("providers", "*", "credential")):
        entries = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, entry in entries:
            if isinstance(entry, dict):
                _credential(document, path if index is None else (*path, index), entry)


def _credential(document: Document, path: Path, entry: dict[str, object]) -> None:
    given = [source for source in SOURCES if source in entry]
    if len(given) != 1:
        said = " and ".join(given) or "none of them"
        document.report(path, f"needs exactly one of {', '.join(SOURCES)}; here is {said}")
    for name in ("timeout", "ttl"):
        if name in entry and "exec" not in entry:
            document.report((*path, name), "concerns exec alone", "remove it", key=True)


def _providers(document: Document) -> None:
    for path, provider in at(document.data, ("providers", "*")):
        if not isinstance(provider, dict):
            continue
        given = (provider.get(name) for name in ("format", "dialect", "base_url"))
        format_, dialect, url = (value if isinstance(value, str) else None for value in given)
        if dialect is not None:
            _dialect(document, (*path, "dialect"), dialect, format_)
        if provider.get("api_version") is not None and dialect != "azure":
            document.report((*path, "api_version"), "concerns the dialect azure alone", "remove it", key=True)
        if provider.get("responses") is not None and format_ not in (None, "openai"):
            document.report((*path, "responses"), "concerns the format openai alone", "remove it", key=True)
        if url is not None:
            try:
                base = urls.base_url(url)
            except BadValue:
                continue  # the schema says what is wrong with it
            _base_path(document, (*path, "base_url"), base, format_, dialect)
            _scheme(document, (*path, "base_url"), base, provider.get("credential"))
            _cloud(document, path, base.origin.host, format_, dialect, provider.get("credential"))


def as_dialect(word: str) -> str:
    """What to write for the name of a dialect that stands for a format; "" if it names none."""
    name = word.lower()
    formats = DIALECTS.get(name, frozenset())
    if not formats:
        return ""
    if formats == OPENAI:
        return f"{name} is a dialect: write format: openai, dialect: {name}"
    return f"{name} is a dialect: write format: {' or '.join(sorted(formats))}, dialect: {name}"


def _dialect(document: Document, path: Path, dialect: str, format_: str | None) -> None:
    if dialect not in DIALECTS:
        hint = did_you_mean(dialect, DIALECTS) or "leave it out: it is optional"
        document.report(path, f'there is no dialect "{printable(dialect)}"', hint)
    elif format_ is not None and format_ not in DIALECTS[dialect]:
        formats = ", ".join(sorted(DIALECTS[dialect]))
        document.report(path, f"{dialect} is no dialect of the format {printable(format_)}", f"it is one of {formats}")


def _base_path(document: Document, path: Path, base: urls.BaseUrl, format_: str | None, dialect: str | None) -> None:
    if format_ in OPENAI:
        for ending in ENDPOINT_PATHS:
            if base.path.endswith(ending):
                stop = f"{base.origin}{base.path.removesuffix(ending)}"
                document.report(path, f"goes on to an endpoint ({ending})", f"write {stop}")
                return
        if not base.path and dialect not in BARE:
            document.report(path, "has no path, where it goes up to and including /v1", f"write {base.origin}/v1")
    elif format_ is not None:
        # A prefix before it is a gateway's, or that of one API among several: https://api.deepseek.com/anthropic.
        own = f"{_VERSION}|/api" if format_ == "ollama" else _VERSION
        if (version := re.search(rf"(?:{own}){_ENDPOINT}\Z", base.path)) is not None:
            stop = f"{base.origin}{base.path[: version.start()]}"
            message = f"goes on to {version[0]}, which the format {printable(format_)} has in its own paths"
            document.report(path, message, f"leave that part out: write {stop}")


def _scheme(document: Document, path: Path, base: urls.BaseUrl, credential: object) -> None:
    if base.origin.scheme == "https":
        return
    near = urls.nearness(base.origin.host)
    if credential not in (None, [], NO_CREDENTIAL) and near != "loopback":
        document.report(path, "would send a credential unencrypted", "use https, or leave out the credential")
    elif near == "public":
        document.report(path, "is not encrypted and not in a private network", "use https")


def _cloud(
    document: Document, path: Path, host: str, format_: str | None, dialect: str | None, credential: object
) -> None:
    """A cloud's credential is good for that cloud, and a signature for one region."""
    entries = enumerate(credential) if isinstance(credential, list) else [(None, credential)]
    for index, entry in entries:
        if not isinstance(entry, dict):
            continue
        at_entry = (*path, "credential") if index is None else (*path, "credential", index)
        told = entry.get("region")
        if "aws" not in entry:
            if told is not None:
                document.report((*at_entry, "region"), "concerns aws alone", "remove it", key=True)
        elif "bedrock" not in (format_, dialect) and region_of(host) is None:
            document.report((*at_entry, "aws"), "signs for Bedrock alone", "write dialect: bedrock, or another source")
        elif told is None and region_of(host) is None:
            document.report(at_entry, f"needs a region, which {printable(host)} does not name", "add region: us-east-1")
        elif isinstance(told, str) and region_of(host) not in (None, told):
            message = f"is not the region of {printable(host)}: AWS refuses such signatures"
            document.report((*at_entry, "region"), message, "remove it")
        if "google" in entry and dialect != "vertex" and not host.endswith("googleapis.com"):
            document.report((*at_entry, "google"), "is for Google's hosts alone", "write dialect: vertex")


def _excepts(document: Document) -> None:
    for section in ("routes", "limits"):
        for path, value in at(document.data, (section, "except")):
            if value == {}:
                document.report(path, "is empty", "remove it, or say what is excepted", key=True)


def _weights(document: Document) -> None:
    for path, targets in at(document.data, ("routes", "to")):
        weighed = targets if isinstance(targets, list) else [targets]
        if weighed and all(isinstance(target, dict) and target.get("weight") == 0 for target in weighed):
            document.report(path, "leaves no target with a weight above 0", "give one of them a weight", key=True)
    for _, routes in at(document.data, ("routes",)):
        for index, route in enumerate(routes) if isinstance(routes, list) else ():
            if isinstance(route, dict) and "prefer" in route:
                _preference(document, ("routes", index), route)


def _preference(document: Document, path: Path, route: dict[str, object]) -> None:
    """What decides otherwise than `prefer` does."""
    if "sticky" in route:
        message = "keeps a client with one target, where prefer looks for the best at each call"
        document.report((*path, "sticky"), message, "remove one of them", key=True)
    for where, weight in at(route.get("to"), ("weight",)):
        if weight != 0:
            message = "has no meaning beside prefer, which decides"
            document.report((*path, "to", *where), message, "remove it; 0 takes the target out", key=True)


def _quotas(document: Document) -> None:
    """A quota that nobody can know: of a provider that is not there, or of none of the rules' own credentials."""
    known = document.data.get("providers", {}) if isinstance(document.data, dict) else None
    if not isinstance(known, dict):
        return
    for section in ("routes", "limits"):
        for side in ("match", "except"):
            for path, named in at(document.data, (section, side, "quota_below")):
                for name in named if isinstance(named, dict) else ():
                    provider = known.get(name)
                    if name not in known:
                        hint = did_you_mean(name, known) or f"known are {printable(', '.join(known))}"
                        document.report((*path, name), f'there is no provider "{printable(name)}"', hint, key=True)
                    elif isinstance(provider, dict) and provider.get("credential") in (None, [], NO_CREDENTIAL):
                        message = f"is never known: {printable(name)} has no credential here"
                        document.report((*path, name), message, "quotas are those of the rules' credentials", key=True)


def _limits(document: Document) -> Iterator[tuple[Path, dict[str, object], list[tuple[Path, str]]]]:
    """Each limit with its path, and whom it counts: the words of `per`, each with its path."""
    for _, limits in at(document.data, ("limits",)):
        for index, limit in enumerate(limits) if isinstance(limits, list) else ():
            if isinstance(limit, dict):
                path: Path = ("limits", index)
                yield path, limit, [((*path, *where), word) for where, word in _texts(limit, ("per",))]


def _trust(document: Document) -> None:
    """A client that can choose the value by which it is limited is not limited."""
    for path, limit, counted in _limits(document):
        if limit.get("trust_headers") is True:
            continue
        named: list[Path] = [where for where, word in counted if word.startswith(HEADER_WORD)]
        for side in ("match", "except"):
            conditions = limit.get(side)
            if isinstance(conditions, dict) and conditions.get("header"):
                named.append((*path, side, "header"))
        for where in named:
            message = "goes by a header, which a client can make up or leave out"
            document.report(where, message, "write trust_headers: true beside it if something that you trust sets it")


def _nothing(document: Document) -> None:
    for path, limit, _ in _limits(document):
        if all(limit.get(name) is None for name in _LIMITED):
            document.report(path, "limits nothing", f"write one of {', '.join(_LIMITED)}")


def _waits(document: Document) -> None:
    """Who waited for one attempt's turn would not get to the next."""
    for path, limit, counted in _limits(document):
        word = next((word for _, word in counted if word in OF_ATTEMPT), None)
        if word is not None and limit.get("wait") is not None:
            message = f"cannot stand where a limit counts by {word}: such a call goes on to its next attempt"
            document.report((*path, "wait"), message, "remove it", key=True)


def _sends(document: Document) -> None:
    """`hold` and `hedge` are about another attempt: there has to be one."""
    once = "is for another attempt, and retry.attempts allows but one", "write attempts: 2, or more"
    none = "is for another attempt, and there is none", "add a retry or a fallback"
    routes = document.data.get("routes") if isinstance(document.data, dict) else None
    for index, route in enumerate(routes) if isinstance(routes, list) else ():
        if not isinstance(route, dict):
            continue
        retry = route.get("retry")
        if isinstance(retry, dict) and retry.get("attempts") == 1:
            for name in ("hold", "hedge"):
                if route.get(name) is not None:
                    document.report(("routes", index, name), *once, key=True)
            continue
        others = any(map(route.get, ("retry", "hedge", "fallback", "prefer"))) or _pooled(document, route.get("to"))
        if route.get("hold") is not None and not others:
            document.report(("routes", index, "hold"), *none, key=True)


def _pooled(document: Document, to: object) -> bool:
    """Whether some target of a route has several keys, each of which is an attempt."""
    providers = document.data.get("providers") if isinstance(document.data, dict) else None
    named = [target.get("provider") for target in (to if isinstance(to, list) else [to]) if isinstance(target, dict)]
    found = [providers.get(name) for name in named if isinstance(name, str)] if isinstance(providers, dict) else []
    return any(isinstance(one, dict) and isinstance(one.get("credential"), list) for one in found)


def _store_errors(document: Document) -> None:
    state = document.data.get("state") if isinstance(document.data, dict) else None
    if isinstance(state, dict) and "on_store_error" in state and state.get("store", MEMORY) == MEMORY:
        message = "concerns a shared store alone"
        document.report(("state", "on_store_error"), message, "remove it, or name a store", key=True)


def _headers(document: Document) -> None:
    for section in ("routes", "limits"):
        for side in ("match", "except"):
            for path, headers in at(document.data, (section, side, "header")):
                if isinstance(headers, dict):
                    _same(document, path, headers, str.lower, "header")


def _connect_to(document: Document) -> None:
    for path, table in at(document.data, ("upstream", "connect_to")):
        if isinstance(table, dict):
            _same(document, path, table, _address, "address")


def _address(text: str) -> object:
    try:
        return urls.address(text)
    except BadValue:
        return text


def _same(
    document: Document, path: Path, table: dict[str, object], canonical: Callable[[str], object], what: str
) -> None:
    """Reports keys of a mapping that are written differently and mean the same."""
    first: dict[object, str] = {}
    for key in table:
        if (earlier := first.setdefault(canonical(key), key)) is not key:
            line = document.place((*path, earlier), key=True).line
            document.report((*path, key), f"is the same {what} as in line {line}", key=True)


def _prices(document: Document) -> None:
    for path, price in at(document.data, ("prices", "*")):
        if isinstance(price, dict) and "input" not in price and set(price) <= {"cache_read", "cache_write"}:
            document.report(path, "says neither what input nor what output costs", "write input: 2.5, output: 10")
        elif isinstance(price, dict) and "input" not in price:
            for name in ("cache_read", "cache_write"):
                if name in price:
                    document.report((*path, name), "is a part of the input, which has no price here", "add input:")
