"""mitmweb over the same engine: its master, its options, and a bound on what it keeps."""

from __future__ import annotations

import logging
from collections import OrderedDict

from mitmproxy import dns, flow, http, tcp, udp
from mitmproxy.options import Options
from mitmproxy.tools.web.master import WebMaster

from .carriage import HELD_REPLY
from .columns import show_comments
from .remarks import marked_by_a_person
from .seen import weight

# mitmweb keeps every flow for ever: 13 KB each, and with them whatever bodies are shown.
KEPT_FLOWS = 5000
KEPT_BYTES = 256 * 1024 * 1024


class Forgetful:
    """Lets go of the oldest flows: those that are over, that nobody has marked, and beyond what is kept."""

    name = "interpose_forgetful"

    def __init__(self, master: WebMaster, *, flows: int = KEPT_FLOWS, size: int = KEPT_BYTES) -> None:
        self._view = master.view
        self._flows = flows
        self._size = size
        # By the flows' ids, lest a list that somebody has cleared is held on to.
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._total = 0

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


def make(options: Options, host: str, port: int) -> WebMaster:
    """A master with mitmweb's addons, which listens for browsers when it runs. Its page asks for the token that is
    in its `web_url`.
    """
    # On a program's terminal: each stranger who is turned away, with what he asked for, and an icon that is missing.
    for name in ("tornado.access", "tornado.general"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    master = WebMaster(options, with_termlog=False)
    # What is not claimed is held for the page by mitmproxy, which knows no bound of its own.
    master.options.update(web_host=host, web_port=port, web_open_browser=False, stream_large_bodies=str(HELD_REPLY))
    show_comments(master)
    master.addons.add(Forgetful(master))
    return master
