"""One connection to a collector: posts of OTLP over HTTP, each bounded in time. Blocking; for one thread.

Nothing of the environment leads it elsewhere: a proxy that the variables name may be ourselves. Redirects are not
followed. What the answer means is said by the protocol: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from __future__ import annotations

import gzip
import http.client
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from interpose import __version__

from .settings import Endpoint

CONTENT_TYPE = "application/x-protobuf"
PASSING = frozenset((429, 502, 503, 504))
# Of an answer so much is read; a collector has no more to say.
LARGEST_ANSWER = 1 << 20
LONGEST_WISH = 300.0


class Undelivered(Exception):
    """A post that was not taken. The message says why and holds no secret. `passing` says that it is to be tried again,
    `status` what was answered, `wait` how long the collector wants to be left alone.
    """

    def __init__(self, reason: str, *, passing: bool, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(reason)
        self.passing = passing
        self.status = status
        self.wait = wait


@dataclass(slots=True)
class Post:
    """The way to one endpoint. The connection is kept, and made anew where it was lost."""

    endpoint: Endpoint
    _connection: http.client.HTTPConnection | None = None

    def send(self, body: bytes, timeout: float | None = None) -> bytes:
        """The answer's body, once the collector has taken it. Raises Undelivered."""
        endpoint = self.endpoint
        headers = {
            **endpoint.headers,
            "content-type": CONTENT_TYPE,
            "user-agent": f"interpose/{__version__}",
        }
        if endpoint.gzip:
            body = gzip.compress(body, 5)
            headers["content-encoding"] = "gzip"
        patience = endpoint.timeout if timeout is None else min(timeout, endpoint.timeout)
        kept = self._connection is not None
        try:
            return self._exchange(body, headers, patience)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            # A connection that was kept may have been closed meanwhile: that says nothing of the collector.
            self.close()
            if not kept:
                raise Undelivered(_words(error), passing=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Undelivered(_words(error), passing=True) from error
        try:
            return self._exchange(body, headers, patience)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Undelivered(_words(error), passing=True) from error

    def _exchange(self, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
        connection = self._opened(timeout)
        parts = urlsplit(self.endpoint.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, headers)
        response = connection.getresponse()
        said = response.read(LARGEST_ANSWER)
        if response.will_close or not response.isclosed():
            self.close()
        if 200 <= response.status < 300:
            return said
        raise Undelivered(
            f"it answers {response.status}",
            passing=response.status in PASSING,
            status=response.status,
            wait=_wish(response.headers.get("retry-after")),
        )

    def _opened(self, timeout: float) -> http.client.HTTPConnection:
        if self._connection is None:
            parts = urlsplit(self.endpoint.url)
            host = parts.hostname or ""
            if parts.scheme == "https":
                self._connection = http.client.HTTPSConnection(
                    host, parts.port, timeout=timeout, context=_trusting(self.endpoint)
                )
            else:
                self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
        self._connection.timeout = timeout
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        return self._connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _trusting(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if endpoint.ca is not None:
        context.load_verify_locations(endpoint.ca)
    if endpoint.certificate is not None:
        context.load_cert_chain(*endpoint.certificate)
    return context


def _words(error: Exception) -> str:
    """Why, in words that quote nothing of what was sent."""
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _wish(value: str | None) -> float | None:
    """Retry-After in seconds: RFC 9110, 10.2.3."""
    if value is None:
        return None
    try:
        wait = float(value)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(wait, 0.0), LONGEST_WISH) if wait == wait else None
