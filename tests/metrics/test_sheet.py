"""Several workers that count together, one of which is killed."""

import asyncio
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.metrics.scrapes import Scrape, scraped

from interpose.metrics import Metrics, sheet
from interpose.metrics.sheet import SharedSheet, Sheet, State, key

PROGRAM = Path(__file__).with_name("count.py")
DROPPED = key("metrics_dropped")


class Worker:
    """A process that counts calls of one model."""

    def __init__(self, folder: Path, model: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def count(self, calls: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for _ in range(calls):
            print(file=self.process.stdin, flush=True)
            assert self.process.stdout.readline() == "counted\n"

    def end(self) -> None:
        self.process.communicate()


@contextmanager
def workers(folder: Path, *models: str) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        started = [Worker(folder, model) for model in models]
        for worker in started:
            stack.callback(worker.end)
            stack.callback(worker.process.kill)
        yield started


def files(folder: Path) -> int:
    return len(list(folder.glob("*.counts")))


async def until(metrics: Metrics, name: str, value: float) -> Scrape:
    async with asyncio.timeout(60):
        while (page := await scraped(metrics))(name) != value:
            await asyncio.sleep(0.02)
    return page


async def test_one_is_asked_and_answers_for_all(tmp_path: Path) -> None:
    """What others count is there as soon as they have counted it."""
    metrics = Metrics(tmp_path)
    with workers(tmp_path, "a", "b") as (first, second):
        first.count(3)
        second.count(2)
        page = await scraped(metrics)
        assert [page("calls_total", model=model) for model in ("a", "b")] == [3, 2]
        page = await until(metrics, "calls_in_flight", 2)
        assert page("workers") == 3
        assert page("build_info") == 1
    metrics.close()


async def test_a_killed_worker_takes_its_states_along_and_leaves_its_counts(tmp_path: Path) -> None:
    """No sum falls. Whoever comes next counts on in its file, so that there are never more of them than workers."""
    metrics = Metrics(tmp_path)
    with workers(tmp_path, "a", "b") as (first, second):
        first.count(3)
        second.count(2)
        await until(metrics, "workers", 3)
        first.process.kill()
        first.process.wait()
        page = await until(metrics, "workers", 2)
        assert (page("calls_total"), page("calls_in_flight")) == (5, 1)
        for calls in range(1, 4):
            with workers(tmp_path, "a") as (next_one,):
                next_one.count(1)
                next_one.process.kill()
                next_one.process.wait()
            assert files(tmp_path) == 3
            assert (await scraped(metrics))("calls_total", model="a") == 3 + calls
    metrics.close()


async def test_a_file_is_taken_though_somebody_looks_whether_its_worker_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That holds its lock for a moment: the next look finds it free."""
    with workers(tmp_path, "a") as (worker,):
        worker.count(2)
    (path,) = tmp_path.glob("*.counts")
    looker = path.open("rb")
    fcntl.flock(looker, fcntl.LOCK_SH)
    monkeypatch.setattr(sheet, "time", SimpleNamespace(sleep=lambda _: looker.close()))
    metrics = Metrics(tmp_path)
    assert looker.closed
    assert files(tmp_path) == 1
    assert (await scraped(metrics))("calls_total") == 2
    metrics.close()


async def test_a_worker_that_ends_leaves_its_counts_too(tmp_path: Path) -> None:
    """A worker may be replaced while the others go on."""
    metrics = Metrics(tmp_path)
    with workers(tmp_path, "a") as (worker,):
        worker.count(2)
        worker.end()
        page = await scraped(metrics)
        assert (page("calls_total"), page("workers"), page("calls_in_flight")) == (2, 1, 0)
    metrics.close()


async def test_totals_of_others_go_on_where_a_dead_worker_left_them(tmp_path: Path) -> None:
    """The ledger of a new worker begins at zero, the metric does not."""
    first = Metrics(tmp_path)
    first.watch(lambda: [State("ledger_records", 5.0)])
    assert (await scraped(first))("ledger_records_total") == 5
    first.close()
    second = Metrics(tmp_path)
    written = 0.0
    second.watch(lambda: [State("ledger_records", written)])
    assert (await scraped(second))("ledger_records_total") == 5
    written = 2.0
    assert (await scraped(second))("ledger_records_total") == 7
    assert files(tmp_path) == 1
    second.close()


async def test_a_state_that_cannot_be_seen_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is missing, and the log says so."""

    def fails() -> list[State]:
        raise RuntimeError("no")

    metrics = Metrics()
    metrics.watch(fails)
    metrics.watch(lambda: [State("calls_in_flight", 4.0)])
    assert (await scraped(metrics))("calls_in_flight") == 4
    assert "some states are missing in the metrics" in caplog.text


def test_what_finds_no_room_is_told(tmp_path: Path) -> None:
    """The file never grows: a full disk could not hold what was mapped. Known numbers go on."""
    shared = SharedSheet(tmp_path, DROPPED, size=4096)
    for each, most in ((shared, 4096), (Sheet(DROPPED, most=20), 20)):
        for number in range(200):
            each.add([(key("calls", str(number)), 1.0), (key("calls", "0"), 1.0)])
        (values,) = each.all()
        assert 10 < len(values) < most / 20 + 20
        assert values[key("calls", "0")] == 201
        assert values[DROPPED] == 200 - (len(values) - 1)
        each.close()
    assert {path.stat().st_size for path in tmp_path.glob("*.counts")} == {4096}
    # Blocks, not a promise of them.
    assert all(path.stat().st_blocks * 512 >= 4096 for path in tmp_path.glob("*.counts"))


async def test_a_broken_file_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever wrote into the folder: what the workers have counted is still told."""
    metrics = Metrics(tmp_path)
    metrics.refused("x", "refused")
    (tmp_path / "0.counts").write_bytes(b"\xff\x00\x00\x00" * 20)
    (tmp_path / "1.counts").write_bytes(b"")
    assert (await scraped(metrics))("refusals_total") == 1
    assert "cannot be read (0.counts)" in caplog.text
    metrics.close()


async def test_a_folder_that_cannot_be_written_to_costs_the_sum_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker serves, and counts for itself."""
    metrics = Metrics(tmp_path / "none")
    assert "metrics cannot be shared" in caplog.text
    metrics.refused("x", "refused")
    assert (await scraped(metrics))("refusals_total") == 1
    metrics.close()


ACCEPTS = [
    ("", "text/plain; version=0.0.4; charset=utf-8"),
    ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0"),
    # What Prometheus 3 sends: https://prometheus.io/docs/instrumenting/content_negotiation/
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
        "application/openmetrics-text; version=1.0.0",
    ),
    ("application/openmetrics-text; version=nonsense", "text/plain; version=0.0.4; charset=utf-8"),
    ("application/openmetrics-text; version=1.0.0x\r\nset-cookie: a=b", "text/plain; version=0.0.4; charset=utf-8"),
]


@pytest.mark.parametrize(("accept", "content_type"), ACCEPTS)
async def test_the_page_is_in_the_format_that_is_asked_for(accept: str, content_type: str) -> None:
    """Prometheus' own, or OpenMetrics; what cannot be read gets the one that all can read."""
    metrics = Metrics()
    metrics.limited("chat", "requests")
    body, said = await metrics.page(accept)
    assert said.startswith(content_type)
    assert "\n" not in said
    assert body.endswith(b"# EOF\n") == said.startswith("application/openmetrics")
    assert Scrape.read(body, said)("limits_hit_total", limit="chat", kind="requests") == 1
