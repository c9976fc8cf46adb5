"""The board that all see who share a store: looked at twice a second, which is as late as anybody hears of anything.

Put up there are lanes that are left alone (by their digests, for so many seconds), and virtual keys (by their hashes):
those made, and those revoked. What cannot be put up now is put up when the server is back; what was missed is told at
the next look, since each change has a version. A server that has lost its memory has another epoch, or an earlier
version: then all that is known is put up again, and nobody forgets a revocation.

One script, `board.lua`, and a connection of its own: no decision about a call waits for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from interpose.issued import Heard, Keys, KeysError

logger = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("board.lua").read_text()
LOOK = 0.5  # s between looks
GAP = 0.05  # s between looks at least, however much there is to tell
PAGE = 500  # keys that are told at once, either way
# Who is asked to be left alone for less is back before all have heard of it.
LEAST = 1.0

Hear = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Look:
    """What was told: lanes by digest, and for how many seconds; whether keys were, and whether there are more."""

    lanes: Mapping[str, float]
    keys: int
    more: bool


class BoardError(Exception):
    """The board could not be looked at."""


class Board:
    """`keys` is where keys are kept on this machine. `clock` gives monotonic seconds. `told` is the store's name."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, clock: Callable[[], float], *, name: str, told: str
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._told = told
        self._script = client.register_script(_SCRIPT)
        prefix = f"{{{name}}}:board:"
        self._names = [f"{prefix}{each}" for each in ("epoch", "version", "lanes", "lanes-at", "keys", "keys-at")]
        self._heard: Heard | None = None
        # Until when, by our clock, lanes are to be left alone: what is not yet put up, and what is.
        self._lanes: dict[str, float] = {}
        self._put: dict[str, float] = {}
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._up = True

    def tell(self, lane: str, seconds: float) -> None:
        """That lane is to be left alone for so long: all who share the store hear of it soon."""
        until = self._clock() + seconds
        if seconds >= LEAST and until > self._put.get(lane, 0.0) + LEAST / 2:
            self._lanes[lane] = self._put[lane] = until
            self._news.set()

    async def open(self, hear: Hear, seconds: float) -> None:
        """Looks at the board for as long as it takes, up to `seconds`, and from then on now and then."""
        try:
            async with asyncio.timeout(seconds):
                await self._read(hear)
        except (BoardError, TimeoutError, KeysError) as error:
            self._lost(error)
        self._looking = asyncio.create_task(self._keep_looking(hear))

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._client.aclose(close_connection_pool=True)

    async def exchange(self) -> None:
        """All keys told and heard, once. Raises BoardError, KeysError."""
        await self._read(lambda _lane, _seconds: None)

    async def _keep_looking(self, hear: Hear) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            try:
                await self._read(hear)
            except (BoardError, KeysError) as error:
                self._lost(error)
                await asyncio.sleep(LOOK)
            else:
                self._found()
            await asyncio.sleep(GAP)

    async def _read(self, hear: Hear) -> None:
        while True:
            look = await self._look()
            for lane, seconds in look.lanes.items():
                hear(lane, seconds)
            if not look.more and not self._keys.untold(1):
                return

    async def _look(self) -> Look:
        heard = self._heard or self._keys.heard()
        now = self._clock()
        lanes = dict(self._lanes)
        untold = self._keys.untold(PAGE)
        args: list[str | int] = [secrets.token_hex(8), heard.epoch, heard.version, PAGE, len(lanes)]
        for lane, until in lanes.items():
            args += (lane, max(0, round((until - now) * 1000)))
        for row in untold:
            args += (str(row["sha256"]), json.dumps(row))
        try:
            reply: list[Any] = await self._script(keys=self._names, args=args)
        except (RedisError, OSError) as error:
            raise BoardError(f"{type(error).__name__}: {error}") from error
        for lane, until in lanes.items():
            if self._lanes.get(lane) == until:
                del self._lanes[lane]
        epoch, version = _text(reply[0]), int(reply[1])
        rows = [told for each in reply[4] if (told := _row(each)) is not None]
        again = epoch != heard.epoch or version < heard.version
        self._keys.take(rows, told=untold, heard=Heard(epoch, version), again=again)
        self._heard = Heard(epoch, version)
        flat = reply[3]
        left = {_text(flat[at]): int(flat[at + 1]) / 1000 for at in range(0, len(flat), 2)}
        return Look(left, len(reply[4]), bool(reply[2]))

    def _lost(self, error: Exception) -> None:
        if self._up:
            self._up = False
            logger.warning(
                "the store %s cannot be looked at: %s. Keys that are made or revoked elsewhere, and what fails there, "
                "are not heard of meanwhile",
                self._told,
                str(error) or "it does not answer",
            )

    def _found(self) -> None:
        if not self._up:
            self._up = True
            logger.warning("the store %s can be looked at again: keys and cooldowns are shared", self._told)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _row(value: bytes | str) -> dict[str, Any] | None:
    """What stands there of a key; None for what is no object of JSON: others write to that server, too."""
    try:
        row = json.loads(value)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
