"""What a web page in a browser on this machine must not be able to do: use a gateway that asks for no key.

Such a gateway listens on loopback alone, and browsers reach that, too. A page can send a request blindly (the browser
says from where: Fetch Metadata and Origin), or have its own name point to loopback and read the answer (DNS rebinding:
the request then carries that name). Where keys are asked for there is nothing to look at, since no page has one.
https://www.w3.org/TR/fetch-metadata/ · https://www.rfc-editor.org/rfc/rfc6454
"""

from __future__ import annotations

import ipaddress

from interpose.call import Call, Entrance, header
from interpose.errors import Refusal
from interpose.rules.compiled import Rules

# What a browser says of requests that a page of another site makes; "none" is its address bar.
FOREIGN = frozenset((b"cross-site", b"same-site"))


def barred(call: Call, rules: Rules) -> Refusal | None:
    """Why a call is not served that a page of another site has sent, or may have."""
    if call.entrance is not Entrance.GATEWAY or rules.clients.asked_at(call.entrance):
        return None
    origin = call.url.origin
    if not _own_name(origin.host) and origin.host != rules.intercept.virtual_host:
        return Refusal(
            403,
            "foreign_name",
            f"A gateway without keys answers at localhost or by its address, not as {origin.host}. Call it there, or "
            "give its clients keys (clients.required: true).",
            param="Host",
        )
    fetched, page = header(call.headers, b"sec-fetch-site"), header(call.headers, b"origin")
    if (fetched or b"").lower() in FOREIGN or (page is not None and page.decode("latin-1").lower() != str(origin)):
        return Refusal(
            403,
            "foreign_page",
            "A gateway without keys does not answer web pages of other sites. Give its clients keys "
            "(clients.required: true).",
            param="Origin",
        )
    return None


def _own_name(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
