"""Files of mitmproxy's flows, read as recorded calls."""

import io
from typing import Any

import pytest
from mitmproxy import http, tcp
from mitmproxy.io import FlowWriter, tnetstring
from mitmproxy.test import tflow
from mitmproxy.version import FLOW_FORMAT_VERSION

from interpose.call import Origin
from interpose.hosts.mitm.calls import CUT
from interpose.hosts.mitm.flowfile import read
from interpose.ledger import Record
from interpose.recordings import Flaws, Recorded

BODY = b'{"model":"gpt-4o","messages":[]}'


def flow(**request: Any) -> http.HTTPFlow:
    made = tflow.tflow(resp=True)
    made.request = http.Request.make("POST", "https://api.openai.com/v1/chat/completions", BODY, {"x-team": "a"})
    made.request.timestamp_start, made.request.timestamp_end = 100.0, 100.1
    assert made.response is not None
    made.response.timestamp_start, made.response.timestamp_end = 101.0, 103.0
    for name, value in request.items():
        setattr(made.request, name, value)
    return made


def saved(*flows: Any) -> bytes:
    file = io.BytesIO()
    writer = FlowWriter(file)
    for each in flows:
        writer.add(each)
    return file.getvalue()


def calls(data: bytes) -> tuple[list[Recorded], list[str]]:
    flaws = Flaws()
    return list(read(io.BytesIO(data), "x.mitm", flaws)), list(flaws)


def test_a_flow_is_a_call_with_its_bodies_and_times() -> None:
    """Times count from the start of the request."""
    made = flow()
    [call], flaws = calls(saved(made))
    assert flaws == []
    assert (call.id, call.place) == (made.id, "x.mitm#1")
    assert call.asked.url.origin == Origin("https", "api.openai.com", 443)
    assert call.asked.content() == BODY
    assert call.started_at == 100.0
    assert call.answered is not None
    assert (call.answered.status, call.answered.body) == (200, b"message")
    assert (call.answered.began, call.answered.ended) == (1.0, 3.0)
    assert call.ip == "127.0.0.1"


def test_a_call_that_we_have_answered_keeps_its_id() -> None:
    """The header that every reply of ours has names it."""
    made = flow()
    assert made.response is not None
    made.response.headers["x-interpose-id"] = "ip_1"
    assert calls(saved(made))[0][0].id == "ip_1"


def test_http2_names_its_host_in_a_pseudo_header() -> None:
    """It stands there as Host, as HTTP/1 has it."""
    made = flow(http_version="HTTP/2.0", authority="api.openai.com")
    [call], _ = calls(saved(made))
    assert call.asked.headers[0] == (b"Host", b"api.openai.com")


def test_a_transparent_proxy_dialled_an_address() -> None:
    """The name is that of the handshake, or of the Host header."""
    made = flow(host="104.18.7.192")
    made.request.headers["host"] = "api.openai.com"
    made.client_conn.sni = None
    [call], _ = calls(saved(made))
    assert call.asked.url.origin.host == "api.openai.com"


def test_a_request_that_was_not_kept_whole_says_so() -> None:
    """Half a body is none that could be decided by."""
    made = flow()
    made.metadata[CUT] = len(BODY)
    made.request.headers["content-length"] = "9999999"
    [call], _ = calls(saved(made))
    assert call.asked.size == 9999999
    assert not call.asked.whole


def test_a_flow_without_an_answer_has_none_and_says_why() -> None:
    """The client left, or the provider could not be reached."""
    made = flow()
    made.response, made.error = None, tflow.terr()
    [call], _ = calls(saved(made))
    assert call.answered is None
    assert call.error == "error"


def test_sessions_are_kept_and_what_is_no_http_is_counted() -> None:
    """A WebSocket's messages stand by; TCP is left out."""
    found, flaws = calls(saved(tflow.twebsocketflow(), tflow.ttcpflow(), tflow.tdnsflow(), flow()))
    assert [call.websocket for call in found] == [True, False]
    assert found[0].spoken[0].from_client
    assert flaws == ["x.mitm: 2 of 4 flows are no HTTP calls; left out"]
    assert isinstance(tflow.ttcpflow(), tcp.TCPFlow)


