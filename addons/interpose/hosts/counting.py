"""The folder in which the workers of one gateway count together, for as long as it runs.

It lies in the state folder and is named by the process that serves; what another left behind that was killed is tidied
by whoever comes next.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interpose.errors import InterposeError

from .tenancy import gate, move_in, tenants

NAME = "metrics"


@contextmanager
def counting_folder(state: Path) -> Iterator[Path]:
    """A folder of its own, which is deleted at the end. Raises InterposeError where none can be made."""
    home = state / NAME
    folder = home / f"{os.getpid()}-{secrets.token_hex(4)}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        with gate(home):
            alive = {str(pid) for pid in tenants(home)}
            for other in home.iterdir():
                if other.is_dir() and other.name.partition("-")[0] not in alive:
                    shutil.rmtree(other, ignore_errors=True)
            living = move_in(home)
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise InterposeError(
            f"cannot make {folder}, where the workers count for /metrics: {error.strerror or error}; name another "
            "state folder with --state, or serve with one worker"
        ) from error
    with living:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
