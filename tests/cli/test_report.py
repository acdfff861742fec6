"""`report`: a month by user, group, queue or region, from a Prometheus or from the regions' histories."""

import csv
import io
import json
import math
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trustme
import yaml
from aiohttp import web

from exporter.cli.options import UsageError
from exporter.cli.report import CHINA, period_of, table
from exporter.cli.report_sources import Period, Report, Sums, median_of, parts, summed
from exporter.cli.simulate import configuration
from exporter.records import EndedJob, Job, JobState
from exporter.simulator import Simulator, State, default_regions
from tests.e2e.region import cluster, envelope, scripted_region
from tests.e2e.region import configuration as configuration_of
from tests.support.command import Command
from tests.support.http import Network
from tests.web.test_passwords import basic

# The flags --month, --from and --to.
Given = tuple[str | None, str | None, str | None]
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
SCHEMA = Path(__file__).parent.parent.parent / "config" / "report.schema.json"


@pytest.mark.parametrize(
    ("given", "begin", "end"),
    [
        ((None, None, None), "2026-10-01T00:00+08:00", "2026-11-01T00:00+08:00"),
        (("2026-02", None, None), "2026-02-01T00:00+08:00", "2026-03-01T00:00+08:00"),
        (("2026-11", None, None), "2026-11-01T00:00+08:00", "2026-11-29T12:00+00:00"),
        ((None, "2026-11-01", "2026-11-08"), "2026-11-01T00:00+08:00", "2026-11-08T00:00+08:00"),
        ((None, "2026-11-01T08:00:00Z", None), "2026-11-01T08:00+00:00", "2026-11-29T12:00+00:00"),
    ],
)
def test_a_period_is_in_the_time_zone_and_ends_now_at_the_latest(given: Given, begin: str, end: str) -> None:
    period = period_of(*given, CHINA, NOW)
    assert (period.begin, period.end) == tuple(datetime.fromisoformat(text).timestamp() for text in (begin, end))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("2026-13", None, None), "--month=2026-13 is not a month like 2026-11"),
        (("11", None, None), "is not a month"),
        (("2026-12", None, None), "lies in the future"),
        (("9999-12", None, None), "--month=9999-12 is not a month"),
        (("0001-01", None, None), "begins before 1970"),
        ((None, "0001-01-01", None), "begins before 1970"),
        (("2026-11", "2026-11-01", None), "--month does not go with --from and --to"),
        ((None, None, "2026-11-01"), "--to needs --from"),
        ((None, "2026-11-08", "2026-11-01"), "the period is empty"),
        ((None, "soon", None), "--from=soon is neither a date like 2026-11-01 nor a time"),
    ],
)
def test_a_period_that_is_none(given: Given, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        period_of(*given, CHINA, NOW)


def ended(state: JobState, submitted: float | None, started: float | None, at: float, cpus: int | None = 2) -> EndedJob:
    job = Job("1", "", state, allocated_cpus=cpus, allocated_gpus=0, submitted=submitted, started=started)
    return EndedJob("bob", "1", at, job)


def test_jobs_across_the_edges_count_with_their_part_inside() -> None:
    period = Period(1000.0, 4600.0, UTC)
    sums = summed(
        [
            ended(JobState.COMPLETED, 0, 500, 2800),
            ended(JobState.FAILED, 1000, 2800, 8000),
            ended(JobState.DELETED, 1200, None, 1300),
            ended(JobState.REQUEUED, 1000, 1100, 1400),
            ended(JobState.COMPLETED, 0, 10, 999),
        ],
        period,
    )
    assert sums is not None
    assert sums.outcomes == {"completed": 1, "deleted": 1}
    assert sums.core_hours == pytest.approx(2 * (1800 + 1800 + 300) / 3600)
    assert (sums.median_wait_seconds, sums.mean_wait_seconds) == (950, 950)
    assert sums.dcu_hours is None, "unknown is not zero"
    assert summed([ended(JobState.COMPLETED, 0, 10, 999)], period) is None


@pytest.mark.parametrize(
    ("state", "hours"),
    [
        *((state, None) for state in (JobState.COMPLETED, JobState.TIMEOUT, JobState.UNKNOWN, JobState.OTHER)),
        (JobState.DELETED, 0.0),
    ],
)
def test_a_job_that_ran_since_when_nothing_tells_has_no_hours_of_zero(state: JobState, hours: float | None) -> None:
    sums = summed([ended(state, 0, None, 1300)], Period(1000.0, 4600.0, UTC))
    assert sums is not None
    assert (sums.jobs, sums.core_hours) == (1, hours)


def test_a_long_period_is_read_by_days() -> None:
    assert list(parts(0.0, 200_000.0)) == [(0.0, 86_400.0), (86_400.0, 172_800.0), (172_800.0, 200_000.0)]


@pytest.mark.parametrize(
    ("buckets", "median"),
    [
        ({}, None),
        ({math.inf: 0.0}, None),
        ({60.0: 2.0, 120.0: 4.0, math.inf: 4.0}, 60.0),
        ({60.0: 0.0, 120.0: 4.0, math.inf: 4.0}, 90.0),
        ({60.0: 1.0, math.inf: 4.0}, 60.0),
        # A bound that is no number.
        ({60.0: 1.0, math.nan: 4.0, math.inf: 4.0}, None),
    ],
)
def test_the_median_is_that_of_histogram_quantile(buckets: dict[float, float], median: float | None) -> None:
    assert median_of(buckets) == median


async def test_the_history_of_a_simulated_region_adds_up_to_its_truth(tmp_path: Path) -> None:
    (spec,) = default_regions(1)
    async with Simulator([replace(spec, warm_up=30 * 3600.0)]) as simulator:
        (region,) = simulator.regions.values()
        end = math.floor(time.time()) - 600
        begin = end - 26 * 3600
        command = Command(tmp_path, configuration(simulator))
        times = [
            f"--{name}={datetime.fromtimestamp(at, UTC).isoformat()}" for name, at in (("from", begin), ("to", end))
        ]
        report = await command("report", *times, "--by=user", "--format=json")
        listed = await command("report", *times, "--by=group,queue")
        sheet = await command("report", *times, "--by=user", "--format=csv")
        endings = region.batch.endings(0.0, region.batch.now)
    assert (report.status, "without jobs that still run or ended more than 7 days after" in report.stderr) == (0, True)
    found = json.loads(report.stdout)
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    least, most = defaultdict[str, float](float), defaultdict[str, float](float)
    names = {State.COMPLETED: "completed", State.DELETED: "deleted", State.TIMEOUT: "timeout"}
    for ending in endings:
        if begin <= math.floor(ending.ended) < end and ending.state is not State.REQUEUED:
            outcomes[ending.job.user][names.get(ending.state, "other")] += 1
        if ending.started is not None:
            seconds = max(0.0, min(ending.ended, end) - max(ending.started, begin))
            used = ending.job.share.cores * seconds / 3600
            most[ending.job.user] += used
            # The row of a job that has just ended comes some time later.
            least[ending.job.user] += used if ending.ended < end + 400 else 0.0
    for row in found["rows"]:
        truth = outcomes[row["user"]]
        assert {name: row["outcomes"].get(name, 0) for name in names.values()} == {n: truth[n] for n in names.values()}
        assert row["jobs"] == truth.total()
        # Rows have whole seconds.
        assert 0.999 * least[row["user"]] <= row["core_hours"] <= 1.001 * most[row["user"]]
    assert len(found["rows"]) == len(outcomes) > 3
    assert listed.stdout.startswith("group")
    assert listed.stdout.splitlines()[-1].split()[:2] == ["total", str(sum(row["jobs"] for row in found["rows"]))]
    rows = list(csv.DictReader(io.StringIO(sheet.stdout.removeprefix("\ufeff"))))
    assert {row["user"]: row["jobs"] for row in rows} == {row["user"]: str(row["jobs"]) for row in found["rows"]}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: web.Response(text="<html>"), "this is no answer of a Prometheus; is the address right?"),
        (lambda: web.Response(text='{"a":' * 5000), "this is no answer of a Prometheus; is the address right?"),
        (
            lambda: web.json_response({"status": "error", "error": "found duplicate\nseries"}, status=422),
            "the query failed: found duplicate series",
        ),
    ],
)
async def test_a_prometheus_that_cannot_be_asked(
    network: Network, tmp_path: Path, answer: Callable[[], web.Response], said: str
) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return answer()

    url = await network.serve(handler)
    result = await Command(tmp_path, "")("report", "--month=2026-01", f"--prometheus={url}")
    assert (result.status, result.stdout) == (1, "")
    assert said in result.stderr


EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


@pytest.mark.parametrize(
    ("access", "status", "said"),
    [
        ({"basic_auth": {"username": "alice", "password_file": "secret"}}, 0, "0 % of the period"),
        ({"basic_auth": {"username": "alice", "password": "pass:wörd-of-alice"}}, 0, "0 % of the period"),
        ({"authorization": {"credentials_file": "secret"}}, 0, "0 % of the period"),
        ({"authorization": {"type": "Token", "credentials": "other-secret"}}, 1, "HTTP 401: give a password or a token"),
        ({}, 1, "HTTP 401: give a password or a token by --http.config.file"),
        ({"basic_auth": {"username": "alice"}}, 1, "basic_auth: one of password, password_file is missing"),
        ({"authorization": {"credentials": "a"}, "basic_auth": {"username": "a", "password": "b"}}, 1, "give only one"),
        ({"tls_config": {"ca_file": "ca.pem", "cert_file": "client.pem"}}, 0, "0 % of the period"),
        ({"tls_config": {"cert_file": "ca.pem"}}, 1, "tls_config.cert_file: cannot be used: no certificate and key that fit"),
        ({"tls_config": {"cert_file": "missing.pem"}}, 1, "tls_config.cert_file: cannot be used: No such file"),
        ({"tls_config": {}}, 1, "certificate in certificate chain); give its CA as tls_config.ca_file"),
        ({"oauth2": {}}, 1, "oauth2: unknown key; known here are basic_auth, authorization, tls_config"),
    ],
)  # fmt: skip
async def test_a_prometheus_behind_a_password(
    network: Network, tmp_path: Path, access: dict[str, Any], status: int, said: str
) -> None:
    secret, password = "token-or-password", "pass:wörd-of-alice"
    accepted = {f"Bearer {secret}", *(basic("alice", each) for each in (secret, password))}

    async def handler(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization")
        if given in accepted or (request.transport is not None and request.transport.get_extra_info("peercert")):
            return web.json_response(EMPTY)
        return web.Response(status=401, text=f"401 Unauthorized: {given}")

    (tmp_path / "secret").write_text(secret + "\n", encoding="utf-8")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    authority.issue_cert("alice").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    url = await network.serve(handler, tls=context)
    (tmp_path / "access.yml").write_text(json.dumps({"tls_config": {"ca_file": "ca.pem"}} | access))
    result = await Command(tmp_path, "")(
        "report", "--month=2026-01", f"--prometheus={url}", "--http.config.file=access.yml"
    )
    assert (result.status, said in result.stderr) == (status, True), result.stderr
    assert not [
        each for each in (secret, password, "other-secret", basic("alice", secret)[6:]) if each in result.stderr
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--http.config.file=access.yml",), "give --prometheus=URL as well"),
        (("--prometheus=https://alice:secret@example.com",), "would be seen by all users of this machine"),
    ],
)
async def test_access_that_cannot_be_used(tmp_path: Path, arguments: Sequence[str], said: str) -> None:
    result = await Command(tmp_path, "")("report", *arguments)
    assert (result.status, said in result.stderr, "secret" in result.stderr) == (2, True, False), result.stderr


