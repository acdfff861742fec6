"""Files on a disk that does not answer: a reload fails and says so, and nothing else has to wait."""

import asyncio
import threading
from pathlib import Path

import pytest
import trustme

from exporter.app import tracker
from exporter.config import files
from exporter.errors import ConfigurationError
from exporter.tracking import Store
from exporter.tracking.tracker import TrackerState
from tests.app.running import Running, ready, running
from tests.e2e.process import eventually
from tests.e2e.region import cluster, configuration, scripted_region
from tests.support.disk import DeadDisk, impatient

pytestmark = pytest.mark.real_time

FOR_EVER = 3600.0
FILES = ("exporter.yml", "token", "ca.pem")
SUCCESSFUL = "hpc_exporter_config_last_reload_successful"


@pytest.fixture
def text(tmp_path: Path) -> str:
    """Return a configuration that names files."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "token").write_text("first", encoding="utf-8")
    section = cluster("http://127.0.0.1:9", token=None, token_file="token", tls={"ca_file": "ca.pem"})
    return configuration(section)


async def die(disk: DeadDisk, file: Path) -> None:
    """Put a file on the dead disk, as it is."""
    disk.file(file, await asyncio.to_thread(file.read_text, encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
async def test_a_reload_fails_and_names_the_file_until_the_disk_is_back(
    name: str, text: str, tmp_path: Path, dead_disk: DeadDisk
) -> None:
    async with running(tmp_path, text) as exporter:
        await die(dead_disk, tmp_path / name)
        for _ in range(2):
            with impatient(0.4), pytest.raises(ConfigurationError, match=rf"{name}.*is the disk or network share"):
                await exporter.app.reload()
            assert (await exporter.samples())[SUCCESSFUL] == 0
            assert name in (exporter.app.last_reload.error or "")
        # The watch over secret files may read beside the reload.
        assert dead_disk.waiting <= 2
        await dead_disk.answers()
        await exporter.app.reload()
        assert (await exporter.samples())[SUCCESSFUL] == 1


@pytest.mark.parametrize("name", FILES)
async def test_metrics_are_answered_and_the_exporter_stops_while_a_reload_hangs(
    name: str, text: str, tmp_path: Path, dead_disk: DeadDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "READ_TIMEOUT", FOR_EVER)
    async with running(tmp_path, text) as exporter:
        await die(dead_disk, tmp_path / name)
        reload = asyncio.create_task(exporter.app.reload())
        await eventually(lambda: dead_disk.waiting, "the disk is asked")
        assert SUCCESSFUL in await exporter.samples()
        await exporter.app.stop()
        with pytest.raises(ConfigurationError, match="the exporter stops"):
            await reload
        with pytest.raises(ConfigurationError, match="the exporter stops"):
            await exporter.app.reload()


async def test_a_start_that_hangs_can_be_given_up(
    text: str, tmp_path: Path, dead_disk: DeadDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "READ_TIMEOUT", FOR_EVER)
    exporter = Running(tmp_path)
    dead_disk.file(exporter.file, text)
    start = asyncio.create_task(exporter.app.start())
    await eventually(lambda: dead_disk.waiting, "the disk is asked")
    start.cancel()
    await asyncio.wait({start})
    await exporter.app.stop()


async def test_a_changed_token_is_used_although_another_file_is_not_answered(
    tmp_path: Path, dead_disk: DeadDisk
) -> None:
    for name in ("dead", "token"):
        (tmp_path / name).write_text("first", encoding="utf-8")
    async with scripted_region() as region:
        text = configuration(
            cluster(region.url, token=None, token_file="dead"),
            cluster(region.url, name="xian", token=None, token_file="token"),
        )
        async with ready(tmp_path, text):
            await die(dead_disk, tmp_path / "dead")
            (tmp_path / "token").write_text("second", encoding="utf-8")
            with impatient(0.2):
                await eventually(lambda: region.requests[-1].headers["token"] == "second", "the new token is used")


class SlowStart:
    """The start of a tracker whose state file is not opened before the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self._may_go_on = asyncio.Event(), threading.Event()
        self._stores: list[Store] = []
        open_file, loop = Store._open, asyncio.get_running_loop()

        def slowly(store: Store) -> TrackerState:
            self._stores.append(store)
            loop.call_soon_threadsafe(self.begun.set)
            self._may_go_on.wait()
            return open_file(store)

        monkeypatch.setattr(Store, "_open", slowly)

    async def go_on(self) -> None:
        """Let the file be opened, and wait until it is closed again."""
        (store,) = self._stores
        assert store._calls._running
        self._may_go_on.set()
        await eventually(lambda: not store._calls._running and store._connection is None, "the state file is closed")


async def test_a_state_file_that_does_not_open_fails_the_reload_and_is_not_left_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it keep the next reload from opening it."""
    async with scripted_region() as region:
        old = configuration(cluster(region.url), tracking={"enabled": False})
        new = configuration(cluster(region.url), tracking={"state_file": "state.db"})
        async with running(tmp_path, old) as exporter:
            slow = SlowStart(monkeypatch)
            with monkeypatch.context() as patch:
                patch.setattr(tracker, "STATE_FILE_TIMEOUT", 0.05)
                with pytest.raises(ConfigurationError, match=r"tracking\.state_file: .*state\.db.*disk"):
                    await exporter.reload(new)
            await slow.go_on()
            await exporter.app.reload()


async def test_a_reload_that_is_given_up_leaves_no_state_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted_region() as region:
        old = configuration(cluster(region.url), tracking={"enabled": False})
        new = configuration(cluster(region.url), tracking={"state_file": "state.db"})
        async with running(tmp_path, old) as exporter:
            slow = SlowStart(monkeypatch)
            exporter.file.write_text(new, encoding="utf-8")
            reload = asyncio.create_task(exporter.app.reload())
            await slow.begun.wait()
            await exporter.app.stop_reloading()
            with pytest.raises(ConfigurationError, match="stops"):
                await reload
            assert exporter.app._tracker.service is None
            await eventually(lambda: "TrackingService.start" not in str(asyncio.all_tasks()), "nothing waits for it")
            await slow.go_on()
            async with running(tmp_path, new):
                pass
