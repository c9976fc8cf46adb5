"""HAR files of several tools, read as recorded calls."""

import base64
import io
import json

import pytest

from interpose.call import Origin
from interpose.recordings import Flaws, Recorded
from interpose.recordings.har import read

from .hars import ANSWERED, ASKED, JSON_TYPE, entry, har


def calls(data: bytes) -> tuple[list[Recorded], list[str]]:
    flaws = Flaws()
    return list(read(io.BytesIO(data), "x.har", flaws)), list(flaws)


def test_an_entry_of_chrome_is_a_call_with_its_bodies_and_times() -> None:
    """Pseudo headers are left out, decoded bodies lose their coding, times count from the start."""
    [call], flaws = calls(har(entry()))
    assert flaws == []
    assert call.asked.method == "POST"
    assert call.asked.url.origin == Origin("https", "api.openai.com", 443)
    assert call.asked.url.target == "/v1/chat/completions"
    assert call.asked.headers == ((b"authorization", b"Bearer sk-FAKE-1"), (b"content-type", b"application/json"))
    assert call.asked.content() == ASKED.encode()
    assert call.answered is not None
    assert call.answered.headers == ((b"content-type", b"application/json"),)
    assert call.answered.content() == ANSWERED.encode()
    assert call.answered.began == pytest.approx(1.0)
    assert call.answered.ended == pytest.approx(1.25)
    assert call.started_at == pytest.approx(1795676400.5)


def test_a_byte_order_mark_is_passed_over() -> None:
    """Fiddler begins its files with one."""
    assert len(calls(b"\xef\xbb\xbf" + har(entry()))[0]) == 1


def test_binary_bodies_stand_in_base64() -> None:
    """Event streams of AWS, for one."""
    content = {"text": base64.b64encode(b"\x00\xff").decode(), "encoding": "base64"}
    [call], _ = calls(har(entry(response={"status": 200, "headers": [], "content": content})))
    assert call.answered is not None
    assert call.answered.body == b"\x00\xff"


def test_slack_writes_headers_as_pairs_and_insomnia_leaves_much_out() -> None:
    """Both notations are read; what is left out is not known, and no error."""
    request = {
        "method": "post",
        "url": "http://127.0.0.1:8080/v1/chat/completions?x=1",
        "headers": [["Content-Type", "application/json"]],
        "postData": {"text": ASKED},
    }
    [call], flaws = calls(
        har({"startedDateTime": "2026-11-26T08:00:00+01:00", "request": request, "response": {"status": 200}})
    )
    assert flaws == ["x.har: 1 of 1 entries have no reply body: save the HAR with content"]
    assert call.asked.headers == ((b"Content-Type", b"application/json"),)
    assert call.asked.url.origin == Origin("http", "127.0.0.1", 8080)
    assert call.asked.url.target == "/v1/chat/completions?x=1"
    assert call.started_at == pytest.approx(1795676400)
    assert call.answered is not None
    assert call.answered.body is None


def test_bodies_that_were_not_saved_are_counted_and_not_taken_for_empty() -> None:
    """Browsers export without content unless asked for it."""
    request = {"method": "POST", "url": "https://api.openai.com/v1/embeddings", "headers": JSON_TYPE, "bodySize": 99}
    found, flaws = calls(har(entry(request=request, response={"status": 200, "content": {"size": 5}}), entry()))
    assert found[0].asked.body is None
    assert flaws == ["x.har: 1 of 2 entries have no reply body: save the HAR with content"]


def test_a_call_without_an_answer_has_none() -> None:
    """Status 0 is no status: the connection failed."""
    [call], flaws = calls(har(entry(response={"status": 0, "_error": "net::ERR_FAILED"})))
    assert call.answered is None
    assert call.error == "net::ERR_FAILED"
    assert flaws == ["x.har: 1 of 1 entries have no answer"]


def test_messages_of_a_websocket_are_kept() -> None:
    """In the notation of Chrome, which mitmproxy writes, too."""
    messages = [
        {"type": "send", "time": 1795676401.5, "opcode": 1, "data": '{"type":"session.update"}'},
        {"type": "receive", "time": 1795676402.5, "opcode": 2, "data": base64.b64encode(b"\x01").decode()},
    ]
    request = {"method": "GET", "url": "wss://api.openai.com/v1/realtime?model=gpt-realtime", "headers": []}
    [call], _ = calls(
        har(entry(_resourceType="websocket", _webSocketMessages=messages, request=request, response={"status": 101}))
    )
    assert call.websocket
    assert call.asked.url.origin == Origin("https", "api.openai.com", 443)
    assert [(each.from_client, each.text, each.content) for each in call.spoken] == [
        (True, True, b'{"type":"session.update"}'),
        (False, False, b"\x01"),
    ]
    assert call.spoken[0].at == pytest.approx(1.0)


def test_an_entry_that_is_no_call_is_told_and_the_others_are_used() -> None:
    """One broken entry does not take the file with it."""
    found, flaws = calls(har(entry(), {"request": {}}, entry(request={"method": "GET", "url": "data:x"})))
    assert len(found) == 1
    assert len(flaws) == 2
    assert flaws[0] == "x.har: left out an entry that is no call: KeyError: 'startedDateTime' (entry 2)"


def test_what_comes_before_a_break_is_used() -> None:
    """A file that was cut off says so, and where."""
    data = har(entry(), entry(), entry())
    found, flaws = calls(data[:-400])
    assert len(found) == 2
    assert flaws == ["x.har: breaks off after entry 2 (parse error: premature EOF); what came before is used"]


def test_json_without_entries_has_no_calls() -> None:
    """Whatever is JSON and no HAR is read, and holds nothing."""
    told = "x.har: has no entries; a HAR file has them in log.entries"
    assert calls(json.dumps({"log": {"entries": []}}).encode()) == ([], [told])
    assert calls(b'{"writer": "x"}') == ([], [told])
    found, [broken] = calls(b'{"log": {"entries": [}')
    assert found == []
    assert broken.startswith("x.har: breaks off after entry 0")
