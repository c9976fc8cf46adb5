"""Who calls, by what it has told the proxy: a virtual key in the proxy's URL, `https_proxy=http://ci:vk-…@host:8080`.

The key is the password, or the user where there is no password; a user beside it is the name of the key. Names and
passwords that are none of ours, as of a proxy that stood here before us, say nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from interpose.call import Login
from interpose.errors import Refusal
from interpose.rules.compiled import VIRTUAL_PREFIX, ClientKey, Rules

from .virtual import found

CHALLENGE = ((b"proxy-authenticate", b'Basic realm="interpose"'),)


def proxied(
    login: Login | None, rules: Rules, issued: Callable[[str], ClientKey | None], now: float
) -> ClientKey | None:
    """The client that has told this to the proxy; None if it has told nothing of ours.

    Raises Refusal: 407 for a key that is not good. Whatever `issued` raises.
    """
    if login is None:
        return None
    ours = login.key.lower().startswith(VIRTUAL_PREFIX)
    known = found(login.key, rules, issued)
    if known is None:
        if ours or any(key.name == login.user for key in rules.clients.keys):
            raise _refusal("invalid_proxy_key", "The key in the proxy's URL is not known here. Ask for a valid one.")
        return None
    if known.revoked:
        raise _refusal("revoked_proxy_key", f"The key of {known.name} has been revoked. Ask for a new one.")
    if known.expired(now):
        raise _refusal("expired_proxy_key", f"The key of {known.name} has expired. Ask for a new one.")
    if login.user is not None and login.user != known.name:
        raise _refusal(
            "wrong_proxy_user", "The user in the proxy's URL is not the one whom the key was issued to. Leave it out."
        )
    return known


def _refusal(code: str, message: str) -> Refusal:
    return Refusal(407, code, message, headers=CHALLENGE)
