"""The providers' own lists of models: asked for, and remembered for a while.

Each provider is asked with its own credential and by a short deadline, once at a time, whoever waits for it. What it
has told holds for `FRESH` seconds; while it does not answer after that, what it told last is told still, for a day at
most. What the gateway makes of it is decided in `stages.listing`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from cachetools import LRUCache, TTLCache

from interpose.call import Call, Headers, header
from interpose.errors import InterposeError, Refusal
from interpose.formats.codecs import Malformed
from interpose.formats.codecs.codec import parsed
from interpose.formats.modellists.neutral import Model
from interpose.rules.compiled import Provider
from interpose.rules.facts import Facts
from interpose.rules.secrets import SecretError
from interpose.stages.credentials import Credentials
from interpose.stages.draft import Ask, Attempt, Request, Resolve, Trip
from interpose.upstream.client import Outgoing, Upstream, UpstreamFailure, UpstreamReply
from interpose.wire.coding import decode
from interpose.wire.error import WireError

logger = logging.getLogger(__name__)

FRESH = 300.0
KEPT = 86_400.0
# So long a provider is not asked again that has failed.
PAUSE = 30.0
DEADLINE = 5.0
# The longest list that is known, OpenRouter's, has a megabyte and some hundred models.
MOST_BYTES = 16 * 1024 * 1024
MOST_MODELS = 10_000
# So many of what they have told are remembered.
MOST_KEPT = 1024

Models = Mapping[str, Model]
Fetch = Callable[[Ask], Awaitable[Models]]


class Untold(InterposeError):
    """A provider has answered, and not with its models. `gone` says that there is none of the name asked for."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Gathered:
    """What providers have told, by their names; which of them have told nothing, and whose word is an old one."""

    told: Mapping[str, Models]
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    def with_more(self, other: Gathered) -> Gathered:
        """Both, of the same providers."""
        told = {name: {**self.told.get(name, {}), **models} for name, models in other.told.items()}
        return Gathered({**self.told, **told}, (*self.missing, *other.missing), (*self.stale, *other.stale))

    def headers(self) -> Headers:
        """What clients are told of whom the list is without, and of whose word is an old one."""
        said = {b"x-interpose-incomplete": self.missing, b"x-interpose-stale": self.stale}
        return tuple((name, ", ".join(providers).encode()) for name, providers in said.items() if providers)


# A provider, and the one model of it that was asked for, or "".
_Key = tuple[Provider, str]


