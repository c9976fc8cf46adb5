"""Ends what mitmproxy has left half ended: a connection whose task was cancelled before it could close its socket.

mitmproxy closes a connection by cancelling the task that reads it, which is to close the socket on its way out. Where
that task is just waiting for its turn to hand on what it has read, the cancellation ends it there and then: the socket
stays open, nobody reads it any more, and the other side waits for ever. So a client waits that has sent its last byte
and its FIN together with its request.
"""

from __future__ import annotations

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import events
from mitmproxy.proxy.server import ConnectionHandler


async def close(handler: ConnectionHandler, connection: Connection) -> None:
    """Closes the connection's socket and tells the layers, unless its task, which has ended, has done both."""
    io = handler.transports.pop(connection, None)
    if io is None:
        return
    connection.state = ConnectionState.CLOSED
    if io.writer is not None:
        io.writer.close()
    await handler.server_event(events.ConnectionClosed(connection))
