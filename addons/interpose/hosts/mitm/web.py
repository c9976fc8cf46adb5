"""mitmweb over the same engine: its master and its options."""

from __future__ import annotations

import logging

from mitmproxy.options import Options
from mitmproxy.tools.web.master import WebMaster

from .carriage import HELD_REPLY
from .columns import show_comments
from .forgetting import Forgetful


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
    master.addons.add(Forgetful(master.view))
    return master
