"""`interpose replay FLOWS… --serve`: answers an unmodified program from recordings, as fast as then, reaching nobody.

The interceptor listens as under `interpose run`, with a player in the place of the engine: every host is claimed, and
nothing is dialled. What is asked of its address directly is answered too, as by a gateway.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from interpose.errors import InterposeError
from interpose.replays.cassette import Cassette
from interpose.replays.playing import Player
from interpose.rules.compiled import Rules
from interpose.stages.claim import Territory

from . import run
from .asked import Options as RunOptions
from .replay import opened
from .terminal import refuse, say

# Programs ask their environment for a key before they ask anybody anything; none is looked at here.
# Each with another one that would do.
KEYS = {
    "OPENAI_API_KEY": "",
    "ANTHROPIC_API_KEY": "ANTHROPIC_AUTH_TOKEN",
    "GEMINI_API_KEY": "GOOGLE_API_KEY",
    "MISTRAL_API_KEY": "",
    "CO_API_KEY": "",
    "COHERE_API_KEY": "",
    "GROQ_API_KEY": "",
}
ANY_KEY = "sk-recorded"
# So many hosts are named.
SOME = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    flows: Sequence[str]
    ledgers: Sequence[str]
    command: tuple[str, ...]
    listen: str | None
    speed: str
    state: Path | None


def serve(options: Options) -> int:
    """Plays until the command ends, or a signal comes; returns the exit status. Raises InterposeError."""
    speed = faster(options.speed)
    recordings = opened(options.flows, options.ledgers, options.state)
    cassette = Cassette(recordings)
    for flaw in (*recordings.flaws, *cassette.unplayable):
        say(flaw)
    if not cassette.takes:
        raise InterposeError("there is nothing to play: no recording has a request and its answer, with their bodies")
    hosts = sorted({host for _, host, _ in cassette.hosts})
    more = f" and {len(hosts) - SOME} more" if len(hosts) > SOME else ""
    say(f"playing {_calls(cassette.takes, 'recorded ')} of {', '.join(hosts[:SOME])}{more}; nothing leaves from here")
    player = Player(cassette, Territory(Rules.default()), speed=speed)
    if options.command:
        for name, other in KEYS.items():
            if not (other and os.environ.get(other)):
                os.environ.setdefault(name, ANY_KEY)
    with tempfile.TemporaryDirectory(prefix="interpose-") as folder:
        # What is played is no traffic, and stands in no ledger.
        rules = Path(folder) / "rules.yaml"
        ledger = Path(folder) / "played.db"
        rules.write_bytes(orjson.dumps({"version": 1, "ledger": {"to": [f"sqlite:{ledger}"]}}))
        listen = () if options.listen is None else (options.listen,)
        status = run.run(RunOptions(options.command, rules, listen, options.state, True, hint=False, front=player))
    missed = f"; {player.refused} had no recording" if player.refused else ""
    say(f"answered {_calls(player.answered)} from the recordings{missed}")
    return status


def _calls(count: int, how: str = "") -> str:
    return f"{count} {how}{'call' if count == 1 else 'calls'}"


def faster(text: str) -> float:
    """How much faster time goes: 2 or 2x is twice as fast, 0 at once."""
    try:
        speed = float(text.lower().removesuffix("x"))
    except ValueError:
        speed = -1.0
    if not 0 <= speed < 1e6:
        refuse(f"--speed {text} is no speed: 1 is as recorded, 2 or 2x twice as fast, 0 at once")
    return speed
