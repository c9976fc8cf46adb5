"""Every recorded call goes once through the real proxy, and not a byte of it changes; the ledger says what it used.

8,218 recordings: 7,843 with their request (JSON or no body), 67 whose request body was not recorded and 308 which are
replies alone; the last two kinds travel under a synthetic request. Several kept connections work side by side, each
from a loopback address of its own, by which its ledger records are told apart.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.corpus import Line, lines
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy, Row
from tests.e2e.recorded_costs import Unpriced, recorded_cost
from tests.e2e.recorded_usage import Tokens, recorded_tokens
from tests.e2e.settings import OPENAI, canary, rules_text
from tests.e2e.upstream import Exchange, Header, Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

OWN = canary("own-of-corpus")
# A connection each; only Linux has the whole of 127/8 without being asked.
LANES = 8 if sys.platform == "linux" else 1
PLACEHOLDERS = {
    "<AWS_REGION>": "us-east-1",
    "AZURE_RESOURCE": "azure-resource",
    # The unspecified address is no destination that rules may name; it meant the local one.
    "//0.0.0.0:": "//localhost:",
    "<GOOGLE_CLOUD_PROJECT>": "example-project",
    "<GOOGLE_CLOUD_LOCATION>": "global",
}
# Where a reply without its request came from, by family.
ORIGINS = {
    "anthropic_messages": "https://api.anthropic.com/v1/messages",
    "bedrock_converse": "https://bedrock-runtime.us-east-1.amazonaws.com/model/synthetic/converse",
    "chat_compat": "https://openrouter.ai/api/v1/chat/completions",
    "cohere_chat": "https://api.cohere.com/v2/chat",
    "embeddings": "https://api.openai.com/v1/embeddings",
    "gemini_generate": "https://generativelanguage.googleapis.com/v1beta/models/synthetic:generateContent",
    "mistral_chat": "https://api.mistral.ai/v1/chat/completions",
    "ollama": "http://localhost:11434/api/chat",
    "openai_chat": "https://api.openai.com/v1/chat/completions",
    "openai_responses": "https://api.openai.com/v1/responses",
}
SYNTHETIC = b'{"model":"synthetic","note":"the request of this reply was not recorded"}'
DROPPED = re.compile(r"transfer-encoding|content-length|connection|keep-alive", re.IGNORECASE)
# The recorded content type of a reply, where it was not kept.
CONTENT_TYPES = {"json": "application/json", "text": "text/event-stream", "b64": "application/vnd.amazon.eventstream"}


@dataclass(frozen=True, slots=True)
class Replay:
    """A recording as it travels: the request's bytes, the reply's status, headers and body."""

    number: int
    line: Line
    url: str
    body: bytes | None
    reply: bytes

    @property
    def name(self) -> str:
        return f"{self.line.family}: {self.line.id}"

    @property
    def kind(self) -> str:
        return {"absent": "reply alone", "multipart": "no body kept", "other": "no body kept"}.get(
            self.line.request_kind, "replayable"
        )

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def authority(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def origin(self) -> str:
        """host:port"""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"

    @property
    def target(self) -> str:
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def headers(self) -> list[tuple[str, str]]:
        recorded = [(name, value) for name, value in self.line.request_headers.items() if name != "content-length"]
        return [("Authorization", f"Bearer {OWN}"), *recorded, ("X-Corpus-Line", str(self.number))]

    def reply_headers(self) -> list[Header]:
        kept = [
            (name.encode(), value.encode("utf-8"))
            for name, value in self.line.reply_headers.items()
            if not DROPPED.fullmatch(name)
        ]
        if not self.line.reply_headers.get("content-type"):
            kind = "b64" if self.line.reply_b64 is not None else "text" if self.line.reply_text is not None else "json"
            kept.append((b"Content-Type", CONTENT_TYPES[kind].encode()))
        return kept

    @property
    def chunked(self) -> bool:
        return self.line.streaming or self.line.reply_headers.get("transfer-encoding") == "chunked"

    def pieces(self) -> list[bytes]:
        """The reply's body cut at up to nine places, the same ones in every run."""
        dice = random.Random(self.number)
        size = len(self.reply)
        cuts = sorted({0, size, *(dice.randrange(size + 1) for _ in range(dice.randrange(10)))})
        return [self.reply[start:end] for start, end in pairwise(cuts)]


def replays() -> Iterator[Replay]:
    for number, line in enumerate(lines()):
        url, body = line.url, line.request_bytes() if line.request_kind == "json" else None
        if line.request_kind == "absent":
            url = ORIGINS[line.family.removeprefix("responseonly_")]
        if line.request_kind in ("absent", "multipart", "other"):
            body = SYNTHETIC
        elif body is None and line.method in ("POST", "PUT", "PATCH"):
            body = b""
        for placeholder, value in PLACEHOLDERS.items():
            url = url.replace(placeholder, value)
        yield Replay(number, line, url, body, line.reply_bytes())


