"""NODE_OPTIONS and JAVA_TOOL_OPTIONS: what Node and Java themselves read out of them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from interpose.cli import options
from interpose.cli.environment import OPTION_VARIABLES, SWITCHES, TRUST_VARIABLES, hides
from interpose.cli.options import Way, java_properties, java_tool_options, node_options

ODD = """a "quoted" 'folder' \\ of mine"""
OWN = '-Xmx64m -Dnote=\'a "b" c\' -Dhttp.proxyHost=corp "-Djavax.net.ssl.trustStore=/my store"'


def way(no_proxy: str = "", *claimed: str, truststore: str = "/state/ca/truststore.p12") -> Way:
    return Way(
        "http://127.0.0.1:4321",
        tuple(entry for entry in no_proxy.split(",") if entry),
        lambda entry: any(hides(entry, (host, 443)) for host in claimed),
        Path(truststore),
    )


def run(command: str, *arguments: str, **environ: str) -> str:
    path = shutil.which(command)
    assert path is not None, f"{command} is not on this machine: scripts/install"
    environ = {"PATH": os.environ["PATH"], **environ}
    done = subprocess.run([path, *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("own", ["", "--no-warnings", '--title "my own"', "--title=one --no-warnings"])
def test_node_loads_the_preload_from_any_folder(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks, quotes and backslashes in the path, and options of the user's own, are Node's to read."""
    (tmp_path / ODD).mkdir()
    preload = tmp_path / ODD / "node.cjs"
    preload.write_text("globalThis.loaded = (globalThis.loaded ?? 0) + 1\n")
    monkeypatch.setattr(options, "NODE_PRELOAD", preload)
    made = node_options(own, way())
    assert made.startswith(own)
    assert run("node", "-p", "globalThis.loaded", NODE_OPTIONS=made) == "1"
    assert node_options(made, way()) == made


def java(made: str, tmp_path: Path, *names: str) -> list[str]:
    """System properties, as a real JVM has them."""
    program = tmp_path / "Show.java"
    program.write_text(
        "public class Show { public static void main(String[] names) {"
        ' for (String name : names) System.out.println(name + "=" + System.getProperty(name)); } }'
    )
    return run("java", str(program), *names, JAVA_TOOL_OPTIONS=made).splitlines()


def test_java_reads_ours_and_keeps_the_users_own(tmp_path: Path) -> None:
    """What the user has of our properties makes room; all else stays, quotes and all, and a path may be odd."""
    made = java_tool_options(OWN, way(truststore=f"/{ODD}/store.p12"))
    assert java(made, tmp_path, "note", "https.proxyHost", "http.proxyPort", "javax.net.ssl.trustStore") == [
        'note=a "b" c',
        "https.proxyHost=127.0.0.1",
        "http.proxyPort=4321",
        f"javax.net.ssl.trustStore=/{ODD}/store.p12",
    ]
    assert "corp" not in made
    assert "/my store" not in made


def test_java_options_stand_once_when_runs_are_nested() -> None:
    """The inner run takes the place of the outer one."""
    outer = java_tool_options("-Xmx64m", way())
    assert java_tool_options(outer, way()) == outer
    assert java_tool_options(outer, way(truststore="/other.p12")).count("trustStore=") == 1


def test_java_properties_are_read_as_the_jvm_reads_them(tmp_path: Path) -> None:
    """Quotes of either kind begin and end anywhere in a word."""
    own = """-Da.b='x y'z -Dc="p'q"  -De= -Xmx64m\t-Df='1'"2" -Dg"""
    found = java_properties(own)
    assert found == {"a.b": "x yz", "c": "p'q", "e": "", "f": "12", "g": ""}
    assert java(own, tmp_path, *found) == [f"{name}={value}" for name, value in found.items()]


@pytest.mark.parametrize("own", ["'", '"', "-Da='b", "a\"b'c", "\\", "-D", "-D=", "=-D"])
def test_no_options_of_java_are_too_odd(own: str) -> None:
    """The JVM will refuse what it cannot read, and say so: we do not fall over it."""
    assert "-Dhttps.proxyHost=127.0.0.1" in java_tool_options(own, way())


@pytest.mark.parametrize(
    ("no_proxy", "own", "claimed", "direct"),
    [
        ("", "", ("api.openai.com",), ""),
        ("a.corp,.b.corp,*.c.corp", "", ("api.openai.com",), "a.corp|*.a.corp|*.b.corp|*.c.corp"),
        ("10.0.0.0/8,a.corp:8080,[::1]", "", ("api.openai.com",), ""),
        ("", "-Dhttp.nonProxyHosts='*.corp|*.openai.com'", ("api.openai.com",), "*.corp"),
        ("a.corp", "-Dhttp.nonProxyHosts=b.corp", ("localhost",), ""),
    ],
)
def test_java_hosts_that_stay_direct(no_proxy: str, own: str, claimed: tuple[str, ...], direct: str) -> None:
    """In Java's syntax; none at all where an AI is on this machine, whose hosts Java would add."""
    assert java_properties(java_tool_options(own, way(no_proxy, *claimed)))["http.nonProxyHosts"] == direct


def test_without_java_its_variable_is_left_alone() -> None:
    """Nobody is told of a JVM's options who has none."""
    assert java_tool_options("-Xmx1g", Way("http://127.0.0.1:1", (), lambda _: False)) == "-Xmx1g"


def test_every_variable_has_a_source() -> None:
    """What a runtime reads stands beside the documentation that says so, and each variable in one table once."""
    rows = (*TRUST_VARIABLES, *SWITCHES, *OPTION_VARIABLES)
    assert all(row.source.startswith("https://") for row in rows)
    assert len({row.name for row in rows}) == len(rows)


def test_every_variable_is_in_the_documentation() -> None:
    """Whoever looks into a program's environment finds there what a variable is for."""
    text = (Path(__file__).parents[2] / "docs" / "runtimes.md").read_text("utf-8")
    names = {row.name for row in (*TRUST_VARIABLES, *SWITCHES, *OPTION_VARIABLES)}
    assert not [name for name in sorted(names) if f"`{name}`" not in text]
