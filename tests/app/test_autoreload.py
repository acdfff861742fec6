"""Reloading by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from exporter.app.reload import AutoReload
from exporter.clock import SystemClock
from exporter.errors import ConfigProblem, ConfigurationError
from exporter.metrics.self_metrics import SelfMetrics
from exporter.supervise import supervise
from tests.e2e.process import eventually
from tests.support.clock import FakeClock
from tests.support.disk import DeadDisk, impatient


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


async def watching(file: Path, reloads: Reloads) -> AutoReload:
    auto = AutoReload(file, 30, SystemClock(), reloads)
    await auto.remember()
    return auto


@pytest.fixture
def reloads() -> Reloads:
    return Reloads()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "exporter.yml"
    write(file, "a: 1\n")
    return file


async def test_only_another_content_is_a_change(file: Path, reloads: Reloads) -> None:
    auto = await watching(file, reloads)
    touch(file)
    await auto.check()
    unlink(file)
    write(file, "a: 1\n")
    await auto.check()
    assert reloads.count == 0
    write(file, "a: 2\n")
    await auto.check()
    await auto.check()
    assert reloads.count == 1
    write(file, "a: 1\n")
    await auto.check()
    assert reloads.count == 2


async def test_a_link_that_is_turned_to_another_file_is_a_change(tmp_path: Path, reloads: Reloads) -> None:
    """As Kubernetes updates a mounted ConfigMap."""
    for number in (1, 2):
        (tmp_path / str(number)).write_text(f"a: {number}\n")
    link = tmp_path / "exporter.yml"
    link.symlink_to(tmp_path / "1")
    auto = await watching(link, reloads)
    link.unlink()
    link.symlink_to(tmp_path / "2")
    await auto.check()
    assert reloads.count == 1


async def test_a_file_with_mistakes_is_tried_once(file: Path, reloads: Reloads) -> None:
    reloads.error = ConfigurationError([ConfigProblem("exporter.yml", 1, 1, "a", "is odd")])
    auto = await watching(file, reloads)
    write(file, "a: broken\n")
    for _ in range(3):
        await auto.check()
    assert reloads.count == 1


async def test_a_reload_that_failed_in_an_unforeseen_way_is_tried_again(file: Path, reloads: Reloads) -> None:
    reloads.error = KeyError("unforeseen")
    auto = await watching(file, reloads)
    write(file, "a: 2\n")
    with pytest.raises(KeyError):
        await auto.check()
    reloads.error = None
    await auto.check()
    await auto.check()
    assert reloads.count == 2


@pytest.mark.real_time
async def test_a_file_that_is_not_answered_is_a_change_and_so_is_its_return(
    file: Path, reloads: Reloads, dead_disk: DeadDisk
) -> None:
    auto = await watching(file, reloads)
    dead_disk.file(file, "a: 1\n")
    with impatient():
        await auto.check()
        await auto.check()
    assert reloads.count == 1
    await dead_disk.answers()
    await auto.check()
    assert reloads.count == 2


async def test_a_file_that_is_gone_is_a_change_and_so_is_its_return(file: Path, reloads: Reloads) -> None:
    auto = await watching(file, reloads)
    unlink(file)
    await auto.check()
    write(file, "a: 1\n")
    await auto.check()
    assert reloads.count == 2


async def test_the_watch_survives_unforeseen_exceptions_and_then_reloads(file: Path, reloads: Reloads) -> None:
    clock, own = FakeClock(), SelfMetrics()
    auto = AutoReload(file, 30, clock, reloads)
    await auto.remember()
    reloads.error = KeyError("unforeseen")
    watch = asyncio.create_task(supervise("configuration watch", auto.run, clock=clock, observer=own))

    def restarts() -> float | None:
        return own.registry.get_sample_value("hpc_exporter_task_restarts_total", {"task": "configuration watch"})

    async def restarted() -> bool:
        await clock.advance(10.0)
        return restarts() == 2

    def reloaded(times: int) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            await clock.advance(10.0)
            return reloads.count == times

        return look

    write(file, "a: 2\n")
    await eventually(restarted, "it was started again twice")
    reloads.error = None
    await eventually(reloaded(3), "the change was reloaded")
    write(file, "a: 3\n")
    await eventually(reloaded(4), "so was the next one")
    assert restarts() == 2
    watch.cancel()