class Lists:
    """What providers have told of their models, lists or single ones. `close` when done."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` measures seconds."""
        self._kept: TTLCache[_Key, Models] = TTLCache(MOST_KEPT, KEPT, clock)
        self._fresh: TTLCache[_Key, None] = TTLCache(MOST_KEPT, FRESH, clock)
        self._paused: TTLCache[_Key, None] = TTLCache(MOST_KEPT, PAUSE, clock)
        self._flights: dict[_Key, asyncio.Task[None]] = {}
        self._complained: LRUCache[Provider, None] = LRUCache(MOST_KEPT)

    async def gather(self, asks: Sequence[Ask], fetch: Fetch) -> Gathered:
        """What these providers tell, each as far as it does: `fetch` asks one. Raises nothing but CancelledError."""
        flights = [flight for ask in asks if (flight := self._flight(ask, fetch)) is not None]
        if flights:
            # Whoever leaves stops waiting; the others do not.
            await asyncio.wait(flights)
        kept = {(ask.provider, ask.model): ask.provider.name for ask in asks}
        return Gathered(
            {name: self._kept[key] for key, name in kept.items() if key in self._kept},
            tuple(name for key, name in kept.items() if key not in self._kept),
            tuple(name for key, name in kept.items() if key in self._kept and key not in self._fresh),
        )

    def _flight(self, ask: Ask, fetch: Fetch) -> asyncio.Task[None] | None:
        """The asking of that provider, if it has to be asked."""
        key = (ask.provider, ask.model)
        if key in self._fresh or key in self._paused:
            return None
        if (flight := self._flights.get(key)) is None:
            flight = self._flights[key] = asyncio.get_running_loop().create_task(self._refresh(key, ask, fetch))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return flight

    async def _refresh(self, key: _Key, ask: Ask, fetch: Fetch) -> None:
        provider = ask.provider
        try:
            async with asyncio.timeout(DEADLINE):
                self._kept[key] = await fetch(ask)
        except Untold as error:
            if not error.gone:
                self._failed(key, str(error))
                return
            self._kept[key] = {}
        except TimeoutError:
            self._failed(key, f"it has not told them within {DEADLINE:g} s")
            return
        except (UpstreamFailure, Refusal) as error:
            self._failed(key, str(error))
            return
        except SecretError as error:
            self._failed(key, f"its credential cannot be had: {error}")
            return
        except Exception:
            # Ours: the list goes on without it.
            logger.exception("asking %s for its models failed inside interpose", provider.name)
            self._paused[key] = None
            return
        self._fresh[key] = None
        if self._complained.pop(provider, key) is None:
            logger.warning("the provider %s tells its models again", provider.name)

    def _failed(self, key: _Key, reason: str) -> None:
        """Not asked again for a while; the log says so once, until it answers again."""
        provider, _ = key
        self._paused[key] = None
        if provider not in self._complained:
            self._complained[provider] = None
            logger.warning("the provider %s does not tell its models: %s", provider.name, reason)

    async def close(self) -> None:
        """Nobody is asked any more."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        if flights:
            await asyncio.wait(flights)


async def ask_for_models(ask: Ask, *, call: Call, facts: Facts, upstream: Upstream, resolve: Resolve) -> Models:
    """What that provider tells: with its first key, and where that is not taken with the next.

    `call` is the one for which it is asked; nothing of it is sent. Raises Untold, UpstreamFailure, Refusal and
    SecretError.
    """
    failed: Exception | None = None
    for attempt in ask.attempts:
        try:
            return await _asked(ask, Trip(call, facts, attempt, resolve), upstream)
        except Untold as error:
            if error.gone:
                raise
            failed = error
        except (UpstreamFailure, Refusal, SecretError) as error:
            failed = error
    assert failed is not None
    raise failed


_CREDENTIALS = Credentials()


async def _asked(ask: Ask, trip: Trip, upstream: Upstream) -> Models:
    attempt: Attempt = trip.attempt
    provider = ask.provider
    request = await _CREDENTIALS.send(Request("GET", attempt.url, ask.headers, b""), trip)
    reply = await upstream.send(Outgoing("GET", request.url, request.headers, b"", provider.timeouts, provider.ca))
    try:
        body = await _whole(reply)
    except BaseException:
        reply.cut()
        raise
    if reply.status != 200:
        raise Untold(
            f"it answered {reply.status} when it was asked for them", gone=bool(ask.model) and reply.status == 404
        )
    if trip.secret is not None:
        # These models are told to clients: a key that the provider echoes goes no further.
        body = trip.secret.masked_bytes(body)
    try:
        document = parsed(body)
        if isinstance(document, list):
            # Together's: https://docs.together.ai/reference/models-1
            document = {"data": document}
        told = ask.codec.read_reply(document) if isinstance(document, dict) else None
    except (ValueError, Malformed):
        told = None
    if told is None or told.single is not bool(ask.model):
        raise Untold("what it answered is no list of models")
    # One that was asked for by a name of its provider's own keeps that.
    return {ask.model or model.id: model for model in told.models[:MOST_MODELS]}


async def _whole(reply: UpstreamReply) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in reply:
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise Untold("its list is too long")
    coding = header(reply.headers, b"content-encoding")
    try:
        return decode(b"".join(pieces), coding.decode("latin-1") if coding else None, MOST_BYTES)
    except WireError as error:
        raise Untold(f"its list cannot be read: {error}") from None
