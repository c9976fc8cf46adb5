"""The law of replays: by the rules that a call was recorded under, nothing changes."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.engine.test_engine import COMPLETION, ScriptedReply, ScriptedUpstream

from interpose.call import Call, Origin, Peer, Url
from interpose.engine.engine import Engine
from interpose.engine.journey import Clock
from interpose.ledger.record import Record
from interpose.prices import Catalogue
from interpose.recordings.records import recorded
from interpose.rules.secrets import CredentialSource
from interpose.secret import Secret

from .made import START, replayed, rules

RULES = """
version: 1
prices:
  gpt-4o: {input: 2, output: 10}
  claude-sonnet-4-5: {input: 3, output: 15}
providers:
  openai: {format: openai, base_url: https://api.openai.com/v1, credential: [{env: KEY_A}, {env: KEY_B}]}
  spare: {format: openai, base_url: https://spare.example/v1, credential: {env: KEY_A}}
  claude: {format: anthropic, base_url: https://api.anthropic.com, credential: {env: KEY_A}}
intercept: {placeholders: [sk-FAKE-dummy]}
clients:
  keys:
    - {name: ci, sha256: "05e78bd4b1f5bd8a2ed2c9d6c3bc7ac7cb5ae0bd7b48bb8b84f4b2c6a9a6d1ab", models: "gpt-*"}
limits:
  - {name: few, match: {endpoint: chat}, per: [ip], requests: 6/minute}
  - {name: words, match: {endpoint: chat}, per: [model], tokens: 20000/minute}
  - {name: purse, budget: $1/day}
  - {name: there, per: [provider], requests: 4/minute}
routes:
  - name: canary
    match: {model: gpt-4o}
    to:
      - {provider: openai, weight: 60}
      - {provider: spare, weight: 30}
      - {provider: claude, model: claude-sonnet-4-5, weight: 10}
    fallback: [{provider: spare}]
    retry: {attempts: 3, on: [429, 5xx, connect], backoff: 1ms..2ms}
  - name: cheap
    match: {model: gpt-5}
    to: [{provider: openai}, {provider: spare}]
    prefer: fastest
    retry: {attempts: 3, backoff: 1ms..2ms}
  - {name: alone, match: {model: gpt-3}, to: {provider: claude, model: claude-sonnet-4-5}}
"""
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Hi"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}'
)
STEP = st.tuples(
    st.sampled_from(["gpt-4o", "gpt-5", "gpt-3", "o1"]),
    st.floats(0.01, 30.0),
    st.lists(st.sampled_from([200, 200, 200, 503, 400, 401]), min_size=4, max_size=4),
    st.sampled_from(["sk-FAKE-own", "sk-FAKE-dummy"]),
    st.sampled_from([{}, {"n": 2}, {"temperature": 1.5}, {"max_tokens": 50}]),
)


class Played(ScriptedUpstream):
    """Answers each provider in its own format, in the time that goes by with it."""

    def __init__(self, statuses: Iterator[int], clock: list[float]) -> None:
        super().__init__(lambda: ScriptedReply([]))
        self._statuses, self._clock = statuses, clock

    async def send(self, outgoing: Any) -> Any:
        status = next(self._statuses)
        self._clock[0] += 0.25
        if status >= 400:
            return ScriptedReply([b'{"error": {"message": "no"}}'], status=status)
        return ScriptedReply([MESSAGE if outgoing.url.origin.host == "api.anthropic.com" else COMPLETION])


async def recorded_by_engine(steps: list[tuple[str, float, list[int], str, dict[str, Any]]]) -> list[Record]:
    """The records of such calls, one after the other, by a real engine."""
    clock, records = [0.0], []
    statuses: list[int] = []

    async def resolve(source: CredentialSource) -> Secret:
        return Secret("sk-FAKE-provider", source.name)

    def scripted() -> Iterator[int]:
        while True:
            yield statuses.pop(0)

    engine = Engine(
        rules(RULES),
        upstream=Played(scripted(), clock),  # type: ignore[arg-type]
        resolve=resolve,
        record=records.append,
        clock=Clock(now=lambda: START + clock[0], monotonic=lambda: clock[0]),
        new_id=lambda: f"ip_{len(records)}",
        prices=Catalogue.empty(),
        # Each target of the canary comes soon: the rarest one first.
        rng=partial(next, cycle((0.95, 0.65, 0.05))),
    )
    for model, gap, answers, key, more in steps:
        clock[0] += gap
        statuses[:] = answers
        asked = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
        url = Url(Origin("https", "api.openai.com", 443), "/v1/chat/completions")
        headers = ((b"Host", b"api.openai.com"), (b"Authorization", f"Bearer {key}".encode()))
        reply = await engine.handle(Call("POST", url, headers, json.dumps(asked).encode(), Peer("127.0.0.1")))
        async for _ in reply.body:
            pass
        # Limits are settled in the background.
        await asyncio.gather(*engine.gate._settling)
    await engine.close()
    return records


@settings(max_examples=25)
@example([("gpt-4o", 20.0, [503, 200, 200, 200], "sk-FAKE-own", {})] * 3)
@given(st.lists(STEP, min_size=1, max_size=12))
def test_by_the_rules_of_then_nothing_changes(
    steps: list[tuple[str, float, list[int], str, dict[str, Any]]],
) -> None:
    """Whatever failed, was tried elsewhere, chosen by chance, converted, or limited by what a record tells of."""
    records = asyncio.run(recorded_by_engine(steps))
    bodies = [
        json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}).encode()
        for model, _, _, _, more in steps
    ]
    calls = []
    for record, body, (_, _, _, key, _) in zip(records, bodies, steps, strict=True):
        call = recorded(record, record.id)
        headers = ((b"Host", b"api.openai.com"), (b"Authorization", f"Bearer {key}".encode()))
        call.asked = type(call.asked)("POST", call.asked.url, headers, body)
        call.masked = False
        calls.append(call)
    found, summary = replayed(RULES, *calls)
    assert {one.id: [str(change) for change in one.changes] for one in found if one.changes} == {}
    assert summary.changed == 0
    assert summary.calls == len(steps)
