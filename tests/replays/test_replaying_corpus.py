"""Every recorded exchange is decided anew by rules that send it elsewhere: without an exception, and counted."""

from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.corpus import Line, lines

from interpose.call import Origin, Url
from interpose.recordings import Answered, Asked, Recorded
from interpose.replays.replay import Replay

from .made import START, prospects

ELSEWHERE = """
version: 1
providers:
  openai: {format: openai, base_url: https://api.openai.com/v1, credential: {env: OPENAI_API_KEY}}
  claude: {format: anthropic, base_url: https://api.anthropic.com, credential: {env: ANTHROPIC_API_KEY}}
  gemini: {format: gemini, base_url: https://generativelanguage.googleapis.com, credential: {env: GEMINI_API_KEY}}
limits:
  - {name: chat, match: {endpoint: chat}, requests: 200/minute, wait: 30s}
routes:
  - {name: to-gemini, match: {endpoint: chat, host: api.anthropic.com}, to: {provider: gemini, model: gemini-2.5-pro}}
  - {name: to-claude, match: {endpoint: chat}, to: {provider: claude, model: claude-sonnet-4-5}}
  - {name: vectors, match: {endpoint: embeddings}, to: {provider: openai, model: text-embedding-3-small}}
"""


def recorded(line: Line, number: int) -> Recorded:
    parts = urlsplit(line.url)
    origin = Origin("https", parts.hostname or "", parts.port or 443)
    headers = tuple((name.encode(), value.encode()) for name, value in line.request_headers.items())
    told = tuple(
        (name.encode(), value.encode()) for name, value in line.reply_headers.items() if name != "content-encoding"
    )
    return Recorded(
        id=f"call-{number}",
        place=line.id,
        started_at=START + number * 0.2,
        asked=Asked(
            line.method,
            Url(origin, parts.path + (f"?{parts.query}" if parts.query else "")),
            headers,
            line.request_bytes(),
        ),
        answered=Answered(line.status, told, line.reply_bytes(), began=0.5, ended=2.0),
    )


def calls() -> Iterator[Recorded]:
    number = 0
    for line in lines():
        if line.url and line.request_kind != "absent":
            number += 1
            yield recorded(line, number)


def test_every_recorded_exchange_is_decided() -> None:
    """Calls go to another provider, are refused by name, or are none of ours; nothing raises, and nothing is lost."""
    run = Replay(prospects(ELSEWHERE))
    ends: Counter[str] = Counter()
    moved = 0
    for one in run.run(calls()):
        ends[one.after.outcome] += 1
        moved += any(change.aspect == "routing" for change in one.changes)
        assert one.after.outcome != "undecided"
        assert one.after.code != "internal_error"
    summary = run.summary
    left_out = sum(summary.left_out.values())
    print(f"{summary.calls} calls: {dict(ends)}; {moved} elsewhere, {summary.after.lossy} lossy, {left_out} left out")
    assert summary.calls == sum(ends.values())
    assert summary.calls + left_out == 7910
    assert summary.calls > 7000
    assert moved > 4000
    assert ends["refused"] < 0.1 * summary.calls
