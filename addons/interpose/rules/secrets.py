"""Where credentials come from: the environment, a file, the system keyring, a command, a cloud (`cloud`). Rules hold
references alone; a `SecretStore` resolves them when they are needed, keeps the values and never shows one.

No message contains a value, a command's arguments or its output: any of these may be the secret.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from interpose.errors import InterposeError
from interpose.secret import Secret

from .cloud import LENDERS, CloudError, Lender
from .problem import Place, Problem

Kind = Literal["env", "file", "keyring", "exec", "aws", "google"]

MAX_BYTES = 64 * 1024
FILE_RECHECK = 1.0  # seconds between looks at a file's modification time
EARLY = 30.0  # seconds before its end at which a cloud's token is asked for anew
RETRY_AFTER = 1.0  # seconds for which a failed command or keyring is not asked again


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """A reference to a credential; never the credential itself.

    `args` is, by kind: the variable's name; the absolute path; service and user; the argv; an AWS profile and the
    region; the absolute path of a service account's file ("default": where the cloud's library looks). `timeout` and
    `ttl` are in seconds: how long a command may run, and how long what it, the keyring or a cloud said is good for.
    `place` is where the rules name it, for messages.
    """

    kind: Kind
    args: tuple[str, ...]
    timeout: float = 10.0
    ttl: float = 300.0
    place: Place | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What logs and the ledger may say: `env:OPENAI_API_KEY`; of an exec only the program's name."""
        shown = "/".join(self.args) if self.kind == "keyring" else self.args[0]
        return f"{self.kind}:{shown}"


class SecretError(InterposeError):
    """A credential that cannot be had, and why; never what it is."""


class Runner(Protocol):
    """Runs a command without a shell and gives its standard output; raises SecretError if that cannot be had."""

    async def __call__(self, argv: Sequence[str], environ: Mapping[str, str], timeout: float, /) -> bytes: ...  # noqa: ASYNC109 — part of what a runner is asked


class Keyring(Protocol):
    """What is used of a keyring library."""

    def get_password(self, service_name: str, username: str, /) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """A value and what tells whether it is still good: until when, or what its file looked like."""

    secret: Secret
    until: float
    looked_like: tuple[int, int, int] | None = None


