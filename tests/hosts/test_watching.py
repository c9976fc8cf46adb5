"""Changes of a file, however they are made, and when they count."""

import os
from pathlib import Path

import pytest

from interpose.hosts.watching import EVERY, SETTLING, Watch, can_be_read_again, looks


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text("version: 1\n")
    return path


def noticed(watch: Watch) -> bool:
    """Whether the next two looks find a settled change."""
    return [watch.changed(), watch.changed()] == [False, True]


def test_a_file_that_stays_has_not_changed(file: Path) -> None:
    """However often one looks."""
    watch = Watch(file, looks(file))
    assert [watch.changed() for _ in range(5)] == [False] * 5
    assert watch.pause == EVERY


def test_a_file_written_in_place_has_changed_once(file: Path) -> None:
    """The change is told when it has settled, and not again."""
    watch = Watch(file, looks(file))
    file.write_text("version: 1\nroutes: []\n")
    assert noticed(watch)
    assert not watch.changed()


def test_what_is_being_written_does_not_count(file: Path) -> None:
    """While each look sees more, nothing is told; looks are close then."""
    watch = Watch(file, looks(file))
    with file.open("a") as still:
        for _ in range(5):
            still.write("# more\n")
            still.flush()
            assert not watch.changed()
            assert watch.pause == SETTLING
    assert watch.changed()


def test_a_file_put_in_its_place_has_changed(file: Path, tmp_path: Path) -> None:
    """Editors write another file and rename it; even of the same size and with the time of modification set back."""
    watch = Watch(file, looks(file))
    before = file.stat()
    new = tmp_path / ".rules.yaml.swp"
    new.write_text("version: 2\n")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(file)
    assert file.stat().st_size == before.st_size
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert noticed(watch)


def test_a_time_that_is_set_back_hides_nothing(file: Path) -> None:
    """`rsync -t --inplace` leaves inode, size and time of modification as they were; the system notes it still."""
    before = file.stat()
    watch = Watch(file, looks(file))
    with file.open("r+") as same:
        same.write("version: 2\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert noticed(watch)


def test_links_are_followed_to_their_end(tmp_path: Path) -> None:
    """Kubernetes swaps the link in the middle: rules.yaml -> ..data/rules.yaml, ..data -> ..of_that_time."""
    for version in ("1", "2"):
        (tmp_path / f"..of_{version}").mkdir()
        (tmp_path / f"..of_{version}" / "rules.yaml").write_text(f"version: {version}\n")
    (tmp_path / "..data").symlink_to("..of_1")
    file = tmp_path / "rules.yaml"
    file.symlink_to("..data/rules.yaml")
    watch = Watch(file, looks(file))
    assert not watch.changed()
    (tmp_path / "..data_tmp").symlink_to("..of_2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert noticed(watch)
    assert file.read_text() == "version: 2\n"


def test_a_file_that_goes_and_comes_back_has_changed_twice(file: Path) -> None:
    """That it has gone is told, too."""
    watch = Watch(file, looks(file))
    file.unlink()
    assert noticed(watch)
    file.write_text("version: 1\n")
    assert noticed(watch)


def test_a_moment_without_a_file_does_not_count(file: Path) -> None:
    """Some editors delete and write anew: what has been seen gone once has not settled."""
    watch = Watch(file, looks(file))
    text = file.read_text()
    file.unlink()
    assert not watch.changed()
    file.write_text(text + "# edited\n")
    assert noticed(watch)


def test_what_was_written_before_the_first_look_is_noticed(file: Path) -> None:
    """The file may change while a program starts: what counts is how it looked when it was read."""
    seen = looks(file)
    file.write_text("version: 1\n# meanwhile\n")
    assert noticed(Watch(file, seen))


def test_what_was_read_on_demand_is_not_told_again(file: Path) -> None:
    """Somebody has asked for it to be read: the change is known."""
    watch = Watch(file, looks(file))
    file.write_text("version: 1\n# new\n")
    watch.reads()
    assert [watch.changed(), watch.changed()] == [False, False]


def test_a_pipe_cannot_be_read_again(tmp_path: Path, file: Path) -> None:
    """`--rules <(generate)` is read once."""
    os.mkfifo(tmp_path / "pipe")
    assert can_be_read_again(file)
    assert not can_be_read_again(tmp_path / "pipe")
    assert not can_be_read_again(tmp_path / "none")
