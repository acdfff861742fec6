"""All of /metrics for a fixed scenario with everything switched on, as tests/fixtures/golden.prom has it.

Values that differ from run to run are written NORMALISED there, and the lines of a family are sorted. After a change
that is meant, write the file anew and read the difference:

    HPC_EXPORTER_WRITE_GOLDEN=1 .venv/bin/python -m pytest -n0 tests/e2e/test_golden.py
    git diff tests/fixtures/golden.prom
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import groupby

import pytest
import pytest_asyncio
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.sources.collector import catalogue
from tests.e2e.process import Answer, ExporterProcess, serving
from tests.e2e.region import (
    FIXTURES,
    GROUP_ID,
    SAMPLE_TOKEN,
    Answers,
    cluster,
    configuration,
    envelope,
    job,
    queue,
    scripted_region,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNTED = {"hpc_job_transitions_total", "octopus_queue_arrivals_total"}
GOLDEN = FIXTURES / "golden.prom"
# A family's series are always the same; these families' values, or the labels after them, are not.
VARYING = re.compile(
    r"""^(
        (?:process_\w+|hpc_exporter_http_requests_total(?=\{)|hpc_exporter_poll_duration_seconds_(?:bucket|sum)(?=\{)
        |hpc_exporter_(?:target_last|config_last_reload)_success_timestamp_seconds
        |hpc_member_oldest_queued_timestamp_seconds(?=\{))(?:\{.*\})?
        |hpc_exporter_build_info(?=\{)
    )\ ?.*$""",
    re.VERBOSE | re.MULTILINE,
)


def normalised(exposition: str) -> str:
    """Return the exposition without what differs from run to run; sorted, because targets answer in any order."""
    lines = VARYING.sub(r"\1 NORMALISED", exposition).splitlines(keepends=True)
    families = groupby(lines, key=lambda line: line.startswith("#"))
    return "".join("".join(lines if comments else sorted(lines)) for comments, lines in families)


def answers() -> Answers:
    """Two regions and a project on one host, with a little of everything that can be in an answer."""
    odd = queue("odd", R=1, Q=1)
    odd["values"][1]["metricValue"] = "many"
    odd["values"].append({"metricName": "Z", "metricValue": 5})
    return {
        ("queue_jobs", "test"): envelope([queue("debug", R=2, Q=1), queue("normal", H=1), queue("debug", R=1), odd]),
        ("queue_jobs", "王伟"): envelope(None),
        ("queue_jobs", "bob"): envelope(None, "10008", "权限不足"),
        ("member_jobs", "test"): envelope(
            [
                job("1466591", "COMSOL_GUI_1031_103150", gpuNumReq=1, gpuNum=1),
                job("1466592", 'run "final"\\\n2', "statQ", cpuCore=0, dcuNumReq=4),
                job("1466593", "🚀", "statQ", cpuCore=None),
                job("1466594", "over", "statC", cpuCore=0),
                job("1466595", "new state", "statZZ"),
                job("1466596", "unreadable", cpuCore="two"),
            ]
        ),
        ("member_jobs", "bob"): b"<html>maintenance</html>",
        "schedulers": (FIXTURES / "scnet" / "schedulers.json").read_bytes(),
        "queuing_jobs": (FIXTURES / "octopus" / "processor.json").read_bytes(),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exporter(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExporterProcess]:
    async with scripted_region(answers()) as region:
        chemistry = {"group_id": GROUP_ID, "group": "chemistry", "users": ["test", "bob"]}
        project = {
            "name": "driving",
            "base_url": region.url,
            "project_id": "087679f0aa",
            "token": "octopus-token",
            "queues": [{"queue_type": "PROCESSOR", "cluster_type": "CCE", "cluster_id": "pool-1"}],
        }
        text = configuration(
            cluster(region.url, token=SAMPLE_TOKEN, users=["test", "王伟", "bob"], members=[chemistry]),
            cluster(region.url, name="xian", collect=["queue_jobs"], users=["test"]),
            octopus=[project],
            per_job={"enabled": True, "max_jobs": 3},
        )
        async with serving(tmp_path_factory.mktemp("exporter"), text) as exporter:
            await exporter.ready()
            # The tracker counts a little after the poll.
            await exporter.shows(lambda samples: {s.partition("{")[0] for s in samples} >= COUNTED, "what was counted")
            yield exporter


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answer(exporter: ExporterProcess) -> Answer:
    return await exporter.ask("/metrics")


async def test_the_exposition_is_the_golden_one(answer: Answer) -> None:
    exposition = normalised(answer.text)
    if os.environ.get("HPC_EXPORTER_WRITE_GOLDEN"):
        await asyncio.to_thread(GOLDEN.write_text, exposition, encoding="utf-8")
    assert exposition == await asyncio.to_thread(GOLDEN.read_text, encoding="utf-8")


async def test_every_family_is_in_the_catalogue(answer: Answer) -> None:
    families = {line.split(" ")[2] for line in answer.text.splitlines() if line.startswith("# TYPE ")}
    assert {family for family in families if not family.startswith("process_")} <= catalogue().keys()


def series_of(parse: Callable[[str], Iterable[Metric]], exposition: str) -> set[str]:
    """Names and labels of all samples but those of the requests, of which there are more at every scrape."""
    samples = [sample for family in parse(exposition) for sample in family.samples]
    return {f"{sample.name}{sorted(sample.labels.items())}" for sample in samples if "http_requests" not in sample.name}


async def test_openmetrics_has_the_same_series(exporter: ExporterProcess, answer: Answer) -> None:
    openmetrics = await exporter.ask("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert series_of(parse_openmetrics, openmetrics.text) == series_of(parse_text, answer.text)
