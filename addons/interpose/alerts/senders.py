"""How a notice reaches somebody: a line in the log, a POST to a webhook, a command that gets it on its standard input.

A webhook is tried three times, a command once. What could not be told is said in the log, without the webhook's URL: it
is a secret with Slack and its like.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from interpose.rules.alerts import Notify
from interpose.rules.secrets import CredentialSource, SecretError
from interpose.secret import Secret

from .notices import Notice

logger = logging.getLogger(__name__)

# Seconds for one POST, and for a command.
PATIENCE = 10.0
# Seconds before the second and the third attempt.
PAUSES = (1.0, 5.0)
# So much of what a command says is passed on.
MOST_SAID = 500


class Undelivered(Exception):
    """A notice that did not arrive; the message says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class Senders:
    """Everything that it takes to tell a notice. `resolve` gives the secret behind a webhook's URL."""

    resolve: Callable[[CredentialSource], Awaitable[Secret]]
    pauses: Sequence[float] = PAUSES

    async def send(self, notify: Notify, notice: Notice) -> None:
        """Raises Undelivered."""
        match notify.kind:
            case "log":
                logger.warning("alert %s", notice.text())
            case "webhook":
                await self._post(notify, notice)
            case "command":
                await _run(notify.argv, notice)

    async def _post(self, notify: Notify, notice: Notice) -> None:
        try:
            url = await self._url(notify)
        except SecretError as error:
            raise Undelivered(str(error)) from error
        body = orjson.dumps(notice.content())
        for pause in (*self.pauses, None):
            failure = await posted(url, body)
            if failure is None:
                return
            if pause is None or not failure.passing:
                raise Undelivered(f"the webhook {failure.reason}")
            await asyncio.sleep(pause)

    async def _url(self, notify: Notify) -> str:
        url = notify.url
        for source in notify.sources:
            url = url.replace(f"${{{source.args[0]}}}", (await self.resolve(source)).reveal())
        return url


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a POST has failed, and whether it may be another matter in a moment."""

    reason: str
    passing: bool


async def posted(url: str, body: bytes) -> Failure | None:
    """Posts JSON; None if it was taken. Redirects are not followed: the URL may be a secret."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session,
            session.post(
                url, data=body, headers={"content-type": "application/json"}, allow_redirects=False
            ) as response,
        ):
            if response.status < 300:
                return None
            return Failure(f"answers {response.status}", response.status == 429 or response.status >= 500)
    except TimeoutError:
        return Failure(f"does not answer within {PATIENCE:g} s", True)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Its text may quote the URL.
        return Failure(f"cannot be reached ({type(error).__name__})", True)


async def _run(argv: Sequence[str], notice: Notice) -> None:
    """Runs a command without a shell, with the notice as JSON on its standard input."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Undelivered(f"{argv[0]} cannot be run: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(PATIENCE):
            _, said = await process.communicate(orjson.dumps(notice.content()) + b"\n")
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Undelivered(f"{argv[0]} has not ended within {PATIENCE:g} s, and was killed") from None
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        words = said.decode("utf-8", "replace").strip()[:MOST_SAID]
        raise Undelivered(f"{argv[0]} ended with status {process.returncode}{f': {words}' if words else ''}")
