"""`hpc-exporter demo`: everything in one process, and numbers that change."""

import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.cli.main import main
from tests.e2e.process import ExporterProcess, eventually, run


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[ExporterProcess]:
    exporter = ExporterProcess(tmp_path)
    try:
        await exporter.serve(
            "demo", "--web.listen-address=127.0.0.1:0", "--speed-up=300", "--seed=3", "--log.level=info"
        )
        yield exporter
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.stderr
    finally:
        await exporter.close()


def family(samples: dict[str, float], name: str) -> dict[str, float]:
    return {series: value for series, value in samples.items() if series.startswith(name + "{")}


def changed(name: str, before: dict[str, float], after: dict[str, float]) -> bool:
    return family(after, name) != family(before, name)


async def test_it_says_where_to_look_and_shows_jobs_that_come_and_go(demo: ExporterProcess) -> None:
    await eventually(lambda: demo.stdout.count("\n") >= 2, "it says where to look")
    page, metrics = re.findall(r"http://\S+", demo.stdout)[:2]
    assert (page, metrics) == (f"{demo.url}/", f"{demo.url}/metrics")
    assert (await demo.ask(page)).status == 200

    names = ("hpc_queue_jobs", "hpc_member_jobs", "hpc_scheduler_info", "hpc_job_info", "octopus_queued_jobs")
    await demo.shows(lambda samples: all(family(samples, name) for name in names), "jobs of all kinds")
    first = await demo.shows(lambda samples: len(family(samples, "octopus_queue_length")) == 2, "both queues")
    await demo.shows(lambda samples: changed("hpc_queue_jobs", first, samples), "other queues")
    await demo.shows(lambda samples: changed("hpc_member_jobs", first, samples), "other jobs")
    ups = ("hpc_up", "octopus_up")
    await demo.shows(lambda samples: {up for name in ups for up in family(samples, name).values()} == {1}, "no failure")


async def test_a_port_that_is_taken_is_told_with_a_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, _, stderr = await run(tmp_path, "demo", f"--web.listen-address={address}")
    assert status == 1
    assert f"cannot listen on {address}: Address already in use; another port: --web.listen-address=" in stderr


async def test_its_own_tokens_are_in_no_page(demo: ExporterProcess) -> None:
    await demo.ready()
    for path in ("/", "/config", "/api/v1/status", "/metrics"):
        assert "eyJ" not in (await demo.ask(path)).text
    assert "eyJ" not in demo.stderr + demo.stdout


@pytest.mark.parametrize("command", ["demo", "simulate"])
@pytest.mark.parametrize("speed", ["inf", "-inf", "nan", "0", "-1", "1e9", "fast", ""])
def test_a_speed_that_no_clock_can_have_is_wrong_usage(
    command: str, speed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main([command, f"--speed-up={speed}"])
    assert raised.value.code == 2
    assert "--speed-up" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "simulate"])
@pytest.mark.parametrize("flag", ["--regions=0", "--regions=-1", "--projects=-1"])
def test_a_world_that_cannot_be_is_wrong_usage(command: str, flag: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main([command, flag])
    assert raised.value.code == 2


def test_ports_that_there_are_not_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--listen-address=127.0.0.1:65535", "--regions=2"]) == 2
    assert "4 ports are needed from 65535 on; the highest is 65535" in capsys.readouterr().err
