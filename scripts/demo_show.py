"""The demo: starts the simulated provider, runs the app under `interpose run`, and shows what became of its calls.

Everything happens on 127.0.0.1 and in a temporary folder. Exits with 1 if anything did not go as it says.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from demo_provider import ANSWER, CHAT_MODEL, EMBEDDING_MODEL, Seen, SimulatedProvider
from rich import box
from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

HERE = Path(__file__).resolve().parent
APP = HERE / "demo_app.py"
DUMMY_KEY = "sk-dummy"
KEY_VARIABLE = "DEMO_KEY"

RULES = """\
version: 1
providers:
  simulated:
    format: openai
    base_url: https://127.0.0.1:{port}/v1
    credential: {{env: {variable}}}  # the real key never enters the app
    tls: {{ca: provider-ca.pem}}
intercept:
  hosts: [api.openai.com]
  placeholders: [{dummy}]
routes:
  - name: small-is-enough
    match: {{endpoint: chat, model: "gpt-4*"}}
    to: {{provider: simulated, model: {model}}}
  - name: the-rest
    match: {{host: api.openai.com}}
    to: {{provider: simulated}}
prices:  # known models at known providers need none
  {model}: {{input: 2.5, output: 10}}
  {embeddings}: {{input: 0.1, output: 0}}
