"""Parts that are really Prometheus': its server and its promtool, as Debian packages them."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.process import eventually

# Values by sorted labels.
Vector = dict[tuple[tuple[str, str], ...], float]


def vector(names: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Vector:
    """Prometheus' form of samples with these labels; to it, an empty label is none."""
    return {
        tuple(sorted((name, value) for name, value in zip(names, labels, strict=True) if value)): float(sample)
        for labels, sample in values.items()
    }


def real_part(name: str, package: str = "prometheus") -> str:
    """Path of a program that Debian has in `package`.

    Without it the test is skipped, or fails where real parts are a must.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    missing = f"{name} is not installed (Debian: apt-get install {package})"
    if os.environ.get("HPC_EXPORTER_REQUIRE_REAL_PARTS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


class Prometheus:
    """A server of its own with a data folder of its own."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def ready(self) -> bool:
        async with self._http.get(f"{self._url}/-/ready") as answer:
            return answer.status == 200

    async def query(self, expression: str) -> Vector:
        """Return the instant vector of an expression.

        Values by their sorted labels, without __name__, instance and job.
        """
        async with self._http.get(f"{self._url}/api/v1/query", params={"query": expression}) as answer:
            facts = await answer.json()
        assert facts["status"] == "success", facts
        return {labels_of(sample["metric"]): float(sample["value"][1]) for sample in facts["data"]["result"]}

    async def target(self) -> dict[str, Any]:
        """Its status of the one target that it scrapes."""
        async with self._http.get(f"{self._url}/api/v1/targets") as answer:
            targets: list[dict[str, Any]] = (await answer.json())["data"]["activeTargets"]
        return targets[0] if targets else {"health": "unknown", "lastError": ""}

    async def scraped(self) -> None:
        """Wait until a scrape worked; fail immediately when one was rejected. One that was late is made again."""

        async def look() -> object:
            error = (await self.target())["lastError"]
            assert not error or "deadline exceeded" in error, error
            # The target's health is known a moment before the samples can be queried.
            return await self.query("up == 1")

        await eventually(look, "Prometheus scraped")


def labels_of(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in labels.items() if k not in ("__name__", "instance", "job")))


@asynccontextmanager
async def prometheus_scraping(address: str, folder: Path) -> AsyncIterator[Prometheus]:
    program = real_part("prometheus")
    config = folder / "prometheus.yml"
    scrapes = [{"job_name": "hpc", "static_configs": [{"targets": [address]}]}]
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": scrapes}))
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            stdout=output,
            stderr=output,
        )
    try:
        listening = re.compile(r'msg="Listening on".* address=(\S+)')
        await eventually(lambda: listening.search(log.read_text()) or process.returncode, "Prometheus listens")
        found = listening.search(log.read_text())
        assert found, log.read_text()
        async with aiohttp.ClientSession() as http:
            prometheus = Prometheus(f"http://{found[1]}", http)
            await eventually(prometheus.ready, "Prometheus is ready")
            yield prometheus
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def promtool_check(exposition: bytes) -> tuple[int, str]:
    """Exit status and complaints of `promtool check metrics`."""
    process = await asyncio.create_subprocess_exec(
        *(real_part("promtool"), "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(exposition)
    assert process.returncode is not None
    return process.returncode, output.decode()
