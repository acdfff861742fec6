"""One answer to which exporter this is, wherever it was taken from."""

import re
from pathlib import Path

import pytest

from exporter import __version__
from exporter.version import read_revision, revision, version_text

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_text_is_in_the_shape_of_prometheus_programs() -> None:
    first, second = version_text().splitlines()
    assert first == f"hpc-exporter, version {__version__} (revision: {revision()})"
    assert re.fullmatch(r"  python version: 3\.\d+\.\S+", second)


def test_a_build_tells_its_commit(tmp_path: Path) -> None:
    file = tmp_path / "revision.txt"
    file.write_text(f"{COMMIT}-dirty\n", encoding="utf-8")
    assert read_revision(file) == f"{COMMIT}-dirty"


@pytest.mark.parametrize("content", [b"$Format:%H$\n", b"\n", b"\xff\xfe", None])
def test_what_no_build_wrote_tells_nothing(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "revision.txt"
    if content is not None:
        file.write_bytes(content)
    assert read_revision(file) is None
