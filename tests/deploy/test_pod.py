"""A pod's container as Kubernetes runs it.

Its arguments, its environment, and a volume that changes as kubelet does it.
"""

from pathlib import Path
from typing import Any

from exporter.simulator import Region, Simulator
from tests.deploy.chart import configuration, container, rendered
from tests.e2e.process import ExporterProcess, eventually
from tests.support.platform import idle_regions

SHARDED = {"shards": 2, "secrets": {"existingSecret": "hpc-keys"}, "persistence": {"enabled": True}}


def config(region: Region, state: Path) -> str:
    return f"""\
clusters:
  - name: kunshan
    cluster_id: {region.cluster_id}
    hpc_url: {region.hpc_url}
    token_file: kunshan-token
    poll: {{interval: 1s}}
    users: [test]
    members:
      - {{group_id: 533686286955839488, group: chemistry, users: [test, alice]}}
tracking: {{state_file: {state}/tracker.db}}
"""


def project(volume: Path, files: dict[str, str], version: int) -> None:
    """Replace all files of a projected volume in one step: they are links through a link, which is exchanged."""
    folder = volume / f"..{version}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(Path("..data") / name)
    (volume / "..new").symlink_to(folder.name)
    (volume / "..new").replace(volume / "..data")


def arguments(values: dict[str, Any], pod: int, moved: dict[str, str]) -> list[str]:
    """Return the arguments and environment of a pod's container, with its folders moved to where the test has them."""
    found: list[str] = container(rendered(values))["args"]
    for old, new in {**moved, "$(POD_INDEX)": str(pod), ":9851": "127.0.0.1:0"}.items():
        found = [argument.replace(old, new) for argument in found]
    return found


def written(folder: Path) -> set[str]:
    """Return the object that keeps the state."""
    return {path.name for path in folder.glob("tracker.db*")}


async def states(pod: ExporterProcess) -> dict[str, str]:
    """Of each of a pod's targets."""
    return {f"{target['collector']} {target['target']}": target["state"] for target in (await pod.status())["targets"]}


async def share(pods: list[ExporterProcess], wanted: set[str], state: str) -> None:
    """Wait until all targets, each in one pod, are in a state."""

    async def look() -> bool:
        shares = [await states(pod) for pod in pods]
        polled = [target for part in shares for target in part]
        everywhere = {found for part in shares for found in part.values()}
        return sorted(polled) == sorted(wanted) and everywhere == {state}

    await eventually(look, f"{wanted} are {state}")


async def test_pods_share_the_targets_and_follow_changes_of_the_configuration_and_of_a_token(tmp_path: Path) -> None:
    """Two pods, one configuration: each target is polled by one of them, before and after the change."""
    volume = tmp_path / "config"
    async with Simulator(idle_regions(1)) as simulator:
        region = simulator.regions["kunshan"]
        mounted = {"exporter.yml": configuration(rendered({**SHARDED, "config": config(region, tmp_path)}))}
        project(volume, {**mounted, "kunshan-token": "a-wrong-token"}, 1)
        pods = [ExporterProcess(tmp_path / f"pod{number}") for number in range(2)]
        try:
            for number, pod in enumerate(pods):
                pod.folder.mkdir()
                given = arguments(SHARDED, number, {"/etc/hpc-exporter": str(volume)})
                await pod.serve(*given, "--config.auto-reload-interval=200ms")
            targets = {
                "schedulers ",
                "queue_jobs test",
                *(f"member_jobs chemistry/{user}" for user in ("test", "alice")),
            }
            await share(pods, targets, "stale")

            more = mounted["exporter.yml"].replace("[test, alice]", "[test, alice, 王伟]")
            token = region.token("test")
            project(volume, {"exporter.yml": more, "kunshan-token": token}, 2)
            await share(pods, {*targets, "member_jobs chemistry/王伟"}, "up")
            assert [await pod.stop() for pod in pods] == [0, 0]
        finally:
            for pod in pods:
                await pod.close()
    assert written(tmp_path) == {"tracker.db", "tracker.db.shard-1"}
    assert not any(token in pod.stderr for pod in pods)
