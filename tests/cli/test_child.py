"""The program under `interpose run`, started by real system calls."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from interpose.cli.child import Child, CommandError, SignalDesk, find_command

from .conftest import end_group

# Says "ready" on stdout, then what signals it gets, and ends with status 7 on the one named.
# It writes without a buffer: a signal may arrive while "ready" is being written.
LISTENER = """
import os, signal, sys
def got(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if number == signal.Signals[sys.argv[1]]:
        sys.exit(7)
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGWINCH", "SIGUSR1", "SIGUSR2"):
    signal.signal(signal.Signals[name], got)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""


async def status_of(*command: str) -> int:
    return await (await Child.start(command, dict(os.environ))).wait()


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
async def test_the_status_is_the_programs(status: int) -> None:
    """Whatever it exits with."""
    assert await status_of("sh", "-c", f"exit {status}") == status


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV"])
async def test_a_program_ended_by_a_signal_gives_128_and_its_number(name: str) -> None:
    """As a shell would say it."""
    assert await status_of("sh", "-c", f"kill -{name[3:]} $$") == 128 + signal.Signals[name]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"])
async def test_a_signal_sent_to_us_reaches_the_program_once(name: str, tmp_path: Path) -> None:
    """Away from a terminal every one is passed on; the program decides what it means."""
    helper = tmp_path / "ours.py"
    helper.write_text(
        "import asyncio, os, sys\n"
        "from interpose.cli.child import Child, SignalDesk\n"
        "async def main():\n"
        "    with SignalDesk(asyncio.get_running_loop()) as desk:\n"
        "        child = await Child.start(sys.argv[1:], dict(os.environ))\n"
        "        desk.receiver = child.forward\n"
        "        return await child.wait()\n"
        "sys.exit(asyncio.run(main()))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(helper), sys.executable, "-c", LISTENER, name,
        stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
            process.send_signal(signal.Signals[name])
            assert (await process.stdout.read()).decode().split() == [name]
            assert await process.wait() == 7
    finally:
        end_group(process.pid)
        await process.wait()


async def test_a_signal_after_the_end_is_nothing() -> None:
    """The program may end at any moment."""
    child = await Child.start(["true"], dict(os.environ))
    assert await child.wait() == 0
    child.forward(signal.SIGTERM)


async def test_a_signal_that_our_parent_ignored_stays_ignored() -> None:
    """Under nohup a hang-up must end neither us nor the program."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalDesk(asyncio.get_running_loop()) as desk:
            got: list[signal.Signals] = []
            desk.receiver = got.append
            assert await status_of("sh", "-c", "kill -HUP $$; exit 5") == 5
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
            assert await status_of("true") == 0
            assert got == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGHUP, before)


async def attempt(name: str, environ: dict[str, str]) -> None:
    """As the command does: looks first, then starts."""
    find_command(name, environ)
    await Child.start([name], environ)


@pytest.mark.parametrize(
    ("text", "mode", "status", "said"),
    [
        (None, 0, 127, "command not found"),
        ("#!/bin/sh\nexit 0\n", 0o644, 126, "not an executable file"),
        ("#!/no/such/interpreter\n", 0o755, 126, "interpreter"),
        ("\0\0\0\0 no program", 0o755, 126, "no program"),
    ],
)
async def test_what_cannot_be_run_says_why(text: str | None, mode: int, status: int, said: str, tmp_path: Path) -> None:
    """127 for what is not there, 126 for what is no program, as shells have it; by path and by name alike."""
    path = tmp_path / "tool"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    for name, environ in ((str(path), dict(os.environ)), ("tool", {"PATH": str(tmp_path)})):
        with pytest.raises(CommandError, match=said) as caught:
            await attempt(name, environ)
        assert caught.value.status == status
        assert str(caught.value).startswith(f"{name}: ")


async def test_a_folder_is_no_command(tmp_path: Path) -> None:
    """It is there, and cannot be run."""
    with pytest.raises(CommandError, match="not an executable file") as caught:
        find_command(str(tmp_path), dict(os.environ))
    assert caught.value.status == 126
