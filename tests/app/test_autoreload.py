"""Reloading by itself."""

from pathlib import Path

import pytest

from exporter.app.autoreload import AutoReload
from exporter.clock import SystemClock
from exporter.errors import ConfigurationError, Mistake


def write(file: Path, text: str) -> None:
    file.write_text(text)


def unlink(file: Path) -> None:
    file.unlink()


def touch(file: Path) -> None:
    file.touch()


class Reloads:
    """Something to reload."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def reloads() -> Reloads:
    return Reloads()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "exporter.yml"
    write(file, "a: 1\n")
    return file


async def test_only_another_content_is_a_change(file: Path, reloads: Reloads) -> None:
    auto = AutoReload(file, 30, SystemClock(), reloads)
    touch(file)
    await auto.look()
    unlink(file)
    write(file, "a: 1\n")
    await auto.look()
    assert reloads.count == 0
    write(file, "a: 2\n")
    await auto.look()
    await auto.look()
    assert reloads.count == 1
    write(file, "a: 1\n")
    await auto.look()
    assert reloads.count == 2


async def test_a_link_that_is_turned_to_another_file_is_a_change(tmp_path: Path, reloads: Reloads) -> None:
    """As Kubernetes updates a mounted ConfigMap."""
    for number in (1, 2):
        (tmp_path / str(number)).write_text(f"a: {number}\n")
    link = tmp_path / "exporter.yml"
    link.symlink_to(tmp_path / "1")
    auto = AutoReload(link, 30, SystemClock(), reloads)
    link.unlink()
    link.symlink_to(tmp_path / "2")
    await auto.look()
    assert reloads.count == 1


async def test_a_refused_file_is_tried_once_and_said_once(
    file: Path, reloads: Reloads, capsys: pytest.CaptureFixture[str]
) -> None:
    reloads.error = ConfigurationError([Mistake("exporter.yml", 1, 1, "a", "is odd")])
    auto = AutoReload(file, 30, SystemClock(), reloads)
    write(file, "a: broken\n")
    for _ in range(3):
        await auto.look()
    assert reloads.count == 1
    assert capsys.readouterr().out.count("exporter.yml:1:1: a: is odd") == 1


async def test_a_file_that_is_gone_is_a_change_and_so_is_its_return(file: Path, reloads: Reloads) -> None:
    auto = AutoReload(file, 30, SystemClock(), reloads)
    unlink(file)
    await auto.look()
    write(file, "a: 1\n")
    await auto.look()
    assert reloads.count == 2
