"""What of one call must stand in no copy of it: the client's keys and cookies, the credentials that were sent, what the
rules call placeholders, virtual keys whoever has them.

Masked are whole values: by the name of their header or of their place in a query, and by their text wherever else it
stands. Other spellings of that text (base64, JSON's escapes, one that is torn apart) are `capturing`'s matter, which
has time for it; nothing here waits or fails. Law 6: a credential appears in no log, ledger, flow, dump, error or trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from interpose.call import Call, Headers, Url, header_values
from interpose.formats.keys import client_keys
from interpose.secret import MASK, Secret

MASKED = MASK.encode()
# A shorter value would mask ordinary text: it is masked in its own place alone. No provider issues one.
SHORTEST = 8

# By how their names end: authorization, x-api-key, helicone-auth, x-amz-security-token, but no x-ratelimit-…-tokens.
_SECRET_HEADER = re.compile(
    rb"(?:^|[-_])(?:authorization|auth|api-?key|token|secret|password|credentials?|cookie2?|signature)$", re.IGNORECASE
)
_KEY_PROTOCOL = re.compile(rb"(openai-insecure-api-key\.)[^,\s]+", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#?]+)=([^&;#]+)")
_SECRET_PARAMETER = re.compile(
    r"(?:^|[-_.])(?:key|apikey|token|secret|password|passwd|sig|signature|auth|authorization|credential)$",
    re.IGNORECASE,
)
_VIRTUAL = re.compile(rb"\b(?:vk-|ek_)[A-Za-z0-9_-]{16,}")


class Known:
    """The secrets of one call as far as they are known: those of its request, and what is learned on the way."""

    __slots__ = ("_found", "_values")

    def __init__(self, call: Call, placeholders: Iterable[str] = ()) -> None:
        # Whether it is a credential: a key, and neither a cookie nor a placeholder.
        self._values: dict[str, bool] = {}
        self._found: tuple[str, ...] | None = None
        for key in client_keys(call.headers, call.url):
            # The public id of a signature's key is no secret: the signature stands in its header.
            self._add(key.value if key.kind == "key" else "")
        for name, value in call.headers:
            if _SECRET_HEADER.search(name) and b"cookie" not in name.lower():
                self._add(value.decode("latin-1").strip().rpartition(" ")[2])
        for parameter in _PARAMETER.finditer(f"?{call.url.query}"):
            if _is_secret(parameter[1]):
                self._add(unquote(parameter[2]))
        if call.peer.login is not None:
            self._add(call.peer.login.key)
        for value in header_values(call.headers, b"cookie"):
            self._cookies(value.split(b";"))
        for placeholder in placeholders:
            self._add(placeholder, credential=False)

    def learn(self, secret: Secret) -> None:
        """A credential that is about to be sent."""
        for value in secret.texts():
            self._add(value)

    def learn_cookies(self, headers: Headers) -> None:
        """What a provider sets."""
        self._cookies(value.partition(b";")[0] for value in header_values(headers, b"set-cookie"))

    def _cookies(self, pairs: Iterable[bytes]) -> None:
        for pair in pairs:
            self._add(pair.partition(b"=")[2].decode("latin-1").strip().strip('"'), credential=False)

    def _add(self, value: str, *, credential: bool = True) -> None:
        if len(value) >= SHORTEST:
            self._values[value] = credential
            self._found = None

    @property
    def values(self) -> tuple[str, ...]:
        """The longest first: one may be a part of another."""
        if self._found is None:
            self._found = tuple(sorted(self._values, key=len, reverse=True))
        return self._found

    def told(self, *, credential: bool) -> tuple[str, ...]:
        """Those that are credentials, or the others."""
        return tuple(value for value, is_one in tuple(self._values.items()) if is_one is credential)

    def masked(self, data: bytes) -> bytes:
        """A copy of some of a body, an event or a line, without what is known here and stands in it as it is."""
        for value in self.values:
            data = data.replace(value.encode("latin-1", "replace"), MASKED)
        return _VIRTUAL.sub(MASKED, data)

    def headers(self, headers: Headers) -> Headers:
        return tuple((name, self._header(name, value)) for name, value in headers)

    def _header(self, name: bytes, value: bytes) -> bytes:
        if _SECRET_HEADER.search(name):
            return MASKED
        value = _KEY_PROTOCOL.sub(rb"\1***", value)
        # A redirect, a referer: URLs stand in headers, too.
        return self.masked(self.text(value.decode("latin-1")).encode("latin-1") if b"=" in value else value)

    def url(self, url: Url) -> str:
        return self.text(str(url))

    def text(self, url: str) -> str:
        """A URL without the values that its query names as secret, nor any that is known."""
        url = _PARAMETER.sub(_parameter, url)
        for value in self.values:
            url = url.replace(value, MASK).replace(quote(value, safe=""), MASK)
        return _VIRTUAL.sub(MASKED, url.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def reveals(text: str, keys: Iterable[str]) -> bool:
    """Whether one of these keys may stand in a text, or a virtual one."""
    # Asked for every call: loops of Python's own would cost a microsecond.
    for key in keys:
        if key in text:
            return True
    return "vk-" in text or "ek_" in text


def _parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if _is_secret(found[1]) else found[0]


def _is_secret(parameter: str) -> bool:
    return _SECRET_PARAMETER.search(unquote(parameter)) is not None
