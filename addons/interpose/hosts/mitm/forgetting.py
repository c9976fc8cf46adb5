"""A bound on what a list of flows keeps, in mitmweb and in mitmproxy's console: these keep every flow for ever."""

from __future__ import annotations

from collections import OrderedDict

from mitmproxy import dns, flow, http, tcp, udp
from mitmproxy.addons.view import View

from .remarks import marked_by_a_person
from .seen import weight

# A flow takes 13 KB, and with it whatever bodies are shown.
KEPT_FLOWS = 5000
KEPT_BYTES = 256 * 1024 * 1024


class Forgetful:
    """Lets go of the oldest flows: those that are over, that nobody has marked or loaded from a file, and beyond what
    is kept.
    """

    name = "interpose_forgetful"

    def __init__(self, view: View, *, flows: int = KEPT_FLOWS, size: int = KEPT_BYTES) -> None:
        self._view = view
        self._flows = flows
        self._size = size
        # By the flows' ids, lest a list that somebody has cleared is held on to.
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        self._loaded: set[str] = set()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # What is read from a file goes through the hooks, too, and is not on its way.
        (self._loaded.discard if flow.live else self._loaded.add)(flow.id)

    def response(self, flow: http.HTTPFlow) -> None:
        self.ended(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self.ended(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self.ended(flow)

    # What `--mode local` brings here beside HTTP: names that are asked for, other UDP.

    def dns_response(self, flow: dns.DNSFlow) -> None:
        self.ended(flow)

    def dns_error(self, flow: dns.DNSFlow) -> None:
        self.ended(flow)

    def tcp_end(self, flow: tcp.TCPFlow) -> None:
        self.ended(flow)

    def tcp_error(self, flow: tcp.TCPFlow) -> None:
        self.ended(flow)

    def udp_end(self, flow: udp.UDPFlow) -> None:
        self.ended(flow)

    def udp_error(self, flow: udp.UDPFlow) -> None:
        self.ended(flow)

    def ended(self, flow: flow.Flow) -> None:
        """A flow is over, once more if it has been replayed; the oldest go while there is too much."""
        if flow.id in self._loaded:
            return
        self._total -= self._ended.pop(flow.id, 0)
        self._ended[flow.id] = size = held(flow)
        self._total += size
        while len(self._ended) > self._flows or (self._total > self._size and len(self._ended) > 1):
            old, size = self._ended.popitem(last=False)
            self._total -= size
            found = self._view.get_by_id(old)
            if found is not None and not (marked_by_a_person(found) or found.intercepted or found.live):
                self._view.remove([found])


def held(flow: flow.Flow) -> int:
    """The bytes of a flow's bodies and messages, and of what is kept beside them."""
    if isinstance(flow, tcp.TCPFlow | udp.UDPFlow):
        return sum(len(message.content) for message in flow.messages)
    if not isinstance(flow, http.HTTPFlow):
        return 0
    messages = flow.websocket.messages if flow.websocket is not None else ()
    size = sum(len(part.raw_content or b"") for part in (flow.request, flow.response) if part is not None)
    return size + sum(len(message.content) for message in messages) + weight(flow)
