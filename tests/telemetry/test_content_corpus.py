"""What is said in every recorded conversation, as its event tells it: by the conventions, and all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.corpus import Line, lines
from tests.ledger.conftest import invented
from tests.telemetry.collector import attributes
from tests.telemetry.conventional import check
from tests.transcripts.said import streamed, texts
from tests.transcripts.test_transcripts_corpus import BASE64, CONVERSATIONS, PLACEHOLDERS, bare, missing

from interpose.call import Call, Origin, Peer, Url
from interpose.capturing.pieces import Room
from interpose.masking.whole import Known
from interpose.telemetry.heard import Heard
from interpose.telemetry.logs import log_record
from interpose.telemetry.messages import LARGEST, NOTES
from interpose.telemetry.said import Reader


def heard(line: Line, room: Room) -> Heard:
    """The call as its witness has it, the reply in pieces."""
    url = line.parts
    target = (url.path + (f"?{url.query}" if url.query else "")).translate(PLACEHOLDERS)
    headers = tuple((name.encode(), value.encode()) for name, value in line.request_headers.items())
    call = Call("POST", Url(Origin("https", line.host, 443), target), headers, line.request_bytes(), Peer("192.0.2.1"))
    found = Heard(call, (), room)
    found.begun(Known(call))
    told = ((name, value) for name, value in line.reply_headers.items() if name != "content-encoding")
    found.answered(line.status, tuple((name.encode(), value.encode()) for name, value in told))
    data = line.reply_bytes()
    for at in range(0, len(data), 1000):
        found.told(data[at : at + 1000])
    return found


def told(line: Line, room: Room) -> dict[str, Any]:
    """The attributes, as a collector reads them."""
    witness = heard(line, room)
    try:
        found = Reader(tuple, lambda: 0.0).read(witness, invented(endpoint="chat"), hurried=False)
    finally:
        witness.let_go()
    data = log_record("e", 1, 1, found).SerializeToString()
    assert len(data) < 2 * LARGEST
    return attributes(LogRecord.FromString(data).attributes)


@pytest.mark.parametrize("family", CONVERSATIONS)
def test_every_conversation_is_told_by_the_conventions(family: str) -> None:
    """Each text of it, where nothing was left out; no bytes of a medium; and nothing is held on to."""
    room = Room(64 << 20)
    lost: list[str] = []
    counted = 0
    for line in lines(family):
        found = told(line, room)
        check(found)
        whole = json.dumps(found, ensure_ascii=False)
        # Somebody's aaaaa… is no picture.
        assert not [part for part in BASE64.findall(whole) if len(part) >= 1024 and len(set(part)) > 32], line.id
        shown = bare(whole)
        assert "could not be read" not in str(found.get(NOTES)), line.id
        # What fills in a prompt that lies at the provider is a parameter, and no message of anybody's.
        if NOTES not in found and not isinstance((line.request or {}).get("prompt"), dict):
            said = [*texts(line.request), *(streamed(line) if line.ok else ())]
            counted += len(said)
            lost += [f"{line.id}: {text!r}" for text in missing(said, shown)]
        elif line.ok and not {"gen_ai.input.messages", "gen_ai.output.messages"} & found.keys():
            lost.append(f"{line.id}: {found}")
    assert room.taken == 0
    assert counted > 50
    assert lost == []
