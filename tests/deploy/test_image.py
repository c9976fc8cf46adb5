"""The Dockerfile: what it copies is there and builds, what it installs exists, what it starts is understood."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.manifests import DEPLOY, ROOT, instructions, understood

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def copied() -> list[str]:
    """What goes from the checkout into the image."""
    return [name for line in instructions("COPY") if not line.startswith("--from") for name in line.split()[:-1]]


def test_it_is_a_good_dockerfile() -> None:
    """By hadolint, which knows the language, and what is usually done wrong in it."""
    command = [str(Path(sys.executable).with_name("hadolint")), str(DEPLOY / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_all_that_the_wheel_is_made_of_is_copied(tmp_path: Path) -> None:
    """In a folder with nothing else, the project builds."""
    for name in copied():
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("interpose-*.whl"))) == 1


def test_nothing_that_is_copied_is_ignored() -> None:
    """The list beside the Dockerfile lets in just what is copied."""
    lines = [
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    assert lines[0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(name.rstrip("/") for name in copied())
    assert not any(fnmatch(name, line) for line in lines[1:] if not line.startswith("!") for name in copied())


def test_the_extras_that_are_installed_exist() -> None:
    """Those by default, and those that its comment offers; pip would only warn."""
    text = (DEPLOY / "Dockerfile").read_text()
    named = {extra for found in re.findall(r"EXTRAS=([\w,]+)", text) for extra in found.split(",")}
    assert named >= {"shared"}
    assert named <= PROJECT["optional-dependencies"].keys()


def test_it_runs_a_python_that_the_project_takes() -> None:
    """Both stages the same one: the environment is copied from one to the other."""
    images = {line.split()[0] for line in instructions("FROM")}
    assert images == {"python:3.13-slim"}
    assert PROJECT["requires-python"] == ">=3.13"


def test_it_serves_as_somebody_without_rights() -> None:
    """By default the gateway, on the port that it exposes and asks for its health, as a user by number."""
    assert json.loads(instructions("ENTRYPOINT")[-1]) == ["interpose"]
    # The CMD of HEALTHCHECK stands in its own instruction.
    command, options = understood(json.loads(instructions("CMD")[-1]))
    assert (command, options["listen"]) == ("serve", "0.0.0.0:8080")
    assert instructions("EXPOSE") == ["8080"]
    assert "http://127.0.0.1:8080/readyz" in instructions("HEALTHCHECK")[0]
    assert instructions("USER") == ["10001:10001"]
    assert "INTERPOSE_STATE=/var/lib/interpose" in instructions("ENV")[0]
    assert instructions("VOLUME") == ["/var/lib/interpose"]
