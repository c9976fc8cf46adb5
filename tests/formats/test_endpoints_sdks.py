"""Every path that the installed SDKs call is a known endpoint, or is left out by a stated reason.

The SDKs' sources are parsed, not run: each place where one names a method and a path, with its placeholders filled in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from interpose.formats.endpoints import classify
from interpose.formats.hosts import lookup

# Administration, and what hands out an account's secrets: a shared credential never reaches it by default.
LEFT_OUT = {
    "openai": (
        ("/organization/", "keys, users, roles, billing of the organisation"),
        ("/projects/", "roles within the organisation"),
        ("/fine_tuning/checkpoints/", "rights of other projects; takes an admin key"),
        ("/webhook_e", "where the account's events go, and their signing secret"),
        ("/safety/", "what the provider holds against users of the account"),
    ),
    "anthropic": (
        ("/v1/organizations/", "keys, users, roles, billing of the organisation"),
        ("/v1/compliance/", "what the provider holds against the organisation, and its answers"),
        ("/v1/tunnels", "ways into the customer's network, and their tokens"),
    ),
    "google": (("/{api_version}/webhooks", "where the account's events go, and their signing secret"),),
}
METHODS = {
    "_get": "GET",
    "_post": "POST",
    "_put": "PUT",
    "_patch": "PATCH",
    "_delete": "DELETE",
    "_get_api_list": "GET",
}


class Named(NamedTuple):
    """A call that an SDK makes."""

    method: str
    path: str


def trees(package: str, folder: str) -> Iterator[tuple[Path, ast.Module]]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    files = sorted((Path(spec.submodule_search_locations[0]) / folder).glob("**/*.py"))
    assert files
    for file in files:
        if "tests" not in file.parts:
            yield file, ast.parse(file.read_text("utf-8"))


def literal(node: ast.expr) -> str | None:
    """A path as it is written: alone, or as the template of a call."""
    if isinstance(node, ast.Call) and node.args:
        return literal(node.args[0])
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@cache
def resources(package: str) -> frozenset[Named]:
    """What the resources of openai and anthropic call."""
    found = set()
    for _, tree in trees(package, "resources"):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in METHODS
                and node.args
            ):
                said = [literal(keyword.value) for keyword in node.keywords if keyword.arg == "method"]
                path = literal(node.args[0])
                if path is not None and path.startswith("/"):
                    found.add(Named((said[0] if said and said[0] else METHODS[node.func.attr]).upper(), path))
    return frozenset(found)


def left_out(sdk: str, path: str) -> bool:
    return any(path.startswith(start) for start, _ in LEFT_OUT[sdk])


def known(host: str, method: str, path: str) -> bool:
    row = lookup(host, 443)
    assert row is not None
    return classify(row, method, re.sub(r"\{[^}]*\}", "x", path)).known


@pytest.mark.parametrize(
    ("package", "host", "base", "least"),
    [("openai", "api.openai.com", "/v1", 220), ("anthropic", "api.anthropic.com", "", 90)],
)
def test_paths_of_openai_and_anthropic(package: str, host: str, base: str, least: int) -> None:
    """Each is known or left out, and what is left out is unknown."""
    named = resources(package)
    assert sum(not left_out(package, call.path) for call in named) >= least
    for call in sorted(named):
        assert known(host, call.method, base + call.path) != left_out(package, call.path), call


@cache
def generated() -> frozenset[Named]:
    """What the generated half of google-genai calls: interactions, agents, environments, …"""
    found = set()
    for _, tree in trees("google.genai", "_gaos"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                said = {keyword.arg: literal(keyword.value) for keyword in node.keywords}
                method, path = said.get("method"), said.get("path")
                if method and path and path.startswith("/"):
                    found.add(Named(method, path))
    return frozenset(found)


@pytest.mark.parametrize(
    ("host", "version"),
    [
        ("generativelanguage.googleapis.com", "v1beta"),
        ("aiplatform.googleapis.com", "v1beta1/projects/p/locations/global"),
    ],
)
def test_paths_of_interactions(host: str, version: str) -> None:
    """Interactions and what belongs to them are known on Google AI and on Vertex, or left out."""
    assert len(generated()) >= 35
    for call in sorted(generated()):
        path = call.path.replace("{api_version}", version)
        assert known(host, call.method, path) != left_out("google", call.path), call


# What the placeholders of the other half stand for, by file: on Google AI, and on Vertex.
GOOGLE_AI = "generativelanguage.googleapis.com", "/v1beta/"
VERTEX = "us-central1-aiplatform.googleapis.com", "/v1beta1/projects/p/locations/us-central1/"
MODEL = (("models/m", "tunedModels/t"), ("publishers/google/models/m", "endpoints/1"))
RESOURCES: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("batches.py", "model"): (("models/m",), ()),
    ("caches.py", "name"): (("cachedContents/c",), ("cachedContents/c",)),
    ("documents.py", "name"): (("fileSearchStores/s/documents/d",), ()),
    ("documents.py", "parent"): (("fileSearchStores/s",), ()),
    ("file_search_stores.py", "name"): (("fileSearchStores/s",), ()),
    ("file_search_stores.py", "file_search_store_name"): (("fileSearchStores/s",), ()),
    ("models.py", "model"): MODEL,
    # One's own models: those of the publishers are only read.
    ("models.py", "name"): (("tunedModels/t",), ("models/1",)),
    ("models.py", "models_url"): (("models", "tunedModels"), ("publishers/google/models", "models")),
    ("operations.py", "operationName"): (("models/m/operations/o",), ("publishers/google/models/m/operations/o",)),
    ("operations.py", "resourceName"): ((), ("publishers/google/models/m",)),
    ("tunings.py", "name"): (("tunedModels/t",), ("tuningJobs/j",)),
    ("tunings.py", "parent"): ((), (".",)),
}


REQUESTS = ("request", "request_streamed")
UPLOAD = "upload/{api_version}/"


class Handwritten(NamedTuple):
    """A method of google-genai's classes: its paths, Vertex' first where it has two."""

    file: str
    name: str
    method: str
    paths: tuple[str, ...]


@cache
def handwritten() -> tuple[Handwritten, ...]:
    found = []
    for file, tree in trees("google.genai", ""):
        if "_gaos" in file.parts or file.name.startswith("_"):
            continue
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            paths, methods = [], set()
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Assign)
                    and isinstance(node.targets[0], ast.Name)
                    and node.targets[0].id == "path"
                ):
                    if (path := literal(node.value)) is not None:
                        paths.append((node.lineno, path))
                elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in REQUESTS and node.args:
                    methods.add(str(literal(node.args[0])).upper())
            if paths and methods:
                assert len(methods) == 1, function.name
                in_order = tuple(path for _, path in sorted(paths))
                found.append(Handwritten(file.name, function.name, methods.pop(), in_order))
    return tuple(found)


def filled(call: Handwritten, path: str, side: int, base: str) -> list[str]:
    """A path with its first placeholder replaced by each resource that it can name on that side."""
    if path.startswith(UPLOAD):
        base, path = f"/upload{base}", path.removeprefix(UPLOAD)
    first = re.match(r"\{(\w+)\}", path)
    if first is None:
        return [base + path]
    # A model alone is one's own, to be changed.
    named = "name" if path == "{model}" else first[1]
    return [base + resource + path[first.end() :] for resource in RESOURCES[call.file, named][side]]


def test_paths_of_google_genai() -> None:
    """Each method's path is known where that method works: on Google AI, on Vertex or on both."""
    assert len(handwritten()) >= 40
    judged = 0
    for call in handwritten():
        asked: list[tuple[str, str]] = []
        for index, path in enumerate(call.paths):
            for side, (host, base) in enumerate((GOOGLE_AI, VERTEX)):
                if len(call.paths) == 2 and side == index:
                    continue  # the first is Vertex', which is the second side
                asked += [(host, whole.replace("/./", "/")) for whole in filled(call, path, side, base)]
        answers = [(host, path) for host, path in asked if known(host, call.method, path)]
        judged += len(answers)
        if len(call.paths) == 2:
            assert answers == asked, call
        else:
            assert answers, (call, asked)
    assert judged >= 60
