"""`interpose run`: the real command around real programs."""

import json
import os
import pty
import select
import shlex
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from .conftest import Command

ECHO_ENV = "import json, os; print(json.dumps(dict(os.environ)))"
WAIT = "import os, signal; os.write(1, b'ready\\n'); signal.pause()"


def python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


@pytest.mark.parametrize("status", [0, 3])
def test_the_exit_status_is_the_commands(interpose: Command, status: int) -> None:
    """And its output is untouched: ours is on stderr, one line before and the summary after."""
    done = interpose("run", "--", "sh", "-c", f"printf 'out\\n\\033[1mraw'; echo err >&2; exit {status}")
    assert done.returncode == status
    assert done.stdout == "out\n\033[1mraw"
    before, error, after = done.stderr.partition("err\n")
    assert error
    assert len(before.splitlines()) == 1
    assert before.startswith("interpose: audit only")
    assert after.startswith("interpose: no AI call was caught")


def test_a_command_ended_by_a_signal_gives_128_and_its_number(interpose: Command) -> None:
    """As a shell would."""
    assert interpose("run", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_the_command_reads_our_stdin(interpose: Command) -> None:
    """All of it, to the end."""
    text = "line\n" * 10_000
    assert interpose("run", "--quiet", "--", "cat", stdin=text).stdout == text


def test_the_commands_own_options_are_its_own(interpose: Command) -> None:
    """After the command's name nothing is ours, with or without `--`."""
    for dashes in (("--",), ()):
        done = interpose("run", "-q", *dashes, "printf", "%s.", "--rules", "--help", "-q", "--", "x")
        assert (done.stdout, done.returncode) == ("--rules.--help.-q.--.x.", 0)


def test_quiet_says_nothing(interpose: Command) -> None:
    """Neither before nor after."""
    assert interpose("run", "-q", "--", "true").stderr == ""


def test_a_command_of_many_lines_is_announced_in_one(interpose: Command) -> None:
    """What a script does is its own affair; control characters do not reach the terminal."""
    done = interpose("run", "--", "sh", "-c", ": '\033[2J'\n" + "true\n" * 100)
    first = done.stderr.partition("interpose: no AI call")[0]
    assert len([line for line in first.splitlines() if line.startswith("interpose:")]) == 1
    assert "\033" not in first
    assert len(first.splitlines()[0]) < 200


def test_closed_standard_streams_are_no_obstacle(interpose: Command) -> None:
    """What we would say is lost; it does not land on stdout, and no file of ours becomes the command's stream."""
    code = (
        "import os; print(*(os.readlink(f'/proc/self/fd/{n}') for n in (0, 2) if os.path.exists(f'/proc/self/fd/{n}')))"
    )
    script = f"{shlex.join(interpose.argv('run', '--', *python(code)))} 2>&- <&-; echo $?"
    done = subprocess.run(
        ["sh", "-c", script], env=interpose.environment, stdout=subprocess.PIPE, text=True, check=True
    )
    streams, status = done.stdout.splitlines()
    assert set(streams.split()) <= {"/dev/null"}
    assert status == "0"


@pytest.mark.parametrize("sign", ["", "ca/interpose-ca-cert.pem", "usage.db"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_we_start_ends_us_quietly(interpose: Command, number: signal.Signals, sign: str) -> None:
    """Whenever it comes there is no traceback, and the status says what ended us or the command."""
    process = interpose.start("run", "-q", "--", *python(WAIT))
    ends = time.monotonic() + 60
    while not (interpose.state / sign).exists() and time.monotonic() < ends:
        time.sleep(0.001)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (-number, 128 + number)
    assert "interpose/" not in error


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("no-such-command-here", 127, "interpose: no-such-command-here: command not found\n"),
        ("./notes.txt", 126, "interpose: ./notes.txt: cannot be run: it is not an executable file\n"),
        ("/etc", 126, "interpose: /etc: cannot be run: it is not an executable file\n"),
    ],
)
def test_a_command_that_cannot_be_run(interpose: Command, command: str, status: int, said: str) -> None:
    """One clear line and a shell's status; nothing was started for it."""
    (interpose.folder / "notes.txt").write_text("no program")
    done = interpose("run", "--", command)
    assert (done.returncode, done.stderr, done.stdout) == (status, said, "")
    assert not interpose.state.exists()


def test_the_environment_leads_to_us(interpose: Command) -> None:
    """A proxy that really listens on loopback, and a bundle that exists, holds the system's CAs and ours."""
    interpose.environ["NO_PROXY"] = "corp.test,api.openai.com"
    done = interpose("run", "--", *python(ECHO_ENV))
    values = json.loads(done.stdout)
    assert values["HTTPS_PROXY"].startswith("http://127.0.0.1:")
    assert values["HTTPS_PROXY"] == values["https_proxy"] == values["HTTP_PROXY"] == values["http_proxy"]
    assert values["NO_PROXY"] == "corp.test"
    assert "api.openai.com" in done.stderr.splitlines()[0]
    bundle = Path(values["SSL_CERT_FILE"])
    ours = (interpose.state / "ca" / "interpose-ca-cert.pem").read_text()
    assert ours.strip() in bundle.read_text()
    assert bundle.read_text().count("BEGIN CERTIFICATE") > 1
    assert stat.S_IMODE(interpose.state.stat().st_mode) == 0o700


def test_the_proxy_is_there_while_the_command_runs(interpose: Command) -> None:
    """It is accepting before the command begins."""
    code = (
        "import os, socket; from urllib.parse import urlsplit; url = urlsplit(os.environ['HTTPS_PROXY']);"
        "socket.create_connection((url.hostname, url.port), 5); print('accepted')"
    )
    assert interpose("run", "-q", "--", *python(code)).stdout == "accepted\n"


def test_two_runs_at_once_share_the_state_folder(interpose: Command) -> None:
    """Each has a port of its own; the CA is the same."""
    one, two = (interpose.start("run", "-q", "--", *python(ECHO_ENV)) for _ in range(2))
    first, second = (json.loads(process.communicate(timeout=60)[0]) for process in (one, two))
    assert first["SSL_CERT_FILE"] == second["SSL_CERT_FILE"]
    assert (one.returncode, two.returncode) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_us_ends_the_command(interpose: Command, number: signal.Signals) -> None:
    """It is the command that dies of it, and we say so; then comes the summary."""
    process = interpose.start("run", "--", *python(WAIT))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    # Python turns SIGINT into an exception, and dies of the signal all the same.
    assert process.returncode == 128 + number
    assert "no AI call was caught" in error
    assert "interpose/" not in error


def test_a_command_that_survives_a_signal_goes_on(interpose: Command) -> None:
    """A signal is the command's to answer."""
    code = "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    process = interpose.start("run", "-q", "--", "sh", "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    out, error = process.communicate(timeout=60)
    assert (out, error, process.returncode) == ("got\n", "", 9)


ASKS = """
import http.client, os
proxy = os.environ["HTTP_PROXY"].removeprefix("http://")
connection = http.client.HTTPConnection(proxy)
connection.request("GET", "http://nobody.invalid/")
connection.getresponse().read()
"""


def test_records_that_wait_are_no_sign_that_nothing_was_caught(interpose: Command) -> None:
    """With the ledger locked to the end, the summary does not judge by what has not come there."""
    assert interpose("run", "--", "true").returncode == 0
    with closing(sqlite3.connect(interpose.state / "usage.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = interpose("run", "--", *python(ASKS))
        other.execute("ROLLBACK")
    assert done.returncode == 0
    assert "they wait in" in done.stderr
    assert "no summary: the ledger has not got the records of this run yet" in done.stderr
    assert "no AI call" not in done.stderr


COUNT_INTERRUPTS = """
import signal, sys, time
count = 0
def got(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, got)
assert sys.stdin.isatty() and sys.stdout.isatty()
print("ready", flush=True)
while not count:
    time.sleep(0.01)
time.sleep(0.5)  # time for a second one, which must not come
print(f"interrupts={count}", flush=True)
"""


def test_a_ctrl_c_at_a_terminal_reaches_the_command_once(interpose: Command) -> None:
    """The terminal has sent it to the whole foreground group: we do not send it again. The command keeps the tty."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(interpose.folder)
            os.execve(
                sys.executable, interpose.argv("run", "-q", "--", *python(COUNT_INTERRUPTS)), interpose.environment
            )
        finally:
            os._exit(99)
    try:
        seen = read_until(terminal, "ready")
        os.write(terminal, b"\x03")
        seen += read_until(terminal, "interrupts=1", "interrupts=2")
        assert "interrupts=1" in seen
        read_until(terminal, None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = 0
    finally:
        os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_terminal_that_hangs_up_ends_it_where_a_signal_asks_for_the_rules(interpose: Command, tmp_path: Path) -> None:
    """Both are SIGHUP. Closing its window leaves nothing running in the background."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\n")
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(interpose.folder)
            arguments = interpose.argv("run", "--listen", "127.0.0.1:0", "--rules", str(rules))
            os.execve(sys.executable, arguments, interpose.environment)
        finally:
            os._exit(99)
    try:
        read_until(terminal, "interpose env")
        os.kill(pid, signal.SIGHUP)
        read_until(terminal, "unchanged, version")
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_rules_from_a_pipe_are_read_once(interpose: Command, tmp_path: Path) -> None:
    """`--rules <(…)` has nothing to be read again; who asks is told so, and calls go on."""
    fifo = tmp_path / "rules"
    os.mkfifo(fifo)
    process = interpose.start("run", "--listen", "127.0.0.1:0", "--rules", str(fifo))
    fifo.write_text("version: 1\n")
    lines_until(process, "  eval")
    process.send_signal(signal.SIGHUP)
    lines_until(process, "interpose: the rules cannot be read again: they came through a pipe")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def read_until(terminal: int, *texts: str | None) -> str:
    """What comes out of a terminal until one of the texts, or its end if that is None."""
    seen = b""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:  # EIO: the other side has closed
            part = b""
        seen += part
        if not part:
            assert None in texts, seen
            break
        if any(text is not None and text.encode() in seen for text in texts):
            break
    else:
        raise AssertionError(f"nothing of {texts} in {seen!r}")
    return seen.decode(errors="replace")


def lines_until(process: subprocess.Popen[str], start: str) -> list[str]:
    """The lines of stderr up to the one that begins so."""
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith(start):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    return lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_a_command_it_listens_until_a_signal(interpose: Command, number: signal.Signals) -> None:
    """It says where and how a shell comes there, ends with 0, and leaves stdout empty."""
    process = interpose.start("run", "--listen", "127.0.0.1:0")
    lines = lines_until(process, "  eval ")
    url = lines[0].removeprefix("interpose: listening on ").rstrip("\n")
    assert f" env --proxy {url}" in lines[-1]
    host, _, port = url.removeprefix("http://").partition(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert error == "interpose: no AI call was caught\n"
    with sqlite3.connect(interpose.state / "usage.db") as ledger:
        assert ledger.execute("SELECT count(*) FROM calls").fetchone() == (0,)
    ledger.close()


def test_a_taken_port_is_named(interpose: Command) -> None:
    """Exit 1, no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for command in ((), ("--", "true")):
            done = interpose("run", "--listen", address, *command)
            assert done.returncode == 1
            assert address in done.stderr
            assert len(done.stderr.splitlines()) == 1


def test_an_open_address_is_refused(interpose: Command) -> None:
    """Before anything is started."""
    done = interpose("run", "--listen", "0.0.0.0:0", "--", "true")
    assert done.returncode == 1
    assert "clients: {required: true" in done.stderr
    assert not interpose.state.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--mode", "nonsense"), "'nonsense' is no mode here; there are regular, upstream"),
        (("--mode", "reverse:https://example.org"), "with CMD it is regular or upstream"),
        (("--mode", "upstream:"), "'upstream:'"),
        (("--mode", "upstream:http://me:fake-password@proxy.test:1"), "a password nowhere on the command line"),
        (("--web", "0.0.0.0:8081"), "mitmweb is shown on this machine only"),
        (("--web=nonsense",), "expected HOST:PORT"),
        (("--workers=2", "--web"), "mitmweb is one process"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(
    interpose: Command, arguments: tuple[str, ...], told: str
) -> None:
    """Exit 2, one line that names the option and says what to do."""
    done = interpose("run", *arguments, "--", "true")
    assert done.returncode == 2
    assert done.stderr.startswith(f"interpose: {arguments[0].partition('=')[0]}")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "fake-password" not in done.stderr


def test_workers_have_an_address_to_share(interpose: Command) -> None:
    """What the system brings us itself goes to one process."""
    done = interpose("run", "--workers", "2", "--mode", "local:curl")
    assert done.returncode == 2
    assert done.stderr == (
        "interpose: --workers 2: --mode local:curl has no address that workers could share; leave --workers out\n"
    )


def test_workers_that_cannot_start_end_it(interpose: Command) -> None:
    """They say why, and no command is started."""
    (interpose.state / "usage.db").mkdir(parents=True)
    done = interpose("run", "--workers", "2", "--", "echo", "started")
    assert (done.returncode, done.stdout) == (1, "")
    assert "usage.db cannot be opened for writing" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_worker_reads_the_rules(interpose: Command) -> None:
    """So a pipe, which can be read once, will not do."""
    script = f"echo version: 1 | {shlex.join(interpose.argv('run', '--workers', '2', '--rules', '/dev/stdin'))}"
    done = subprocess.run(
        ["sh", "-c", script], env=interpose.environment, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 2
    assert "can be read once, and each worker has to read it" in done.stderr


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1:99999", "::1:8080"])
def test_a_malformed_listen_is_refused(interpose: Command, text: str) -> None:
    """Exit 2 and the form that was expected."""
    done = interpose("run", "--listen", text, "--", "true")
    assert done.returncode == 2
    assert done.stderr.startswith("interpose: --listen ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "rules.yaml"),
        ("version: 1\nproviders: [", "rules.yaml:2:"),
        ("version: 1\nprovider: {}\n", "rules.yaml:2:1: provider"),
        (
            "version: 1\nproviders:\n  openai:\n    format: openai\n    base_url: https://api.openai.com/v1\n"
            "    credential: {env: NO_SUCH_VARIABLE_HERE}\n",
            "NO_SUCH_VARIABLE_HERE",
        ),
    ],
    ids=["missing", "not YAML", "unknown key", "missing secret"],
)
def test_rules_that_cannot_be_used(
    interpose: Command, tmp_path: Path, rules_file: Callable[[str], Path], text: str | None, said: str
) -> None:
    """Every problem on a line of its own that begins with the place; exit 2, nothing started."""
    path = rules_file(text) if text is not None else tmp_path / "rules.yaml"
    done = interpose("run", "--rules", str(path), "--", "sh", "-c", "echo started")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert all(line.startswith(f"{path}:") for line in done.stderr.splitlines())


def test_every_problem_is_told(interpose: Command, rules_file: Callable[[str], Path]) -> None:
    """Not only the first."""
    path = rules_file("version: 1\nprovider: {}\nroute: []\nintercept: {host: []}\n")
    assert len(interpose("run", "--rules", str(path), "--", "true").stderr.splitlines()) >= 3


def test_an_unusable_state_folder_is_named(interpose: Command) -> None:
    """Exit 1, no traceback."""
    interpose.state.write_text("a file")
    done = interpose("run", "--", "true")
    assert done.returncode == 1
    assert done.stderr == f"interpose: the state folder {interpose.state} is not a folder; name another with --state\n"


def test_ones_own_proxy_is_not_used_and_that_is_said(interpose: Command, rules_file: Callable[[str], Path]) -> None:
    """Unless the rules name a proxy; its URL, which may hold a password, is not repeated."""
    interpose.environ["HTTPS_PROXY"] = "http://me:fake-password@corp.test:3128"
    done = interpose("run", "--", "true")
    assert done.stderr.startswith("interpose: your HTTPS_PROXY is not used")
    assert "--mode upstream:http://" in done.stderr
    assert "upstream: {proxy:" in done.stderr
    assert "fake-password" not in done.stderr
    path = rules_file("version: 1\nupstream: {proxy: http://corp.test:3128}\n")
    said = interpose("run", "--rules", str(path), "--", "true").stderr
    assert "is not used" not in said


def test_an_injected_key_does_not_enter_the_command(interpose: Command, rules_file: Callable[[str], Path]) -> None:
    """Nor any file of the state folder, nor what we say."""
    interpose.environ["OPENAI_API_KEY"] = "sk-fake-canary-0123456789"
    path = rules_file(
        "version: 1\nproviders:\n  openai:\n    format: openai\n    base_url: https://api.openai.com/v1\n"
        "    credential: {env: OPENAI_API_KEY}\nintercept: {placeholders: [sk-dummy]}\n"
    )
    done = interpose("run", "--rules", str(path), "--", *python(ECHO_ENV))
    assert json.loads(done.stdout)["OPENAI_API_KEY"] == "sk-dummy"
    assert "canary" not in done.stdout + done.stderr
    for file in interpose.state.rglob("*"):
        assert file.is_dir() or b"canary" not in file.read_bytes()


@pytest.mark.parametrize(("names", "said"), [(["ONE"], "ONE stays with"), (["ONE", "TWO"], "ONE, TWO stay with")])
def test_the_keys_that_stay_are_named(
    interpose: Command, rules_file: Callable[[str], Path], names: list[str], said: str
) -> None:
    """One stays, two stay."""
    interpose.environ.update(dict.fromkeys(names, "sk-fake"))
    providers = "".join(
        f"  {name.lower()}: {{format: openai, base_url: https://api.openai.com/v1, credential: {{env: {name}}}}}\n"
        for name in names
    )
    path = rules_file(f"version: 1\nproviders:\n{providers}")
    assert f" · {said} interpose · " in interpose("run", "--rules", str(path), "--", "true").stderr.splitlines()[0]


@pytest.mark.parametrize("arguments", [("--",), ("-q", "--"), ("--", ""), ("",)])
def test_an_empty_command_is_refused(interpose: Command, arguments: tuple[str, ...]) -> None:
    """`run -- $CMD` with an empty CMD does not listen silently: one line, exit 2."""
    done = interpose("run", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "interpose: run: there is no command after --; leave -- out to listen without one\n"


def test_dashes_after_a_command_are_its_own(interpose: Command) -> None:
    """Only the first `--` is ours."""
    assert interpose("run", "-q", "echo", "a", "--").stdout == "a --\n"


HOLD = """
import asyncio, sys
from pathlib import Path
from interpose.cli import run
from interpose.cli.run import Options
from interpose.hosts import mitm
mitm.DRAIN = 60.0
from interpose.hosts.mitm import proxy
async def drain(self, seconds):
    await asyncio.sleep(seconds)  # as with a call that does not end
proxy.Engine.drain = drain
sys.exit(run.run(Options((), None, ("127.0.0.1:0",), Path(sys.argv[1]), quiet=False)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait_for_calls_in_flight(interpose: Command, number: signal.Signals) -> None:
    """The first says that it waits, and for how long; after the second the ledger is closed all the same."""
    process = subprocess.Popen(
        (*python(HOLD), str(interpose.state)), stderr=subprocess.PIPE, text=True, env=interpose.environment,
        cwd=interpose.folder, start_new_session=True,
    )  # fmt: skip
    interpose.started.append(process)
    lines_until(process, "  eval ")
    process.send_signal(number)
    assert lines_until(process, "interpose: waiting")[-1] == (
        "interpose: waiting up to 60 s for calls in flight; interrupt to stop now\n"
    )
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, "interpose: no AI call was caught\n")
    # Closing the ledger has merged its journal; the summary's reader may have left an empty one.
    journal = interpose.state / "usage.db-wal"
    assert not journal.exists() or journal.stat().st_size == 0
