"""Tries the runtimes of this machine against a proxy of our own, and shows what came of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from interpose.cli.environment import PROXY_VARIABLES, ChildEnvironment
from interpose.cli.leading import leading_environment
from interpose.cli.terminal import console, refuse
from interpose.errors import InterposeError
from interpose.rules.compiled import Rules
from interpose.rules.load import parse
from interpose.state import make_state_folder, state_path

from . import report
from .probes import PATIENCE, PROBES, Probe
from .verdicts import Finding, Outcome, Seen, Verdict, caught, judge

# Never resolves, by https://www.rfc-editor.org/rfc/rfc6761#section-6.4: a call that goes past us leads nowhere.
DOMAIN = "interpose-doctor.invalid"
# Answered by the engine itself, and recorded beside the probes: the ledger is for real calls.
LEDGER = "doctor.db"
RULES = f"""\
version: 1
intercept: {{hosts: ["*.{DOMAIN}"], unmatched: reject}}
ledger: {{to: "sqlite:{LEDGER}"}}
"""
FORMATS = ("table", "json")

Work = Coroutine[None, None, Outcome]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One program to be run once: in which environment, asking which host."""

    probe: Probe
    executable: str
    host: str
    environ: Mapping[str, str]


def doctor(names: Sequence[str], *, format_: str, state: Path | None) -> int:
    """Tries the runtimes (all of PROBES, or those of `names`), prints what came of it, returns the exit status: 0 if
    the calls of all that are installed are caught under `interpose run`, else 1.

    Raises InterposeError if the proxy cannot be started.
    """
    if format_ not in FORMATS:
        refuse(f"--format {format_} is not known: there are {', '.join(FORMATS)}")
    if sys.stdout is None:
        raise InterposeError("cannot write the report: stdout is closed")
    probes = _chosen(names)
    environ = dict(os.environ)
    found = [(probe, path) for probe in probes if (path := _find(probe, environ))]
    if not found:
        refuse(f"none of these is installed here: {', '.join(dict.fromkeys(probe.runtime for probe in probes))}")
    folder = make_state_folder(state_path(state, environ))
    findings, notes = asyncio.run(_examine(found, folder, environ))
    if format_ == "json":
        print(report.to_json(findings))
    else:
        console(sys.stdout).print(report.render(findings, notes))
    sys.stdout.flush()
    return 0 if caught(findings) else 1


def _chosen(names: Sequence[str]) -> list[Probe]:
    if not names:
        return list(PROBES)
    runtimes = {probe.runtime.lower() for probe in PROBES}
    if unknown := [name for name in names if name.lower() not in runtimes]:
        refuse(f"doctor: {', '.join(unknown)} is no runtime here; there are {', '.join(sorted(runtimes))}")
    wanted = {name.lower() for name in names}
    return [probe for probe in PROBES if probe.runtime.lower() in wanted]


def _find(probe: Probe, environ: Mapping[str, str]) -> str | None:
    return next((path for name in probe.names if (path := shutil.which(name, path=environ.get("PATH")))), None)


async def _examine(
    found: Sequence[tuple[Probe, str]], state: Path, environ: dict[str, str]
) -> tuple[list[Finding], list[str]]:
    """Runs every probe twice: as under `interpose run`, and with the proxy variables alone."""
    # The import takes a second, and a mistake should be told before it.
    from interpose.hosts.mitm import Interceptor

    with tempfile.TemporaryDirectory(prefix="interpose-doctor-") as name:
        scratch = Path(name)
        rules = parse(RULES, "doctor", scratch)
        async with Interceptor(rules, state=state, environ=environ) as interceptor:
            host, port = interceptor.address
            url = f"http://{host}:{port}"
            under_run = leading_environment(Rules.default(), environ, proxy=url, authority=interceptor.ca_certificate)
            alone = {**environ, **dict.fromkeys(PROXY_VARIABLES, url)}
            trials = [
                _Trial(probe, path, f"{kind}-{place}.{DOMAIN}", values)
                for place, (probe, path) in enumerate(found)
                for kind, values in (("run", under_run.values), ("alone", alone))
            ]
            outcomes, versions = await _try_all(trials, found, scratch)
        seen = _seen(scratch / LEDGER)
    findings = []
    for place, (probe, _) in enumerate(found):
        (first, second), version = outcomes[2 * place : 2 * place + 2], versions[place]
        under = judge(probe, first, seen.get(trials[2 * place].host, Seen()))
        itself = judge(probe, second, seen.get(trials[2 * place + 1].host, Seen()))
        if under is not Verdict.ABSENT:
            findings.append(Finding(probe, version, under, itself, first.complaint))
    return findings, _notes(under_run, environ)


