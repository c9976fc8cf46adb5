"""What SDKs of an environment of their own (.venv/clients) make of what a codec writes, asked line by line.

The scripts that answer are in tests/clients/python: `[kind, value]` in, what the SDK read out, or its error.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"


def read_by_sdk(script: str, asked: Iterable[tuple[str, Any]]) -> list[Any]:
    """An answer for each of `asked`. Raises AssertionError for what the SDK does not take."""
    lines = [json.dumps(pair) for pair in asked]
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "clients" / "python" / f"{script}.py"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines), done.stderr[-2000:]
    refused = [(answer["error"], line[:2000]) for answer, line in zip(answers, lines, strict=True) if "error" in answer]
    assert not refused, refused[0]
    return [answer["read"] for answer in answers]


def unread(written: Any, read: Any, path: str = "$") -> list[str]:
    """Where what was written is not in what the SDK read, which has its defaults beside."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [
            flaw
            for key, value in written.items()
            for flaw in (unread(value, read[key], f"{path}.{key}") if key in read else [f"{path}.{key}"])
        ]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = enumerate(zip(written, read, strict=True))
        return [flaw for place, (one, other) in pairs for flaw in unread(one, other, f"{path}[{place}]")]
    return [] if written == read else [f"{path}: {read!r}, not {written!r}"]
