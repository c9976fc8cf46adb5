"""The store that many processes and machines share: Redis or Valkey, one script and one round trip a decision.

What decides is `decide.lua`, by the server's clock. Slots and reserved money are leased: this process renews the leases
of its open reservations, and what a dead one held is free again when its lease has ended. All keys share one hash tag,
so they live on one node of a cluster. The server must not evict them: `maxmemory-policy noeviction`. What to do when it
does not answer is `guarded`'s business: here it is a `StoreError`, and nothing is tried twice.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .store import SLOT_RETRY, Charge, Demand, Granted, Refused, Reservation, Standing, StoreError
from .window import seconds_of, step_width

_SCRIPT = Path(__file__).with_name("decide.lua").read_text()
_GRANTED, _REFUSED, _OTHER_PERIOD = 1, 0, 2
_HEAD = 5  # values of a reply before those of the buckets
_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to the server, and a file of authorities besides those of the system (SSL_CERT_FILE, SSL_CERT_DIR)."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None


NOBODY = Login()


def connection(
    url: str, login: Login = NOBODY, *, timeout: float = 2.0, most: int = _CONNECTIONS
) -> redis.asyncio.Redis:
    """A client of redis://, rediss:// (whose certificate is verified) or unix://, with `most` connections; nothing is
    connected before it is asked, and nothing tried twice.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        username=login.user,
        password=login.password,
        max_connections=most,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **({"ssl_ca_certs": str(login.ca)} if login.ca is not None else {}),
    )
    return redis.asyncio.Redis.from_pool(pool)


