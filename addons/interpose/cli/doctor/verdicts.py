"""What came of a probe, judged by what the proxy has seen of it, and what to do about it. Pure: no I/O, no process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .probes import ABSENT, PROBING, Probe


class Verdict(StrEnum):
    """How a program's call fared."""

    WORKS = "works"
    REFUSES = "refuses our certificate"
    IGNORES = "goes past the proxy"
    SILENT = "connects, but makes no call"
    BROKEN = "could not be tried"
    ABSENT = "is not installed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: its status (None: it was stopped for taking too long) and what it printed."""

    status: int | None
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The last thing that it complained of, in one line."""
        if self.status is None:
            return "it took too long"
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1][:200] if lines else f"it ended with status {self.status}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the proxy has seen at the host of one probe."""

    connected: bool = False
    called: bool = False
    refused: bool = False
    """Whether a TLS handshake ended because the client did not take our certificate."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One probe's verdicts: in the environment of `interpose run`, and with nothing but the proxy set."""

    probe: Probe
    version: str
    under_run: Verdict
    by_itself: Verdict
    complaint: str
    """What the program said where the first verdict is no good."""


def judge(probe: Probe, outcome: Outcome, seen: Seen) -> Verdict:
    """The verdict on one call."""
    if outcome.status == ABSENT and not seen.connected:
        return Verdict.ABSENT
    if seen.called:
        return Verdict.WORKS
    if seen.refused:
        return Verdict.REFUSES
    if seen.connected:
        return Verdict.SILENT
    if outcome.status is None or (probe.says and PROBING not in outcome.stdout):
        return Verdict.BROKEN
    return Verdict.IGNORES


def advice(finding: Finding) -> str | None:
    """What to do so that this program's calls are caught under `interpose run`; None where they are."""
    match finding.under_run:
        case Verdict.REFUSES:
            return finding.probe.refusing
        case Verdict.IGNORES:
            return finding.probe.ignoring
        case Verdict.SILENT | Verdict.BROKEN:
            return finding.complaint
        case _:
            return None


def caught(findings: Iterable[Finding]) -> bool:
    """Whether every program that could be tried comes here under `interpose run`."""
    return all(finding.under_run in (Verdict.WORKS, Verdict.BROKEN) for finding in findings)
