"""Results: in a file from one moment to the next, or on standard output."""

import os
import stat
from pathlib import Path

import pytest

from exporter.cli.output import OutputError, replace_file


def test_a_file_is_replaced_and_readable_by_all(tmp_path: Path) -> None:
    file = tmp_path / "hpc.prom"
    file.write_text("old")
    file.chmod(0o600)
    inode = file.stat().st_ino
    replace_file(file, b"new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    # Another file under the same name: a reader that has the old one open goes on with that.
    assert file.stat().st_ino != inode
    assert [each.name for each in tmp_path.iterdir()] == ["hpc.prom"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


@pytest.mark.parametrize("place", ["no/such/folder/x", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=place):
        replace_file(tmp_path / place, b"x")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hpc.prom"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        replace_file(file, b"new")
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["hpc.prom"]
