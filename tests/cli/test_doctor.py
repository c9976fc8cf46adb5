"""`interpose doctor`: real programs, some led astray on purpose, and what is said of them."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from interpose.cli.doctor.probes import ABSENT, PROBES, PROBING
from interpose.cli.doctor.verdicts import Outcome, Seen, Verdict, judge

from .conftest import Command

PYTHON = next(probe for probe in PROBES if probe.runtime == "Python")
CURL = next(probe for probe in PROBES if probe.runtime == "curl")


def real(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"these tests need {name}"
    return found


def wrapper(folder: Path, name: str, line: str) -> None:
    """A command of that name that runs a shell line."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def examined(interpose: Command, *arguments: str, status: int) -> dict[str, dict[str, str]]:
    """What doctor reports as JSON, by runtime and client."""
    done = interpose("doctor", "--format", "json", *arguments)
    assert done.returncode == status, done
    return {f"{row['runtime']} {row['client']}": row for row in json.loads(done.stdout)}


def test_real_runtimes_are_tried_for_real(interpose: Command) -> None:
    """curl and Python come here under `run`, and do not trust the CA by themselves; their versions are told."""
    found = examined(interpose, "curl", "python", status=0)
    curl, urllib = found["curl curl"], found["Python urllib"]
    assert (curl["under_run"], curl["by_proxy_alone"], curl["advice"]) == ("works", "refuses", None)
    assert (urllib["under_run"], urllib["by_proxy_alone"]) == ("works", "refuses")
    assert curl["version"]
    assert urllib["version"].startswith("3.")


def test_who_goes_astray_is_named_with_what_to_do(interpose: Command, tmp_path: Path) -> None:
    """One program drops the proxy, one our CA, one does not run at all; the status says that not all is well."""
    folder = tmp_path / "bin"
    no_proxy = "env -u HTTPS_PROXY -u https_proxy -u HTTP_PROXY -u http_proxy"
    wrapper(folder, "curl", f'exec {no_proxy} {real("curl")} "$@"')
    wrapper(folder, "python3", f'exec env -u SSL_CERT_FILE {real("python3")} "$@"')
    wrapper(folder, "ruby", 'echo "ruby: no such luck" >&2; exit 3')
    interpose.environ["PATH"] = f"{folder}{os.pathsep}{os.defpath}"
    found = examined(interpose, "curl", "python", "ruby", status=1)
    assert (found["curl curl"]["under_run"], "curlrc" in found["curl curl"]["advice"]) == ("ignores", True)
    assert found["Python urllib"]["under_run"] == "refuses"
    assert (found["Ruby net/http"]["under_run"], found["Ruby net/http"]["advice"]) == ("broken", "ruby: no such luck")


def test_people_get_a_table(interpose: Command, tmp_path: Path) -> None:
    """With advice below it, and the same in the narrowest terminal."""
    wrapper(tmp_path / "bin", "curl", f'exec env -u CURL_CA_BUNDLE -u SSL_CERT_FILE {real("curl")} "$@"')
    interpose.environ |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}", "COLUMNS": "60"}
    done = interpose("doctor", "curl")
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    for words in ("runtime client", "refuses our certificate", "What to do:", "set CURL_CA_BUNDLE"):
        assert words in text


def test_the_ledger_is_for_real_calls(interpose: Command) -> None:
    """Probes are recorded nowhere that `usage` reports."""
    assert interpose("doctor", "curl").returncode == 0
    assert not (interpose.state / "usage.db").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("cobol",), "cobol is no runtime here; there are .net, bun, curl"),
        (("--format", "yaml"), "--format yaml is not known: there are table, json"),
    ],
)
def test_what_is_not_known_is_said(interpose: Command, arguments: tuple[str, ...], told: str) -> None:
    """With what there is instead."""
    done = interpose("doctor", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_machine_without_runtimes(interpose: Command, tmp_path: Path) -> None:
    """There is nothing to try, and that is said."""
    interpose.environ["PATH"] = str(tmp_path)
    done = interpose("doctor", "go")
    assert done.returncode == 2
    assert "none of these is installed here: Go" in done.stderr


SPOKE = Outcome(1, f"{PROBING}\n", "")


@pytest.mark.parametrize(
    ("probe", "outcome", "seen", "verdict"),
    [
        (PYTHON, SPOKE, Seen(connected=True, called=True), Verdict.WORKS),
        (PYTHON, SPOKE, Seen(connected=True, refused=True), Verdict.REFUSES),
        (PYTHON, SPOKE, Seen(connected=True), Verdict.SILENT),
        (PYTHON, SPOKE, Seen(), Verdict.IGNORES),
        (PYTHON, Outcome(1, "", "SyntaxError"), Seen(), Verdict.BROKEN),
        (PYTHON, Outcome(None, f"{PROBING}\n", ""), Seen(), Verdict.BROKEN),
        (PYTHON, Outcome(ABSENT, "", ""), Seen(), Verdict.ABSENT),
        (CURL, Outcome(6, "", "could not resolve"), Seen(), Verdict.IGNORES),
    ],
)
def test_the_proxy_is_the_judge(probe: object, outcome: Outcome, seen: Seen, verdict: Verdict) -> None:
    """What it has seen counts, not what the program says."""
    assert judge(probe, outcome, seen) is verdict  # type: ignore[arg-type]  # a Probe
