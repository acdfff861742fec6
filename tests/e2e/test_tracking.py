"""Counters of job tracking in /metrics: over restarts, kills, stale data and reloads."""

import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from tests.e2e.process import ExporterProcess, eventually, run, serving
from tests.e2e.region import GROUP_ID, TOKEN, ScriptedRegion, envelope, job
from tests.support.disk import take_all_room
from tests.support.forks import RUN_FIRST

CHINA = ZoneInfo("Asia/Shanghai")
MEMBER = 'hpc_cluster="kunshan",group="chemistry",user="test"'
GROUP = 'hpc_cluster="kunshan",group="chemistry"'


def configuration(region: ScriptedRegion, *, tracking: str, stale_after: str = "60s", group: str = "chemistry") -> str:
    return f"""
poll: {{interval: 100ms, stale_after: {stale_after}, retries: 0}}
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: {region.url}
    token: {TOKEN}
    collect: [member_jobs]
    members: [{{group_id: {GROUP_ID}, group: {group}, users: [test]}}]
tracking: {tracking}
"""


def listing(**states: str) -> bytes:
    """Return a member's jobs, each named after its id."""
    return envelope([job(job_id, status=status) for job_id, status in states.items()])


def transition(before: str, after: str) -> str:
    return f'hpc_job_transitions_total{{{MEMBER},from_state="{before}",to_state="{after}"}}'


def finished(outcome: str) -> str:
    return f'hpc_jobs_finished_total{{{MEMBER},outcome="{outcome}"}}'


async def polled_again(region: ScriptedRegion, times: int) -> None:
    enough = len(region.requests) + times
    await eventually(lambda: len(region.requests) >= enough, f"{times} more polls")


WAITS = f'hpc_job_observed_wait_seconds_count{{{GROUP},queue=""}}'
RUNS = f'hpc_job_observed_run_seconds_count{{{GROUP},queue=""}}'
# A busy machine may poll so late that it is not known when something happened.
GAP = f'hpc_job_observations_censored_total{{{GROUP},measure="%s",reason="gap"}}'
TRUNCATED = f'hpc_job_observations_censored_total{{{GROUP},measure="wait",reason="left_truncated"}}'


async def test_a_job_s_life_is_counted_from_what_successive_polls_show(tmp_path: Path, region: ScriptedRegion) -> None:
    """Queued, running, gone: a wait, a run and an outcome. The wait of a job from before the first poll is censored."""
    region.answers["member_jobs"] = listing(old="statQ")
    async with serving(tmp_path, configuration(region, tracking="{}")) as exporter:
        await exporter.shows(lambda samples: samples.get(transition("none", "queued")) == 1, "the job that was there")
        region.answers["member_jobs"] = listing(old="statR", new="statQ")
        await exporter.shows(lambda samples: samples.get(transition("none", "queued")) == 2, "the new job")
        region.answers["member_jobs"] = listing(old="statR", new="statR")
        seen = await exporter.shows(lambda samples: samples.get(transition("queued", "running")) == 2, "two starts")
        assert seen[WAITS] + seen.get(GAP % "wait", 0) == 1
        assert seen[TRUNCATED] == 1
        region.answers["member_jobs"] = listing(new="statC")
        seen = await exporter.shows(
            lambda samples: samples[finished("vanished_running")] and samples[finished("completed")], "both ends"
        )
        assert seen[finished("completed")] == 1
        assert seen[finished("vanished_running")] == 1
        assert seen[RUNS] + seen.get(GAP % "run", 0) == 2
        assert seen[f"hpc_member_cpu_seconds_total{{{MEMBER}}}"] > 0


async def test_a_failed_poll_ends_nothing(tmp_path: Path, region: ScriptedRegion) -> None:
    """Neither an error nor a partly unreadable list is an empty list."""
    region.answers["member_jobs"] = listing(a="statR")
    async with serving(tmp_path, configuration(region, tracking="{}")) as exporter:
        await exporter.shows(lambda samples: samples.get(transition("none", "running")) == 1, "the job")
        for broken in (envelope(None, code="10001"), b"<html>", envelope(["not a job"])):
            region.answers["member_jobs"] = broken
            await polled_again(region, times=2)
        region.answers["member_jobs"] = listing(a="statR")
        await polled_again(region, times=3)
        samples = await exporter.samples()
        assert transition("running", "gone") not in samples
        assert samples[finished("vanished_running")] == 0