ledger: {{capture: bodies}}  # what was said, too
"""

out = Console(
    highlight=False,
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120,
    color_system=None if os.environ.get("NO_COLOR") else "auto",
)


def heading(text: str) -> None:
    out.print()
    out.print(Rule(Text(text, style="bold cyan"), align="left", style="cyan"))


def code(text: str, language: str) -> None:
    if out.is_terminal and out.color_system is not None:
        out.print(
            Syntax(
                text.rstrip(), language, theme="ansi_dark", background_color="default", padding=(0, 2), word_wrap=True
            )
        )
    else:
        out.print("\n".join(f"  {line}".rstrip() for line in text.rstrip().splitlines()), markup=False, soft_wrap=True)


def environment(key: str) -> dict[str, str]:
    """The shell's environment without anything that would make the app less ordinary than it looks."""
    foreign = ("OPENAI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, KEY_VARIABLE: key}


async def run_app(rules: Path, state: Path, key: str) -> int:
    # The ledger goes when the demo ends: no hint where to look at it later.
    command = [sys.executable, "-m", "interpose", "run", "--no-hint", "--rules", str(rules), "--state", str(state)]
    app = [Path(sys.executable).name, APP.name]
    sys.stdout.flush()
    process = await asyncio.create_subprocess_exec(*command, "--", *app, env=environment(key), cwd=APP.parent)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def command(state: Path, *arguments: str) -> str:
    """What `interpose` prints, whatever its exit status says."""
    environ = {**os.environ, "COLUMNS": str(out.width), "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interpose", *arguments, "--state", str(state), env=environ,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    return said.decode()


@dataclass(frozen=True, slots=True)
class Audit:
    """The chains as they were written, and after somebody has changed one number; what was said in the chat."""

    sound: str
    altered: str
    said: str

    @property
    def holds(self) -> bool:
        return self.sound.endswith(": sound") and "changed" in self.altered and ANSWER in self.said


async def audit(state: Path) -> Audit:
    verify = ("usage", "verify", "--ledger", str(state / "usage.db"))
    sound, page = await asyncio.gather(
        command(state, *verify), command(state, "export", "--run", "last", "--format", "md", "--output", "-")
    )
    with closing(sqlite3.connect(state / "usage.db")) as connection, connection:
        connection.execute("UPDATE calls SET output_tokens = 6 WHERE endpoint = 'chat'")
    problems = [line for line in (await command(state, *verify)).splitlines() if line.startswith("writer ")]
    conversations = page.split("\n## ")
    said = next((each for each in conversations if ANSWER in each), "")
    last = sound.rstrip().rpartition("\n")[2].rpartition("usage.db: ")[2]
    return Audit(f"as it was written: {last}", f"one number changed by hand: {problems[0] if problems else '–'}", said)


def show_audit(found: Audit) -> None:
    out.print(Text(found.sound, style="bold green"))
    out.print(Text(found.altered, style="bold red"))
    heading("What was said: one HTML page by interpose export, or Markdown as here")
    code(found.said, "markdown")


def ledger_rows(path: Path) -> list[sqlite3.Row]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute("SELECT * FROM calls ORDER BY started_at").fetchall()
    finally:
        connection.close()


def show_exchange(rows: list[sqlite3.Row]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("", "the app asked", "interpose sent"):
        table.add_column(title, style="dim" if not title else None, overflow="fold")
    for row in rows:
        table.add_row("call", f"https://{row['host']}{row['path']}", f"to provider [bold]{row['provider']}[/]")
        table.add_row("model", str(row["asked_model"]), Text(str(row["sent_model"] or row["asked_model"]), "bold"))
        table.add_row("key", f"{DUMMY_KEY} (worth nothing)", Text(f"{row['credential']} (by name)", "bold green"))
        table.add_section()
    out.print(table)


# Column of the ledger, title in the demo, and whether it is shown where there is little room.
LEDGER_COLUMNS = (
    ("endpoint", "endpoint", True),
    ("route", "route", False),
    ("sent_model", "model", True),
    ("credential", "credential", True),
    ("outcome", "outcome", True),
    ("input_tokens", "in", True),
    ("output_tokens", "out", True),
    ("ttft_ms", "ttft ms", True),
    ("hash", "hash", False),
)


def show_ledger(rows: list[sqlite3.Row]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    columns = [(name, title) for name, title, narrow in LEDGER_COLUMNS if narrow or out.width >= 100]
    for _, title in columns:
        table.add_column(title, justify="right" if title in ("in", "out", "ttft ms") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(row[name]) for name, _ in columns))
    out.print(table)


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}"
    text = "–" if value is None else str(value)
    return text if len(text) < 64 else f"{text[:8]}…"  # a hash


def faults(status: int, seen: list[Seen], rows: list[sqlite3.Row], found: Audit | None) -> list[str]:
    """What did not go as the demo claims."""
    claims = {
        f"the app exited with {status}": status == 0,
        f"the provider saw {len(seen)} calls instead of 2": len(seen) == 2,
        "the provider was sent a wrong key": all(call.accepted for call in seen),
        "the app's dummy key reached the provider": not any(DUMMY_KEY in call.authorization for call in seen),
        "the wrong models were asked for": [call.model for call in seen] == [CHAT_MODEL, EMBEDDING_MODEL],
        f"the ledger has {len(rows)} records instead of 2": len(rows) == 2,
        "the ledger holds a call that is not ok": all(row["outcome"] == "ok" for row in rows),
        "the ledger's chain, its break or the answer cannot be shown": found is not None and found.holds,
        "the provider's usage is not in the ledger": all(row["usage_source"] == "provider" for row in rows),
    }
    return [claim for claim, holds in claims.items() if not holds]


async def demo(folder: Path) -> int:
    key = f"sk-simulated-{secrets.token_hex(8)}"
    async with SimulatedProvider(key, folder) as provider:
        rules, state = folder / "rules.yaml", folder / "state"
        rules.write_text(
            RULES.format(
                port=provider.port, variable=KEY_VARIABLE, dummy=DUMMY_KEY, model=CHAT_MODEL, embeddings=EMBEDDING_MODEL
            ),
            "utf-8",
        )
        out.print(Text("interpose, end to end: no key, no network", style="bold"))
        out.print(Text("The provider is a simulation on 127.0.0.1; everything else is the real thing.", style="dim"))
        heading("An ordinary app: the official SDK, api.openai.com, a dummy key")
        code(APP.read_text("utf-8").partition("\n\n")[2], "python")
        heading("Your rules: where its calls go, and with which key")
        code(rules.read_text("utf-8"), "yaml")
        heading("$ interpose run --rules rules.yaml -- python demo_app.py")
        status = await run_app(rules, state, key)
        ledger = state / "usage.db"
        rows = ledger_rows(ledger) if ledger.exists() else []
        found = await audit(state) if rows else None
        if wrong := faults(status, provider.seen, rows, found):
            for line in wrong:
                out.print(Text(f"demo failed: {line}", style="bold red"))
            return 1
    heading("What the app asked, and what was sent")
    show_exchange(rows)
    heading("The ledger: one record a call, hash-chained")
    show_ledger(rows)
    if found is not None:
        show_audit(found)
    out.print()
    out.print(Text("Now your own app, as it is (audit only: recorded, nothing changed):", style="bold"))
    out.print(Text("  scripts/run run -- python app.py", style="bold green"))
    return 0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="interpose-demo-") as folder:
        try:
            return asyncio.run(demo(Path(folder)))
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    raise SystemExit(main())
