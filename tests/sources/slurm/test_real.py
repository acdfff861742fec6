"""A real Slurm: its own commands and the exporter's metrics say the same, over a kill of either.

Debian's own, or with HPC_EXPORTER_SLURM_SUITE=sid that of another suite, in a chroot, as in ``make test-slurm``; then also
against Slurm's own metrics. One test, so that it shares one Slurm, and jobs wait for each other's end only once.
"""

import asyncio
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

import msgspec
import pytest

from exporter.app import assemble
from exporter.errors import AuthenticationError
from exporter.http import Response
from exporter.records import Job, JobListing
from exporter.sources.slurm.api import open_answer
from exporter.sources.slurm.jobs import JOBS
from exporter.sources.slurm.rows import ClusterJobs, OwnedJob, read_jobs
from exporter.tracking.machine import advance
from exporter.tracking.model import MemberState
from tests.e2e.process import DEADLINE, ExporterProcess, eventually
from tools.slurm import Facts, Slurm, SlurmError, running_slurm

SUITE: Final = os.environ.get("HPC_EXPORTER_SLURM_SUITE", "")
FIELD: Final = re.compile(r"(\w+)=(\S*)")
LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
# Seconds between two polls that tell no times.
GAP: Final = 1.3
# As squeue spells states, and the reasons that are no others.
STATES: Final = {"PENDING": "queued", "RUNNING": "running", "COMPLETING": "exiting", "CONFIGURING": "running"}
HELD, WAITING = {"JobHeldUser", "JobHeldAdmin"}, {"Dependency", "BeginTime"}
REASONS: Final = {
    "JobHeldUser": "held", "Dependency": "dependency", "BeginTime": "begin_time", "JobArrayTaskLimit": "limit",
    "Priority": "priority", "Resources": "resources",
}  # fmt: skip
OUTCOMES: Final = {"COMPLETED": "completed", "FAILED": "failed", "CANCELLED": "deleted", "TIMEOUT": "timeout"}


class Shown(NamedTuple):
    """A job as ``scontrol show job`` shows it; times are seconds since the epoch, None where there is none."""

    id: str
    name: str
    state: str
    submitted: float
    started: float | None
    ended: float | None


class Cluster:
    """Slurm by its own commands."""

    def __init__(self, slurm: Slurm, facts: Facts) -> None:
        self.slurm = slurm
        self.facts = facts

    def submit(self, name: str, command: str, *options: str) -> str:
        """Submit a job of one core; its id."""
        return self.slurm.run("sbatch", "--parsable", "-n1", "--mem=10", "-o", "/dev/null", f"--job-name={name}", *options,
                              f"--wrap={command}").strip()  # fmt: skip

    def listed(self) -> Counter[tuple[str, str, str]]:
        """Count jobs by queue, state and reason, as squeue lists them."""
        lines = self.slurm.run("squeue", "-r", "-h", "-t", "PD,R,CG,CF,S", "-o", "%P|%T|%r").splitlines()
        return Counter((queue, state, reason) for queue, state, reason in (line.split("|") for line in lines))

    def jobs(self) -> list[Shown]:
        lines = self.slurm.run("env", "SLURM_BITSTR_LEN=0", "scontrol", "show", "job", "--oneliner").splitlines()
        return [job for line in lines if line.startswith("JobId=") for job in shown(dict(FIELD.findall(line)))]

    def state(self, job: str) -> str:
        return next(each.state for each in self.jobs() if each.id == job)


def shown(fields: dict[str, str]) -> Iterator[Shown]:
    """Yield the job that a line shows, or each of an array's tasks."""
    array, tasks = fields.get("ArrayJobId"), fields.get("ArrayTaskId", "").partition("%")[0]
    started = moment(fields["StartTime"]) if fields.get("NodeList") not in (None, "", "(null)") else None
    ends = moment(fields["EndTime"])
    for job_id in [f"{array}_{task}" for task in numbers(tasks)] if array else [fields["JobId"]]:
        yield Shown(job_id, fields["JobName"], fields["JobState"], moment(fields["SubmitTime"]) or 0.0, started, ends)


