"""The findings for people, as a table with what to do below it, and for programs."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .verdicts import Finding, Verdict, advice

STYLES = {Verdict.WORKS: "green", Verdict.BROKEN: "yellow"}
FOR_SHELLS = (
    "The last column is a shell that has HTTPS_PROXY and nothing else. `interpose env` prints all that `interpose run` "
    "sets; `interpose ca show` says how this system trusts the CA for good."
)


def render(findings: Sequence[Finding], notes: Sequence[str]) -> RenderableType:
    """A table of all findings, advice on those whose calls are not caught, and `notes` on the surroundings."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("runtime", "client", "under interpose run", "by HTTPS_PROXY alone"):
        table.add_column(title)
    for finding in findings:
        table.add_row(
            f"{finding.probe.runtime} {finding.version}".rstrip(),
            finding.probe.client,
            *(Text(verdict, style=STYLES.get(verdict, "red")) for verdict in (finding.under_run, finding.by_itself)),
        )
    parts: list[RenderableType] = [table]
    asked = [(finding.probe, text) for finding in findings if (text := advice(finding)) is not None]
    if asked:
        parts += [Text("What to do:"), *(Text(f"  {each.runtime} ({each.client}): {text}") for each, text in asked)]
    if any(finding.by_itself is not Verdict.WORKS for finding in findings):
        parts.append(Text(FOR_SHELLS))
    return Group(*parts, *map(Text, notes))


def to_json(findings: Sequence[Finding]) -> str:
    return orjson.dumps([_facts(finding) for finding in findings], option=orjson.OPT_INDENT_2).decode()


def _facts(finding: Finding) -> dict[str, object]:
    return {
        "runtime": finding.probe.runtime,
        "version": finding.version,
        "client": finding.probe.client,
        "under_run": finding.under_run.name.lower(),
        "by_proxy_alone": finding.by_itself.name.lower(),
        "advice": advice(finding),
    }
