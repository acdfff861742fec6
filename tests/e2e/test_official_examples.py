"""The examples of the official pages, word for word, and exactly the lines that come of them.

Sources: the pages 查询队列作业统计信息, 查询集群信息 and 查询成员实时作业列表 of the SCNet OpenAPI v2. The sample token is theirs, too.
"""

import re
from pathlib import Path

from tests.e2e.process import serving
from tests.e2e.region import FIXTURES, SAMPLE_TOKEN, Answers, cluster, configuration, scripted_region

PAGES = FIXTURES / "scnet"
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
PATHS = [
    "/ac/openapi/v2/clusters/11112/groups/533686286955839488/clusterUserNames/test/jobs",
    "/hpc/openapi/v2/cluster",
    "/hpc/openapi/v2/view/queue/jobs?userName=test",
]


async def test_the_examples_are_requested_as_described_and_shown_line_by_line(tmp_path: Path) -> None:
    """With every digit of the group id; of schedulers without address and port."""
    answers: Answers = {
        name: (PAGES / f"{name}.json").read_bytes() for name in ("queue_jobs", "schedulers", "member_jobs")
    }
    async with scripted_region(answers) as region:
        members = [{"group_id": 533686286955839488, "users": ["test"]}]
        text = configuration(cluster(region.url, token=SAMPLE_TOKEN, members=members))
        async with serving(tmp_path, text) as exporter:
            await exporter.ready()
            shown = (await exporter.ask("/metrics")).text
        assert sorted(region.paths) == PATHS
        assert {(request.method, request.headers["token"]) for request in region.requests} == {("GET", SAMPLE_TOKEN)}

    def lines(families: str) -> str:
        return "".join(re.findall(rf"^(?:{families})\{{.*\n", shown, re.MULTILINE))

    assert lines("hpc_queue_.*") == QUEUE_JOBS
    assert lines("hpc_scheduler_.*") == SCHEDULERS
    assert lines("hpc_member_(?:jobs|(?:requested|allocated)_.*)") == MEMBER_JOBS
    assert lines("hpc_up") == 'hpc_up{hpc_cluster="kunshan"} 1\n'
    expiry = 'hpc_exporter_token_expiry_timestamp_seconds{source="kunshan",user=""} 1685600225.615\n'
    assert lines("hpc_exporter_token_expiry_.*") == expiry
