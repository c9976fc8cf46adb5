"""Credential sources: each kind read, kept, refreshed and refused, and never shown."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from interpose.rules.load import parse
from interpose.rules.secrets import MAX_BYTES, CredentialSource, Kind, SecretError, SecretStore, run
from interpose.secret import Secret

FAKE = "sk-fake-0123456789"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Runs:
    """A runner that gives what it is told to, and remembers how it was asked."""

    def __init__(self, *answers: bytes | SecretError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Sequence[str], Mapping[str, str], float]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, argv: Sequence[str], environ: Mapping[str, str], timeout: float, /) -> bytes:
        self.asked.append((argv, environ, timeout))
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, SecretError):
            raise answer
        return answer


class Ring:
    def __init__(self, answer: str | Exception | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def get_password(self, service_name: str, username: str, /) -> str | None:
        self.asked.append((service_name, username))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def source(kind: Kind, *args: str) -> CredentialSource:
    return CredentialSource(kind, args)


def store(
    clock: Callable[[], float] | None = None, environ: Mapping[str, str] | None = None, **more: object
) -> SecretStore:
    return SecretStore(environ or {}, clock=clock or Clock(), **more)  # type: ignore[arg-type]


async def said(secret_store: SecretStore, which: CredentialSource) -> str:
    with pytest.raises(SecretError) as caught:
        await secret_store.resolve(which)
    return str(caught.value)


async def test_a_variable_is_read_once_when_the_store_is_made() -> None:
    """What the environment says later changes nothing; every value is learnt by the scrubber."""
    environ, learnt = {"KEY": FAKE}, list[Secret]()
    secret_store = store(environ=environ, learn=learnt.append)
    environ["KEY"] = "other"
    secret = await secret_store.resolve(source("env", "KEY"))
    assert secret.reveal() == FAKE
    assert secret.name == "env:KEY"
    assert await secret_store.resolve(source("env", "KEY")) is secret
    assert learnt == [secret]


async def test_a_missing_secret_is_one_message_at_its_place_in_the_rules() -> None:
    """`check` says file, line, column, path and what is not there; `check_all` says it of each that is missing."""
    rules = parse(
        "version: 1\nproviders:\n"
        "  a: {format: openai, base_url: https://a.test/v1, credential: {env: OPENAI_API_KEY}}\n"
        "  b: {format: openai, base_url: https://a.test/v1, credential: {env: PRESENT}}\n"
        "  c: {format: openai, base_url: https://a.test/v1, credential: {file: none.key}}\n",
        "rules.yaml",
        Path("/nonexistent"),
    )
    found = await store(environ={"PRESENT": FAKE}).check_all(rules.credentials)
    assert [str(problem) for problem in found] == [
        "rules.yaml:3:64: providers.a.credential: the environment variable OPENAI_API_KEY is not set",
        "rules.yaml:5:64: providers.c.credential: the file /nonexistent/none.key cannot be read: "
        "No such file or directory",
    ]


BAD_VALUES = [
    ("", "is empty"),
    ("a\r\nX-Evil: 1", "line break"),
    ("a\nb", "line break"),
    ("a\0b", "NUL"),
    ("schlüssel", "no header can carry"),
    ("\udcff", "no header can carry"),
]


@pytest.mark.parametrize(("value", "reason"), BAD_VALUES)
async def test_a_value_that_no_header_can_carry_is_refused(value: str, reason: str) -> None:
    """CR, LF, NUL, emptiness and non-ASCII are errors when a secret is loaded, and are not shown."""
    message = await said(store(environ={"KEY": value}), source("env", "KEY"))
    assert reason in message
    assert not value or value not in message


async def test_a_file_loses_its_last_line_break_alone(tmp_path: Path) -> None:
    """Editors add one; anything more is part of the value and an error."""
    for index, (raw, value) in enumerate([(b"a b", "a b"), (b"x\n", "x"), (b"x\r\n", "x")]):
        path = tmp_path / f"{index}.key"
        path.write_bytes(raw)
        assert (await store().resolve(source("file", str(path)))).reveal() == value
    path = tmp_path / "two.key"
    path.write_bytes(b"x\n\n")
    assert "line break" in await said(store(), source("file", str(path)))


async def test_a_file_is_looked_at_once_a_second_and_read_when_it_changed(tmp_path: Path) -> None:
    """A rotated key is taken within a second, without a restart; a removed one is an error then."""
    clock, path = Clock(), tmp_path / "a.key"
    path.write_text("one\n")
    secret_store, which = store(clock), source("file", str(path))
    first = await secret_store.resolve(which)
    path.write_text("second\n")
    clock.now += 0.9
    assert await secret_store.resolve(which) is first
    clock.now += 0.2
    second = await secret_store.resolve(which)
    assert second.reveal() == "second"
    clock.now += 1.1
    assert await secret_store.resolve(which) is second
    path.unlink()
    assert await secret_store.resolve(which) is second
    clock.now += 1.1
    assert "No such file" in await said(secret_store, which)


async def test_what_is_no_credential_file_is_refused(tmp_path: Path) -> None:
    """A folder, a pipe, a huge or a binary file is refused with its path, and never waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    reasons = {"": "not a regular file", "pipe": "not a regular file", "huge": "larger", "binary": "UTF-8"}
    for name, reason in reasons.items():
        assert reason in await said(store(), source("file", str(tmp_path / name)))
    assert "cannot be used" in await said(store(), source("file", "a\0b"))