class ValkeyStore:
    """A `Store` on a server. `lease` is in seconds; `name` keeps several deployments on one server apart.

    `writers` is how many processes used it lately, as far as this one has heard.
    """

    def __init__(self, client: redis.asyncio.Redis, *, lease: float = 30.0, name: str = "interpose") -> None:
        self.writers = 1
        self._client = client
        self._lease = lease
        self._prefix = f"{{{name}}}:"
        self._decide = client.register_script(_SCRIPT)
        self._writer = secrets.token_hex(8)
        self._ids = count(1)
        self._open: dict[str, Reservation] = {}
        self._offset = 0.0  # the server's clock, beside ours
        self._beat: asyncio.Task[None] | None = None

    @classmethod
    def connect(cls, url: str, *, lease: float = 30.0, name: str = "interpose", timeout: float = 2.0) -> Self:
        """A store at redis://, rediss:// or unix://. Nothing is connected before it is asked."""
        return cls(connection(url, timeout=timeout), lease=lease, name=name)

    async def reserve(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        return await self._ask("reserve", demands, now)

    async def charge(self, demands: Sequence[Demand], now: float) -> Granted:
        """Charge every demand, whatever the limits say: it has been granted elsewhere."""
        answer = await self._ask("charge", demands, now)
        assert isinstance(answer, Granted)
        return answer

    async def peek(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        return await self._ask("peek", demands, now)

    async def settle(self, reservation: Reservation, actual: Mapping[str, int], now: float) -> None:
        """As `Store.settle`. After a StoreError it may be said again, with the same costs, within ten minutes."""
        if reservation.closed:
            return
        costs = [actual.get(charge.demand.key, charge.demand.cost) for charge in reservation.charges]
        # No longer renewed from here on, whether or not the server hears of it.
        self._open.pop(reservation.id, None)
        await self._run("settle", reservation.id, reservation.charges, costs)
        reservation.closed = True

    async def release(self, reservation: Reservation, now: float) -> None:
        await self.settle(reservation, {charge.demand.key: 0 for charge in reservation.charges}, now)

    async def seed(self, demand: Demand, spent: int, now: float) -> None:
        seeded = Demand(demand.key, demand.kind, demand.limit, spent, period=demand.period)
        await self._dated("seed", "", (seeded,), now)

    async def enrol(self) -> None:
        """Tell the others that this process uses the store, from now on, and hear how many do."""
        self._begin()
        reply = await self._run("enrol", self._writer, (), ())
        self.writers = max(1, int(reply[1]))

    async def renew(self) -> None:
        """Keep what this process's open reservations hold for another lease."""
        await self.enrol()
        for reservation in tuple(self._open.values()):
            if reservation.id in self._open:
                await self._run("renew", reservation.id, reservation.charges, None)

    async def aclose(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)
        await self._client.aclose(close_connection_pool=True)

    async def _ask(self, operation: str, demands: Sequence[Demand], now: float) -> Granted | Refused:
        if operation != "peek":  # who only looks shares nothing
            self._begin()
        name = f"{self._writer}-{next(self._ids)}"
        charges, reply = await self._dated(operation, name, demands, now)
        self.writers = max(1, int(reply[4]))
        standings = []
        placed = []
        for at, charge in enumerate(charges):
            used, reset, place = (int(value) for value in reply[_HEAD + 3 * at : _HEAD + 3 * at + 3])
            demand = charge.demand
            remaining = max(demand.limit - used, 0)
            standings.append(
                Standing(demand.key, demand.kind, demand.limit, remaining, seconds_of(reset) if reset else 0.0)
            )
            placed.append(Charge(demand, charge.bucket, place))
        if int(reply[0]) == _REFUSED:
            demand = demands[int(reply[1]) - 1]
            wait = int(reply[2])
            retry = None if wait < 0 else SLOT_RETRY if demand.kind == "concurrent" else seconds_of(wait)
            return Refused(demand, retry, tuple(standings))
        reservation = Reservation(name, tuple(placed), closed=operation == "peek")
        if not reservation.closed and any(charge.demand.seconds is None for charge in placed):
            self._open[name] = reservation
        return Granted(reservation, tuple(standings))

    async def _dated(
        self, operation: str, name: str, demands: Sequence[Demand], now: float
    ) -> tuple[tuple[Charge, ...], list[Any]]:
        """Ask about demands, of the calendar period that the server's clock is in."""
        for _ in range(3):
            charges = tuple(self._charge(demand, now + self._offset) for demand in demands)
            reply = await self._run(operation, name, charges, None)
            offset = int(reply[3]) / 1_000_000 - now
            # Only budgets ask for it: at the border of a period, or when our clocks differ, once more.
            if int(reply[0]) != _OTHER_PERIOD:
                return charges, reply
            self._offset = offset
        raise StoreError("the store of limits has a clock that does not stand still")

    def _charge(self, demand: Demand, server_now: float) -> Charge:
        start = 0 if demand.period is None else demand.period.bounds(server_now).start
        bucket = demand.key if demand.period is None else f"{demand.key}@{start}"
        return Charge(demand, bucket, start)

    async def _run(
        self, operation: str, name: str, charges: Sequence[Charge], actual: Sequence[int] | None
    ) -> list[Any]:
        keys = [f"{self._prefix}clock", f"{self._prefix}writers"]
        args: list[str | int] = [operation, name, int(self._lease * 1_000_000)]
        for at, charge in enumerate(charges):
            keys += (f"{self._prefix}c:{charge.bucket}", f"{self._prefix}l:{charge.bucket}")
            args += _fields(charge, 0 if actual is None else actual[at])
        try:
            reply: list[Any] = await self._decide(keys=keys, args=args)
        except (RedisError, OSError) as error:
            raise StoreError(f"the store of limits does not answer: {type(error).__name__}: {error}") from error
        return reply

    def _begin(self) -> None:
        if self._beat is None:
            self._beat = asyncio.create_task(self._keep_renewing())

    async def _keep_renewing(self) -> None:
        while True:
            try:
                await self.renew()
            except StoreError:
                pass  # who asks for a decision hears of it; what expired meanwhile is held again by the next beat
            await asyncio.sleep(self._lease / 3)


def _fields(charge: Charge, actual: int) -> tuple[str, int, int, int, int, int]:
    """What decide.lua wants to know of a bucket."""
    demand = charge.demand
    if demand.seconds is not None:
        return ("window", demand.limit, demand.cost, step_width(demand.seconds), charge.place, actual)
    if demand.period is not None:
        start, end = demand.period.bounds(charge.place)
        return ("budget", demand.limit, demand.cost, start, end, actual)
    return ("slots", demand.limit, demand.cost, 0, 0, actual)