@dataclass(slots=True)
class Result:
    """What the replay has found. `problems` and `heads` (of headers) name the recording and what differed."""

    replays: list[Replay] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, replay: Replay, what: str, sent: object, came: object) -> None:
        """Writes down what differs; of two lists of headers, those that only one of them has."""
        if isinstance(sent, list) and isinstance(came, list):
            lost = [pair for pair in sent if pair not in came]
            added = [pair for pair in came if pair not in sent]
            self.heads.append(f"{replay.name}: {what}: lost {lost}, added {added}, or another order")
        else:
            self.problems.append(f"{replay.name}: {what}: {sent!r:.200} became {came!r:.200}")


class Played:
    """The upstream's side: compares each request with its recording, and answers by it."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self.seen: Counter[int] = Counter()

    async def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        number = int(request.values("x-corpus-line")[0])
        replay = self._result.replays[number]
        self.seen[number] += 1
        expected: list[Header] = [(b"Host", replay.authority.encode())]
        expected += [(name.encode(), value.encode()) for name, value in replay.headers()]
        if replay.body is not None:
            expected.append((b"Content-Length", str(len(replay.body)).encode()))
        sent = (replay.line.method.encode(), replay.target.encode(), expected, replay.body or b"")
        came = (request.method, request.target, request.headers, bytes(request.body))
        for what, one, other in zip(("method", "target", "headers", "body"), sent, came, strict=True):
            if one != other:
                self._result.note(replay, f"request {what}", one, other)
        if not replay.chunked:
            await exchange.reply(replay.reply, replay.line.status, replay.reply_headers())
            return
        await exchange.start(replay.line.status, [*replay.reply_headers(), (b"Transfer-Encoding", b"chunked")])
        for piece in replay.pieces():
            await exchange.chunk(piece)
        await exchange.end()


class Lane:
    """One client: works off its replays one after the other, keeping a tunnel per origin as long as it can."""

    def __init__(self, number: int, proxy: Proxy, result: Result) -> None:
        self._proxy = proxy
        self._result = result
        self.address = f"127.0.0.{number + 1}" if LANES > 1 else "127.0.0.1"
        self.work: list[Replay] = []
        self._client: Client | None = None
        self._origin = ""

    async def run(self) -> None:
        self.work.sort(key=lambda replay: (replay.scheme, replay.origin))
        tls = client_tls(self._proxy.ca)
        for replay in self.work:
            try:
                await self._connect(replay, tls)
                await self._one(replay)
            except Exception as error:  # noqa: BLE001 - one recording's failure is reported by its name, the rest goes on
                self._result.problems.append(f"{replay.name}: {error!r:.300}")
                self._leave()
        self._leave()

    def _leave(self) -> None:
        if self._client is not None:
            self._client.abort()
            self._client = None

    async def _connect(self, replay: Replay, tls: Any) -> None:
        if self._client is not None and self._origin == replay.scheme + replay.origin:
            return
        self._leave()
        self._origin = replay.scheme + replay.origin
        if replay.scheme == "http":
            self._client = await Client.direct(self._proxy.address, local=self.address)
        else:
            self._client = await Client.tunnel(self._proxy.address, replay.origin, tls=tls, local=self.address)

    async def _one(self, replay: Replay) -> None:
        assert self._client is not None
        method = replay.line.method
        target = f"http://{replay.authority}{replay.target}" if replay.scheme == "http" else replay.target
        raw = request_bytes(method, target, replay.authority, *replay.headers(), body=replay.body)
        await self._client.send(raw)
        response = await self._client.response(method)
        framing = (
            (b"Transfer-Encoding", b"chunked")
            if replay.chunked
            else (b"content-length", str(len(replay.reply)).encode())
        )
        expected = (replay.line.status, [*replay.reply_headers(), framing], replay.reply, "complete")
        came = (response.status, response.headers, bytes(response.body), response.ending)
        for what, one, other in zip(("status", "headers", "body", "ending"), expected, came, strict=True):
            same = lowered(one) == lowered(other) if what == "headers" else one == other
            if not same:
                self._result.note(replay, f"reply {what}", one, other)


def lowered(headers: Any) -> list[Header]:
    """Framing headers are our own on either side: their place and spelling may differ."""
    return sorted((name.lower(), value) for name, value in headers)


_RESULT: list[Result] = []


async def replayed(farm: Farm, authority: Authority) -> Result:
    """The whole corpus, sent once per session."""
    if _RESULT:
        return _RESULT[0]
    result = Result(list(replays()))
    origins = {(replay.scheme, replay.origin) for replay in result.replays}
    names = sorted({origin.rpartition(":")[0] for scheme, origin in origins if scheme == "https"})
    loop = asyncio.get_running_loop()
    async with Upstream(authority.server_context(names)) as upstream, Upstream() as plain:
        servers = {"https": upstream, "http": plain}
        rules = rules_text(
            intercept={"hosts": sorted(origin for _, origin in origins)},
            upstream={
                "ca": str(authority.pem),
                "connect_to": {origin: servers[scheme].address for scheme, origin in sorted(origins)},
            },
        )
        proxy = await farm.launch("corpus", rules)
        lanes = [Lane(number, proxy, result) for number in range(LANES)]
        # All calls of one origin in as few lanes as keep the work even.
        for position, replay in enumerate(sorted(result.replays, key=lambda each: (each.scheme, each.origin))):
            lanes[position * LANES // len(result.replays)].work.append(replay)
        played = Played(result)
        began = loop.time()
        with upstream.answering(played), plain.answering(played):
            await asyncio.gather(*(lane.run() for lane in lanes))
        result.seconds = loop.time() - began
        for replay in result.replays:
            if played.seen[replay.number] != 1:
                result.problems.append(f"{replay.name}: arrived {played.seen[replay.number]} times")
        rows = await proxy.ledger.rows("", len(result.replays))
        for lane in lanes:
            own = [row for row in rows if row["ip"] == lane.address]
            if len(own) != len(lane.work):
                result.problems.append(f"{lane.address}: {len(own)} records of {len(lane.work)} calls")
            result.rows |= {replay.number: row for replay, row in zip(lane.work, own, strict=False)}
        assert await proxy.stop() == 0
    _RESULT.append(result)
    return result


async def test_every_recording_passes_to_the_byte(farm: Farm, authority: Authority) -> None:
    """Requests arrive and replies return exactly: method, target, status and every byte of both bodies."""
    result = await replayed(farm, authority)
    kinds = Counter(replay.kind for replay in result.replays)
    size = sum(len(replay.reply) + len(replay.body or b"") for replay in result.replays)
    streams = sum(replay.line.streaming for replay in result.replays)
    print(
        f"{len(result.replays)} recordings ({dict(kinds)}, {streams} streams, {size / 1e6:.1f} MB) in "
        f"{result.seconds:.1f} s over {LANES} lanes"
    )
    assert not result.problems, f"{len(result.problems)} problems:\n" + "\n".join(result.problems[:40])
    assert kinds == {"replayable": 7843, "no body kept": 67, "reply alone": 308}


async def test_every_head_passes_untouched(farm: Farm, authority: Authority) -> None:
    """No header is lost, added, changed or moved, in either direction."""
    result = await replayed(farm, authority)
    assert not result.heads, f"{len(result.heads)} heads:\n" + "\n".join(result.heads[:40])


async def test_every_recording_has_its_record(farm: Farm, authority: Authority) -> None:
    """One ledger record per call says method, host, path, status and whether it streamed; none holds a key."""
    result = await replayed(farm, authority)
    wrong = []
    for replay in result.replays:
        row = result.rows[replay.number]
        host, path = urlsplit(replay.url).hostname, urlsplit(replay.url).path
        told = (row["method"], row["host"], row["path"], row["status"])
        if told != (replay.line.method, host, path, replay.line.status):
            wrong.append(f"{replay.name}: {told}")
    assert not wrong, f"{len(wrong)} records:\n" + "\n".join(wrong[:40])


# How many replies of each family tell their usage: fewer compared would be a test that has lost some.
COMPARED = {
    "anthropic_messages": 1218,
    "bedrock_converse": 271,
    "bedrock_invoke": 151,
    "chat_compat": 1029,
    "cohere_chat": 121,
    "completions_legacy": 63,
    "embeddings": 152,
    "gemini_generate": 1045,
    "mistral_chat": 227,
    "ollama": 63,
    "openai_chat": 1533,
    "openai_responses": 1355,
}


async def test_every_recording_is_metered_as_its_provider_says(farm: Farm, authority: Authority) -> None:
    """The ledger's tokens are those that the recorded reply tells, by a second and independent computation."""
    result = await replayed(farm, authority)
    checked: Counter[str] = Counter()
    wrong = []
    for replay in result.replays:
        expected = recorded_tokens(replay.line)
        row = result.rows[replay.number]
        if (
            expected is None
            or not 200 <= replay.line.status < 300
            or row["endpoint"] not in ("chat", "completions", "embeddings")
        ):
            continue
        if expected.input is None and expected.output is None:
            if row["usage_source"] == "provider":
                wrong.append(f"{replay.name}: the reply tells nothing, the record {tokens(row)}")
            checked["told nothing"] += 1
            continue
        if expected.output is None and row["usage_source"] == "estimated":
            # A generation cut before its output was counted: the input is told, the output estimated.
            if row["input_tokens"] != expected.input:
                wrong.append(f"{replay.name}: {expected} became {tokens(row)} (in part estimated)")
        elif row["usage_source"] != "provider" or tokens(row) != expected:
            wrong.append(f"{replay.name}: {expected} became {tokens(row)} ({row['usage_source']})")
        checked[replay.line.family.removeprefix("responseonly_")] += 1
    print(f"usage compared: {dict(checked)}")
    assert not wrong, f"{len(wrong)} records:\n" + "\n".join(wrong[:60])
    assert {family: count for family, count in checked.items() if family != "told nothing"} == COMPARED


