"""What of our log a person sees on stderr while we run."""

from __future__ import annotations

import logging
from collections.abc import Callable

from interpose.hosts import following
from interpose.secret import Scrubber


def log_to_stderr(scrubber: Scrubber, *, news: bool) -> None:
    """Warnings and errors of a run, scrubbed of every secret that has been learnt; `news` of the rules file, too."""
    handler = logging.StreamHandler()
    handler.addFilter(scrubber)
    # All it says above a warning is that listening failed; our ListenError says so too, and better.
    handler.addFilter(lambda record: record.name != "mitmproxy.addons.proxyserver")
    # A certificate that was refused is told by us, with what to do.
    handler.addFilter(lambda record: not record.getMessage().startswith("Client TLS handshake failed."))
    handler.setFormatter(logging.Formatter("interpose: %(message)s"))
    handler.setLevel(logging.INFO)
    following.logger.setLevel(logging.INFO if news else logging.WARNING)
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == following.logger.name)
    logging.getLogger().addHandler(handler)


def of_the_server() -> Callable[[logging.LogRecord], bool]:
    """The filter of what a gateway's server logs: what went wrong, and that a worker takes another's place. Why one
    could not start is said by itself.
    """

    def said(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        wrong = record.levelno >= logging.ERROR and message != "ASGI lifespan startup failed"
        return wrong or message.startswith("Respawning")

    return said
