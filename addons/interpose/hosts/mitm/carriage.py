"""Carries one call between a mitmproxy stream and the engine: the asyncio half of `native`.

A `Carriage` turns the flow into a `Call`, asks the engine, and pumps the reply's body to the client with
backpressure on both HTTP versions. It is fail-closed by its defaults: until the last byte has been handed over,
`finished` is False, and the stream ends as broken.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from mitmproxy import http
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import MessageInjected
from mitmproxy.proxy.server import ConnectionHandler

from interpose.call import Call, Reply
from interpose.engine.engine import Engine
from interpose.engine.witness import Witness
from interpose.gateway import Answers
from interpose.secret import Scrubber

from . import remarks
from .brake import Brake
from .calls import CUT, as_call, bare_call, killed
from .connections import ClientHttp2
from .release import LOOK_EVERY
from .seen import Seen
from .tee import Tee, masked, show
from .upload import Upload
from .visits import Visit

logger = logging.getLogger(__name__)

# An upload may run this far ahead of the upstream before the client is made to wait.
UPLOAD_AHEAD = 1024 * 1024
# Where others look on, a reply that is no stream of events is held up to here, so that they may see and edit it.
HELD_REPLY = 8 * 1024 * 1024


class UpstreamSent(MessageInjected[bytes]):
    """What the upstream of a WebSocket has sent, on its way to the layer that reads it; b"" is the end.

    mitmproxy leads injected messages past its connections straight to their stream, which is where these must go.
    """


@dataclass(frozen=True, slots=True)
class Onlookers:
    """Whoever looks at flows beside us: mitmweb, a script, a file that is written.

    `scrubber` knows what they must not see, `shown` bounds a body's copy.
    """

    scrubber: Scrubber
    shown: int = 4 * 1024 * 1024


class Stream(Protocol):
    """What is needed of a stream of `native`: where it stands, and how bytes get past mitmproxy's layers."""

    @property
    def context(self) -> Context: ...
    @property
    def stream_id(self) -> int: ...
    def frame(self, chunk: bytes) -> bytes: ...
    def wrap(self, data: bytes) -> bytes: ...
    def held_back(self) -> bool: ...
    def http2(self) -> ClientHttp2 | None: ...