async def _try_all(
    trials: Sequence[_Trial], found: Sequence[tuple[Probe, str]], scratch: Path
) -> tuple[list[Outcome], list[str]]:
    """The trials, as many at a time as there are processors, under a progress bar where a person looks on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    turns = asyncio.Semaphore(max(2, os.cpu_count() or 1))
    with Progress(
        TextColumn("trying the runtimes found here"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=console(sys.stderr),
        transient=True,
        disable=sys.stderr is None or not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("", total=len(trials) + len(found))

        async def one(what: str, place: int, work: Callable[[Path], Work]) -> Outcome:
            async with turns:
                progress.update(task, description=what)
                folder = scratch / f"{place}"
                folder.mkdir()
                outcome = await work(folder)
                progress.advance(task)
                return outcome

        tries = [one(trial.probe.runtime, place, _trying(trial)) for place, trial in enumerate(trials)]
        asks = [
            one(probe.runtime, len(trials) + place, _asking(probe, path)) for place, (probe, path) in enumerate(found)
        ]
        outcomes = await asyncio.gather(*tries, *asks)
    return outcomes[: len(trials)], [_version(outcome) for outcome in outcomes[len(trials) :]]


def _trying(trial: _Trial) -> Callable[[Path], Work]:
    def work(folder: Path) -> Work:
        probe = trial.probe
        places = {"{url}": f"https://{trial.host}/v1/models", "{folder}": str(folder)}
        if probe.file is not None:
            name, text = probe.file
            (folder / name).write_text(text)
            places["{file}"] = str(folder / name)
        arguments = [_filled(argument, places) for argument in probe.arguments]
        return _run([trial.executable, *arguments], {**trial.environ, **probe.environ}, folder)

    return work


def _filled(argument: str, places: Mapping[str, str]) -> str:
    for name, value in places.items():
        argument = argument.replace(name, value)
    return argument


def _asking(probe: Probe, path: str) -> Callable[[Path], Work]:
    return lambda folder: _run([path, *probe.version], dict(os.environ), folder)


async def _run(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Outcome:
    """Runs a program to its end, or to ours of patience."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return Outcome(126, "", f"{command[0]}: {error.strerror or error}")
    try:
        async with asyncio.timeout(PATIENCE):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return Outcome(None, "", "")
    return Outcome(process.returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))


def _version(outcome: Outcome) -> str:
    """The first number with a dot in what `--version` prints: 3.13.0 of `Python 3.13.0`."""
    words = (outcome.stdout or outcome.stderr).replace('"', " ").split()
    for word in words:
        number = word.lstrip("vgo")
        if number[:1].isdecimal() and "." in number:
            return number
    return ""


def _seen(ledger: Path) -> dict[str, Seen]:
    """What came of each host, by the proxy's own records."""
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
        calls = {host for (host,) in connection.execute("SELECT DISTINCT host FROM calls")}
        rows = connection.execute("SELECT host, max(outcome = 'tls_refused') FROM connections GROUP BY host")
        return {host: Seen(connected=True, called=host in calls, refused=bool(refused)) for host, refused in rows}


def _notes(under_run: ChildEnvironment, environ: Mapping[str, str]) -> list[str]:
    notes = list(under_run.notes)
    named = [name for name in PROXY_VARIABLES if environ.get(name)]
    if named:
        notes.append(f"{', '.join(named)}: set here already; `interpose run` puts its own proxy in their place")
    return notes