async def test_clusters_without_a_history_are_named(tmp_path: Path) -> None:
    async with Simulator([*default_regions(1)]) as simulator:
        document = yaml.safe_load(configuration(simulator))
        document["slurm"] = [{"name": "own", "url": "http://127.0.0.1:9", "token": "a-token"}]
        begin = datetime.fromtimestamp(time.time() - 60, UTC).isoformat()
        report = await Command(tmp_path, yaml.safe_dump(document))("report", f"--from={begin}")
    assert (report.status, "without own: of Slurm clusters only --prometheus tells" in report.stderr) == (0, True)


async def test_an_empty_prometheus_is_said_to_be_empty(network: Network, tmp_path: Path) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.json_response(EMPTY)

    url = await network.serve(handler)
    result = await Command(tmp_path, "")("report", "--month=2026-01", f"--prometheus={url}", "--format=json")
    assert (result.status, json.loads(result.stdout)["rows"]) == (0, [])
    assert "which has data of the exporter for 0 % of the period" in result.stderr
    assert "2026-01-01T00:00+08:00 to 2026-02-01T00:00+08:00" in result.stderr


@pytest.mark.parametrize("more", [{"warnings": ["remote read: store-2 timed out"]}, {"isPartial": True}])
async def test_data_that_a_prometheus_knows_to_be_missing_is_told(
    network: Network, tmp_path: Path, more: dict[str, Any]
) -> None:
    """As Thanos, remote stores and clusters of VictoriaMetrics say it."""
    metric = {"hpc_cluster": "kunshan", "group": "g", "user": "bob", "outcome": "completed"}

    async def handler(_request: web.Request) -> web.Response:
        return web.json_response({**EMPTY, "data": {"result": [{"metric": metric, "value": [0, "5"]}]}, **more})

    url = await network.serve(handler)
    result = await Command(tmp_path, "")("report", "--month=2026-01", f"--prometheus={url}", "--format=json")
    assert (result.status, json.loads(result.stdout)["complete"]) == (1, False)
    assert result.stderr.count("warns that data may be missing") == 1


