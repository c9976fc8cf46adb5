"""A flow as a call: where its client meant it to go is not what it says now."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mitmproxy.test import tflow

from interpose.call import Entrance, Origin
from interpose.hosts.mitm.calls import addressed, as_call, bare_call
from interpose.rules.compiled import Intercept, Rules


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
    call = as_call(flow, Rules.default())
    assert (call.addressed, call.url.origin.host) == (origin, "elsewhere.test")


def test_a_flow_without_a_client_is_a_call_all_the_same() -> None:
    """As other tools' files have them."""
    flow = tflow.tflow()
    flow.client_conn.peername = None
    assert as_call(flow, Rules.default()).peer.ip == ""


@pytest.mark.parametrize(
    ("host", "entrance"),
    [
        ("ai.internal", Entrance.GATEWAY),
        ("AI.Internal.", Entrance.GATEWAY),
        ("x.ai.internal", Entrance.INTERCEPT),
        ("ai.internal.evil.test", Entrance.INTERCEPT),
        ("", Entrance.INTERCEPT),
    ],
)
def test_a_call_to_the_virtual_host_is_one_to_the_gateway(host: str, entrance: Entrance) -> None:
    """In whatever spelling, and at no other name."""
    flow = tflow.tflow()
    flow.request.host = host
    rules = replace(Rules.default(), intercept=Intercept(virtual_host="ai.internal"))
    assert as_call(flow, rules).entrance is entrance
    assert bare_call(flow, rules).entrance is entrance
