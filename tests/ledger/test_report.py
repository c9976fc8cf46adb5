"""The usage report: its sums against a count by hand, and its forms."""

import csv
import io
import json
import os
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from interpose.ledger import LedgerError, Record, source
from interpose.ledger.grouping import Selection, time_zone, until_moment
from interpose.ledger.record import CALLS, storable
from interpose.ledger.report import (
    Usage,
    dimensions,
    human_cost,
    human_count,
    human_time,
    printable,
    render,
    since_moment,
    to_csv,
    to_json,
    usage,
)
from interpose.ledger.schema import INSERT, open_for_writing

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def write(path: Path, records: list[Record], writer: str = "w") -> Path:
    with closing(open_for_writing(path)) as connection:
        rows = [
            CALLS.seal(storable(known), writer=writer, seq=seq, prev_hash="") for seq, known in enumerate(records, 1)
        ]
        connection.executemany(INSERT["calls"], rows)
    return path


def shown(rows: Usage, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(render(rows))
    return out.getvalue()


# --- the sums --------------------------------------------------------------------------------------------------------


def test_one_writer_alone(tmp_path: Path, record) -> None:
    """The summary of one run leaves other runs out."""
    path = write(tmp_path / "usage.db", [record(1), record(2)], writer="a")
    write(path, [record(3)], writer="b")
    assert [row.calls for row in usage(path, writer="b")] == [1]
    assert [row.calls for row in usage(path, writer="nobody")] == []


def test_the_workers_of_a_run_together(tmp_path: Path, record) -> None:
    """They are writers whose names begin with the run's."""
    path = write(tmp_path / "usage.db", [record(1), record(2)], writer="a1")
    write(path, [record(3)], writer="a2")
    write(path, [record(4)], writer="b1")
    assert [row.calls for row in usage(path, writer="a")] == [3]


def test_most_tokens_first_and_days_in_order(tmp_path: Path, record) -> None:
    """What weighs most is on top; days run in time."""
    path = write(
        tmp_path / "usage.db",
        [
            record(90_000, provider="a", input_tokens=1),
            record(1, provider="b", output_tokens=5),
            record(2, provider="c"),
        ],
    )
    assert [row.key["provider"] for row in usage(path, by=["provider"])] == ["b", "a", "c"]
    days = [tuple(row.key.values()) for row in usage(path, by=["provider", "day"])]
    assert days == [("b", "2026-11-01"), ("c", "2026-11-01"), ("a", "2026-11-02")]


def test_claimed_sums_beyond_64_bits_do_not_end_the_report(tmp_path: Path, record) -> None:
    """A provider that claims 2^53-1 tokens, two thousand times."""
    path = write(tmp_path / "usage.db", [record(seq, output_tokens=2**53 - 1) for seq in range(2000)])
    rows = usage(path)
    assert rows[0].output_tokens == 2**63 - 1
    assert human_count(2**63 - 1) in shown(rows)


def test_a_tampered_text_does_not_end_the_report(tmp_path: Path, record) -> None:
    """What is no UTF-8 is shown as such, in every form."""
    path = write(tmp_path / "usage.db", [record(1, provider="x")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE calls SET provider = CAST(x'41ff' AS TEXT)")
    rows = usage(path)
    assert rows[0].key["provider"] == "A\ufffd"
    for form in (shown, to_json, to_csv):
        assert "A\ufffd" in form(rows)


def test_lost_records_are_no_calls_but_are_told(tmp_path: Path, record) -> None:
    """Gap records count towards `lost`, not towards the calls; a tampered one does not end the report."""
    gap = {"entrance": "ledger", "endpoint": "other", "outcome": "error"}
    path = write(
        tmp_path / "usage.db",
        [record(1), record(2, **gap, losses='[{"count": 12000}]'), record(3, **gap, losses='[{"count": "x"}]')],
    )
    rows = usage(path)
    assert (sum(row.calls for row in rows), rows.lost) == (1, 12000)
    assert "12\u202f000 more calls could not be recorded" in shown(rows)
    assert json.loads(to_json(rows))["lost"] == 12000


# --- what is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", datetime(2026, 11, 15, 12, tzinfo=UTC)),
        ("24h", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("30m", datetime(2026, 11, 22, 11, 30, tzinfo=UTC)),
        ("90s", datetime(2026, 11, 22, 11, 58, 30, tzinfo=UTC)),
        (" 2w ", datetime(2026, 11, 8, 12, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T10:30", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("2026-11-01T10:30:00Z", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("2026-11-01T10:30+02:00", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_since_is_read(text: str, moment: datetime) -> None:
    """Spans before now, dates and times; UTC unless it says else."""
    assert since_moment(text, datetime(2026, 11, 22, 12, tzinfo=UTC)) == moment


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 days ago", "-7d", "1.5h", "999999999w", "2026-13-01", "yesterday", "٧d7"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """With an example of what would be one."""
    with pytest.raises(LedgerError, match=r"is no time: write 7d, 24h, 30m, or a date"):
        since_moment(text, datetime(2026, 11, 22, tzinfo=UTC))


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-11-01", UTC, datetime(2026, 11, 2, tzinfo=UTC)),
        ("2026-11-01T10:30", UTC, datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("24h", UTC, datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-10-25", BERLIN, datetime(2026, 10, 25, 23, tzinfo=UTC)),  # a day of 25 hours
        ("9999-12-31", UTC, datetime(9999, 12, 31, tzinfo=UTC)),
    ],
)
def test_until_takes_in_the_day_that_it_names(text: str, zone, moment: datetime) -> None:
    """A moment is what it is; a day is over at its end, wherever it is one."""
    assert until_moment(text, datetime(2026, 11, 22, 12, tzinfo=UTC), zone) == moment


def test_days_and_hours_are_those_of_the_time_zone(tmp_path: Path, record) -> None:
    """Also where it is half an hour off, and in the hour that comes twice."""
    moments = ("2026-10-25T00:45:00.5Z", "2026-10-25T01:15:00.5Z", "2026-10-31T23:20:00.5Z", "2026-11-01T00:05:00.5Z")
    path = write(tmp_path / "usage.db", [record(seq, started_at=moment) for seq, moment in enumerate(moments)])

    def keys(zone: str, by: str) -> dict[str, int]:
        return {row.key[by]: row.calls for row in usage(path, by=[by], selection=Selection(zone=time_zone(zone)))}

    assert keys("UTC", "day") == {"2026-10-25": 2, "2026-10-31": 1, "2026-11-01": 1}
    assert keys("Europe/Berlin", "day") == {"2026-10-25": 2, "2026-11-01": 2}
    assert keys("Europe/Berlin", "month") == {"2026-10": 2, "2026-11": 2}
    assert list(keys("Europe/Berlin", "hour")) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-11-01T00:00+01:00",
        "2026-11-01T01:00+01:00",
    ]
    assert keys("Asia/Kolkata", "hour") == {
        "2026-10-25T06:00+05:30": 2,
        "2026-11-01T04:00+05:30": 1,
        "2026-11-01T05:00+05:30": 1,
    }


@pytest.mark.parametrize("name", ["Europe/Berlim", "", "../etc/passwd", "/etc/passwd", "\0", "+02:00"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    """With an example of what would be one."""
    with pytest.raises(LedgerError, match="is no time zone: write UTC, local, or one like Europe/Berlin"):
        time_zone(name)


def test_a_tampered_time_does_not_end_the_report(tmp_path: Path, record) -> None:
    """It stands as it is."""
    path = write(tmp_path / "usage.db", [record(1, started_at="yesterday")])
    rows = usage(path, by=["day"], selection=Selection(zone=BERLIN))
    assert [row.calls for row in rows] == [1]


def test_tampered_numbers_do_not_end_the_report(tmp_path: Path, record) -> None:
    """Latencies that are none are left out."""
    path = write(tmp_path / "usage.db", [record(seq, duration_ms=float(seq)) for seq in range(1, 5)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE calls SET duration_ms = 'long,-' WHERE seq = 1")
        connection.execute("UPDATE calls SET duration_ms = 9e999, input_tokens = 'many', cost_usd = 'x' WHERE seq = 2")
    (row,) = usage(path)
    assert (row.calls, row.duration_ms_p50, row.duration_ms_p99, row.input_tokens) == (4, 3.0, 4.0, 0)


def test_a_ledger_with_holes_is_read_piece_by_piece(tmp_path: Path, record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention takes rows away, and a row may have any number: no piece is asked for where there is nothing."""
    monkeypatch.setattr(source, "_BLOCK", 3)
    path = write(tmp_path / "usage.db", [record(seq, input_tokens=1) for seq in range(20)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM calls WHERE rowid BETWEEN 5 AND 15")
        connection.execute("UPDATE calls SET rowid = 9223372036854775807 WHERE rowid = 20")
    done: list[float] = []
    (row,) = usage(path, progress=done.append)
    assert (row.calls, row.input_tokens) == (9, 9)
    assert len(done) <= 6
    assert sorted(done) == done
    assert done[-1] == 1


def test_threads_read_what_one_does(tmp_path: Path, record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces come in their order, gaps among them; what a thread cannot read ends the report."""
    gap = {"entrance": "ledger", "endpoint": "other", "outcome": "error", "losses": '[{"count": 5}]'}
    calls = [record(seq, asked_model=f"m{seq % 7}", cost_usd=seq / 7, duration_ms=float(seq)) for seq in range(200)]
    path = write(tmp_path / "usage.db", [*calls, *(record(seq, **gap) for seq in (200, 201))])
    by_one = usage(path)
    monkeypatch.setattr(source, "_BLOCK", 3)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3)
    threads: set[str] = set()
    rows = source.SqliteSource.rows

    def noting(self, *asked):
        threads.add(threading.current_thread().name)
        return rows(self, *asked)

    monkeypatch.setattr(source.SqliteSource, "rows", noting)
    done: list[float] = []
    by_three = usage(path, progress=done.append)
    assert (by_three, by_three.total, by_three.lost) == (by_one, by_one.total, by_one.lost)
    assert by_three.lost == 10
    assert done == sorted(done)
    assert any(name.startswith("ledger-read") for name in threads)

    def failing(self, sql, *asked):
        if "GROUP BY" in sql:
            raise LedgerError("the disk is gone")
        return rows(self, sql, *asked)

    monkeypatch.setattr(source.SqliteSource, "rows", failing)
    with pytest.raises(LedgerError, match="the disk is gone"):
        usage(path)


def test_dimensions_are_read() -> None:
    """Comma-separated, spaces and repetition forgiven; unknown ones are named beside the known."""
    assert dimensions("provider, model,,provider") == ("provider", "model")
    with pytest.raises(LedgerError, match="cannot be grouped by modle, x: there are provider, model, client"):
        dimensions("modle,client,x")


def test_only_known_names_reach_the_sql(tmp_path: Path, record) -> None:
    """A dimension is looked up, never spliced in."""
    path = write(tmp_path / "usage.db", [record(1)])
    with pytest.raises(LedgerError, match="cannot be grouped by"):
        usage(path, by=["1; DROP TABLE calls"])


def test_no_ledger_is_a_clear_error(tmp_path: Path) -> None:
    """Looking for one does not create one."""
    with pytest.raises(LedgerError, match=r"there is no ledger at .*: nothing has been recorded there yet"):
        usage(tmp_path / "usage.db")
    (tmp_path / "usage.db").touch()
    with pytest.raises(LedgerError, match="has no tables yet"):
        usage(tmp_path / "usage.db")
    (tmp_path / "usage.db").write_text("not a database" * 100)
    with pytest.raises(LedgerError, match="cannot be read"):
        usage(tmp_path / "usage.db")


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writable", ["nothing", "file"])
def test_a_ledger_where_nothing_can_be_written_is_read(tmp_path: Path, record, writable: str) -> None:
    """A reader of SQLite's journal mode has to write beside the file; where it may not, it reads what is there."""
    path = tmp_path / "shared" / "usage.db"
    write(path, [record(1)])
    path.chmod(0o666 if writable == "file" else 0o444)
    path.parent.chmod(0o555)
    assert as_nobody(path) == "1 call"


def test_a_journal_that_cannot_be_merged_is_told(tmp_path: Path, record) -> None:
    """Better no report than one without the last records."""
    path = tmp_path / "shared" / "usage.db"
    write(path, [record(1)])
    path.with_name("usage.db-wal").write_bytes(b"x" * 100)
    path.parent.chmod(0o555)
    assert "its last records are in usage.db-wal" in as_nobody(path)


def as_nobody(path: Path) -> str:
    """What `usage` says to a process that may not write there, which the superuser is not."""
    inward, outward = os.pipe()
    if (child := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                for parent in path.parents[:-2]:
                    os.chmod(parent, os.stat(parent).st_mode | 0o011)
                os.chmod(path, os.stat(path).st_mode | 0o044)
                os.setuid(65534)
            try:
                said = f"{usage(path)[0].calls} call"
            except LedgerError as error:
                said = str(error)
            os.write(outward, said.encode())
        finally:
            os._exit(0)
    os.close(outward)
    os.waitpid(child, 0)
    with os.fdopen(inward) as told:
        return told.read()


def test_an_empty_ledger_prints_a_friendly_line(tmp_path: Path) -> None:
    """No table of nothing."""
    rows = usage(write(tmp_path / "usage.db", []))
    assert shown(rows).startswith("No calls recorded yet")
    assert json.loads(to_json(rows)) == {"by": ["provider", "model"], "rows": [], "total": None, "lost": 0}
    assert to_csv(rows).startswith("provider,model,calls,ok,error,refused,limited,aborted,truncated,input_tokens,")
    assert len(to_csv(rows).splitlines()) == 1
    assert "3 more calls could not be recorded" in shown(Usage(lost=3))


def test_the_table_shows_what_there_is(tmp_path: Path, record) -> None:
    """Counts with thin separators, outcomes, cache share, cost, medians, a bar, totals and footnotes."""
    path = write(
        tmp_path / "usage.db",
        [
            record(
                1,
                provider="claude",
                sent_model="claude-sonnet-4-5",
                input_tokens=1_000_000,
                cache_read_tokens=250_000,
                output_tokens=234_567,
                usage_source="provider",
                cost_usd=12.345,
                ttft_ms=420.0,
                duration_ms=61_000.0,
            ),
            record(2, provider="openai", asked_model="gpt-4o", output_tokens=1000, usage_source="estimated"),
            record(3, provider="openai", asked_model="gpt-4o", outcome="limited", status=429),
            record(4, provider="openai", asked_model="gpt-4o", outcome="error"),
        ],
    )
    text = shown(usage(path))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    header, _, claude, openai, total, *notes = lines
    assert header.split("  ")[0].strip() == "provider"
    for title in ("calls", "errors", "refused", "input", "cached", "output", "cost", "ttft", "time", "share"):
        assert title in header
    for cell in (
        "claude-sonnet-4-5",
        "1\u202f000\u202f000",
        "25%",
        "234\u202f567",
        "$12.35",
        "420 ms",
        "1 min 01 s",
        "█" * 10,
    ):
        assert cell in claude
    assert "~1\u202f000" in openai
    assert [cell.strip() for cell in openai.split("  ") if cell.strip()][2:5] == ["3", "33%", "33%"]
    assert "not ok: 1 error, 1 limited" in notes
    assert "█" not in openai
    assert "~235\u202f567" in total
    assert "1 of 4 calls the provider told no usage" in "\n".join(notes)
    assert "1 of 4 calls were answered without usage" in "\n".join(notes)
    assert "1 of 4 calls have no known price: the cost is a lower bound" in notes


def test_columns_without_news_are_left_out(tmp_path: Path, record) -> None:
    """No errors, no cache, no prices, no times, one group: none of those columns."""
    header = shown(usage(write(tmp_path / "usage.db", [record(1, input_tokens=3)]))).splitlines()[1]
    assert [word for word in ("errors", "refused", "cached", "cost", "ttft", "time", "share") if word in header] == []


def test_a_narrow_terminal_keeps_what_is_needed(tmp_path: Path, record) -> None:
    """The bar goes first; the counts stay, each in one piece."""
    facts = {"input_tokens": 1_000_000, "cache_read_tokens": 5, "ttft_ms": 1.0, "duration_ms": 2.0, "cost_usd": 1.0}
    rows = usage(write(tmp_path / "usage.db", [record(1, provider=name, **facts) for name in ("openai", "claude")]))
    wide, less, narrow = (shown(rows, width) for width in (120, 80, 54))
    assert "share" in wide.splitlines()[1]
    assert "share" not in less.splitlines()[1]
    assert "time" in less.splitlines()[1]
    header = narrow.splitlines()[1]
    assert [word for word in ("calls", "input", "output", "cost") if word in header] == header.split()[2:]
    for text in (wide, less, narrow):
        assert "1\u202f000\u202f000" in text
        assert "2\u202f000\u202f000" in text
    assert max(map(len, less.splitlines())) <= 80


@pytest.mark.parametrize("width", [40, 50, 60])
def test_a_very_narrow_terminal_stays_readable(tmp_path: Path, record, width: int) -> None:
    """A row a group: names are cut, but not beyond recognition, and numbers never."""
    facts = {"input_tokens": 1_000_000, "output_tokens": 1_000_000, "cost_usd": 1.0, "duration_ms": 2.0}
    models = ("claude-sonnet-4-5-20250929", "gpt-4o")
    calls = [record(seq, provider="anthropic-eu", asked_model=name, **facts) for seq, name in enumerate(models)]
    text = shown(usage(write(tmp_path / "usage.db", calls)), width)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    header, _, *rows, total = lines[:5]
    assert max(map(len, lines)) <= width
    assert header.startswith((" provi", "provi"))
    assert header.split()[-3 if "cost" in header else -2 :][:2] == ["input", "output"]
    for row in rows:
        assert row.count("1\u202f000\u202f000") == 2
    assert sum("claude" in row for row in rows) == sum("gpt-4o" in row for row in rows) == 1
    assert total.count("2\u202f000\u202f000") == 2


def test_one_long_name_does_not_take_all_room(tmp_path: Path, record) -> None:
    """It is cut; the columns stay."""
    facts = {"input_tokens": 1_000, "cache_read_tokens": 10, "cost_usd": 1.0, "duration_ms": 2.0}
    names = ("x" * 2048, "gpt-4o")
    rows = usage(
        write(tmp_path / "usage.db", [record(seq, asked_model=name, **facts) for seq, name in enumerate(names)])
    )
    header, _, *lines = [line for line in shown(rows, 120).splitlines() if line.strip()]
    assert [word for word in ("calls", "input", "cached", "output", "cost", "time") if word not in header] == []
    assert any("xxx…" in line for line in lines)


def test_all_calls_together_are_one_row(tmp_path: Path, record) -> None:
    """Which is not told again as the total."""
    text = shown(usage(write(tmp_path / "usage.db", [record(1, input_tokens=1234), record(2)]), by=()))
    assert text.count("1\u202f234") == 1


def test_names_cannot_steer_the_terminal(tmp_path: Path, record) -> None:
    """A model name is the client's: neither escapes nor rich's markup nor reversed text work."""
    name = "\x1b]0;owned\x07[bold red]gpt\u202e[/]\r\n"
    text = shown(usage(write(tmp_path / "usage.db", [record(1, asked_model=name)])))
    assert not {"\x1b", "\u202e", "\r", "\x07"} & set(text)
    assert "\\x1b]0;owned\\x07[bold red]gpt\\u202e[/]\\r\\n" in text
    assert printable("gpt-4o ü 模型") == "gpt-4o ü 模型"


def test_our_own_address_is_no_provider(tmp_path: Path, record) -> None:
    """What the gateway refuses, or answers itself, went to nobody; what was intercepted went to its host."""
    calls = [record(1, entrance="gateway", host="127.0.0.1"), record(2, entrance="intercept", host="api.x.test")]
    rows = usage(write(tmp_path / "usage.db", calls), by=["provider"])
    assert {row.key["provider"] for row in rows} == {"", "api.x.test"}


def test_names_cannot_start_a_formula(tmp_path: Path, record) -> None:
    """A spreadsheet shows them as text."""
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", 'plain,with "both"\n']
    path = write(tmp_path / "usage.db", [record(seq, asked_model=name) for seq, name in enumerate(names)])
    found = {line["model"] for line in csv.DictReader(io.StringIO(to_csv(usage(path)), newline=""))}
    assert found == {f"'{name}" for name in names[:4]} | {names[4]}


def test_json_and_csv_hold_every_number(tmp_path: Path, record) -> None:
    """All of a row, with the key's dimensions and the outcomes as fields of their own."""
    facts = {"provider": "p", "client": "c", "input_tokens": 5, "cost_usd": 0.5, "ttft_ms": 2.0, "outcome": "aborted"}
    rows = usage(write(tmp_path / "usage.db", [record(1, **facts)]), by=["client", "provider"])
    (document,) = json.loads(to_json(rows))["rows"]
    (line,) = csv.DictReader(io.StringIO(to_csv(rows)))
    assert document["client"] == line["client"] == "c"
    assert document["outcomes"]["aborted"] == int(line["aborted"]) == 1
    for name, value in document.items():
        if name not in ("outcomes", "client", "provider"):
            assert line[name] == ("" if value is None else str(value))
    assert {"calls", "cost_usd", "ttft_ms_p95", "duration_ms_p50", "reasoning_tokens", "unpriced"} < set(document)


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (human_count, 0, "0"),
        (human_count, 999, "999"),
        (human_count, 1234567, "1\u202f234\u202f567"),
        (human_time, None, "–"),
        (human_time, 0.2, "0 ms"),
        (human_time, 999.4, "999 ms"),
        (human_time, 999.6, "1.0 s"),
        (human_time, 59_949.0, "59.9 s"),
        (human_time, 59_950.0, "1 min 00 s"),
        (human_time, 3_725_000.0, "62 min 05 s"),
        (human_cost, None, "–"),
        (human_cost, 0.0, "$0.00"),
        (human_cost, 0.00001, "<$0.0001"),
        (human_cost, 0.0123, "$0.0123"),
        (human_cost, 1234.5, "$1,234.50"),
    ],
)
def test_numbers_are_written_for_people(function, value: float | None, text: str) -> None:
    """Counts, times and costs at their edges."""
    assert function(value) == text
