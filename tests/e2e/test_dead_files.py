"""A process whose files hang: it goes on, says so, and ends when it is told to."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.e2e.process import ExporterProcess, eventually, run, serving
from tests.e2e.region import ScriptedRegion, cluster, configuration
from tests.support.forks import RUN_FIRST

SUCCESSFUL = "hpc_exporter_config_last_reload_successful"
# Opening a file waits for as long as there is one of its name with ".dead" at the end, as if its disk did not answer.
DEAD_DISK = """\
import os, time
import exporter.config.files
exporter.config.files.READ_TIMEOUT = float(os.environ["READ_TIMEOUT"])
opened = os.open
def hanging(path, *arguments, **named):
    while os.path.exists(f"{path}.dead"):
        open(f"{path}.asked", "w").close()
        time.sleep(0.02)
    return opened(path, *arguments, **named)
os.open = hanging
"""
FILES = ("exporter.yml", "token", "ca.pem")


def text(folder: Path, url: str) -> str:
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    (folder / "token").write_text("first", encoding="utf-8")
    return configuration(cluster(url, token=None, token_file="token", tls={"ca_file": "ca.pem"}))


def dead_disk(folder: Path, read_timeout: float) -> dict[str, str]:
    """Return the environment of a process whose disk can die."""
    (folder / "dead_disk.py").write_text(DEAD_DISK, encoding="utf-8")
    return {RUN_FIRST: str(folder / "dead_disk.py"), "READ_TIMEOUT": str(read_timeout)}


@asynccontextmanager
async def on_a_dying_disk(
    folder: Path, region: ScriptedRegion, *arguments: str, read_timeout: float = 3600.0
) -> AsyncIterator[ExporterProcess]:
    env = dead_disk(folder, read_timeout)
    async with serving(folder, text(folder, region.url), *arguments, env=env) as exporter:
        await exporter.ready()
        yield exporter


async def goes_on(exporter: ExporterProcess) -> None:
    """Check that the exporter answers."""
    assert (await exporter.ask("/-/healthy")).status == 200
    assert "hpc_queue_jobs{" in (await exporter.ask("/metrics")).text
    assert (await exporter.ask("/")).status == 200


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("by", ["signal", "request", "change"])
async def test_it_serves_and_stops_while_a_reload_hangs(
    tmp_path: Path, region: ScriptedRegion, name: str, by: str
) -> None:
    """Here the disk never answers, and nothing gives up in the time of a test: waiting for it would hang."""
    auto = ("--config.enable-auto-reload", "--config.auto-reload-interval=50ms") if by == "change" else ()
    async with on_a_dying_disk(tmp_path, region, *auto) as exporter:
        (tmp_path / f"{name}.dead").touch()
        request = None
        if by == "signal":
            exporter.process.send_signal(signal.SIGHUP)
        elif by == "request":
            request = asyncio.create_task(exporter.ask("/-/reload", "POST"))
        else:
            exporter.config.write_text(exporter.config.read_text() + "\n")
        await eventually((tmp_path / f"{name}.asked").exists, "the disk was asked")
        await goes_on(exporter)
        assert await exporter.stop() == 0
        if request is not None:
            answer = await request
            assert answer.status == 500
            assert "the exporter stops" in answer.text


async def test_it_stops_while_its_start_hangs(tmp_path: Path, region: ScriptedRegion) -> None:
    exporter = ExporterProcess(tmp_path, text(tmp_path, region.url))
    (tmp_path / "exporter.yml.dead").touch()
    try:
        await exporter.start("serve", env=dead_disk(tmp_path, 3600))
        await eventually((tmp_path / "exporter.yml.asked").exists, "the disk was asked")
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.stderr
    finally:
        await exporter.close()


@pytest.mark.parametrize("name", FILES)
async def test_a_reload_that_hangs_fails_with_the_name_of_the_file_and_the_next_one_works(
    tmp_path: Path, region: ScriptedRegion, name: str
) -> None:
    async with on_a_dying_disk(tmp_path, region, read_timeout=0.5) as exporter:
        (tmp_path / f"{name}.dead").touch()
        for _ in range(2):
            answer = await exporter.ask("/-/reload", "POST")
            assert answer.status == 500
            assert name in answer.text
            assert "is the disk or network share that it is on there?" in answer.text
            assert (await exporter.samples())[SUCCESSFUL] == 0
            assert name in (await exporter.status())["config"]["last_reload_error"]
            await goes_on(exporter)
        assert len(await exporter.logged("was not reloaded", 2)) == 2
        (tmp_path / f"{name}.dead").unlink()

        async def reloaded() -> bool:
            return (await exporter.ask("/-/reload", "POST")).status == 200

        await eventually(reloaded, "the disk is back")
        assert (await exporter.samples())[SUCCESSFUL] == 1


@pytest.mark.parametrize("name", FILES)
async def test_a_pipe_fails_the_reload_and_the_next_one_works(
    tmp_path: Path, region: ScriptedRegion, name: str
) -> None:
    async with serving(tmp_path, text(tmp_path, region.url)) as exporter:
        await exporter.ready()
        file, kept = tmp_path / name, tmp_path / "kept"
        file.rename(kept)
        os.mkfifo(file)
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.shows(lambda samples: samples[SUCCESSFUL] == 0, "the reload failed")
        answer = await exporter.ask("/-/reload", "POST")
        assert answer.status == 500
        assert "it is not a regular file" in answer.text
        await goes_on(exporter)
        kept.rename(file)
        assert (await exporter.ask("/-/reload", "POST")).status == 200


async def test_it_stops_with_a_pipe_in_the_place_of_its_configuration(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, text(tmp_path, region.url)) as exporter:
        exporter.config.unlink()
        os.mkfifo(exporter.config)
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.shows(lambda samples: samples[SUCCESSFUL] == 0, "the reload failed")
        assert await exporter.stop() == 0


async def test_a_hangup_every_moment_does_not_keep_a_changed_token_from_being_used(
    tmp_path: Path, region: ScriptedRegion
) -> None:
    (tmp_path / "token").write_text("first", encoding="utf-8")
    section = cluster(region.url, token=None, token_file="token")
    async with serving(tmp_path, configuration(section, poll={"interval": "100ms"})) as exporter:
        await exporter.ready()
        (tmp_path / "token").write_text("second", encoding="utf-8")

        def used() -> bool:
            exporter.process.send_signal(signal.SIGHUP)
            return region.requests[-1].headers["token"] == "second"

        await eventually(used, "the second token is used")


async def test_six_hundred_requests_that_hang_up_share_one_reload(tmp_path: Path, region: ScriptedRegion) -> None:
    async with on_a_dying_disk(tmp_path, region) as exporter:
        (tmp_path / "exporter.yml.dead").touch()
        exporter.config.write_text("nonsense: 1", encoding="utf-8")
        host, _, port = exporter.addresses[0].rpartition(":")
        for _ in range(600):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /-/reload HTTP/1.1\r\nHost: exporter\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()
        await eventually((tmp_path / "exporter.yml.asked").exists, "the disk was asked")
        await goes_on(exporter)
        (tmp_path / "exporter.yml.dead").unlink()
        await exporter.shows(lambda samples: samples[SUCCESSFUL] == 0, "the reload failed")
        await exporter.ask("/-/reload", "POST")
        assert len(await exporter.logged("was not reloaded")) <= 3


COMMANDS = (("check",), ("once",), ("jobs", "list"), ("serve", "--config.check"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_a_command_names_the_file_that_is_not_answered_and_ends(
    tmp_path: Path, region: ScriptedRegion, command: tuple[str, ...], name: str
) -> None:
    config = tmp_path / "exporter.yml"
    config.write_text(text(tmp_path, region.url), encoding="utf-8")
    (tmp_path / f"{name}.dead").touch()
    status, stdout, stderr = await run(tmp_path, *command, f"--config.file={config}", env=dead_disk(tmp_path, 0.2))
    assert status == 1
    assert name in stdout + stderr
    assert "is the disk or network share that it is on there?" in stdout + stderr
    assert "Traceback" not in stderr


async def test_a_check_names_the_web_configuration_that_is_not_answered(tmp_path: Path, region: ScriptedRegion) -> None:
    config = tmp_path / "exporter.yml"
    config.write_text(text(tmp_path, region.url), encoding="utf-8")
    (tmp_path / "web.yml.dead").touch()
    arguments = ("serve", "--config.check", f"--config.file={config}", f"--web.config.file={tmp_path / 'web.yml'}")
    status, stdout, stderr = await run(tmp_path, *arguments, env=dead_disk(tmp_path, 0.2))
    assert status == 1
    assert "web.yml" in stderr
    assert "is the disk or network share" in stdout + stderr