async def test_a_command_is_asked_again_after_its_ttl_only() -> None:
    """Its output, stripped, is good for the ttl; then it is asked again."""
    clock, runs = Clock(), Runs(b"  one\n\n", b"two\n")
    secret_store, which = store(clock, runner=runs), CredentialSource("exec", ("get", "key"), timeout=3, ttl=60)
    assert (await secret_store.resolve(which)).reveal() == "one"
    clock.now += 59
    assert (await secret_store.resolve(which)).reveal() == "one"
    clock.now += 2
    assert (await secret_store.resolve(which)).reveal() == "two"
    assert [(argv, timeout) for argv, _, timeout in runs.asked] == [(("get", "key"), 3)] * 2


async def test_a_failing_command_is_an_error_once_the_ttl_is_over() -> None:
    """The kept value serves within its ttl, not beyond; a failure is not repeated within a second, then asked anew."""
    clock, runs = Clock(), Runs(b"one", SecretError("get failed"), b"two")
    secret_store, which = store(clock, runner=runs), source("exec", "get")
    await secret_store.resolve(which)
    clock.now += 301
    assert await said(secret_store, which) == "get failed"
    assert await said(secret_store, which) == "get failed"
    assert len(runs.asked) == 2
    clock.now += 1.1
    assert (await secret_store.resolve(which)).reveal() == "two"


