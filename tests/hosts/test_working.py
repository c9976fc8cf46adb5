"""One worker of several, as far as it can be looked at without a process of its own."""

from __future__ import annotations

import resource

from interpose.hosts.working import MOST_FILES, open_all_files


def test_a_worker_may_open_as_many_files_as_the_system_allows() -> None:
    """The usual limit would be reached by five hundred streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        open_all_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard % (1 << 64), MOST_FILES), hard)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_all_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
