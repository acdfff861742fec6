"""A public client of SCNet, scnet-cli of PyPI, used as it is: it logs in to the simulator and reads."""

import asyncio
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator import Quirks, Simulator, default_regions

CLIENT = "scnet-cli==0.1.0"
CHEMISTRY = "533686286955839488"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the client's program, in an environment of its own; skip where it cannot be installed."""
    folder = tmp_path_factory.mktemp("scnet-cli")
    venv.create(folder, with_pip=False, symlinks=True)
    install = [sys.executable, "-m", "pip", f"--python={folder}/bin/python", "install", "--quiet", "--no-input", CLIENT]
    try:
        done = subprocess.run(install, capture_output=True, timeout=240, check=False)  # noqa: S603 - fixed arguments
    except subprocess.TimeoutExpired:
        pytest.skip(f"{CLIENT} could not be installed in time")
    if done.returncode:
        pytest.skip(f"{CLIENT} cannot be installed here")
    return folder / "bin" / "scnet"


class PublicClient:
    """Runs the client for one account of the simulator, in a folder of its own."""

    def __init__(self, program: Path, home: Path, simulator: Simulator) -> None:
        self._program = program
        self._home = home
        account = simulator.accounts[0]
        url = simulator.platform.url
        profile = {
            "name": "default",
            "user": account.user,
            "access_key": account.access_key,
            "secret_key": account.secret_key,
            "default_cluster_id": "11112",
            "base_overrides": {"api": url, "www": url},
        }
        (home / "config.json").write_text(json.dumps({"current": "default", "profiles": {"default": profile}}))

    async def read(self, command: str) -> Any:
        environment = os.environ | {
            "TZ": "CST-8",
            "SCNET_HOME": str(self._home),
            "NO_COLOR": "1",
            "COLUMNS": "500",
            "HOME": str(self._home),
        }
        process = await asyncio.create_subprocess_exec(
            self._program, "-o", "json", *command.split(), env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, f"{command}: {out.decode()}"
        # Some commands say something before.
        return json.loads(re.sub(r"\A[^\[{0-9].*\n", "", out.decode()))


def rows_of(answer: Any) -> list[dict[str, Any]]:
    """Return the rows of a list, or of a page of one."""
    return list(answer["list"] if isinstance(answer, dict) else answer)


async def test_a_public_client_reads(client: Path, tmp_path: Path) -> None:
    async with Simulator(default_regions(), clock=lambda: 0.0, quirks=Quirks(strict_platform=True)) as simulator:
        region = simulator.regions["kunshan"]
        scnet = PublicClient(client, tmp_path, simulator)
        await scnet.read("auth login")
        await scnet.read("auth renew")
        assert (await scnet.read("auth whoami"))["userName"] == "lab"
        assert (await scnet.read("auth regions"))["clusterUserInfo"]["userName"] == "test"
        assert [row["id"] for row in await scnet.read("cluster list")] == [1638523853]
        assert [row["groupDisplayName"] for row in await scnet.read("member ls")] == ["chemistry", "physics"]
        jobs = await scnet.read(f"member jobs 11112 {CHEMISTRY} alice")
        assert [row["id"] for row in jobs] == [str(job.id) for job in region.batch.jobs("alice")]
        used, unused, unavailable = (row["y"] for row in await scnet.read("usage cores"))
        assert (used, unused, unavailable) == region.batch.cores()
        assert sum(row["y"] for row in await scnet.read("job stats")) > 0
        assert await scnet.read("usage walltime")
        assert [row["queueName"] for row in rows_of(await scnet.read("queue list"))] == [
            "debug",
            "normal",
            "gpu",
            "dcu",
        ]
        assert rows_of(await scnet.read("usage storage"))
        own = await scnet.read("job list --limit=200")
        assert {row["jobId"] for row in rows_of(own)} == {str(job.id) for job in region.batch.jobs("test")}
        assert rows_of(await scnet.read("job history"))
