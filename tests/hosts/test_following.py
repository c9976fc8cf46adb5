"""A rules file that is followed: good rules are adopted, bad ones leave those of before, and both are said."""

import asyncio
import gc
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from interpose.hosts.following import Following
from interpose.hosts.watching import looks
from interpose.rules.check import check
from interpose.rules.compiled import Rules
from interpose.rules.load import load
from interpose.rules.problem import Problem, RulesError

ONE = "version: 1\n"
TWO = "version: 1\nintercept: {hosts: [own.test]}\n"
BAD = "version: 1\nroutess: []\nlimits: 3\n"


class Desk:
    """A followed file, with what was adopted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text(ONE)
        self.adopted: list[Rules] = []
        self.refusal: Exception | None = None
        self.now = 1_000.0
        self.following = Following(path, load(path), looks(path), load=load, adopt=self.adopt, now=lambda: self.now)

    async def adopt(self, rules: Rules) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.adopted.append(rules)

    async def reads(self, text: str, *, asked: bool = False) -> None:
        self.path.write_text(text)
        await self.following.reload(asked=asked)


@pytest.fixture
def desk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Desk:
    caplog.set_level(logging.INFO, "interpose.hosts.following")
    return Desk(tmp_path / "rules.yaml")


async def test_good_rules_are_adopted(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """And it is said which."""
    await desk.reads(TWO)
    (rules,) = desk.adopted
    assert rules.version in caplog.text
    assert desk.following.stale is None


async def test_bad_rules_leave_those_of_before_with_every_problem_said(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """In the words of `interpose check`, each on a line of its own."""
    await desk.reads(BAD)
    assert desk.adopted == []
    problems = [str(problem) for problem in check(desk.path)]
    assert len(problems) >= 2
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().splitlines()[1:] == problems


async def test_they_are_stale_until_repaired(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Since the first failure, for the reasons of the last; that it is good again is said."""
    await desk.reads(BAD)
    desk.now += 60
    await desk.reads("version: 2\n")
    stale = desk.following.stale
    assert stale is not None
    assert stale.since == 1_000
    assert ["version" in problem.path for problem in stale.problems] == [True]
    assert "1 problem)" in str(stale)
    caplog.clear()
    await desk.reads(ONE)
    assert desk.following.stale is None
    assert "good again" in caplog.text
    assert "unchanged" in caplog.text


async def test_the_same_problems_are_said_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Unless somebody asks."""
    await desk.reads(BAD)
    await desk.reads(BAD)
    assert len(caplog.records) == 1
    await desk.reads(BAD, asked=True)
    assert len(caplog.records) == 2


async def test_the_same_rules_are_no_news(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A comment changes nothing; who asks is answered, and has what the rules name read again."""
    await desk.reads(ONE + "# a comment\n")
    assert (desk.adopted, caplog.text) == ([], "")
    await desk.reads(ONE, asked=True)
    assert len(desk.adopted) == 1
    assert "unchanged" in caplog.text


async def test_rules_that_cannot_be_put_in_force_are_as_good_as_bad(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A credential that cannot be had is known when it is asked for."""
    desk.refusal = RulesError([Problem("rules.yaml", 3, 7, "providers.a.credential", "is not there")])
    await desk.reads(TWO)
    assert desk.following.stale is not None
    assert "rules.yaml:3:7: providers.a.credential: is not there" in caplog.text
    desk.refusal = None
    await desk.following.reload()
    assert desk.following.stale is None
    assert len(desk.adopted) == 1


async def test_a_fault_of_ours_leaves_the_rules_of_before(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """It is in the log, and the file is followed on."""
    desk.refusal = ZeroDivisionError("a bug")
    await desk.reads(TWO)
    assert desk.following.stale is not None
    assert "ZeroDivisionError" in caplog.text
    desk.refusal = None
    await desk.reads(TWO)
    assert len(desk.adopted) == 1


async def test_a_file_that_is_deleted_leaves_the_rules_of_before(desk: Desk) -> None:
    """Stale, for it is not there."""
    desk.path.unlink()
    await desk.following.reload()
    assert desk.adopted == []
    assert desk.following.stale is not None
    assert "no such file" in desk.following.stale.problems[0].message


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


async def test_it_is_followed_through_writes_renames_deletion_and_demand(desk: Desk, tmp_path: Path) -> None:
    """As long as it is followed; each is noticed by itself."""
    task = asyncio.create_task(desk.following.follow())
    desk.path.write_text(TWO)
    await until(lambda: len(desk.adopted) == 1)
    new = tmp_path / "new.yaml"
    new.write_text(BAD)
    new.replace(desk.path)
    await until(lambda: desk.following.stale is not None)
    desk.path.write_text(ONE)
    await until(lambda: len(desk.adopted) == 2)
    desk.path.unlink()
    await until(lambda: desk.following.stale is not None)
    desk.path.write_text(ONE)
    await until(lambda: desk.following.stale is None)
    assert len(desk.adopted) == 2
    desk.following.ask()
    await until(lambda: len(desk.adopted) == 3)
    task.cancel()


async def test_reading_does_not_hold_the_event_loop(desk: Desk) -> None:
    """Streams go on while a large file is read: it happens in a thread."""
    loop_runs = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(path: Path) -> Rules:
        loop.call_soon_threadsafe(loop_runs.set)
        # Would never come back, were it the loop that waits here.
        asyncio.run_coroutine_threadsafe(loop_runs.wait(), loop).result(30)
        return load(path)

    following = Following(desk.path, None, None, load=slow, adopt=desk.adopt, now=lambda: 0.0)
    await following.reload()
    assert len(desk.adopted) == 1


async def test_reading_does_not_stop_everybody_to_collect_garbage(desk: Desk) -> None:
    """The collector rests while a file is read, and works again afterwards, also if the file is bad."""
    collected: list[bool] = []

    def seen(path: Path) -> Rules:
        collected.append(gc.isenabled())
        return load(path)

    following = Following(desk.path, None, None, load=seen, adopt=desk.adopt, now=lambda: 0.0)
    await following.reload()
    desk.path.write_text(BAD)
    await following.reload()
    assert collected == [False, False]
    assert gc.isenabled()
