"""What every test may rely on: the project's root is importable, so that tests share loaders as `tests.corpus`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = str(Path(__file__).parent.parent)
if ROOT not in sys.path:
    # `python -m pytest` does this by itself, a bare `pytest` does not.
    sys.path.insert(0, ROOT)

from tests.corpus import CORPUS, available  # noqa: E402 - they need the path above
from tests.postgres import Postgres, served  # noqa: E402

# The same examples in every run of CI, so that a failure there belongs to the change; at home they are ever new.
# No example has a deadline: a machine may be busy with something else.
settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("home", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "home")

# Programs inherit from us what is ignored, and whoever starts the tests may ignore a terminal's end, as nohup does.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Without the recordings these have nothing to state. CI always has them.
collect_ignore_glob = [] if available() else ["*_corpus.py"]


def pytest_report_header() -> str:
    return f"recorded traffic: {CORPUS}" + (
        "" if available() else " is NOT THERE; the tests that replay it are left out"
    )


@pytest.fixture(scope="session")
def postgres_of_session() -> Iterator[Postgres]:
    with served() as server:
        yield server


@pytest.fixture
def postgres(postgres_of_session: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL server: whatever a test does to it, the next one finds it running."""
    yield postgres_of_session
    postgres_of_session.revive()
