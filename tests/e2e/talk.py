"""The provider's end of a WebSocket session with a real client, spoken by wsproto, compressed if that is asked for."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, CloseConnection, Event, Message, Ping, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from .upstream import Exchange


class Talk:
    """One session, from the upgrade that `exchange` has brought. `compressed` says what was agreed on."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._connection = WSConnection(ConnectionType.SERVER)
        self._events: deque[Event] = deque()
        self._deflate = PerMessageDeflate()

    @property
    def compressed(self) -> bool:
        return self._deflate.enabled()

    async def accept(self) -> None:
        """Answers the upgrade, with every subprotocol and extension that a provider would agree to."""
        self._connection.receive_data(self._exchange.request.head)
        (request,) = self._connection.events()
        assert isinstance(request, Request)
        first = next(iter(request.subprotocols), None)
        await self.send(AcceptConnection(subprotocol=first, extensions=[self._deflate]))

    async def send(self, event: Event) -> None:
        """Any event of wsproto."""
        await self._exchange.send(self._connection.send(event))

    async def say(self, document: object) -> None:
        """One text message of JSON."""
        await self.send(TextMessage(json.dumps(document)))

    async def _next(self) -> Event:
        while not self._events:
            self._connection.receive_data(await self._exchange.connection.read_some())
            self._events.extend(self._connection.events())
        return self._events.popleft()

    async def hear(self) -> Any:
        """The client's next message, read as JSON."""
        text = ""
        while True:
            event = await self._next()
            assert isinstance(event, Message), event
            text += event.data if isinstance(event.data, str) else event.data.decode()
            if event.message_finished:
                return json.loads(text)

    async def pong(self) -> None:
        """Answers the client's Ping."""
        event = await self._next()
        assert isinstance(event, Ping), event
        await self.send(event.response())

    async def goodbye(self) -> int:
        """Waits for the client's Close, answers it unless it is an answer itself, hangs up; its code."""
        event = await self._next()
        assert isinstance(event, CloseConnection), event
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            await self.send(event.response())
        self._exchange.close()
        return int(event.code)