async def test_many_callers_make_one_question() -> None:
    """A hundred calls that need the same secret at once run its command once, also if one of them gives up."""
    runs = Runs(b"one")
    runs.gate.clear()
    secret_store, which = store(runner=runs), source("exec", "get")
    waiting = [asyncio.create_task(secret_store.resolve(which)) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    runs.gate.set()
    values = await asyncio.gather(*waiting[1:])
    assert {value.reveal() for value in values} == {"one"}
    assert len(runs.asked) == 1


@pytest.mark.parametrize("eager", [False, True])
async def test_one_failure_reaches_every_caller(eager: bool) -> None:
    """Those who wait together fail together, and nothing is left behind unobserved, also where tasks start eagerly."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory if eager else None)
    runs = Runs(SecretError("get failed"))
    secret_store, which = store(runner=runs), source("exec", "get")
    results = await asyncio.gather(*(secret_store.resolve(which) for _ in range(10)), return_exceptions=True)
    assert [str(result) for result in results] == ["get failed"] * 10
    assert len(runs.asked) == 1


async def test_commands_do_not_inherit_our_credentials() -> None:
    """A child's environment lacks the variables that hold credentials, and copies of their values by other names."""
    runs = Runs(b"one", b"two")
    environ = {"KEY": FAKE, "COPY": FAKE, "OTHER": "sk-fake-other", "PATH": "/bin", "HOME": "/home/fake"}
    secret_store = store(environ=environ, runner=runs)
    sources = [source("exec", "get"), source("env", "KEY"), source("env", "OTHER")]
    assert await secret_store.check_all(sources) == []
    assert runs.asked[0][1] == {"PATH": "/bin", "HOME": "/home/fake"}


async def test_the_keyring_is_asked_for_service_and_user() -> None:
    """Its answer is kept for the ttl; a service may contain slashes."""
    ring, clock = Ring(FAKE), Clock()
    secret_store, which = store(clock, keyring=lambda: ring), source("keyring", "a/b", "user")
    assert (await secret_store.resolve(which)).reveal() == FAKE
    await secret_store.resolve(which)
    assert ring.asked == [("a/b", "user")]
    clock.now += 301
    await secret_store.resolve(which)
    assert len(ring.asked) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "the keyring has no entry s/u"),
        (RuntimeError(f"backend said {FAKE}"), "the keyring failed on s/u: RuntimeError"),
        ("a\nb", "the secret keyring:s/u contains a line break or NUL, which no header can carry"),
    ],
)
async def test_a_keyring_that_does_not_answer_is_an_error(answer: str | Exception | None, message: str) -> None:
    """No entry, a failing backend and an unusable value are told apart, and nothing is repeated from the backend."""
    assert await said(store(keyring=lambda: Ring(answer)), source("keyring", "s", "u")) == message


async def test_without_the_extra_the_keyring_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is a clear message, not an ImportError."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    message = await said(store(), source("keyring", "s", "u"))
    assert message == "keyring is not installed: install the keyring package (pip install keyring)"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def test_a_real_command_gives_its_output() -> None:
    """The runner starts a process without a shell: arguments arrive as they are, standard error goes nowhere."""
    code = "import sys; sys.stderr.write('noise'); print(sys.argv[1])"
    assert await run((*python(code), "a; echo $HOME *"), {}, 20) == b"a; echo $HOME *\n"
    assert await run(python("import sys; print(sys.stdin.read() == '')"), {}, 20) == b"True\n"


FAILING = [
    (("/nonexistent/get",), "/nonexistent/get cannot be run: No such file or directory"),
    (("a\0b",), "cannot be run"),
    (python(f"print('{FAKE}'); raise SystemExit(3)"), "failed with status 3"),
    (python("import os; os.kill(os.getpid(), 9)"), "failed with status -9"),
    (python(f"print('x' * {MAX_BYTES + 1})"), "printed more than 64 KiB"),
]


@pytest.mark.parametrize(("argv", "message"), FAILING, ids=[message for _, message in FAILING])
async def test_a_real_command_that_fails_says_so_and_nothing_else(argv: tuple[str, ...], message: str) -> None:
    """Neither its arguments nor its output are in the message."""
    with pytest.raises(SecretError) as caught:
        await run(argv, {}, 20)
    assert message in str(caught.value)
    assert FAKE not in str(caught.value)


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """After its timeout the whole process group is gone, also if the output pipe is still held open."""
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    asking = asyncio.create_task(run(python(code), {}, 3))
    with pytest.raises(SecretError, match="did not finish within 3 s"):
        await asking
    pid = int(note.read_text())
    for _ in range(200):
        if not alive(pid):
            return
        await asyncio.sleep(0.05)
    pytest.fail("the command's child is still running")


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_secret_is_in_no_text_about_its_source() -> None:
    """Names, reprs and messages of sources show no argument of a command beyond the program."""
    which = source("exec", "get", "--token", FAKE)
    assert which.name == "exec:get"
    runs = Runs(SecretError("get failed"))
    assert FAKE not in await said(store(runner=runs), which)
    assert FAKE not in repr(await store(environ={"K": FAKE}).resolve(source("env", "K")))