class SecretStore:
    """Resolves credential sources.

    `clock` gives monotonic seconds. `environ` is read once, here: a variable that changes later changes nothing, and
    commands are run with it, less the variables that hold credentials (those of the sources checked or resolved so
    far, so `check_all` before anything else). `learn` is told every value, so that a scrubber can know it.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float],
        runner: Runner | None = None,
        keyring: Callable[[], Keyring] | None = None,
        learn: Callable[[Secret], None] = lambda secret: None,
    ) -> None:
        self._environ = dict(environ)
        self._clock = clock
        self._run = runner if runner is not None else run
        self._keyring = keyring if keyring is not None else installed_keyring
        self._learn = learn
        self._own: set[str] = set()
        self._kept: dict[CredentialSource, _Kept] = {}
        self._failed: dict[CredentialSource, tuple[float, SecretError]] = {}
        self._asking: dict[CredentialSource, asyncio.Task[Secret]] = {}
        self._lenders: dict[CredentialSource, Lender] = {}
        self._how: Mapping[Kind, Callable[[CredentialSource], Awaitable[Secret]]] = {
            "env": self._from_environ,
            "file": self._from_file,
            "keyring": self._asked,
            "exec": self._asked,
            "aws": self._asked,
            "google": self._asked,
        }

    async def resolve(self, source: CredentialSource) -> Secret:
        """The credential's present value. Raises SecretError saying what is wrong with its source."""
        return await self._how[source.kind](source)

    async def check(self, source: CredentialSource) -> Problem | None:
        """None if the credential can be had, else the problem, at its place in the rules."""
        try:
            await self.resolve(source)
        except SecretError as error:
            return (source.place or Place("rules", 1, 1, "")).problem(str(error))
        return None

    async def check_all(self, sources: Iterable[CredentialSource]) -> list[Problem]:
        """Every problem of these sources; all are asked at the same time."""
        sources = list(sources)
        self._own.update(source.args[0] for source in sources if source.kind == "env")
        found = await asyncio.gather(*map(self.check, sources))
        return [problem for problem in found if problem is not None]

    def keep(self, sources: Iterable[CredentialSource]) -> None:
        """Lets go of the values of all others: no rules name them any more. Their variables stay withheld."""
        wanted = frozenset(sources)
        tables: tuple[dict[CredentialSource, object], ...] = (self._kept, self._failed, self._lenders)  # type: ignore[assignment]
        for table in tables:
            for source in [source for source in table if source not in wanted]:
                del table[source]

    async def _from_environ(self, source: CredentialSource) -> Secret:
        if (kept := self._kept.get(source)) is not None:
            return kept.secret
        self._own.add(source.args[0])
        if (value := self._environ.get(source.args[0])) is None:
            raise SecretError(f"the environment variable {source.args[0]} is not set")
        return self._keep(source, value, float("inf"))

    async def _from_file(self, source: CredentialSource) -> Secret:
        now, kept = self._clock(), self._kept.get(source)
        if kept is not None and now < kept.until:
            return kept.secret
        path = source.args[0]
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                raise SecretError(f"{path} is not a regular file")
            looks = (found.st_mtime_ns, found.st_size, found.st_ino)
            if kept is not None and kept.looked_like == looks:
                self._kept[source] = _Kept(kept.secret, now + FILE_RECHECK, looks)
                return kept.secret
            with open(path, "rb") as file:  # noqa: ASYNC230 — a small local file, at most once a second
                raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise SecretError(f"the file {path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise SecretError("the path of the credential's file cannot be used") from None
        return self._keep(source, _text(raw, f"the file {path}"), now + FILE_RECHECK, looks)

    async def _asked(self, source: CredentialSource) -> Secret:
        """A kept value within its ttl; else one question, however many are waiting for the answer."""
        now = self._clock()
        if (kept := self._kept.get(source)) is not None and now < kept.until:
            return kept.secret
        if (failed := self._failed.get(source)) is not None and now < failed[0]:
            raise SecretError(str(failed[1]))
        task = self._asking.get(source)
        if task is None:
            task = asyncio.create_task(self._ask(source))
            self._asking[source] = task
            task.add_done_callback(lambda done: self._answered(source, done))
        # Shielded: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(task)

    def _answered(self, source: CredentialSource, task: asyncio.Task[Secret]) -> None:
        self._asking.pop(source, None)
        if not task.cancelled() and isinstance(error := task.exception(), SecretError):
            self._failed[source] = (self._clock() + RETRY_AFTER, error)

    async def _ask(self, source: CredentialSource) -> Secret:
        if source.kind in LENDERS:
            return await self._borrow(source)
        if source.kind == "keyring":
            value = await asyncio.to_thread(self._from_keyring, *source.args)
        else:
            raw = await self._run(source.args, self._child_environ(), source.timeout)
            value = _text(raw.strip(), f"the output of {source.args[0]}")
        return self._keep(source, value, self._clock() + source.ttl)

    async def _borrow(self, source: CredentialSource) -> Secret:
        """A cloud's credential, kept as long as the cloud says, and no longer than any other."""
        try:
            lender = self._lenders.get(source)
            if lender is None:
                lender = self._lenders[source] = LENDERS[source.kind](source.name, source.args[0])
            lent = await asyncio.to_thread(lender)
        except CloudError as error:
            raise SecretError(str(error)) from None
        except ValueError as error:  # a Secret says what is wrong with it, and not what it is
            raise SecretError(str(error)) from None
        good = source.ttl if lent.seconds is None else min(source.ttl, max(lent.seconds - EARLY, 0))
        self._learn(lent.secret)
        self._kept[source] = _Kept(lent.secret, self._clock() + good)
        return lent.secret

    def _child_environ(self) -> dict[str, str]:
        """The environment for a command: without the variables that hold our credentials, under whatever name."""
        values = {self._environ[name] for name in self._own if name in self._environ}
        values.update(kept.secret.reveal() for kept in self._kept.values())
        return {name: value for name, value in self._environ.items() if name not in self._own and value not in values}

    def _from_keyring(self, service: str, user: str) -> str:
        try:
            value = self._keyring().get_password(service, user)
        except SecretError:
            raise
        except Exception as error:  # noqa: BLE001 — every backend has exceptions of its own
            # Only its type: a backend's message is not ours to vouch for.
            raise SecretError(f"the keyring failed on {service}/{user}: {type(error).__name__}") from None
        if value is None:
            raise SecretError(f"the keyring has no entry {service}/{user}")
        return value

    def _keep(
        self, source: CredentialSource, value: str, until: float, looked_like: tuple[int, int, int] | None = None
    ) -> Secret:
        try:
            secret = Secret(value, source.name)
            value.encode("ascii")
        except UnicodeEncodeError:
            raise SecretError(f"the secret {source.name} contains characters that no header can carry") from None
        except ValueError as error:
            raise SecretError(str(error)) from None
        self._learn(secret)
        self._kept[source] = _Kept(secret, until, looked_like)
        return secret


def _text(raw: bytes, whose: str) -> str:
    """A secret's text, its last line break taken off."""
    if len(raw) > MAX_BYTES:
        raise SecretError(f"{whose} is larger than {MAX_BYTES // 1024} KiB, which no credential is")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretError(f"{whose} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def installed_keyring() -> Keyring:
    """The keyring library, which is an extra."""
    try:
        module: Keyring = importlib.import_module("keyring")
    except ImportError:
        raise SecretError("keyring is not installed: install the keyring package (pip install keyring)") from None
    return module


async def run(argv: Sequence[str], environ: Mapping[str, str], timeout: float, /) -> bytes:  # noqa: ASYNC109
    """Runs a command and gives its standard output.

    Its standard error goes nowhere: it may repeat the secret. Its whole process group is killed when the time is up.
    """
    # The PATH that finds the program is the child's, not ours: both are the caller's to give.
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its arguments cannot be used"
        raise SecretError(f"{argv[0]} cannot be run: {reason}") from None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout):
            output = bytearray()
            while len(output) <= MAX_BYTES and (chunk := await process.stdout.read(MAX_BYTES)):
                output += chunk
            if len(output) > MAX_BYTES:
                raise SecretError(f"{argv[0]} printed more than {MAX_BYTES // 1024} KiB, which no credential is")
            status = await process.wait()
    except TimeoutError:
        raise SecretError(f"{argv[0]} did not finish within {timeout:g} s") from None
    finally:
        if process.returncode is None:
            await _kill(process)
    if status != 0:
        raise SecretError(
            f"{argv[0]} failed with status {status} (what it printed is not shown, since it may hold the secret)"
        )
    return bytes(output)


async def _kill(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass  # it ended by itself just now
    await asyncio.shield(process.wait())