def numbers(written: str) -> list[int]:
    """Return the numbers in a text like 1,3-5 or 0-6:2."""
    parts = [re.split("[-:]", part) for part in written.split(",")]
    return [
        n
        for first, *more in parts
        for n in range(int(first), int((more or [first])[0]) + 1, int(more[1]) if more[1:] else 1)
    ]


def moment(text: str) -> float | None:
    return None if text in ("Unknown", "N/A") else time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with running_slurm(SUITE) as (slurm, facts):
            yield Cluster(slurm, facts)
    except SlurmError as error:
        if os.environ.get("HPC_EXPORTER_REQUIRE_REAL_PARTS") == "1" or SUITE:
            pytest.fail(str(error))
        pytest.skip(str(error))


def configuration(facts: Facts) -> str:
    token = f"    token: {facts.token}\n" if facts.token else ""
    return (
        "poll: {interval: 500ms, timeout: 60s, stale_after: 10m}\n"
        f"slurm:\n  - name: own\n    url: {facts.url}\n{token}"
        "tracking: {state_file: tracker.db}\nper_job: {enabled: true}\n"
    )


def by_labels(samples: dict[str, float], family: str, *names: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a family that are not 0, by these labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for series, value in samples.items():
        name, _, labels = series.partition("{")
        if name == family:
            given = dict(LABEL.findall(labels))
            found[tuple(given.get(label, "") for label in names)] += value  # type: ignore[assignment]
    return {labels: value for labels, value in found.items() if value}


async def settled(cluster: Cluster, look: Callable[[], bool], what: str) -> None:
    """Wait for something of Slurm, whose commands block."""
    await eventually(lambda: asyncio.to_thread(look), what)


async def same_gauges(cluster: Cluster, exporter: ExporterProcess) -> dict[str, float]:
    """Wait until the gauges were compared with a list of squeue that was the same before and after the poll."""
    samples: dict[str, float] = {}

    async def look() -> bool:
        nonlocal samples
        before = await asyncio.to_thread(cluster.listed)
        polled = await last_success(exporter)
        await eventually(lambda: newer(exporter, polled), "another poll")
        samples = await exporter.samples()
        return before == await asyncio.to_thread(cluster.listed) and agrees(before, samples)

    await eventually(look, "the gauges say the same as squeue")
    return samples


async def last_success(exporter: ExporterProcess) -> float:
    name = "hpc_exporter_target_last_success_timestamp_seconds"
    return by_labels(await exporter.samples(), name, "collector").get(("jobs",), 0.0)


async def newer(exporter: ExporterProcess, than: float) -> bool:
    return await last_success(exporter) > than + 1.0


def agrees(listed: Counter[tuple[str, str, str]], samples: dict[str, float]) -> bool:
    states, reasons = Counter[tuple[str, str]](), Counter[tuple[str, ...]]()
    for (queue, state, reason), count in listed.items():
        ours = STATES[state]
        if ours == "queued":
            ours = "held" if reason in HELD else "waiting" if reason in WAITING else ours
            if reason != "None":
                reasons[REASONS.get(reason, "other"),] += count
        states[queue, ours] += count
    over = {"completed", "failed", "deleted", "timeout"}
    jobs = by_labels(samples, "hpc_jobs", "queue", "state")
    jobs = {labels: value for labels, value in jobs.items() if labels[1] not in over}
    return jobs == states and by_labels(samples, "hpc_pending_jobs", "reason") == reasons


def own_metrics(facts: Facts) -> dict[str, float]:
    with urllib.request.urlopen(f"{facts.metrics}/jobs", timeout=60) as answer:  # noqa: S310 - on loopback
        lines = [line.decode().split() for line in answer if not line.startswith(b"#")]
    return {name: float(value) for name, value in lines}


async def test_what_slurm_says_is_what_the_exporter_shows(cluster: Cluster, tmp_path: Path) -> None:
    exporter = ExporterProcess(tmp_path, configuration(cluster.facts))
    await exporter.serve("serve")
    try:
        await exporter.ready()
        await compare(cluster, exporter)
        await rejected(cluster, tmp_path)
        await polls_alone(cluster, exporter.config)
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.stderr
    finally:
        await exporter.close()


async def compare(cluster: Cluster, exporter: ExporterProcess) -> None:
    ok = cluster.submit("ok", "sleep 4")
    cluster.submit("fails", "sleep 3; exit 3")
    running = cluster.submit("cancelled", "sleep 600", "--gres=gpu:h100:2,dcu:1")
    waiting = cluster.submit("never", "sleep 1", "--begin=now+1hour")
    held = cluster.submit("held", "sleep 3", "--hold", "--partition=batch,debug")
    cluster.submit("dependent", "sleep 3", f"--dependency=afterok:{ok}")
    cluster.submit("begin", "sleep 3", "--begin=now+4")
    cluster.submit("array", "sleep 3", "--array=0-6:2%2")
    cluster.submit(
        "irregular", "sleep 1", "--hold", "--array=1,3,4,7,9,12,15,17,19,22,25,28,31,35,38,41,44,48,51,54,57"
    )
    requeued = cluster.submit("requeued", "sleep 600", "--requeue", "--partition=debug")
    await settled(cluster, lambda: cluster.state(requeued) == "RUNNING" == cluster.state(running), "all runs")
    samples = await same_gauges(cluster, exporter)
    assert by_labels(samples, "hpc_member_allocated_gpus", "state") == {("running",): 2}
    assert by_labels(samples, "hpc_member_allocated_dcus", "state") == {("running",): 1}
    assert by_labels(samples, "hpc_queue_cpus", "queue") == {("batch",): 128, ("debug",): 64}
    if cluster.facts.metrics:
        own = own_metrics(cluster.facts)
        states = by_labels(samples, "hpc_member_jobs", "state")
        waits = sum(states.get((state,), 0) for state in ("queued", "held", "waiting"))
        assert (own["slurm_jobs_pending"], own["slurm_jobs_running"]) == (waits, states["running",])
    # Slurm does not say any more which tasks are cancelled so.
    irregular = [job for job in cluster.jobs() if job.name == "irregular"]
    cluster.slurm.run("scancel", "--name=irregular")
    # A node that is drained takes no jobs; a job that is requeued waits and runs a second time.
    first = next(job for job in cluster.jobs() if job.id == requeued)
    cluster.slurm.run("scontrol", "update", "nodename=n1", "state=drain", "reason=test")
    cluster.slurm.run("scontrol", "requeue", requeued)
    await settled(cluster, lambda: cluster.state(requeued) == "PENDING", "it is requeued")
    first = first._replace(ended=next(job.submitted for job in cluster.jobs() if job.id == requeued))
    samples = await same_gauges(cluster, exporter)
    assert by_labels(samples, "hpc_queue_free_nodes", "queue").get(("batch",), 0) <= 1
    # Killed while things happen: the exporter, and Slurm's controller.
    exporter.process.send_signal(signal.SIGKILL)
    await exporter.wait()
    cluster.slurm.run("scancel", running, waiting)
    cluster.slurm.run("scontrol", "release", held)
    cluster.slurm.run("scontrol", "update", "nodename=n1", "state=resume")
    cluster.slurm.run("scontrol", "update", f"jobid={requeued}", "starttime=now")
    cluster.slurm.stop_controller()
    cluster.slurm.start_controller()
    await exporter.serve("serve")
    await settled(cluster, lambda: cluster.state(requeued) == "RUNNING", "it runs again")
    await same_gauges(cluster, exporter)
    cluster.slurm.run("scancel", requeued)
    await settled(cluster, lambda: not cluster.listed(), "all is over")
    jobs = [
        *(job._replace(state="CANCELLED") for job in irregular),
        *(job for job in cluster.jobs() if job.name != "irregular"),
    ]
    samples = await exporter.shows(
        lambda found: by_labels(found, "hpc_jobs_finished_total").get((), 0) >= len(jobs), "all ends"
    )
    check_ends(jobs, first, samples)


def check_ends(jobs: list[Shown], first: Shown, samples: dict[str, float]) -> None:
    """Compare outcomes, waits and runs with Slurm's: each once, to the second. `first` is the first run of the requeued job."""
    finished = by_labels(samples, "hpc_jobs_finished_total", "outcome")
    assert finished == Counter((OUTCOMES[job.state],) for job in jobs)
    for family, time_of in (("submit", "submitted"), ("start", "started")):
        told = by_labels(samples, f"hpc_job_{family}_timestamp_seconds", "job_id")
        times = {(job.id,): getattr(job, time_of) for job in jobs}
        assert told == {job_id: value for job_id, value in times.items() if value is not None}
    # A job that is requeued waits and runs twice; Slurm shows the second time only.
    ran = [first, *(job for job in jobs if job.started is not None)]
    assert sums(samples, "wait") == sum((job.started or 0.0) - job.submitted for job in ran)
    assert sums(samples, "run") == sum((job.ended or 0.0) - (job.started or 0.0) for job in ran)
    observations = by_labels(samples, "hpc_job_observations_total", "measure", "basis")
    assert observations == {("wait", "reported"): len(ran), ("run", "reported"): len(ran)}
    assert by_labels(samples, "hpc_exporter_time_disagreements_total") == {}
    never = [job for job in jobs if job.started is None]
    censored = by_labels(samples, "hpc_job_observations_censored_total", "measure", "reason")
    assert censored == {("wait", "vanished"): len(never)}


def sums(samples: dict[str, float], measure: str) -> float:
    return by_labels(samples, f"hpc_job_observed_{measure}_seconds_sum")[()]


async def rejected(cluster: Cluster, folder: Path) -> None:
    """Let Slurm reject a token: its file is read again, and where that has no better one, the error says so."""
    if not cluster.facts.token:
        return
    file = folder / "slurm-token"
    config = folder / "token.yml"
    config.write_text(f"slurm: [{{name: own, url: '{cluster.facts.url}', token_file: {file}}}]\n", encoding="utf-8")
    file.write_text("wrong", encoding="ascii")
    components = await asyncio.to_thread(assemble, config)
    try:
        with pytest.raises(AuthenticationError, match="Protocol authentication error"):
            await components.slurm["own"].get(JOBS, JOBS.path, read)
        file.write_text(cluster.facts.token, encoding="ascii")
        assert (await components.slurm["own"].get(JOBS, JOBS.path, read)).jobs
    finally:
        await components.close()


# Polls alone


async def polls_alone(cluster: Cluster, config: Path) -> None:
    """Follow jobs by their states at successive polls, as where no times are told: each spell is right within a gap."""
    number = 80 if SUITE else 6
    components = await asyncio.to_thread(assemble, config)
    state, waits, runs = MemberState(), dict[str, float](), dict[str, float]()
    polls, jobs = list[float](), set[str]()

    def submit() -> None:
        for i in range(number):
            jobs.add(cluster.submit("polled", f"sleep {2 + i % 3}", "--ntasks=32"))

    try:
        while len(jobs) < number or not jobs <= runs.keys():
            found = await components.slurm["own"].get(JOBS, JOBS.path, read)
            polls.append(time.time())
            assert polls[-1] < polls[0] + DEADLINE + 5 * number, jobs - runs.keys()
            update = advance(state, JobListing(tuple(map(without_times, found.jobs))), polls[-1], GAP)
            state.apply(update)
            waits |= {spell.job_id: spell.seconds for spell in update.events.waits}
            runs |= {spell.job_id: spell.seconds for spell in update.events.runs}
            if len(polls) == 1:
                submitting = asyncio.create_task(asyncio.to_thread(submit))
            await asyncio.sleep(GAP)
        await submitting
    finally:
        await components.close()
    longest = max(after - before for before, after in pairwise(polls))
    of_polled = [job for job in cluster.jobs() if job.id in jobs]
    wait_errors = [waits[job.id] - ((job.started or 0.0) - job.submitted) for job in of_polled]
    run_errors = [runs[job.id] - ((job.ended or 0.0) - (job.started or 0.0)) for job in of_polled]
    print(f"| {number} | {longest:.1f} s | {described(wait_errors)} | {described(run_errors)} |")  # noqa: T201 - for the page
    # Slurm's times are whole seconds.
    assert max(map(abs, [*wait_errors, *run_errors])) <= longest + 1.0


def read(answer: Response) -> ClusterJobs:
    return read_jobs(open_answer(answer, "jobs"), answer.received)


def without_times(owned: OwnedJob) -> Job:
    return msgspec.structs.replace(owned.job, submitted=None, started=None, ended=None)


def described(errors: list[float]) -> str:
    return f"{fmean(errors):+.2f} s | {max(map(abs, errors)):.1f} s"
