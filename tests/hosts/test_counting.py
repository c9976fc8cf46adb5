"""The folder in which the workers of one gateway count."""

import os
from pathlib import Path

import pytest

from interpose.errors import InterposeError
from interpose.hosts.counting import NAME, counting_folder


def test_each_gateway_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """For as long as it runs."""
    with counting_folder(tmp_path) as one, counting_folder(tmp_path) as other:
        assert one != other
        assert one.is_dir()
        assert other.is_dir()
        assert one.stat().st_mode & 0o077 == 0
    assert [path for path in (tmp_path / NAME).iterdir() if path.is_dir()] == []


def test_what_a_killed_gateway_left_is_tidied(tmp_path: Path) -> None:
    """By the next one, which leaves those alone that are alive."""
    gone = tmp_path / NAME / "1-00000000"
    gone.mkdir(parents=True)
    (gone / "0.counts").write_bytes(b"x")
    with counting_folder(tmp_path) as one:
        assert not gone.exists()
        with counting_folder(tmp_path):
            assert one.is_dir()
            assert one.name.startswith(f"{os.getpid()}-")


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    """And says what to do instead."""
    (tmp_path / NAME).write_text("")
    with (
        pytest.raises(InterposeError, match=r"cannot make .*name another state folder with --state"),
        counting_folder(tmp_path),
    ):
        pass