# So many recordings of each family at least have a price, and the same one by both computations.
PRICED = {
    "anthropic_messages": 1218,
    "bedrock_converse": 255,
    "bedrock_invoke": 109,
    "chat_compat": 631,
    "cohere_chat": 99,
    "completions_legacy": 60,
    "embeddings": 125,
    "gemini_generate": 1041,
    "mistral_chat": 192,
    "openai_chat": 1502,
    "openai_responses": 1294,
}
# Where the two differ on purpose, by what the other computation says or by host, and how many at most.
APART = {
    # A reply that tells of more cache reads than input is charged for its input: nothing costs less than nothing.
    "the counters contradict each other": 20,
    # A subscription, a preview: no price, and not zero.
    "nothing": 15,
    # Hosts whose addresses genai-prices does not know by these names, and one whose resellers are in its paths.
    "api.together.ai": 4,
    "bedrock-mantle.us-east-1.api.aws": 10,
    "router.huggingface.co": 10,
}


async def test_every_recording_costs_what_its_reply_tells(farm: Farm, authority: Authority) -> None:
    """The ledger's cost is that of a second and independent computation, or null where no price is known."""
    result = await replayed(farm, authority)
    equal: Counter[str] = Counter()
    unpriced: Counter[str] = Counter()
    apart: Counter[str] = Counter()
    wrong = []
    for replay in result.replays:
        expected, row = recorded_tokens(replay.line), result.rows[replay.number]
        if expected is None or row["usage_source"] != "provider" or tokens(row) != expected:
            continue
        family = replay.line.family.removeprefix("responseonly_")
        cost, why = None, "nothing"
        try:
            moment = datetime.fromisoformat(str(row["started_at"]))
            cost = float(recorded_cost(replay.line, replay.url, expected, moment)) or None
        except Unpriced as reason:
            why = str(reason)
        if row["cost_usd"] == cost:
            (unpriced if cost is None else equal)[family] += 1
        elif cost is None and why in APART:
            apart[why] += 1
        elif (host := urlsplit(replay.url).hostname) in APART:
            apart[host] += 1
        else:
            wrong.append(f"{replay.name}: {replay.url}: {cost} ({why}) became {row['cost_usd']}")
    print(f"cost equal: {dict(equal)}; no price: {dict(unpriced)}; apart: {dict(apart)}")
    assert not wrong, f"{len(wrong)} records:\n" + "\n".join(wrong[:60])
    assert {family: equal[family] for family, count in PRICED.items() if equal[family] < count} == {}
    assert all(count <= APART[why] for why, count in apart.items()), apart


