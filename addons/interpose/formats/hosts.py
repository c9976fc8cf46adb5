"""Which row of the host table holds for a host: a known host's, a provider's of the rules, or a generic one.

The rows themselves are in `known_hosts`, the paths in `surfaces`. Nothing here looks at a request.
"""

from __future__ import annotations

from interpose.call import Origin

from .hostnames import HostRow, HostTable, Mount, canonical_host
from .known_hosts import DIALECT_MOUNTS, EVERY_ROW, KNOWN_HOSTS
from .surfaces import ANYWHERE, BATCHES, LISTS, MESSAGES, OPENAI, OTHER_LISTS, SURFACES

__all__ = [
    "GATEWAY",
    "KNOWN_HOSTS",
    "HostRow",
    "HostTable",
    "Mount",
    "canonical_host",
    "generic_row",
    "known",
    "lookup",
    "row_for_provider",
]

_EVERY = HostTable(EVERY_ROW)
_CLAIMED = HostTable(KNOWN_HOSTS)


def lookup(host: str, port: int) -> HostRow | None:
    """The row of a host that is claimed by default, on that port; None for any other and for malformed names."""
    return _CLAIMED.find(host, port)


def known(host: str) -> HostRow | None:
    """The row of a host that is known at all, on whatever port, claimed by default or not."""
    return _EVERY.find(host)


_ROOTS = ("/v1", "/openai/v1", "/api/v1")
_ANYTHING = (
    *(Mount(prefix, OPENAI) for prefix in _ROOTS),
    *(Mount("", surface) for surface in ANYWHERE),
)


# The gateway's own paths: those of every format, whatever it is called, and lists of models.
GATEWAY = HostRow(
    "gateway",
    "openai",
    (
        *(Mount(prefix, LISTS) for prefix in _ROOTS),
        *(Mount("", surface) for surface in (*OTHER_LISTS, BATCHES)),
        *_ANYTHING,
    ),
    "https://platform.openai.com/docs/api-reference",
    scheme=None,
    ports=(),
)


def below_root(path: str) -> str:
    """A path at the gateway without what stands before OpenAI's own paths there: /v1/files -> /files."""
    root = next((root for root in _ROOTS if path == root or path.startswith(f"{root}/")), "")
    return path.removeprefix(root)


def generic_row(host: str, port: int = 443) -> HostRow:
    """The row for a host that the rules name.

    That is the host's own row if it is known at all (a host known on 443, also on another port); else one that
    recognises the paths of every format: OpenAI's whole API below /v1, and the paths of generation below any prefix.
    """
    known = _EVERY.find(host, port) or _EVERY.find(host, 443)
    return known or HostRow(host, "openai", _ANYTHING, "the rules", scheme=None, ports=(port,))


# Where a provider of each format answers in OpenAI's format too; the sources stand at the hosts' own rows.
_OPENAI_BESIDE = {
    "anthropic": ("/v1",),
    "gemini": ("/v1beta/openai", "/v1/openai"),
    "bedrock": ("/openai/v1",),
    "cohere": ("/compatibility/v1",),
    "mistral": (),
    "ollama": ("/v1",),
}


def row_for_provider(
    format: str,  # noqa: A002  (the contract's name)
    dialect: str | None,
    base_path: str,
    origin: Origin | None = None,
) -> HostRow:
    """The row of a configured provider's origin: what it answers below `base_path`, which is the path of base_url.

    That is "/v1" or alike for openai and openai-responses, "" or a prefix for every other format. What such a provider
    usually offers beside its own format is recognised too. Raises KeyError for a format that is not the contract's.
    """
    surface = SURFACES[format]
    base = base_path.rstrip("/")
    mounts = [*DIALECT_MOUNTS.get(dialect or "", ()), Mount(base, surface)]
    if surface is OPENAI:
        # vLLM, SGLang, LiteLLM and others offer Messages beside /v1/chat/completions.
        mounts.append(Mount(base.removesuffix("/v1"), MESSAGES))
    else:
        mounts.extend(Mount(base + prefix, OPENAI) for prefix in _OPENAI_BESIDE[format])
    if origin is None:
        return HostRow("", format, tuple(mounts), "the rules", dialect, scheme=None, ports=())
    return HostRow(origin.host, format, tuple(mounts), "the rules", dialect, scheme=origin.scheme, ports=(origin.port,))
