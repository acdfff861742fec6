"""The configuration that `simulate` prints and `demo` uses is polled as it stands, regions and projects alike."""

from pathlib import Path

from exporter.app import Application, Options
from exporter.cli import simulate
from exporter.metrics.format import Format
from exporter.simulator import Simulator, default_projects, default_regions


async def test_the_demo_shows_a_project(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    async with Simulator(default_regions(1), projects=default_projects(1), speed_up=60) as simulator:
        path.write_text(simulate.configuration(simulator), encoding="utf-8")
        app = Application(Options(path))
        await app.start()
        try:
            await app.scheduler.wait_ready()
            shown = (await app.metrics(Format.TEXT, compress=False)).decode()
        finally:
            await app.stop()
    lines = shown.splitlines()
    assert 'octopus_up{project="driving"} 1' in lines
    assert 'hpc_up{hpc_cluster="kunshan"} 1' in lines
    for queue in (
        'queue_type="PROCESSOR",cluster_type="MODELARTS",cluster_id="pool-1"',
        'queue_type="INTERNAL",cluster_type="",cluster_id=""',
    ):
        assert any(line.startswith(f'octopus_queue_length{{project="driving",{queue}}} ') for line in lines)
    assert any(line.startswith("octopus_queued_jobs{") and 'processor="lane-detection"' in line for line in lines)
