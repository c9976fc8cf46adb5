"""Client replay of a claimed flow: through the engine again, never to a provider with the dummy key that it holds.

mitmproxy replays with an HTTP layer of its own, where none of our layers stands; what is left is the `request` hook.
"""

from __future__ import annotations

import asyncio
import logging

from mitmproxy import http

from interpose.call import Peer
from interpose.errors import InterposeError
from interpose.secret import Scrubber

from . import remarks
from .addon import EngineAddon
from .calls import CUT, addressed, as_call, killed
from .carriage import Onlookers
from .release import LOOK_EVERY
from .seen import Seen
from .tee import Tee, show

logger = logging.getLogger(__name__)

LOOPBACK = Peer("127.0.0.1", 0, "replay")


class Replay:
    """Answers replayed flows by the engine. Add it last, so that it sees what other addons have made of a request."""

    name = "interpose_replay"

    def __init__(self, owner: EngineAddon) -> None:
        self._owner = owner

    def ours(self, flow: http.HTTPFlow) -> bool:
        """Whether the engine answers. What was claimed when it was recorded stays so, whatever it says now: the
        engine knows what may go where.
        """
        if flow.is_replay != "request" or flow.response is not None:
            return False
        was = addressed(flow)
        return self._owner.claims(flow.request.host, flow.request.port) or (
            was is not None and self._owner.claims(was.host, was.port)
        )

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # What is streamed is dialled before the next hook.
        if self.ours(flow):
            flow.request.stream = False

    async def request(self, flow: http.HTTPFlow) -> None:
        if not self.ours(flow):
            return
        await flow.wait_for_resume()
        if killed(flow):
            return
        try:
            answering = asyncio.ensure_future(self.answer(flow))
            while not answering.done():
                await asyncio.wait((answering,), timeout=LOOK_EVERY)
                if killed(flow):
                    answering.cancel()
            if not answering.cancelled():
                flow.response = answering.result()
        except Exception as error:
            # Without a response mitmproxy would dial, and be told that it may not: nothing leaves either way.
            logger.exception("replaying a call to %s failed", flow.request.host)
            flow.response = http.Response.make(500, f"interpose failed to replay this call: {error}\n")

    async def answer(self, flow: http.HTTPFlow) -> http.Response:
        """The engine's reply, whole. What breaks off is answered by a 502 and never passed off as an answer."""
        if flow.metadata.get(CUT) == len(flow.request.raw_content or b""):
            return http.Response.make(409, "This request was not kept whole, and half of it is none.\n")
        call = as_call(flow, self._owner.engine.rules)
        # Whoever replays it is here, whoever sent it first.
        call.peer, call.sni = LOOPBACK, None
        onlookers = self._owner.onlookers or Onlookers(Scrubber())
        seen = Seen(flow, call.body, onlookers.scrubber, onlookers.shown)
        reply = await self._owner.front.handle(call, (seen,))
        shown = Tee(onlookers.shown)
        try:
            async for chunk in reply.body:
                shown.add(chunk)
        except (InterposeError, OSError) as error:
            return http.Response.make(502, f"The reply broke off after {shown.size} bytes: {error}\n")
        finally:
            await reply.body.aclose()
        if shown.cut:
            remarks.ours(flow)["reply_cut"] = True
            remarks.note(flow, f"reply of {shown.size:,} bytes, shown up to {shown.limit:,}")
        fields = [pair for pair in reply.headers if pair[0].lower() not in (b"transfer-encoding", b"content-length")]
        response = http.Response.make(reply.status, b"", http.Headers(fields))
        response.reason = reply.reason
        show(response, shown, onlookers.scrubber)
        response.headers["content-length"] = str(len(response.raw_content or b""))
        return response
