"""The state folder: where the CA, the CA bundles and the ledger live."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from interpose.errors import InterposeError

VARIABLE = "INTERPOSE_STATE"


def state_path(option: Path | None, environ: Mapping[str, str]) -> Path:
    """The state folder: `--state`, else INTERPOSE_STATE, else the platform's place for a user's state. Absolute."""
    if option is None and (named := environ.get(VARIABLE)):
        option = Path(named)
    if option is None:
        import platformdirs

        option = platformdirs.user_state_path("interpose", appauthor=False)
    return Path(os.path.abspath(os.path.expanduser(option)))


def make_state_folder(path: Path) -> Path:
    """`path`, made if need be and open to its owner alone. Raises InterposeError if it is no place to write to."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InterposeError(f"the state folder {path} is not a folder; name another with --state") from error
    except OSError as error:
        raise InterposeError(
            f"cannot make the state folder {path}: {error.strerror or error}; name another with --state"
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise InterposeError(f"cannot write to the state folder {path}; name another with --state")
    return path