async def test_counters_go_on_after_a_kill(tmp_path: Path, region: ScriptedRegion) -> None:
    """SIGKILL between two polls: no count is lost or doubled, and jobs stay known."""
    region.answers["member_jobs"] = listing(a="statQ", b="statC")
    text = configuration(region, tracking="{state_file: tracker.db}")
    exporter = ExporterProcess(tmp_path, text)
    try:
        await exporter.serve()
        await exporter.shows(lambda samples: samples.get(transition("none", "queued")) == 1, "the job")
        os.kill(exporter.process.pid, signal.SIGKILL)
        await exporter.wait()
    finally:
        await exporter.close()
    region.answers["member_jobs"] = listing(a="statR", b="statC")
    async with serving(tmp_path, text) as again:
        samples = await again.shows(lambda found: found.get(transition("queued", "running")) == 1, "the start")
        assert samples[transition("none", "queued")] == 1
        assert samples[finished("completed")] == 1


def ended(job_id: str, state: str, queued: float, started: float, at: float) -> dict[str, Any]:
    """Return a row of the history; the region's clock shows China time."""
    times = (datetime.fromtimestamp(each, CHINA).strftime("%Y-%m-%d %H:%M:%S") for each in (queued, started, at))
    names = ("jobQueueTime", "jobStartTime", "jobEndTime")
    amounts = {"procNumUsed": 2, "gpuNumUsed": 0, "dcuNumUsed": 0}
    row = {"jobId": job_id, "jobState": state, "clusterUserName": "test", "queue": "comp", **amounts}
    return {**row, **dict(zip(names, times, strict=True))}


async def test_the_history_tells_how_and_when_jobs_ended(tmp_path: Path, region: ScriptedRegion) -> None:
    """Of a job that the polls saw, and of one that they did not; each once, over a kill and rows that come again."""
    region.answers |= {
        "schedulers": envelope([{"id": "77", "text": "slurm", "JobManagerType": "SLURM"}]),
        "member_jobs": listing(),
        "job_history": envelope({"total": 0, "list": []}),
    }
    text = configuration(region, tracking="{state_file: tracker.db}").replace(
        "member_jobs]", "member_jobs, job_history]"
    )
    exporter = ExporterProcess(tmp_path, text)
    try:
        await exporter.serve()
        await exporter.shows(lambda samples: finished("timeout") in samples, "the first list")
        region.answers["member_jobs"] = listing(seen="statR")
        await exporter.shows(lambda samples: samples.get(transition("none", "running")) == 1, "the job")
        region.answers["member_jobs"] = listing()
        await exporter.shows(lambda samples: samples.get(transition("running", "gone")) == 1, "that it is gone")
        assert (await exporter.samples())[finished("vanished_running")] == 0
        now = time.time()
        rows = [ended("seen", "TIMEOUT", now - 9, now - 5, now), ended("unseen", "statC", now - 40, now - 30, now - 3)]
        region.answers["job_history"] = envelope({"total": 2, "list": rows})
        seen = await exporter.shows(lambda samples: samples[finished("timeout")] == 1, "its end")
        assert seen[finished("completed")] == 1
        os.kill(exporter.process.pid, signal.SIGKILL)
        await exporter.wait()
    finally:
        await exporter.close()
    async with serving(tmp_path, text) as again:
        await polled_again(region, times=6)
        seen = await again.shows(lambda samples: samples.get(finished("timeout")) == 1, "the counters")
        assert (seen[finished("completed")], seen[finished("vanished_running")]) == (1, 0)
        labels = f'{{{GROUP},queue="comp"}}'
        assert seen[f"hpc_job_observed_run_seconds_sum{labels}"] == 5 + 27
        assert seen[f"hpc_job_observed_wait_seconds_sum{labels}"] == 4 + 10
        assert seen[f'hpc_job_observations_total{{{GROUP},measure="run",basis="reported"}}'] == 2
        assert abs(seen[f"hpc_member_cpu_seconds_total{{{MEMBER}}}"] - 2 * (5 + 27)) < 2
        assert any("strClusterNameList=77&" in path for path in region.paths)


async def test_a_region_without_a_history_counts_ends_by_polls(tmp_path: Path, region: ScriptedRegion) -> None:
    async def missing(_: web.Request) -> web.Response:
        return web.Response(status=404)

    schedulers = envelope([{"id": "77", "text": "slurm", "JobManagerType": "SLURM"}])
    region.answers |= {"schedulers": schedulers, "job_history": missing, "member_jobs": listing(a="statR")}
    text = configuration(region, tracking="{}").replace("member_jobs]", "member_jobs, job_history]")
    async with serving(tmp_path, text) as exporter:
        await exporter.ready()
        await exporter.shows(lambda samples: samples.get(transition("none", "running")) == 1, "the job")
        region.answers["member_jobs"] = listing()
        await exporter.shows(lambda samples: samples[finished("vanished_running")] == 1, "its end")