def test_a_file_that_breaks_off_is_used_up_to_there() -> None:
    """How many, and where it breaks, is told."""
    data, one = saved(flow(), flow(), flow()), len(saved(flow()))
    found, flaws = calls(data[:-50])
    assert len(found) == 2
    [told] = flaws
    assert told.startswith(f"x.mitm: breaks off after 2 flows, at byte {2 * one}")


def test_a_flow_of_a_newer_mitmproxy_is_left_out_with_a_word_of_what_to_do() -> None:
    """The message names both versions."""
    state = flow().get_state()
    state["version"] = FLOW_FORMAT_VERSION + 1
    found, [told] = calls(tnetstring.dumps(state) + saved(flow()))
    assert len(found) == 1
    assert "newer mitmproxy" in told
    assert str(FLOW_FORMAT_VERSION + 1) in told
    assert "HAR" in told


def test_a_flow_of_an_older_mitmproxy_is_read() -> None:
    """mitmproxy brings it up to date by itself."""
    state = flow().get_state()
    state["version"] = 19
    state["client_conn"]["state"] = state["server_conn"]["state"] = 0
    [call], flaws = calls(tnetstring.dumps(state))
    assert flaws == []
    assert call.asked.content() == BODY


def test_a_flow_that_is_broken_in_itself_does_not_take_the_others_with_it() -> None:
    """It is told of, and left out."""
    state = flow().get_state()
    del state["request"]["headers"]
    found, flaws = calls(tnetstring.dumps(state) + tnetstring.dumps("nonsense") + saved(flow()))
    assert len(found) == 1
    assert [told.rpartition(" (")[2] for told in flaws] == ["flow 1)", "flow 2)"]
    assert all(told.startswith("x.mitm: left out a flow that cannot be read: ") for told in flaws)


@pytest.mark.parametrize("junk", [b"12", b"9999999999:", b"99999999999999999:x", b"3:abc", b"0:"])
def test_junk_ends_the_reading_without_an_exception(junk: bytes) -> None:
    """Whatever the bytes are, and whatever lengths they claim."""
    found, flaws = calls(saved(flow()) + junk)
    assert len(found) == 1
    assert len(flaws) == 1


RECORD: dict[str, Any] = {
    "id": "ip_1", "started_at": "2026-11-26T07:00:00.000000Z", "finished_at": "2026-11-26T07:00:01.000000Z",
    "entrance": "intercept", "app": "agent.py", "client": "ci", "method": "POST", "host": "api.openai.com",
    "path": "/v1/chat/completions", "endpoint": "chat", "asked_model": "gpt-4o", "sent_model": "claude-haiku-4-5",
    "provider": "claude", "status": 200, "outcome": "ok", "stream": False, "input_tokens": 1234, "output_tokens": 56,
    "usage_source": "provider", "cost_usd": 0.0015,
}  # fmt: skip


def test_the_record_that_we_have_saved_with_a_flow_is_its_calls() -> None:
    """So that a replay and an export of flows go by what the ledger says, too."""
    made = flow()
    made.metadata["interpose"] = {"record": RECORD, "words": "said"}
    [call], flaws = calls(saved(made))
    assert flaws == []
    assert call.record == Record(**RECORD)
    assert (call.client, call.app) == ("ci", "agent.py")


@pytest.mark.parametrize(
    "told",
    [
        "nonsense", {}, {"id": "ip_1"}, {**RECORD, "cost_usd": "much"}, {**RECORD, "cost_usd": float("nan")},
        {**RECORD, "input_tokens": True}, {**RECORD, "attempts": []},
    ],
)  # fmt: skip
def test_what_is_no_record_is_left_aside(told: Any) -> None:
    """A file may be anybody's: the call is read by its bodies then."""
    made = flow()
    made.metadata["interpose"] = {"record": told}
    [call], flaws = calls(saved(made))
    assert (call.record, flaws) == (None, [])
    assert call.asked.content() == BODY
