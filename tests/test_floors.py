"""The architecture as a test: imports only go down the floors, and mitmproxy is imported under hosts/mitm alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import interpose

ROOT = Path(interpose.__file__).parent
FLOORS = {
    "": 7,  # interpose/__init__.py: the version, and names of the roof that are fetched when they are asked for
    "wire": 0,
    "call": 1,
    "ir": 1,
    "errors": 1,
    "secret": 1,
    "state": 1,
    "formats": 2,
    "limits": 3,
    "masking": 3,
    "pages": 2,
    "transcripts": 3,
    "prices": 2,
    "attempts": 3,
    "recordings": 5,
    "replays": 5,
    "rules": 3,
    "stages": 4,
    "alerts": 5,
    "capturing": 5,
    "engine": 5,
    "gateway": 5,
    "metrics": 5,
    "telemetry": 5,
    "issued": 5,
    "shared": 5,
    "upstream": 5,
    "ledger": 5,
    "exports": 5,
    "reports": 6,
    "live": 5,
    "hosts": 6,
    "cli": 7,
    "embedded": 7,
    "intercept": 7,
    "intercept_sync": 7,
    "pytest_plugin": 7,
    "__main__": 7,
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    """The floor-plan name of a file: its first path component below interpose/."""
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, also of those inside functions."""
    package = ("interpose", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            stem = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}"


def upward(path: Path) -> list[str]:
    """Every import of `path` that goes to a higher floor."""
    here = FLOORS[room(path)]
    found = []
    for line, name in imports(path):
        if name.partition(".")[0] != "interpose":
            continue
        target = name.split(".")[1] if "." in name else ""
        if target in FLOORS and FLOORS[target] > here:
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    """A module imports from its own floor and from those below."""
    assert room(path) in FLOORS, f"{path.relative_to(ROOT)} stands on no floor: give it one in FLOORS"
    assert not upward(path)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_mitmproxy_is_imported_under_hosts_mitm_alone(path: Path) -> None:
    """mitmproxy's names stay behind one door."""
    if path.is_relative_to(ROOT / "hosts" / "mitm"):
        return
    assert [name for _, name in imports(path) if name.partition(".")[0] in ("mitmproxy", "mitmproxy_rs")] == []


def test_the_floor_test_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that goes up is found, relative or absolute."""
    (tmp_path / "wire").mkdir()
    bad = tmp_path / "wire" / "bad.py"
    bad.write_text("from ..engine import Engine\ndef f():\n    import interpose.cli.run\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert upward(bad) == ["wire/bad.py:1 imports interpose.engine.Engine", "wire/bad.py:3 imports interpose.cli.run"]
