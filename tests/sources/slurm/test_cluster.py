"""A cluster from its configuration to /metrics, by a small slurmrestd: versions, credentials, errors, members."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.sources.slurm.answers import ENDED, RUNNING, new, old
from tests.sources.stepped import INTERVAL, Stepped, stepped
from tests.support.http import Network
from tests.support.slurmrestd import REJECTED, TOKEN, FakeSlurmrestd, answer, error


def running(
    tmp_path: Path, url: str, credential: str = f"token: {TOKEN}", more: str = "", state: str = ""
) -> AbstractAsyncContextManager[Stepped]:
    return stepped(
        tmp_path,
        f"poll: {{interval: {INTERVAL:.0f}s, retries: 0}}\n"
        f"slurm:\n  - name: own\n    url: {url}\n    collect: [jobs]\n    {credential}\n    {more}\n{state}",
    )


def jwt(**claims: Any) -> str:
    parts = ({"alg": "HS256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


# Versions


@pytest.mark.parametrize(
    ("served", "used", "requests"),
    [
        (["v0.0.45", "v0.0.44", "v0.0.42"], "v0.0.45", 1),
        (["v0.0.42", "v0.0.41"], "v0.0.42", 4),
        (["v0.0.38"], "v0.0.38", 8),
        # Newer than any that is known, beside one that is.
        (["v0.0.47", "v0.0.46", "v0.0.45"], "v0.0.45", 1),
    ],
)
async def test_the_newest_version_that_is_served_is_found_and_kept(
    network: Network, tmp_path: Path, served: Sequence[str], used: str, requests: int
) -> None:
    rest = FakeSlurmrestd(served)
    async with running(tmp_path, await rest.start(network)) as exporter:
        assert await exporter.poll() == ""
        assert rest.requests[-1] == f"/slurm/{used}/jobs/"
        assert len(rest.requests) == requests
        assert await exporter.poll() == ""
        assert len(rest.requests) == requests + 1


async def test_another_version_is_found_when_the_daemon_was_updated(network: Network, tmp_path: Path) -> None:
    rest = FakeSlurmrestd(["v0.0.38"])
    async with running(tmp_path, await rest.start(network)) as exporter:
        await exporter.poll()
        rest.versions = ["v0.0.44"]
        assert await exporter.poll() == ""
        assert rest.requests[-1] == "/slurm/v0.0.44/jobs/"


@pytest.mark.parametrize("status", [404, 501])
async def test_no_known_version_and_one_that_was_set_wrongly(network: Network, tmp_path: Path, status: int) -> None:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="no such thing")

    url = await network.serve(handle)
    async with running(tmp_path, url) as exporter:
        assert await exporter.poll() == (
            f"http: the API is not served in version v0.0.38 to v0.0.45 (HTTP {status}: no such thing); is url the address of "
            "slurmrestd? A version newer than these can be set with api_version"
        )
    async with running(tmp_path, url, more="api_version: v0.0.99") as exporter:
        assert "not served in version v0.0.99" in await exporter.poll()
        assert exporter.error.endswith("correct api_version, or leave it out")


# Credentials


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ("", {"X-SLURM-USER-TOKEN": TOKEN}),
        ("user_name: me", {"X-SLURM-USER-TOKEN": TOKEN, "X-SLURM-USER-NAME": "me"}),
        ("bearer: true", {"Authorization": f"Bearer {TOKEN}"}),
    ],
)
async def test_how_the_token_travels(network: Network, tmp_path: Path, more: str, sent: Mapping[str, str]) -> None:
    rest = FakeSlurmrestd()
    async with running(tmp_path, await rest.start(network), more=more) as exporter:
        assert await exporter.poll() == ""
    names = {"X-SLURM-USER-TOKEN", "X-SLURM-USER-NAME", "Authorization"}
    assert {name: value for name, value in rest.headers.items() if name in names} == sent


@pytest.mark.parametrize("status", [511, 500, 401, 200])
async def test_a_rejected_token_is_read_again_and_its_expiry_is_shown(
    network: Network, tmp_path: Path, status: int
) -> None:
    first, second = jwt(exp=2_000_000_000, sun="me"), jwt(exp=2_000_009_999, sun="me")
    rest = FakeSlurmrestd(token=first)
    rest.rejects_with = status
    file = tmp_path / "slurm-token"
    file.write_text(first, encoding="ascii")
    async with running(tmp_path, await rest.start(network), f"token_file: {file}") as exporter:
        assert await exporter.poll() == ""
        assert await exporter.values("hpc_exporter_token_expiry_timestamp_seconds") == {("",): 2_000_000_000}
        # Something renews it at the last moment: no watch over files has seen it.
        rest.token = second
        exporter.app._secrets.follow(())
        file.write_text(second, encoding="ascii")
        assert await exporter.poll() == ""
        assert await exporter.values("hpc_exporter_token_expiry_timestamp_seconds") == {("",): 2_000_009_999}
        # The file is of no help now.
        rest.token = "another"
        assert (await exporter.poll()).startswith(
            "auth: the token was rejected: it is missing, wrong or expired (HTTP "
        )


async def test_no_token_where_one_is_needed(tmp_path: Path) -> None:
    rest = FakeSlurmrestd()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", rest._answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "socket")).start()
    async with running(tmp_path, f"unix:{tmp_path}/socket", "") as exporter:
        assert await exporter.poll() == (
            "auth: the token was rejected: it is missing, wrong or expired (HTTP 401: Authentication failure)"
        )
        rest.token = ""
        assert await exporter.poll() == ""
        assert await exporter.values("hpc_exporter_token_expiry_timestamp_seconds") == {}
    await runner.cleanup()


# Errors


@pytest.mark.parametrize(
    ("response", "said"),
    [
        # Its list of errors decides, whatever HTTP says.
        (lambda: answer("jobs", [old()], [error(1800, "Unable to contact slurm controller", "Unable to query jobs")], 200),
         "upstream: Slurm failed (HTTP 200, error 1800: Unable to contact slurm controller: Unable to query jobs)"),
        (lambda: answer("jobs", [], [error(1800, "Unable to contact slurm controller", "")], 502), "upstream: Slurm failed (HTTP 502"),
        (lambda: answer("jobs", [], [error(-1, "Unspecified error", "Failed while looking for jobs")], 500), "upstream: Slurm failed"),
        (lambda: answer("jobs", [], [error(2002, "Access/permission denied")], 500), "permission: the token's user lacks the permission"),
        (lambda: answer("jobs", [], [error(9000, "Invalid query")], 400), "upstream: Slurm rejected the request (HTTP 400, error 9000"),
        (lambda: answer("jobs", [], [error(None, "Protocol authentication error")], 500), "auth: the token was rejected"),
        (lambda: answer("jobs", [], [{"errno": 1007}], 500), "auth: the token was rejected"),
        (lambda: answer("jobs", [], [REJECTED], 200), "auth: the token was rejected"),
        (lambda: answer("jobs", [], ["no"], 401), "auth: the token was rejected"),
        (lambda: answer("jobs", [], ["no"], 511), "auth: the token was rejected"),
        (lambda: web.Response(status=511, text="no"), "auth: the token was rejected"),
        (lambda: answer("jobs", [], ["just a text"], 200), "upstream: Slurm failed (HTTP 200, just a text)"),
        (lambda: answer("jobs", [], [7, None, {}], 200), "upstream: Slurm failed (HTTP 200"),
        (lambda: answer("jobs", [], {"error": "one"}, 200), "upstream: Slurm failed (HTTP 200, one)"),  # type: ignore[arg-type]
        (lambda: answer("jobs", [], (), 500), "http: HTTP 500"),
        (lambda: answer("partitions", []), "decode: the answer has no list of jobs"),
        (lambda: answer("jobs", {"a": 1}), "decode: "),  # type: ignore[arg-type]
        (lambda: answer("jobs", [7, None]), "decode: none of the answer's 2 rows can be read"),
        (lambda: answer("jobs", None), "decode: the answer has no list of jobs"),  # type: ignore[arg-type]
        (lambda: web.Response(text="<html>a login page"), "decode: the answer is not slurmrestd's: a login page"),
        (lambda: web.Response(body=b""), "decode: the answer is not slurmrestd's: an empty body"),
        (lambda: web.Response(body=b'{"jobs": [1'), "decode: "),
        (lambda: web.Response(status=502, text="<html>Bad Gateway"), "http: HTTP 502: Bad Gateway"),
        (lambda: web.Response(status=405, text="no"), "http: HTTP 405: no"),
        (lambda: web.Response(status=403, text="no"), "permission: the token's user lacks the permission (HTTP 403: no)"),
        (lambda: web.Response(status=429, text="no"), "throttled: rate limited"),
        (lambda: web.Response(status=503, headers={"Retry-After": "7"}), "throttled: rate limited: next request in 7 s"),
        (lambda: web.Response(status=302, headers={"Location": "https://elsewhere.example.com"}), "http: HTTP 302, a redirect"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_success(
    network: Network, tmp_path: Path, response: Callable[[], web.Response], said: str
) -> None:
    rest = FakeSlurmrestd()
    rest.rows["jobs"] = [new()]
    async with running(tmp_path, await rest.start(network)) as exporter:
        assert await exporter.poll() == ""
        before = await exporter.values("hpc_member_jobs")
        rest.failures = [response(), response()]
        assert (await exporter.poll())[: len(said)] == said
        # A failed poll is never a zero.
        assert await exporter.values("hpc_member_jobs") == before
        rest.failures.clear()


# Members


async def test_groups_and_members_who_have_no_jobs_any_more(network: Network, tmp_path: Path) -> None:
    rest = FakeSlurmrestd()
    rest.rows["jobs"] = [
        new(),
        new(job_id=18, user_name="bob", **RUNNING),
        new(job_id=19, account="", partition="a,b"),
        new(job_id=20, account="physics"),
    ]
    url = await rest.start(network)
    async with running(tmp_path, url, more="groups: [chemistry]") as exporter:
        await exporter.poll()
        jobs = await exporter.values("hpc_member_jobs")
        assert {labels for labels, value in jobs.items() if value} == {
            ("chemistry", "test", "queued"),
            ("chemistry", "bob", "running"),
        }
        rest.rows["jobs"] = []
        assert await exporter.poll() == ""
        assert set((await exporter.values("hpc_member_jobs")).values()) == {0}
        assert await exporter.values("hpc_up") == {(): 1}
    rest.rows["jobs"] = [new(job_id=19, account="", partition="a,b"), new(job_id=20, account="physics")]
    async with running(tmp_path, url) as exporter:
        await exporter.poll()
        jobs = {labels: value for labels, value in (await exporter.values("hpc_jobs")).items() if value}
        assert jobs == {("", "a,b", "queued"): 1, ("physics", "batch", "queued"): 1}
        reasons = await exporter.values("hpc_pending_jobs")
        assert reasons == {("", "test", "priority"): 1, ("physics", "test", "priority"): 1}


async def test_a_job_counts_once_with_its_own_times_over_a_restart(network: Network, tmp_path: Path) -> None:
    """Its member is known from the state file when all is over: the configuration names no members."""
    state = f"tracking: {{state_file: {tmp_path / 'tracker.db'}}}\n"
    rest = FakeSlurmrestd()
    rest.rows["jobs"] = [new(), new(job_id=18)]
    url = await rest.start(network)
    async with running(tmp_path, url, state=state) as exporter:
        await exporter.poll()
    rest.rows["jobs"] = [new(**{**ENDED, "job_state": "FAILED"})]
    async with running(tmp_path, url, state=state) as exporter:
        await exporter.poll()
        rest.rows["jobs"] = []
        for _ in range(3):
            await exporter.poll()
        await asyncio.sleep(0)
        finished = await exporter.values("hpc_jobs_finished_total")
        counted = {labels[-1]: value for labels, value in finished.items() if value}
        assert counted == {"failed": 1, "vanished_queued": 1}
        tracked = await exporter.values("hpc_exporter_tracked_jobs")
        assert tracked == {(): 0}


async def test_an_array_that_is_cut_off_is_completed_by_the_states_of_its_tasks(
    network: Network, tmp_path: Path
) -> None:
    rest = FakeSlurmrestd(["v0.0.42"])
    rest.rows["jobs"] = [new(job_id=5, array_job_id=5, array_task_string="1,3,1...")]
    rest.rows["states"] = [{"job_id": f"5_{task}", "state": ["PENDING"]} for task in (1, 3, 12, 14)]
    async with running(tmp_path, await rest.start(network)) as exporter:
        assert await exporter.poll() == ""
        assert (await exporter.values("hpc_member_jobs"))["chemistry", "test", "queued"] == 4
        assert rest.requests[-2:] == ["/slurm/v0.0.42/jobs/", "/slurm/v0.0.42/jobs/state/"]
        # The list itself is the same.
        rest.rows["states"] = rest.rows["states"][1:]
        assert await exporter.poll() == ""
        assert (await exporter.values("hpc_member_jobs"))["chemistry", "test", "queued"] == 3


async def test_tasks_that_are_cancelled_together_are_those_that_waited(network: Network, tmp_path: Path) -> None:
    """After ``scancel --user`` Slurm shows one row for them and does not say which they were."""
    state = f"tracking: {{state_file: {tmp_path / 'tracker.db'}}}\n"
    rest = FakeSlurmrestd()
    # The last one ends unseen, and is no task of array 5.
    rest.rows["jobs"] = [new(job_id=5, array_job_id=5, array_task_string="1-3"), new(job_id=51)]
    url = await rest.start(network)
    cancelled = {**ENDED, "job_state": "CANCELLED", "nodes": ""}
    started = new(**RUNNING, job_id=6, array_job_id=5, array_task_id=2)
    async with running(tmp_path, url, state=state) as exporter:
        await exporter.poll()
    async with running(tmp_path, url, state=state) as exporter:
        rest.rows["jobs"] = [new(**cancelled, job_id=5, array_job_id=5), started]
        for _ in range(3):
            await exporter.poll()
        finished = await exporter.values("hpc_jobs_finished_total")
        assert {labels[-1]: value for labels, value in finished.items() if value} == {
            "deleted": 2,
            "vanished_queued": 1,
        }
        assert (await exporter.values("hpc_member_jobs"))["chemistry", "test", "deleted"] == 2
    # One that no poll saw is a job like any other.
    rest.rows["jobs"] = [new(**cancelled, job_id=9, array_job_id=9)]
    async with running(tmp_path, url) as exporter:
        await exporter.poll()
        assert (await exporter.values("hpc_member_jobs"))["chemistry", "test", "deleted"] == 1


async def test_the_first_job_of_a_member_has_its_true_wait(network: Network, tmp_path: Path) -> None:
    """It was in no list before, and that list was whole: so no poll missed its beginning."""
    rest = FakeSlurmrestd()
    async with running(tmp_path, await rest.start(network)) as exporter:
        now = exporter.app._clock.now()
        rest.rows["jobs"] = [old(**{**RUNNING, "submit_time": int(now) - 600, "start_time": int(now) - 300})]
        await exporter.poll()
        assert await exporter.values("hpc_job_observed_wait_seconds_count") == {("chemistry", "batch"): 0}
        now = exporter.app._clock.now()
        times = {"submit_time": int(now) + 2, "start_time": int(now) + 5}
        rest.rows["jobs"] = [*rest.rows["jobs"], old(**{**RUNNING, **times}, job_id=18, user_name="bob")]
        await exporter.poll()
        waits = await exporter.values("hpc_job_observed_wait_seconds_sum")
        assert waits["chemistry", "batch"] == 3
