"""The examples of the official pages, word for word, and exactly the lines that come of them.

Sources: the pages 查询队列作业统计信息, 查询集群信息 and 查询成员实时作业列表 of the SCNet OpenAPI v2. The sample token is theirs, too.
"""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.process import ExporterProcess, serving
from tests.e2e.region import FIXTURES, ScriptedRegion, cluster, configuration, scripted_region

PAGES = FIXTURES / "scnet"
# computeUser slurmtest, clusterId 11112, expireTime 1685600225615.
SAMPLE_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjb21wdXRlVXNlciI6InNsdXJtdGVzdCIsImFjY291bnRTdGF0dXMiOiJUcmlhbCIsImNyZWF0"
    "b3IiOiJhYyIsInJvbGUiOiIxIiwiZXhwaXJlVGltZSI6IjE2ODU2MDAyMjU2MTUiLCJjbHVzdGVySWQiOiIxMTExMiIsImludm9rZXIiOiI2MDQ4Y2"
    "U3YmExNWMyYWYyZThjZWMxMjk5MWVjMTNjZiIsInVzZXIiOiJzbHVybXRlc3QiLCJ1c2VySWQiOiIxMTY1NTA0ODU0MSJ9."
    "iLCKJ8PnDDK0_SA2NPYm1WozUG8D5ojwFqFhwaJCDc8"
)
QUEUE_JOBS = """\
hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="running"} 2
hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="queued"} 0
hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="held"} 0
hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="suspended"} 0
hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="other"} 0
"""
SCHEDULERS = """\
hpc_scheduler_info{hpc_cluster="kunshan",scheduler_id="1638523853",scheduler_name="Cluster",scheduler_type="SLURM"} 1
"""
MEMBER = 'hpc_cluster="kunshan",group="533686286955839488",user="test"'
MEMBER_JOBS = f"""\
hpc_member_allocated_cpus{{{MEMBER},state="running"}} 2
hpc_member_allocated_cpus{{{MEMBER},state="queued"}} 0
hpc_member_allocated_dcus{{{MEMBER},state="running"}} 0
hpc_member_allocated_dcus{{{MEMBER},state="queued"}} 0
hpc_member_allocated_gpus{{{MEMBER},state="running"}} 0
hpc_member_allocated_gpus{{{MEMBER},state="queued"}} 0
hpc_member_jobs{{{MEMBER},state="running"}} 1
hpc_member_jobs{{{MEMBER},state="queued"}} 0
hpc_member_jobs{{{MEMBER},state="held"}} 0
hpc_member_jobs{{{MEMBER},state="suspended"}} 0
hpc_member_requested_cpus{{{MEMBER},state="running"}} 1
hpc_member_requested_cpus{{{MEMBER},state="queued"}} 0
hpc_member_requested_dcus{{{MEMBER},state="running"}} 0
hpc_member_requested_dcus{{{MEMBER},state="queued"}} 0
hpc_member_requested_gpus{{{MEMBER},state="running"}} 0
hpc_member_requested_gpus{{{MEMBER},state="queued"}} 0
hpc_member_requested_nodes{{{MEMBER},state="running"}} 1
hpc_member_requested_nodes{{{MEMBER},state="queued"}} 0
"""
ON_THE_WIRE = {
    "/hpc/openapi/v2/view/queue/jobs?userName=test",
    "/hpc/openapi/v2/cluster",
    "/ac/openapi/v2/clusters/11112/groups/533686286955839488/clusterUserNames/test/jobs",
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def region() -> AsyncIterator[ScriptedRegion]:
    names = ("queue_jobs", "schedulers", "member_jobs")
    async with scripted_region({name: (PAGES / f"{name}.json").read_bytes() for name in names}) as region:
        yield region


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exporter(region: ScriptedRegion, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExporterProcess]:
    members = [{"group_id": 533686286955839488, "users": ["test"]}]
    folder = tmp_path_factory.mktemp("exporter")
    async with serving(folder, configuration(cluster(region.url, token=SAMPLE_TOKEN, members=members))) as exporter:
        await exporter.ready()
        yield exporter


async def lines_of(exporter: ExporterProcess, families: str) -> str:
    """Return the sample lines of the families that the pattern matches, in their order on /metrics."""
    lines = (await exporter.ask("/metrics")).text.splitlines(keepends=True)
    return "".join(line for line in lines if re.match(rf"({families})\{{", line))


async def test_each_page_is_asked_exactly_as_it_describes(region: ScriptedRegion, exporter: ExporterProcess) -> None:
    assert set(region.paths) == ON_THE_WIRE
    assert len(region.paths) == len(ON_THE_WIRE)
    assert {(request.method, request.headers["token"]) for request in region.requests} == {("GET", SAMPLE_TOKEN)}


async def test_queue_statistics(exporter: ExporterProcess) -> None:
    assert await lines_of(exporter, "hpc_queue_.*") == QUEUE_JOBS


async def test_schedulers_without_address_and_port(exporter: ExporterProcess) -> None:
    assert await lines_of(exporter, "hpc_scheduler_.*") == SCHEDULERS


async def test_member_jobs_with_every_digit_of_the_group_id(exporter: ExporterProcess) -> None:
    assert await lines_of(exporter, "hpc_member_(jobs|(requested|allocated)_.*)") == MEMBER_JOBS


async def test_the_region_is_up(exporter: ExporterProcess) -> None:
    assert await lines_of(exporter, "hpc_up") == 'hpc_up{hpc_cluster="kunshan"} 1\n'


async def test_the_sample_token_tells_when_it_expires(exporter: ExporterProcess) -> None:
    series = 'hpc_exporter_token_expiry_timestamp_seconds{source="kunshan",user=""}'
    assert (await exporter.samples())[series] == 1685600225.615