def test_the_table_tells_the_time_that_could_not_be_accounted_where_it_is_known() -> None:
    known = Sums({"completed": 2}, 3.4, 0.0, 0.0, 20.0, 7500.0, unaccounted_hours=1.6)
    unknown = Sums({"completed": 1}, 1.0)
    lines = table(Report("prometheus", {("bob",): known, ("al",): known}), ["user"], io.StringIO()).splitlines()
    assert [line.split()[-1] for line in lines] == ["h", "2", "2", "4"]
    assert all("20 s  2 h 5 min" in line for line in lines[1:3])
    assert "unaccounted" not in table(Report("history", {("bob",): unknown}), ["user"], io.StringIO())


async def test_rows_that_cannot_be_read_are_told_and_cost_no_others(tmp_path: Path) -> None:
    row = {"jobId": "1", "clusterUserName": "bob", "jobState": "statC", "jobStartTime": "2026-01-20 09:00:00",
           "jobEndTime": "2026-01-20 10:00:00", "procNumUsed": 4, "gpuNumUsed": 0, "dcuNumUsed": 0}  # fmt: skip
    period = ("--from=2026-01-20", "--to=2026-01-21", "--by=user")
    async with scripted_region({"job_history": envelope([row, {**row, "jobId": None}])}) as region:
        command = Command(tmp_path, configuration_of(cluster(region.url)))
        without = await command("report", *period)
        region.answers["schedulers"] = envelope([{"id": 1}])
        shown = await command("report", *period)
        found = await command("report", *period, "--format=json")
    assert (without.status, without.stdout, shown.status, found.status) == (1, "", 1, 1)
    assert "could not be read: the region lists no scheduler whose data could be requested" in without.stderr
    assert "kunshan: some rows of the job history could not be read: their jobs are missing" in shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["user", "bob"]
    document = json.loads(found.stdout)
    assert (document["complete"], [each["core_hours"] for each in document["rows"]]) == (False, [4.0])


async def test_a_region_without_a_history_is_named(tmp_path: Path) -> None:
    result = await Command(tmp_path, "octopus: []\nclusters: []\n")("report", "--month=2026-01")
    assert (result.status, result.stdout) == (1, "")