def tokens(row: Row) -> Tokens:
    return Tokens(*(row[f"{name}_tokens"] for name in Tokens._fields))


async def test_the_replay_can_fail(audit: Proxy, upstream: Upstream) -> None:
    """One changed byte on either side, a lost header or another status is found and named."""
    url = f"https://{OPENAI}/v1/chat/completions"
    line = next(line for line in lines("openai_chat") if line.url == url and line.request_kind == "json" and line.ok)
    true = Replay(0, line, url, line.request_bytes(), line.reply_bytes())
    for changed, found in (
        (replace(true, reply=true.reply[:-1] + bytes([true.reply[-1] ^ 1])), "reply body"),
        (replace(true, body=(true.body or b"")[:-1] + b" "), "request body"),
        (replace(true, line=replace(line, status=202)), "reply status"),
        (replace(true, line=replace(line, reply_headers={**line.reply_headers, "x-lost": "1"})), "reply headers"),
        (replace(true, line=replace(line, request_headers={"x-lost": "1"})), "request headers"),
    ):
        result = Result([true])
        lane = Lane(0, audit, result)
        lane.address = "127.0.0.1"
        lane.work.append(changed)
        with upstream.answering(Played(result)):
            await lane.run()
        assert [found in problem for problem in result.problems + result.heads] == [True]
