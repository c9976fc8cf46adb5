"""`interpose env`: what it prints is evaluated by real shells, and leads their programs to the proxy."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.cli.env import SHELLS, changes, own_shell

from .conftest import Command
from .test_run import lines_until

# No NUL in an environment, and no lone surrogates in a command line.
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def evaluated(shell: str, text: str, name: str, environ: dict[str, str]) -> str:
    """The value that a variable has in a real shell after `text`."""
    program = f'{text}\n{sys.executable} -c \'import os; print(repr(os.environ.get("{name}")), end="")\''
    done = subprocess.run([shell, "-c", program], env=environ, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@given(VALUES)
def test_any_value_survives_a_posix_shell(value: str) -> None:
    """Quotes, dollars, line breaks and all: the shell has exactly what we meant."""
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    assert evaluated("sh", SHELLS["sh"]("NAME", value), "NAME", environ) == repr(value)


@given(VALUES)
def test_any_value_is_one_word_to_fish_and_powershell(value: str) -> None:
    """Read back by the quoting rules of their manuals."""
    fish = SHELLS["fish"]("NAME", value).removeprefix("set -gx NAME '").removesuffix("'")
    assert fish.replace("\\'", "\0").replace("\\\\", "\1").count("'") == 0
    assert fish.replace("\\\\", "\0").replace("\\'", "'").replace("\0", "\\") == value
    powershell = SHELLS["powershell"]("NAME", value).removeprefix("$env:NAME = '").removesuffix("'")
    assert powershell.replace("''", "").count("'") == 0
    assert powershell.replace("''", "'") == value


def test_only_what_changes_is_printed() -> None:
    """A variable that is right already stays out of it; one that is in the way is taken away."""
    lines = changes({"SAME": "1", "OLD": "x", "GONE": "y"}, {"SAME": "1", "OLD": "z", "NEW": ""}, SHELLS["sh"])
    assert lines == ["unset GONE", "export NEW=''", "export OLD=z"]


@pytest.mark.parametrize(
    ("environ", "shell"),
    [
        ({"SHELL": "/usr/bin/fish"}, "fish"),
        ({"SHELL": "/bin/zsh"}, "sh"),
        ({}, "sh"),
        ({"PSModulePath": "C:\\Modules"}, "powershell"),
        ({"SHELL": "/bin/bash", "PSModulePath": "/opt"}, "sh"),
    ],
)
def test_the_shell_is_told_by_its_variables(environ: dict[str, str], shell: str) -> None:
    """Without --shell, the one that the person uses."""
    assert own_shell(environ) == shell


def test_a_shell_comes_to_a_running_proxy(interpose: Command) -> None:
    """What `run` says to type is typed into a shell, and curl's call there is answered by the proxy's own refusal."""
    rules = interpose.folder / "rules.yaml"
    rules.write_text("version: 1\nintercept: {hosts: [ai.invalid], unmatched: reject}\n")
    process = interpose.start("run", "--listen", "127.0.0.1:0", "--rules", str(rules))
    line = lines_until(process, "  eval ")[-1].strip()
    environ = {**interpose.environment, "SSL_CERT_DIR": "/nowhere", "NO_PROXY": "ai.invalid"}
    done = subprocess.run(
        ["sh", "-c", f"{line}\ncurl -sS https://ai.invalid/v1/models"],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "no_route" in done.stdout) == (0, True), done
    assert "NO_PROXY: left out ai.invalid" in done.stderr
    assert "nothing listens" not in done.stderr


def test_it_says_when_nothing_listens(interpose: Command) -> None:
    """The exports are printed all the same: a person may start it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = interpose("env", "--shell", "sh", "--proxy", f"127.0.0.1:{port}")
    assert done.returncode == 0
    assert f"export HTTPS_PROXY=http://127.0.0.1:{port}\n" in done.stdout
    assert f"nothing listens on 127.0.0.1:{port} yet" in done.stderr


def test_evaluating_it_twice_changes_nothing_more(interpose: Command) -> None:
    """Its own output is what it finds the second time: there is nothing left to print."""
    shell = shutil.which("sh")
    assert shell is not None
    command = " ".join(interpose.argv("env", "--shell", "sh"))
    again = subprocess.run(
        [shell, "-c", f'eval "$({command})"\n{command}'],
        env=interpose.environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert again.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--shell", "csh"), "--shell csh is not known: there are sh, fish, powershell"),
        (("--proxy", "https://127.0.0.1:1"), "--proxy 'https://127.0.0.1:1': expected the URL"),
        (("--proxy", "nonsense"), "--proxy 'nonsense': expected HOST:PORT"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_printed(interpose: Command, arguments: tuple[str, ...], told: str) -> None:
    """A shell that evaluates stdout must not get half of it."""
    done = interpose("env", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_key_of_the_rules_is_replaced_in_the_shell(interpose: Command, tmp_path: Path) -> None:
    """As under `run`: the shell's programs need no key that the rules inject."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "version: 1\nproviders: {openai: {format: openai, base_url: https://api.openai.com/v1, "
        "credential: {env: OPENAI_API_KEY}}}\nintercept: {placeholders: [sk-dummy]}\n"
    )
    interpose.environ["OPENAI_API_KEY"] = "sk-FAKE-real"
    done = interpose("env", "--shell", "sh", "--rules", str(rules))
    assert "export OPENAI_API_KEY=sk-dummy\n" in done.stdout
    assert "sk-FAKE-real" not in done.stdout + done.stderr