async def test_log_and_state_on_one_full_disk(small_disk: Path, region: ScriptedRegion) -> None:
    """Counting continues while neither can be written; both are written when there is room again."""
    region.answers["member_jobs"] = listing(a="statQ")
    text = configuration(region, tracking="{state_file: tracker.db}")
    (small_disk / "soon.py").write_text("from exporter.tracking import service\nservice._RETRY_PAUSE = 0.1\n")
    async with serving(small_disk, text, env={RUN_FIRST: str(small_disk / "soon.py")}) as exporter:
        await exporter.shows(lambda samples: samples.get(transition("none", "queued")) == 1, "the job")
        exporter.config.write_text("clusters: [", encoding="utf-8")
        ballast = take_all_room(small_disk)
        jobs = {"a": "statR"}

        async def write_fails() -> bool:
            jobs.update({f"job{len(jobs) + number}": "statQ" for number in range(10)})
            region.answers["member_jobs"] = listing(**jobs)
            return (await exporter.samples())["hpc_exporter_state_file_write_failures_total"] > 0

        await eventually(write_fails, "there is no room for the state")
        queued = len(jobs)
        await exporter.shows(lambda samples: samples[transition("none", "queued")] == queued, "all jobs")
        # Each logs a line; a few fit into the last page of the file.
        for _ in range(60):
            assert (await exporter.ask("/-/reload", "POST")).status == 500
        ballast.unlink()
        await exporter.logged("state file is written again")
        await exporter.logged("log lines were lost")
        assert len(exporter.log_lines("was not reloaded")) < 60
    async with serving(small_disk, text) as again:
        samples = await again.shows(lambda found: transition("none", "queued") in found, "what was counted")
        assert samples[transition("none", "queued")] == queued
        assert samples[transition("queued", "running")] == 1


async def test_tracked_series_leave_with_their_target_and_come_back(tmp_path: Path, region: ScriptedRegion) -> None:
    """Counters of stale data are absent, and continue from their values when the data is back."""
    region.answers["member_jobs"] = listing(a="statR")
    async with serving(tmp_path, configuration(region, tracking="{}", stale_after="1s")) as exporter:
        await exporter.shows(lambda samples: samples.get(transition("none", "running")) == 1, "the job")
        region.answers["member_jobs"] = envelope(None, code="10001")
        samples = await exporter.shows(lambda found: WAITS not in found, "no more waits")
        assert not any(MEMBER in series for series in samples)
        region.answers["member_jobs"] = listing(a="statR")
        await exporter.shows(lambda found: found.get(transition("none", "running")) == 1, "the count of before")


async def test_a_renamed_group_keeps_its_counts(tmp_path: Path, region: ScriptedRegion) -> None:
    """Groups are known by their ids: a reload that changes the label changes only the label."""
    region.answers["member_jobs"] = listing(a="statR")
    async with serving(tmp_path, configuration(region, tracking="{}")) as exporter:
        await exporter.shows(lambda samples: samples.get(transition("none", "running")) == 1, "the job")
        exporter.config.write_text(configuration(region, tracking="{}", group="physics"), encoding="utf-8")
        assert (await exporter.ask("/-/reload", "POST")).status == 200
        renamed = transition("none", "running").replace("chemistry", "physics")
        samples = await exporter.shows(lambda found: found.get(renamed) == 1, "the count under the new label")
        assert not any("chemistry" in series for series in samples)


async def test_tracking_can_be_switched_off_and_on_by_a_reload(tmp_path: Path, region: ScriptedRegion) -> None:
    region.answers["member_jobs"] = listing(a="statR")
    async with serving(tmp_path, configuration(region, tracking="{}")) as exporter:
        await exporter.shows(lambda samples: WAITS in samples, "waits")
        exporter.config.write_text(configuration(region, tracking="{enabled: false}"), encoding="utf-8")
        assert (await exporter.ask("/-/reload", "POST")).status == 200
        await exporter.shows(lambda samples: WAITS not in samples, "no waits")
        exporter.config.write_text(configuration(region, tracking="{}"), encoding="utf-8")
        assert (await exporter.ask("/-/reload", "POST")).status == 200
        await exporter.shows(lambda samples: WAITS in samples, "waits again")


async def test_a_second_exporter_with_the_same_state_file_is_rejected(tmp_path: Path, region: ScriptedRegion) -> None:
    """Two writers would count twice."""
    text = configuration(region, tracking=f"{{state_file: {tmp_path / 'tracker.db'}}}")
    async with serving(tmp_path, text):
        (other := tmp_path / "other").mkdir()
        (other / "exporter.yml").write_text(text, encoding="utf-8")
        status, _, stderr = await run(other, "serve", "--web.listen-address=127.0.0.1:0")
        assert status == 1
        assert str(tmp_path / "tracker.db") in stderr
        assert "Traceback" not in stderr
