"""Which of a call's headers go on to a provider."""

import pytest

from interpose.call import Call, Entrance, Origin, Peer, Url
from interpose.hops import onward

HEADERS = (
    (b"Forwarded", b"for=192.0.2.1"),
    (b"X-Forwarded-For", b"192.0.2.1"),
    (b"x-real-ip", b"192.0.2.1"),
    (b"Connection", b"keep-alive, x-mine"),
    (b"x-mine", b"1"),
    (b"x-other", b"2"),
)


@pytest.mark.parametrize(
    ("entrance", "gone"),
    [
        (Entrance.GATEWAY, {b"Forwarded", b"X-Forwarded-For", b"x-real-ip", b"Connection", b"x-mine"}),
        (Entrance.INTERCEPT, {b"Connection", b"x-mine"}),
        (Entrance.EMBEDDED, {b"Connection", b"x-mine"}),
    ],
)
def test_what_a_balancer_says_of_its_client_ends_at_the_gateway(entrance: Entrance, gone: set[bytes]) -> None:
    """As headers of one hop do everywhere; what an intercepted program itself has written goes on."""
    url = Url(Origin("https", "api.openai.com", 443), "/v1/models")
    call = Call("GET", url, HEADERS, b"", Peer("127.0.0.1"), entrance=entrance)
    assert onward(call) == tuple(pair for pair in HEADERS if pair[0] not in gone)
