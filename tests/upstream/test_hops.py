"""Which of a call's headers go on to a provider."""

import pytest

from interpose.call import Call, Entrance, Headers, Origin, Peer, Url
from interpose.upstream.hops import homeward, onward

HEADERS = (
    (b"Forwarded", b"for=192.0.2.1"),
    (b"X-Forwarded-For", b"192.0.2.1"),
    (b"x-real-ip", b"192.0.2.1"),
    (b"Connection", b"keep-alive, x-mine"),
    (b"x-mine", b"1"),
    (b"x-other", b"2"),
    (b"Cookie", b"session=1"),
    (b"Origin", b"https://app.test"),
    (b"Referer", b"https://app.test/chat"),
    (b"Via", b"1.1 balancer"),
    (b"X-Interpose-Id", b"ip_1"),
)
AT_HOME = {b"Forwarded", b"X-Forwarded-For", b"x-real-ip", b"Cookie", b"Origin", b"Referer", b"Via", b"X-Interpose-Id"}


@pytest.mark.parametrize(
    ("entrance", "gone"),
    [
        (Entrance.GATEWAY, AT_HOME | {b"Connection", b"x-mine"}),
        (Entrance.INTERCEPT, {b"Connection", b"x-mine"}),
        (Entrance.EMBEDDED, {b"Connection", b"x-mine"}),
    ],
)
def test_what_was_said_to_the_gateways_address_ends_there(entrance: Entrance, gone: set[bytes]) -> None:
    """A balancer's word of its client, cookies and pages, as headers of one hop do everywhere; what an intercepted
    program itself has written goes on.
    """
    assert onward(call_of(entrance)) == tuple(pair for pair in HEADERS if pair[0] not in gone)


REPLIED = (
    (b"Set-Cookie", b"__session=1"),
    (b"Strict-Transport-Security", b"max-age=31536000; includeSubDomains; preload"),
    (b"alt-svc", b'h3=":443"'),
    (b"x-interpose-client", b"somebody"),
    (b"x-request-id", b"req_1"),
)


@pytest.mark.parametrize(
    ("entrance", "expected"),
    [(Entrance.GATEWAY, REPLIED[-1:]), (Entrance.INTERCEPT, REPLIED), (Entrance.EMBEDDED, REPLIED)],
)
def test_a_provider_says_nothing_of_the_gateways_address(entrance: Entrance, expected: Headers) -> None:
    """No cookie of its own, nothing to browsers, nothing in our name; an intercepted program gets it all."""
    assert homeward(call_of(entrance), REPLIED) == expected


def call_of(entrance: Entrance) -> Call:
    url = Url(Origin("https", "api.openai.com", 443), "/v1/models")
    return Call("GET", url, HEADERS, b"", Peer("127.0.0.1"), entrance=entrance)