class Carriage:
    """One call on its way. Made for a stream; `ask` and `pump` run as hooks of its connection."""

    def __init__(
        self,
        flow: http.HTTPFlow,
        stream: Stream,
        handler: ConnectionHandler,
        front: Answers,
        engine: Engine,
        visit: Visit,
        onlookers: Onlookers | None,
    ) -> None:
        self._flow = flow
        self._stream = stream
        self._handler = handler
        self._front = front
        self._engine = engine
        self._visit = visit
        self._onlookers = onlookers
        self._looking: asyncio.TimerHandle | None = None
        self._sent = Tee(onlookers.shown) if onlookers is not None else None
        self._shown = Tee(onlookers.shown) if onlookers is not None else None
        self._held: list[bytes] = []
        self._task: asyncio.Task[object] | None = None
        self._gone = False
        self._window = asyncio.Event()
        self._brake: Brake | None = None
        self.upload = Upload(self._waiting)
        self.reply: Reply | None = None
        self.whole = False
        self.finished = False
        self.failure = "the reply broke off"
        self._broken: Exception | None = None

    def gone(self) -> bool:
        """Whether the client has left."""
        return self._gone

    # What the hooks run

    async def ask(self) -> None:
        """Asks the engine; `reply` is there afterwards unless the client has gone or our own code has failed."""
        if self.gone():
            return
        self._task = asyncio.current_task()
        self._look()
        call: Call | None = None
        try:
            call = self.call(await self._visit.app())
            self.reply = await self._front.handle(call, self._witnesses(call))
        except asyncio.CancelledError:
            if not self._ours():
                raise
            if call is None:
                # The engine knows nothing of it yet. One record per call (law 7).
                self._engine.abandon(self.call(None))
        except Exception:
            # The engine answers its own failures; what comes here is one of the adapter's. Nothing was sent.
            logger.exception("carrying a call to %s failed", self._flow.request.host)
            self.reply = self._engine.apologise(bare_call(self._flow, self._engine.rules))
        finally:
            self._task = None
            if self.gone() or self.reply is None:
                await self._close()

    def _witnesses(self, call: Call) -> tuple[Witness, ...]:
        """Who keeps, for those who look on, what becomes of the call."""
        if self._onlookers is None:
            return ()
        return (Seen(self._flow, call.body, self._onlookers.scrubber, self._onlookers.shown),)

    def holds(self) -> bool:
        """Whether the reply is to be whole before any of it is sent: others look on, and it is no stream."""
        assert self.reply is not None
        response = self._flow.response
        return self._shown is not None and not self.reply.stream and response is not None and not response.stream

    async def hold(self) -> None:
        """Collects the body; sets `whole` if it came to its end within HELD_REPLY. What has come is pumped else."""
        assert self.reply is not None
        self._task = asyncio.current_task()
        size = 0
        try:
            async for chunk in self.reply.body:
                self._held.append(chunk)
                size += len(chunk)
                if size > HELD_REPLY:
                    return
            self.whole = True
        except asyncio.CancelledError:
            if not self._ours():
                raise
        except Exception as error:  # noqa: BLE001 - as in `pump`
            self._broken = error
        finally:
            self._task = None
            if self.whole or self.gone():
                await self._close()

    def tells_a_secret(self) -> bool:
        """Whether the body that `hold` has collected has a credential in it: it then goes to the client as it came,
        and not by way of the flow.
        """
        assert self._onlookers is not None
        response = self._flow.response
        body = b"".join(self._held)
        return response is not None and masked(body, response.headers, self._onlookers.scrubber) is not None

    def held(self) -> bytes:
        """The body that `hold` has collected."""
        held, self._held = b"".join(self._held), []
        return held

    async def pump(self) -> None:
        """Sends the body as it arrives; sets `finished` if it came to its end."""
        assert self.reply is not None
        self._task = asyncio.current_task()
        edit = self._edit()
        try:
            if not self.gone():
                for chunk in self._held:
                    await self._pass_on(chunk, edit)
                self._held.clear()
                if self._broken is not None:
                    raise self._broken
                if not self.whole:
                    async for chunk in self.reply.body:
                        await self._pass_on(chunk, edit)
                if edit is not None:
                    await self._send_all(edit(b""))
                self.finished = True
        except asyncio.CancelledError:
            if not self._ours():
                raise
        except Exception as error:  # noqa: BLE001 - see below
            # A broken upstream, a vanished client or a bug: all three end the stream as broken.
            self.failure = str(error) or type(error).__name__
            logger.debug("the reply of %s broke off: %s", self._flow.request.host, self.failure)
        finally:
            self._task = None
            await self._close()

    async def relay(self) -> None:
        """Leads what the upstream of a WebSocket sends to the stream, which reads it; ends when either side has."""
        assert self.reply is not None
        self._task = asyncio.current_task()
        try:
            async for chunk in self.reply.body:
                await self._handler.server_event(UpstreamSent(self._flow, chunk))
                transport = self._handler.transports.get(self._stream.context.client)
                if transport is not None and transport.writer is not None:
                    await transport.writer.drain()
        except asyncio.CancelledError:
            if not self._ours():
                raise
        except Exception as error:  # noqa: BLE001 - the end that is told next says that it broke off
            self.failure = str(error) or type(error).__name__
        finally:
            self._task = None
            await self._close()
            if not self.gone() or killed(self._flow):
                await self._handler.server_event(UpstreamSent(self._flow, b""))

    def start_relay(self) -> None:
        """`relay` runs beside the layers: they go on reading the client."""
        self._relaying = asyncio.ensure_future(self.relay())

    def show_request(self) -> None:
        """Puts the copy of a request that has streamed past into the flow, for those who look on."""
        if self._sent is None or not self.upload.used:
            return
        self._flow.request.data.content = self._sent.content()
        if self._flow.request.stream is True:
            # It was, for this once: mitmproxy would dial the host itself to replay it so.
            self._flow.request.stream = False
        if self._sent.cut:
            self._flow.metadata[CUT] = len(self._sent.content())
            self._note("request", self._sent)

    def show(self) -> None:
        """The same of the reply."""
        response = self._flow.response
        if self._shown is not None and self._onlookers is not None and response is not None:
            show(response, self._shown, self._onlookers.scrubber)
            if self._shown.cut:
                self._note("reply", self._shown)

    def _note(self, name: str, copy: Tee) -> None:
        remarks.ours(self._flow)[f"{name}_cut"] = True
        remarks.note(self._flow, f"{name} of {copy.size:,} bytes, shown up to {copy.limit:,}")

    def _look(self) -> None:
        """Sees to it that a flow which somebody kills ends now: mitmproxy would look after the next hook."""
        if killed(self._flow):
            self.abandon()
        elif self._onlookers is not None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _ours(self) -> bool:
        """Whether a cancellation came from `abandon`; it then ends here, so that the hook completes."""
        task = asyncio.current_task()
        if not self.gone() or task is None:
            return False
        task.uncancel()
        return True

    # What the stream calls, from inside mitmproxy's layers

    def abandon(self) -> None:
        """The client has gone, or the stream has failed: whatever runs is cancelled, which closes the upstream."""
        self._gone = True
        self.upload.fail()
        if self._task is not None:
            self._task.cancel()
        elif self.reply is not None:
            # Between the two hooks nothing runs that could be cancelled.
            closing = asyncio.ensure_future(self._close())
            closing.add_done_callback(lambda done: done.exception())
        self._let_go()

    def dismiss(self) -> None:
        """The engine is not to be asked: what the client still sends is dropped."""
        self.upload.discard()
        self._let_go()

    def begin_upload(self, held: bytes) -> None:
        """From here on the body streams through; `held` is what has come of it so far."""
        http2 = self._stream.http2()
        if http2 is not None:
            http2.uploads.add(self._stream.stream_id)
        else:
            self._brake = Brake(self._client_transport())
        self.receive(held)

    def begin_relay(self) -> None:
        """The call asks for an upgrade: its body is whatever the client sends after that."""
        self._brake = Brake(self._client_transport())
        self.upload.open()

    def receive(self, data: bytes) -> None:
        """A piece of the upload has come."""
        if self._sent is not None:
            self._sent.add(data)
        self.upload.feed(data)

    def window_changed(self) -> None:
        self._window.set()

    def call(self, app: str | None) -> Call:
        """The flow as a `Call`; a body that streams through comes as the upload."""
        upload = aiter(self.upload) if self.upload.used else None
        call = as_call(self._flow, self._engine.rules, upload, app=app, login=self._visit.login)
        call.id = self._visit.call_id()
        return call

    def response(self) -> http.Response:
        """The reply's head for mitmproxy: without its framing, which depends on the client's HTTP version."""
        assert self.reply is not None
        fields = list(self.reply.headers)
        request = self._flow.request
        bodyless = request.method == "HEAD" or self.reply.status in (101, 204, 304)
        if (
            request.http_version == "HTTP/1.1"
            and not bodyless
            and not any(name.lower() == b"content-length" for name, _ in fields)
        ):
            fields.append((b"Transfer-Encoding", b"chunked"))
        return http.Response(
            http_version=b"HTTP/1.1",
            status_code=self.reply.status,
            reason=self.reply.reason.encode("latin-1", "replace"),
            headers=http.Headers(fields),
            content=None,
            trailers=None,
            timestamp_start=time.time(),
            timestamp_end=None,
        )

    # Out to the client

    def _edit(self) -> Callable[[bytes], bytes | Iterable[bytes]] | None:
        """What another addon has put into `flow.response.stream` to edit the body as it passes."""
        stream = self._flow.response.stream if self._flow.response is not None else None
        return stream if callable(stream) else None

    async def _pass_on(self, chunk: bytes, edit: Callable[[bytes], bytes | Iterable[bytes]] | None) -> None:
        if edit is None:
            await self._send(chunk)
        else:
            await self._send_all(edit(chunk))

    async def _send_all(self, chunks: bytes | Iterable[bytes]) -> None:
        for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:
            await self._send(chunk)

    async def _send(self, chunk: bytes) -> None:
        if not chunk:
            return  # an empty chunk would end a chunked body
        if self._shown is not None:
            self._shown.add(chunk)
        transport = self._handler.transports.get(self._stream.context.client)
        if transport is None or transport.writer is None:
            raise ConnectionResetError("the client has gone")
        # Hook tasks start eagerly, inside the loop over a layer's commands. Under the lock no layer is at work, so
        # that no bytes of ours can get between a frame and its TLS record.
        async with self._handler._server_event_lock:
            if data := self._stream.frame(chunk):
                transport.writer.write(data)
        self._handler.timeout_watchdog.register_activity()
        await transport.writer.drain()
        await self._wait_for_window()

    async def _wait_for_window(self) -> None:
        """Holds until HTTP/2's flow control has let out what was sent: mitmproxy buffers without bound."""
        while self._stream.held_back():
            self._window.clear()
            await self._window.wait()

    async def _close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self.upload.discard()
        self._let_go()
        if self.reply is not None:
            await self.reply.body.aclose()

    # Holding an upload back

    def _waiting(self, size: int) -> None:
        """So much of the upload waits for the upstream: HTTP/1 is held by its socket, HTTP/2 by the stream's window."""
        if self._brake is not None:
            self._brake.hold() if size > UPLOAD_AHEAD else self._brake.release()
        elif size == 0 and self._stream.http2() is not None:
            telling = asyncio.ensure_future(self._open_window())
            telling.add_done_callback(lambda done: done.exception())

    async def _open_window(self) -> None:
        http2 = self._stream.http2()
        if http2 is None:
            return
        async with self._handler._server_event_lock:
            self._write(http2.consumed(self._stream.stream_id))

    def _let_go(self) -> None:
        """Nothing of ours holds the client any more."""
        if self._brake is not None:
            self._brake.end()
        http2 = self._stream.http2()
        if http2 is not None and self._stream.stream_id in http2.uploads:
            http2.uploads.discard(self._stream.stream_id)
            telling = asyncio.ensure_future(self._open_window())
            telling.add_done_callback(lambda done: done.exception())

    def _write(self, data: bytes) -> None:
        transport = self._client_transport()
        if data and transport is not None:
            transport.write(self._stream.wrap(data))

    def _client_transport(self) -> asyncio.Transport | None:
        io = self._handler.transports.get(self._stream.context.client)
        transport = getattr(io.writer, "transport", None) if io is not None else None
        return transport if isinstance(transport, asyncio.Transport) and not transport.is_closing() else None
