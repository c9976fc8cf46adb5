"""A flow as a call: where its client meant it to go is not what it says now."""

from __future__ import annotations

import pytest
from mitmproxy.test import tflow

from interpose.call import Origin
from interpose.hosts.mitm.calls import addressed, as_call


@pytest.mark.parametrize(
    ("address", "tls", "origin"),
    [
        (("api.openai.com", 443), True, Origin("https", "api.openai.com", 443)),
        (("API.OpenAI.com.", 443), True, Origin("https", "api.openai.com", 443)),
        (("localhost", 11434), False, Origin("http", "localhost", 11434)),
        (("203.0.113.9", 443), True, None),
        (None, False, None),
    ],
    ids=["tls", "spelt otherwise", "plain", "an address, as in HAR files", "unknown"],
)
def test_where_a_flow_was_addressed(address: tuple[str, int] | None, tls: bool, origin: Origin | None) -> None:
    """By the connection that it came on, whatever its request names."""
    flow = tflow.tflow()
    flow.server_conn.address, flow.server_conn.tls = address, tls
    flow.request.host = "elsewhere.test"
    assert addressed(flow) == origin
    call = as_call(flow)
    assert (call.addressed, call.url.origin.host) == (origin, "elsewhere.test")


def test_a_flow_without_a_client_is_a_call_all_the_same() -> None:
    """As other tools' files have them."""
    flow = tflow.tflow()
    flow.client_conn.peername = None
    assert as_call(flow).peer.ip == ""
