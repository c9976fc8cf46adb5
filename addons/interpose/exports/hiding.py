"""What of a recording must not stand in an export: keys, cookies, and whatever looks like a key.

What the ledger has captured was scrubbed before it was stored. What mitmproxy and browsers save was not: there the
values of headers and of query parameters that are secret by their names are masked, wherever else these values stand,
and so are members of JSON that are secret by theirs, and what has the shape of a provider's key.
"""

from __future__ import annotations

import re
from dataclasses import replace

from interpose.call import Call, Headers, Origin, Peer, Url
from interpose.capturing.scrubbing import Secrets, find, scrubbed
from interpose.masking import torn
from interpose.masking.whole import MASKED, Known
from interpose.recordings import Answered, Asked, Recorded
from interpose.wire.error import WireError

# How the keys of providers and of those around them begin. The lengths are below what any of them issues, and above
# what words have.
_SHAPES = re.compile(
    rb"\b(?:"
    rb"sk-[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, DeepSeek, OpenRouter, Stability …
    rb"|(?:gsk|hf|r8|xai|pplx|nvapi|fw|tgp_v1|csk|glpat|dop_v1)[_-][A-Za-z0-9_-]{20,}"
    rb"|AIza[A-Za-z0-9_-]{30,}"  # Google
    rb"|ya29\.[A-Za-z0-9_.-]{20,}"
    rb"|gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"
    rb"|xox[abeoprs]-[A-Za-z0-9-]{16,}"  # Slack
    rb"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS: the public half, which names whose the other is
    rb"|vk-[A-Za-z0-9_-]{16,}"  # ours
    rb")"
)
_BEARER = re.compile(rb"(?i)\b(bearer\s+)[A-Za-z0-9._~+/-]{20,}=*")
# What is true of a body on the wire alone.
_CODING = frozenset((b"content-encoding", b"content-length", b"transfer-encoding"))


def hidden(call: Recorded) -> Recorded:
    """The call without its secrets; its bodies without their content coding, which nothing could be found in."""
    if call.masked:
        return call
    asked = call.asked
    known = Known(Call(asked.method, asked.url, asked.headers, b"", Peer(call.ip or "")))
    if call.answered is not None:
        known.learn_cookies(call.answered.headers)
    return replace(
        call,
        asked=_asked(asked, known),
        answered=None if call.answered is None else _answered(call.answered, known),
        sent=tuple(
            replace(
                each,
                asked=_asked(each.asked, known),
                answered=None if each.answered is None else _answered(each.answered, known),
            )
            for each in call.sent
        ),
        spoken=tuple(replace(each, content=_body(each.content, known) or b"") for each in call.spoken),
        masked=True,
    )


def _asked(asked: Asked, known: Known) -> Asked:
    headers, body = _plain(asked)
    return replace(asked, url=_url(asked.url, known), headers=_headers(headers, known), body=_body(body, known))


def _answered(answered: Answered, known: Known) -> Answered:
    headers, body = _plain(answered)
    return replace(answered, headers=_headers(headers, known), body=_body(body, known))


def _plain(message: Asked | Answered) -> tuple[Headers, bytes | None]:
    try:
        body = message.content()
    except WireError:
        # It may be cut, or be plain in spite of what its header says.
        return message.headers, message.body
    return tuple(pair for pair in message.headers if pair[0].lower() not in _CODING), body


def _url(url: Url, known: Known) -> Url:
    text = shapeless(known.url(url).encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    target = text.removeprefix(str(url.origin))
    return Url(Origin(url.origin.scheme, url.origin.host, url.origin.port), target or "/")


def _headers(headers: Headers, known: Known) -> Headers:
    return tuple((name, shapeless(value)) for name, value in known.headers(headers))


def _body(body: bytes | None, known: Known) -> bytes | None:
    """Also of what a stream says in pieces, for it is shown put together."""
    if body is None:
        return None
    body = known.masked(body)
    return torn.masked(
        shapeless(scrubbed(body, find(body, Secrets(), ends=False).spans)), (*torn.literally(known.values), _SHAPES)
    )


def shapeless(data: bytes) -> bytes:
    """The data without what looks like a key."""
    return _BEARER.sub(rb"\1" + MASKED, _SHAPES.sub(MASKED, data))
