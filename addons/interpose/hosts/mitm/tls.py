"""TLS with a client, mitmproxy's but for when the session tickets of TLS 1.3 leave."""

from __future__ import annotations

from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers import ClientTLSLayer
from OpenSSL import SSL


class TicketsLast(ClientTLSLayer):
    """Sends the tickets with the first thing that there is to say, not of its own accord when the client has finished.

    A client that reads in one thread and writes in another (websockets.sync before Python 3.13.6) may lose its first
    request to a ticket that arrives meanwhile: OpenSSL does not allow both at once on a connection
    (https://github.com/openssl/openssl/issues/20446), and the ticket makes reading a step of the handshake. It then
    waits until its time is up, 1 in 700 against a plain server. A ticket that comes with the reply meets no write.
    """

    _tickets: bytes | None = None

    def tls_interact(self) -> layer.CommandGenerator[None]:
        # The version is known from the end of the handshake on: what is there to be sent right then are the tickets.
        if self._tickets is None and self.conn.tls_version == "TLSv1.3":
            self._tickets = self._outgoing()
            return
        for command in super().tls_interact():
            if self._tickets and isinstance(command, commands.SendData):
                command.data, self._tickets = self._tickets + command.data, b""
            yield command

    def _outgoing(self) -> bytes:
        pieces = bytearray()
        while True:
            try:
                pieces += self.tls.bio_read(65535)
            except SSL.WantReadError:
                return bytes(pieces)
