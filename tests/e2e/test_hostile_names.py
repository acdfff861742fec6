"""Names that break careless programs, the whole way: into the request, out of the answer, into every page.

Names in the configuration (users, groups, regions) cannot hold invisible characters; what a region sends
(queues, jobs, schedulers) can hold anything that JSON can.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from html import escape
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import pytest_asyncio
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.e2e.process import ExporterProcess, serving
from tests.e2e.real import Prometheus, prometheus_scraping, promtool_check
from tests.e2e.region import GROUP_ID, ScriptedRegion, cluster, configuration, envelope, job, queue, scripted_region

pytestmark = pytest.mark.asyncio(loop_scope="module")

Parser = Callable[[str], Iterable[Metric]]

VISIBLE = (
    *('say "no"', "it's", "back\\slash\\n", "a/b/../c", "100%25 %s %d", "a b+c&d=e?f#g;h:i,j"),
    *("<script>alert(1)</script>", "{job='x'}", "${HOME}", "分子动力学", "🚀🧪", "שלום مرحبا", "e\u0301 é", "x" * 300),
)
INVISIBLE = (
    *("two\nlines", "carriage\rreturn", "\ttab", " blanks around ", "rtl \u202eoverride", "line\u2028separator"),
    *("next\u0085line", "bom\ufeff", "bell\a escape\x1b[31m", "ends with a backslash\\"),
    *("# EOF\n# TYPE apples counter", "nul\0byte", ""),
)
SENT = VISIBLE + INVISIBLE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def region() -> AsyncIterator[ScriptedRegion]:
    jobs = [job(f"id {index} {name}", name) for index, name in enumerate(SENT)]
    schedulers = [{"id": index, "text": name, "JobManagerType": name} for index, name in enumerate(SENT)]
    async with scripted_region(
        {
            "queue_jobs": envelope([queue(name, R=index + 1) for index, name in enumerate(SENT)]),
            "member_jobs": envelope(jobs),
            "schedulers": envelope(schedulers),
        }
    ) as region:
        yield region


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exporter(region: ScriptedRegion, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExporterProcess]:
    users = [name.replace("${", "$${") for name in VISIBLE]
    members = [{"group_id": GROUP_ID, "group": users[0], "users": users}]
    text = configuration(
        cluster(region.url, name=users[0], users=users, members=members), per_job={"enabled": True, "max_jobs": 100_000}
    )
    async with serving(tmp_path_factory.mktemp("exporter"), text) as exporter:
        await exporter.ready()
        yield exporter


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(exporter: ExporterProcess, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    async with prometheus_scraping(exporter.addresses[0], tmp_path_factory.mktemp("prometheus")) as prometheus:
        await prometheus.scraped()
        yield prometheus


async def test_users_arrive_whole_at_the_region(region: ScriptedRegion, exporter: ExporterProcess) -> None:
    """Every special character of a name is percent-encoded: it can change neither the path nor the query."""
    asked = [urlsplit(path) for path in region.paths]
    names = [parse_qs(url.query, strict_parsing=True)["userName"] for url in asked if url.path.endswith("queue/jobs")]
    assert sorted(names) == sorted([name] for name in VISIBLE)
    segments = [url.path.split("/") for url in asked if "/clusterUserNames/" in url.path]
    described = "/ac/openapi/v2/clusters/{clusterId}/groups/{groupId}/clusterUserNames/{clusterUserName}/jobs"
    assert {len(parts) for parts in segments} == {len(described.split("/"))}
    assert sorted(unquote(parts[-2]) for parts in segments) == sorted(VISIBLE)


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("text/plain", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)],
)
async def test_prometheus_clients_parsers_read_the_names_back(
    exporter: ExporterProcess, accept: str, parse: Parser
) -> None:
    answer = await exporter.ask("/metrics", headers={"Accept": accept})
    labels = [sample.labels for family in parse(answer.text) for sample in family.samples]
    assert {found["queue"] for found in labels if "queue" in found} >= set(SENT)
    assert {found["job_name"] for found in labels if "job_name" in found} >= set(SENT)
    assert {found["scheduler_name"] for found in labels if "scheduler_name" in found} >= set(SENT)
    assert {found["user"] for found in labels if "queue" in found and "user" in found} == set(VISIBLE)
    assert {found["hpc_cluster"] for found in labels if "queue" in found} == {VISIBLE[0]}


async def test_prometheus_reads_the_names_back(prometheus: Prometheus) -> None:
    found = [dict(labels) for labels in await prometheus.query("hpc_queue_jobs")]
    assert {labels.get("queue", "") for labels in found} >= set(SENT)
    assert {labels["user"] for labels in found} == set(VISIBLE)
    found = [dict(labels) for labels in await prometheus.query("hpc_job_info")]
    assert {labels.get("job_name", "") for labels in found} >= set(SENT)


async def test_promtool_reads_them(exporter: ExporterProcess) -> None:
    assert await promtool_check((await exporter.ask("/metrics")).body) == (0, "")


async def test_the_status_has_the_names_as_they_are(exporter: ExporterProcess) -> None:
    status = await exporter.status()
    assert {target["target"] for target in status["targets"] if target["collector"] == "queue_jobs"} == set(VISIBLE)
    assert {target["source"] for target in status["targets"]} == {VISIBLE[0]}


async def test_the_page_shows_the_names_and_runs_none(exporter: ExporterProcess) -> None:
    page = (await exporter.ask("/")).text
    for name in VISIBLE:
        assert escape(name) in page
    assert "<script>alert" not in page
