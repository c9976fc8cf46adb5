"""Bodies that nobody has recorded: made from the published schemas, whole and streamed, sane and hostile, through all
that audits. No exception, no token that is not counted, no word that is not shown.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.capturing.test_calls import BODIES, Keeping
from tests.corpus import Line
from tests.e2e.recorded_usage import recorded_tokens
from tests.engine.test_engine import ScriptedReply, body
from tests.exports.made import exported, recorded
from tests.exports.test_markdown import Reading as Elements
from tests.exports.test_page import ELEMENTS
from tests.generated.families import FAMILIES, Family
from tests.generated.made import HOSTILE, JSON, Made, both, spoilt
from tests.generated.values import MARK
from tests.replays.made import prospects
from tests.replays.test_replaying_corpus import ELSEWHERE

from interpose.call import Call, Origin, Peer, Url
from interpose.exports.hiding import hidden
from interpose.formats.meters import meter_for
from interpose.ir import Reading
from interpose.recordings import Flaws
from interpose.recordings.captures import of_place
from interpose.replays.replay import Replay
from interpose.rules.compiled import Rules
from interpose.transcripts import Material, Transcript, read, render, render_answers

SEEDS = range(6)
BY_NAME = {family.name: family for family in FAMILIES}
WORDS = " says a few words"
# Handles, echoes of the request, pieces of what stands elsewhere: nothing that anybody says.
NO_WORDS = re.compile(
    r"logprobs|^\.(?:metadata|moderation|container|conversation|prompt|tools|instructions|output_text|user|text|reasoning)\b"
    r"|\.(?:id|model|object|role|prefix|data|signature|images|namespace|system_fingerprint|prompt_cache_key|stop_sequence"
    r"|safety_identifier|previous_response_id|modelVersion|responseId|createTime|created_at|renderedContent|inference_geo|encrypted_index)$"
    r"|^\.message\.citations\.text$|function\.description$"
)


def told(family: Family, made: Made) -> Transcript:
    kind = {"content-type": made.kind}
    return read(Material(url=family.url, request=made.request, status=200, reply=made.reply, reply_headers=kind))


def metered(family: Family, made: Made, sizes: tuple[int, ...] = (1 << 20,)) -> Reading:
    meter = meter_for(family.wire, made.kind)
    at, number = 0, 0
    while at < len(made.reply):
        size = sizes[number % len(sizes)]
        meter.feed(made.reply[at : at + size])
        at, number = at + size, number + 1
    return meter.finish()


@pytest.mark.parametrize("name", BY_NAME)
def test_each_word_of_a_reply_is_in_its_transcript(name: str) -> None:
    """Whole, and streamed."""
    family = BY_NAME[name]
    lost: Counter[tuple[str, str]] = Counter()
    looked = 0
    for seed in SEEDS:
        by, _, reply, made = both(family, seed, WORDS)
        said = set(MARK.findall(json.dumps(reply)))
        for each in made:
            shown = set(MARK.findall(render(told(family, each), 0, 10**9)))
            looked += len(said)
            lost.update((each.kind, by.marks[word]) for word in said - shown if not NO_WORDS.search(by.marks[word]))
    assert lost == {}
    assert looked > 0 or "embed" in name


@pytest.mark.parametrize("name", [family.name for family in FAMILIES if family.counted])
def test_tokens_are_those_of_a_second_reading(name: str) -> None:
    """The meter's, whether the reply is whole or streamed, and the transcript's."""
    family = BY_NAME[name]
    for seed in SEEDS:
        _, request, reply, made = both(family, seed)
        for each in made:
            whole = each.kind == JSON and each is made[0]
            binary = family.framing == "eventstream" and not whole
            line = Line(
                family.counted, str(seed), "", "", "", "", "POST", family.url, not whole, {}, request, "json", 200,
                {"content-type": each.kind}, reply if whole else None,
                None if whole or binary else each.reply.decode(),
                base64.b64encode(each.reply).decode() if binary else None, frozenset(),
            )  # fmt: skip
            used = metered(family, each).usage
            expected = recorded_tokens(line)
            assert expected is not None
            counted = (
                used.input_tokens, used.cache_read_tokens, used.cache_write_tokens, used.output_tokens,
                used.reasoning_tokens,
            )  # fmt: skip
            assert counted == tuple(expected), (seed, each.kind)
            shown = told(family, each).usage
            assert shown == used or not used, (seed, each.kind)


@pytest.mark.parametrize("name", BY_NAME)
def test_whatever_comes_is_counted_and_shown(name: str) -> None:
    """The same tokens however it is cut, and none below zero; transcripts and pages that do nothing."""
    family = BY_NAME[name]
    for seed in range(len(HOSTILE)):
        for number, made in enumerate(spoilt(family, seed)):
            reading = metered(family, made)
            assert all(count is None or count >= 0 for count in (*_counts(reading), *reading.units.values()))
            assert reading.flaw or metered(family, made, (1, 7, 64, 1000)) == reading
            transcript = told(family, made)
            assert not any("could not be read (" in note for note in transcript.notes), transcript.notes
            shown = render(transcript, 0, 10**9) + render_answers(transcript)
            shown.encode()
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]", shown)
            if (number + seed) % 4 == 0:
                _page_is_harmless(family, made)


def _counts(reading: Reading) -> Iterator[int | None]:
    usage = reading.usage
    yield from (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens)


def _page_is_harmless(family: Family, made: Made) -> None:
    call = recorded("made", family.url, made.request, 200, made.reply)
    assert call.answered is not None
    call.answered = replace(call.answered, headers=((b"content-type", made.kind.encode()),))
    found = Elements(exported(hidden(call)))
    assert found.elements <= ELEMENTS
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name != "src" or (value or "").startswith("data:")
        assert name != "href" or re.match(r"#|https?:|mailto:|data:", value or "")


async def test_what_is_hostile_is_kept_as_it_came_and_decided_anew(tmp_path: Path) -> None:
    """Through the engine into a ledger with its bodies, and out again: as a page, and by other rules."""
    cases = [
        (family, made) for seed, family in enumerate(FAMILIES) for made in both(family, seed, HOSTILE[seed % 7])[3]
    ]
    answers = [ScriptedReply([made.reply], ((b"content-type", made.kind.encode()),)) for _, made in cases]
    bench = Keeping(tmp_path / "ledger.db", replace(Rules.default(), ledger=BODIES), *answers)
    for family, made in cases:
        at = urlsplit(family.url)
        port = at.port or {"https": 443, "http": 80}[at.scheme]
        url = Url(Origin(at.scheme, at.hostname or "", port), at.path + (f"?{at.query}" if at.query else ""))
        headers = ((b"Host", at.netloc.encode()), (b"content-type", JSON.encode()))
        reply = await bench.engine.handle(Call("POST", url, headers, made.request, Peer("127.0.0.1")))
        assert await body(reply) == made.reply
    # However busy the machine is: closing waits for some seconds.
    assert bench.desk.flush()
    assert bench.ledger.wait()
    assert len(bench.kept()) == len(cases)
    flaws = Flaws()
    calls = sorted(of_place(bench.path, "ledger.db", flaws), key=lambda call: int(call.id.rpartition("_")[2]))
    assert list(flaws) == []
    for call, (_, made) in zip(calls, cases, strict=True):
        assert call.answered is not None
        assert call.answered.body == made.reply
        assert call.asked.body == made.request or b"***" in (call.asked.body or b"")
        assert call.record is not None
        assert call.record.usage_source in ("provider", "none", "estimated")
    assert Elements(exported(*calls)).elements <= ELEMENTS
    for one in Replay(prospects(ELSEWHERE)).run(iter(calls)):
        assert one.after.outcome != "undecided"
        assert one.after.code != "internal_error"
