"""A real Slurm: its own commands and the exporter's metrics say the same, over a kill of either.

Debian's own; with HPC_EXPORTER_SLURM_SUITES, as in ``make test-slurm``, at length, and also those of other suites, in a
chroot. A new one is compared with its own metrics, too. One test, so that it shares one Slurm, and jobs wait for each
other's end only once.
"""

import asyncio
import os
import re
import signal
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

import msgspec
import pytest

from exporter.app import assemble
from exporter.errors import AuthenticationError
from exporter.http import Response
from exporter.records import ENDED, Job, JobListing
from exporter.sources.slurm.api import open_answer
from exporter.sources.slurm.jobs import JOBS
from exporter.sources.slurm.rows import ClusterJobs, OwnedJob, read_jobs
from exporter.tracking.machine import advance
from exporter.tracking.model import MemberState
from tests.e2e.process import DEADLINE, ExporterProcess, eventually, samples_of
from tools.slurm import Facts, Slurm, SlurmError, running_slurm

# The suites of Debian whose Slurm is tried at length; "own" is this machine's.
SUITES: Final = os.environ.get("HPC_EXPORTER_SLURM_SUITES", "").split()
FIELD: Final = re.compile(r"(\w+)=(\S*)")
LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
# Seconds between two polls that tell no times.
GAP: Final = 1.3
# As squeue spells states, and beginnings of the reasons that are no others.
STATES: Final = {
    "PENDING": "queued", "RUNNING": "running", "COMPLETING": "exiting", "CONFIGURING": "running",
    "SUSPENDED": "suspended",
}  # fmt: skip
HELD, WAITING = {"JobHeldUser", "JobHeldAdmin"}, {"Dependency", "BeginTime"}
REASONS: Final = {
    "JobHeld": "held", "Dependency": "dependency", "BeginTime": "begin_time", "JobArrayTaskLimit": "limit",
    "Priority": "priority", "Resources": "resources", "PartitionTimeLimit": "limit", "PartitionDown": "nodes_unavailable",
    "ReqNodeNotAvail": "nodes_unavailable", "Nodes required for job are": "nodes_unavailable",
}  # fmt: skip
OUTCOMES: Final = {
    "COMPLETED": "completed", "FAILED": "failed", "CANCELLED": "deleted", "TIMEOUT": "timeout",
    "OUT_OF_MEMORY": "failed", "NODE_FAIL": "node_failure",
}  # fmt: skip

OVER: Final = set(OUTCOMES.values())
# Slurm's own families of jobs by state, and what they are by.
KINDS: Final = {
    "slurm_jobs": "", "slurm_partition_jobs": "partition", "slurm_user_jobs": "username",
    "slurm_account_jobs": "account",
}  # fmt: skip

pytestmark = pytest.mark.real_time

Labels = tuple[str, ...]
Samples = dict[str, float]
# By family and labels.
Counts = Mapping[str, Mapping[Labels, float]]


class Listed(NamedTuple):
    """A job that is not over, as squeue lists it."""

    group: str
    user: str
    queue: str
    state: str
    reason: str

    @classmethod
    def of(cls, line: str) -> "Listed":
        group, user, queue, word, priority, reason = line.split("|")
        state = STATES[word]
        if state == "queued":
            state = "waiting" if reason in WAITING else "held" if reason in HELD or priority == "0" else state
        return cls("" if group == "(null)" else group, user, queue, state, reason if word == "PENDING" else "None")


class Shown(NamedTuple):
    """A job as ``scontrol show job`` shows it; times are seconds since the epoch, None where there is none."""

    id: str
    name: str
    group: str
    user: str
    queue: str
    state: str
    submitted: float
    started: float | None
    ended: float | None


class Told(NamedTuple):
    """All that Slurm tells of one moment: by squeue, sinfo, and metrics of its own."""

    jobs: list[Listed]
    partitions: list[str]
    own: Samples


class Cluster:
    """Slurm by its own commands."""

    def __init__(self, slurm: Slurm, facts: Facts) -> None:
        self.slurm = slurm
        self.facts = facts

    def submit(self, name: str, command: str, *options: str, user: str = "") -> str:
        """Submit a job of one core; its id."""
        sender = self.slurm.as_user(user) if user else ()
        common = ("--parsable", "-n1", "--mem=10", "-D", "/tmp", "-o", "/dev/null", f"--job-name={name}")  # noqa: S108
        return self.slurm.run(*sender, "sbatch", *common, *options, f"--wrap={command}").strip()

    def update(self, **what: str) -> None:
        self.slurm.run("scontrol", "update", *(f"{name}={value}" for name, value in what.items()))

    def resumed(self, node: str) -> bool:
        """Resume a node, unless it came back by itself, and return whether it is back."""
        with suppress(SlurmError):
            self.update(nodename=node, state="resume")
        return self.slurm.run("sinfo", "-h", "-N", "-n", node, "-o", "%t").split()[0] in {"idle", "mix", "alloc"}

    def told(self) -> Told:
        squeue = ("squeue", "-r", "-h", "-t", "PD,R,CG,CF,S", "-o", "%a|%u|%P|%T|%Q|%r")
        jobs = sorted(map(Listed.of, self.slurm.run(*squeue).splitlines()))
        partitions = self.slurm.run("sinfo", "-h", "-o", "%R|%a|%l|%F|%C").splitlines()
        return Told(jobs, partitions, self._own())

    def _own(self) -> Samples:
        found: Samples = {}
        for path in ("jobs", "partitions", "jobs-users-accts") if self.facts.metrics else ():
            with urllib.request.urlopen(f"{self.facts.metrics}/{path}", timeout=60) as answer:  # noqa: S310 - on loopback
                found |= samples_of(answer.read().decode())
        return found

    def jobs(self) -> list[Shown]:
        lines = self.slurm.run("env", "SLURM_BITSTR_LEN=0", "scontrol", "show", "job", "--oneliner").splitlines()
        return [job for line in lines if line.startswith("JobId=") for job in shown(dict(FIELD.findall(line)))]

    def state(self, job: str) -> str:
        return next(each.state for each in self.jobs() if each.id == job)


def shown(fields: dict[str, str]) -> Iterator[Shown]:
    """Yield the job that a line shows, or each of an array's tasks."""
    array, tasks = fields.get("ArrayJobId"), fields.get("ArrayTaskId", "").partition("%")[0]
    ids = [f"{array}_{task}" for task in numbers(tasks)] if array else [fields["JobId"]]
    if het := fields.get("HetJobId"):
        ids = [f"{het}+{fields['HetJobOffset']}"]
    group, user = fields["Account"].replace("(null)", ""), fields["UserId"].partition("(")[0]
    started = moment(fields["StartTime"]) if fields.get("NodeList") not in (None, "", "(null)") else None
    times = (moment(fields["SubmitTime"]) or 0.0, started, moment(fields["EndTime"]))
    for job_id in ids:
        yield Shown(job_id, fields["JobName"], group, user, fields["Partition"], fields["JobState"], *times)


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


@pytest.fixture(scope="module", params=SUITES or ["own"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    try:
        with running_slurm("" if request.param == "own" else request.param) as (slurm, facts):
            yield Cluster(slurm, facts)
    except SlurmError as error:
        if os.environ.get("HPC_EXPORTER_REQUIRE_REAL_PARTS") == "1" or SUITES:
            pytest.fail(str(error))
        pytest.skip(str(error))


def configuration(facts: Facts) -> str:
    token = f"    token: {facts.token}\n" if facts.token else ""
    return (
        # Slurm's times are whole seconds, so polls must not be closer.
        "poll: {interval: 1s, timeout: 60s, stale_after: 10m}\n"
        f"slurm:\n  - name: own\n    url: {facts.url}\n{token}"
        "tracking: {state_file: tracker.db}\nper_job: {enabled: true}\n"
    )


def by_labels(samples: Samples, family: str, *names: str) -> dict[Labels, float]:
    """Return the samples of a family that are not 0, by these labels."""
    found = defaultdict[Labels, float](float)
    for series, value in samples.items():
        name, _, labels = series.partition("{")
        if name == family:
            given = dict(LABEL.findall(labels))
            found[tuple(given.get(label, "") for label in names)] += value
    return {labels: value for labels, value in found.items() if value}


async def settled(cluster: Cluster, look: Callable[[], bool], what: str) -> None:
    """Wait for something of Slurm, whose commands block."""
    try:
        await eventually(lambda: asyncio.to_thread(look), what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{cluster.slurm.run('squeue', '-r')}") from None


async def same_gauges(cluster: Cluster, exporter: ExporterProcess) -> Samples:
    """Wait until the gauges were compared with what Slurm told both before and after a poll."""
    samples: Samples = {}
    told = Told([], [], {})

    async def look() -> bool:
        nonlocal samples, told
        told = await asyncio.to_thread(cluster.told)
        polled = await last_success(exporter)
        await eventually(lambda: newer(exporter, polled + 1.0), "another poll")
        samples = await exporter.samples()
        return told == await asyncio.to_thread(cluster.told) and gauges(samples) == expected(told)

    try:
        await eventually(look, "the gauges say the same as Slurm")
    except AssertionError:
        assert gauges(samples) == expected(told)
        raise
    if told.own:
        assert own_counts(told) == told_counts(told)
    return samples


async def last_success(exporter: ExporterProcess, collector: str = "") -> float:
    """Return the end of the last good poll of a collector, or of that which was polled longest ago."""
    name = "hpc_exporter_target_last_success_timestamp_seconds"
    found = by_labels(await exporter.samples(), name, "collector")
    return found[collector,] if collector else min(found.values(), default=0.0)


async def newer(exporter: ExporterProcess, than: float, collector: str = "") -> bool:
    return await last_success(exporter, collector) > than


def gauges(samples: Samples) -> Counts:
    """Return the gauges of jobs that are not over, and those of partitions."""
    labels = {
        "hpc_jobs": ("group", "queue", "state"),
        "hpc_member_jobs": ("group", "user", "state"),
        "hpc_pending_jobs": ("group", "user", "reason"),
        "hpc_queue_enabled": ("queue",),
        "hpc_queue_nodes": ("queue",),
        "hpc_queue_free_nodes": ("queue",),
        "hpc_queue_cpus": ("queue",),
        "hpc_queue_free_cpus": ("queue",),
        "hpc_queue_limit": ("queue", "resource"),
    }
    return {
        family: {
            values: value for values, value in by_labels(samples, family, *names).items() if values[-1] not in OVER
        }
        for family, names in labels.items()
    }


def expected(told: Told) -> Counts:
    partitions = defaultdict[str, dict[Labels, float]](dict)
    for line in told.partitions:
        queue, availability, limit, nodes, cpus = line.split("|")
        # Nodes and cores as allocated/idle/other/total.
        _, free_nodes, _, all_nodes = map(float, nodes.split("/"))
        _, free_cpus, _, all_cpus = map(float, cpus.split("/"))
        partitions["hpc_queue_enabled"][queue,] = availability == "up"
        partitions["hpc_queue_nodes"][queue,] = all_nodes
        partitions["hpc_queue_free_nodes"][queue,] = free_nodes
        partitions["hpc_queue_cpus"][queue,] = all_cpus
        partitions["hpc_queue_free_cpus"][queue,] = free_cpus
        if limit != "infinite":
            minutes, seconds = map(int, limit.split(":"))
            partitions["hpc_queue_limit"][queue, "walltime_seconds"] = 60 * minutes + seconds
    waiting = [job for job in told.jobs if job.reason != "None"]
    return {
        "hpc_jobs": Counter((job.group, job.queue, job.state) for job in told.jobs),
        "hpc_member_jobs": Counter((job.group, job.user, job.state) for job in told.jobs),
        "hpc_pending_jobs": Counter((job.group, job.user, reason_of(job.reason)) for job in waiting),
        **{name: {labels: value for labels, value in found.items() if value} for name, found in partitions.items()},
    }


def reason_of(word: str) -> str:
    return next((ours for beginning, ours in REASONS.items() if word.startswith(beginning)), "other")


def own_counts(told: Told) -> Counts:
    """Return jobs by state, and the size of partitions, by Slurm's own metrics."""
    states = {
        f"{kind}_{state}": label for kind, label in KINDS.items() for state in ("pending", "running", "suspended")
    }
    sizes = dict.fromkeys(("slurm_partition_nodes", "slurm_partition_nodes_cpus_efctv"), "partition")
    return {name: by_labels(told.own, name, label) for name, label in (states | sizes).items()}


def told_counts(told: Told) -> Counts:
    """Return the same as `own_counts` by squeue and sinfo, to which the exporter's gauges are equal.

    A job that waits in several partitions counts in the first of them.
    """
    states = {"pending": {"queued", "held", "waiting"}, "running": {"running"}, "suspended": {"suspended"}}
    found: dict[str, Mapping[Labels, float]] = {}
    for state, ours in states.items():
        jobs = [job for job in told.jobs if job.state in ours]
        found |= {
            f"slurm_jobs_{state}": Counter(("",) for _ in jobs),
            f"slurm_partition_jobs_{state}": Counter((job.queue.partition(",")[0],) for job in jobs),
            f"slurm_user_jobs_{state}": Counter((job.user,) for job in jobs),
            f"slurm_account_jobs_{state}": Counter((job.group,) for job in jobs),
        }
    capacity = expected(told)
    return found | {
        "slurm_partition_nodes": capacity["hpc_queue_nodes"],
        "slurm_partition_nodes_cpus_efctv": capacity["hpc_queue_cpus"],
    }


async def test_what_slurm_says_is_what_the_exporter_shows(cluster: Cluster, tmp_path: Path) -> None:
    exporter = ExporterProcess(tmp_path, configuration(cluster.facts))
    await exporter.serve("serve")
    try:
        await exporter.ready()
        await compare(cluster, exporter)
        for more in ("", ", bearer: true", ", user_name: nobody") if cluster.facts.token else ():
            await rejected(cluster, tmp_path, more)
        await polls_alone(cluster, exporter.config)
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.stderr
    finally:
        await exporter.close()


class Jobs(NamedTuple):
    """Ids of jobs that something is done to; those in `never` never start."""

    running: str
    broken: str
    requeued: str
    suspended: str
    overtime: str
    held: str
    never: list[str]


def submitted(cluster: Cluster) -> Jobs:
    # It needs both nodes.
    cluster.submit("het", "sleep 3", ":", "-n2", "--mem=10", "--gres=gpu:1", "--job-name=het")
    on_first, on_second = (f"--nodelist={node}" for node in cluster.facts.nodes)
    # Exclusive, for other jobs are requeued when their node fails.
    broken = cluster.submit("broken", "sleep 600", "--no-requeue", "--exclusive", on_second, "--account=bio")
    ok = cluster.submit("ok", "sleep 4", "--account=chem")
    fails = cluster.submit("fails", "sleep 3; exit 3", "--account=chem")
    running = cluster.submit("cancelled", "sleep 600", "--gres=gpu:h100:2,dcu:1", on_first)
    cluster.submit("begin", "sleep 3", "--begin=now+4", user="nobody")
    cluster.submit("array", "sleep 3", "--array=0-6:2%2", "--account=bio", user="nobody")
    requeued = cluster.submit("requeued", "sleep 600", "--requeue", "--partition=debug")
    suspended = cluster.submit("suspended", "sleep 600", "--account=bio", on_first)
    if cluster.facts.limits_memory:
        cluster.submit("memory", "head --bytes=80M /dev/zero | tail", "--account=chem")
    # The shortest limit is a minute, and Slurm looks for jobs beyond theirs every half minute.
    overtime = cluster.submit("overtime", "sleep 600", "--time=1") if SUITES else ""
    held = cluster.submit("held", "sleep 3", "--hold", "--partition=batch,debug")
    cluster.submit("dependent", "sleep 3", f"--dependency=afterok:{ok}")
    two_nodes = ("--nodes=2", "--ntasks=2", "--exclusive", "--nice=10000")
    never = [
        cluster.submit("never", "sleep 1", "--begin=now+1hour"),
        cluster.submit("never", "sleep 1", f"--dependency=afterok:{fails}"),
        cluster.submit("never", "sleep 1", "--partition=debug", "--time=60"),
        *(cluster.submit("never", "sleep 1", *two_nodes) for _ in range(2)),
    ]
    tasks = "1,3,4,7,9,12,15,17,19,22,25,28,31,35,38,41,44,48,51,54,57"
    cluster.submit("irregular", "sleep 1", "--hold", f"--array={tasks}", "--account=chem")
    return Jobs(running, broken, requeued, suspended, overtime, held, never)


async def compare(cluster: Cluster, exporter: ExporterProcess) -> None:
    jobs = await asyncio.to_thread(submitted, cluster)
    run = {jobs.running, jobs.broken, jobs.requeued, jobs.suspended, jobs.overtime} - {""}
    await settled(cluster, lambda: all(cluster.state(job) == "RUNNING" for job in run), "all runs")
    cluster.slurm.run("scontrol", "suspend", jobs.suspended)
    if jobs.overtime:
        cluster.update(jobid=jobs.overtime, endtime="now+3")
    samples = await same_gauges(cluster, exporter)
    assert by_labels(samples, "hpc_job_allocated_gpus", "job_id")[jobs.running,] == 2
    assert by_labels(samples, "hpc_job_allocated_dcus", "job_id")[jobs.running,] == 1
    if SUITES:
        assert await exporter.stop() == 0
        await exporter.serve("serve")
    # Slurm does not say any more which tasks are cancelled so.
    irregular = [job._replace(state="CANCELLED") for job in cluster.jobs() if job.name == "irregular"]
    cluster.slurm.run("scancel", "--name=irregular")
    first, unknown = await disturbed(cluster, exporter, jobs)
    await same_gauges(cluster, exporter)
    # Counts are shown when they are on disk.
    jobs_seen = len(irregular) + sum(job.name != "irregular" for job in cluster.jobs())
    await exporter.shows(
        lambda found: by_labels(found, "hpc_job_transitions_total", "from_state").get(("none",), 0) >= jobs_seen,
        "all are tracked",
    )
    # Killed while things happen: the exporter, and Slurm's controller.
    exporter.process.send_signal(signal.SIGKILL)
    await exporter.wait()
    restore(cluster, jobs)
    cluster.slurm.stop_controller()
    cluster.slurm.start_controller()
    await exporter.serve("serve")
    await settled(cluster, lambda: cluster.state(jobs.requeued) == "RUNNING", "it runs again")
    await same_gauges(cluster, exporter)
    cluster.slurm.run("scancel", jobs.requeued, jobs.suspended)
    await settled(cluster, lambda: not cluster.told().jobs, "all is over")
    ended = [*irregular, *(job for job in cluster.jobs() if job.name != "irregular")]
    samples = await exporter.shows(
        lambda found: by_labels(found, "hpc_jobs_finished_total").get((), 0) >= len(ended), "all ends"
    )
    check_ends(ended, first, unknown, samples)


async def disturbed(cluster: Cluster, exporter: ExporterProcess, jobs: Jobs) -> tuple[Shown, float]:
    """Let one node fail and drain the other, stop a partition, and requeue a job.

    Return its first run, as if that had ended with its next submission, and how many seconds earlier polls may put its
    end: in the middle between the last that saw it running and the next.
    """
    first_node, second_node = cluster.facts.nodes
    cluster.update(nodename=second_node, state="down", reason="test")
    await settled(cluster, lambda: cluster.state(jobs.broken) == "NODE_FAIL", "the node fails")
    await settled(cluster, lambda: cluster.resumed(second_node), "the node is back")
    polled = await last_success(exporter, "jobs")
    cluster.update(nodename=first_node, state="drain", reason="test")
    cluster.update(partitionname="debug", state="down")
    jobs.never.append(cluster.submit("never", "sleep 1", f"--nodelist={first_node}"))
    first = next(job for job in cluster.jobs() if job.id == jobs.requeued)
    # The next one began after that.
    await eventually(lambda: newer(exporter, polled, "jobs"), "another list that it runs in")
    cluster.slurm.run("scontrol", "requeue", jobs.requeued)
    await settled(cluster, lambda: cluster.state(jobs.requeued) == "PENDING", "it is requeued")
    again = next(job.submitted for job in cluster.jobs() if job.id == jobs.requeued)
    return first._replace(ended=again), again - polled


def restore(cluster: Cluster, jobs: Jobs) -> None:
    cluster.slurm.run("scancel", jobs.running, *jobs.never)
    cluster.slurm.run("scontrol", "release", jobs.held)
    cluster.slurm.run("scontrol", "resume", jobs.suspended)
    cluster.update(nodename=cluster.facts.nodes[0], state="resume")
    cluster.update(partitionname="debug", state="up")
    cluster.update(jobid=jobs.requeued, starttime="now")


def check_ends(jobs: list[Shown], first: Shown, unknown: float, samples: Samples) -> None:
    """Compare outcomes, waits and runs with Slurm's: each once, to the second.

    `first` is the first run of the requeued job, whose end may be told up to `unknown` seconds earlier.
    """
    finished = by_labels(samples, "hpc_jobs_finished_total", "group", "user", "outcome")
    assert finished == Counter((job.group, job.user, OUTCOMES[job.state]) for job in jobs)
    for family, time_of in (("submit", "submitted"), ("start", "started")):
        told = by_labels(samples, f"hpc_job_{family}_timestamp_seconds", "job_id")
        times = {(job.id,): getattr(job, time_of) for job in jobs}
        assert told == {job_id: value for job_id, value in times.items() if value is not None}
    # A job that is requeued waits and runs twice; Slurm shows the second time only, and not when the first run ended.
    ran = [first, *(job for job in jobs if job.started is not None)]
    assert sums(samples, "wait") == summed(ran, lambda job: (job.started or 0.0) - job.submitted)
    runs = summed(ran, lambda job: (job.ended or 0.0) - (job.started or 0.0))
    errors: dict[Labels, float] = {(first.group, first.queue): unknown}
    assert sums(samples, "run") == {
        labels: pytest.approx(run, abs=errors.get(labels, 0)) for labels, run in runs.items()
    }
    observations = by_labels(samples, "hpc_job_observations_total", "group", "measure")
    assert observations == Counter((job.group, measure) for job in ran for measure in ("wait", "run"))
    bases = by_labels(samples, "hpc_job_observations_total", "measure", "basis")
    assert bases.pop(("run", "polls"), 0) <= 1
    assert bases.keys() == {("wait", "reported"), ("run", "reported")}
    assert by_labels(samples, "hpc_exporter_time_disagreements_total") == {}
    never = Counter((job.group, "wait", "vanished") for job in jobs if job.started is None)
    assert by_labels(samples, "hpc_job_observations_censored_total", "group", "measure", "reason") == never


def sums(samples: Samples, measure: str) -> dict[Labels, float]:
    return by_labels(samples, f"hpc_job_observed_{measure}_seconds_sum", "group", "queue")


def summed(jobs: list[Shown], seconds: Callable[[Shown], float]) -> dict[Labels, float]:
    found = defaultdict[Labels, float](float)
    for job in jobs:
        found[job.group, job.queue] += seconds(job)
    return {labels: value for labels, value in found.items() if value}


async def rejected(cluster: Cluster, folder: Path, more: str) -> None:
    """Let Slurm reject a token: its file is read again, and where that has no better one, the error says so."""
    file = folder / "slurm-token"
    config = folder / "token.yml"
    given = f"{{name: own, url: '{cluster.facts.url}', token_file: {file}{more}}}"
    config.write_text(f"slurm: [{given}]\n", encoding="utf-8")
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
    number = 80 if SUITES else 6
    components = await asyncio.to_thread(assemble, config)
    state, waits, runs = MemberState(), dict[str, float](), dict[str, float]()
    polls, jobs, over = list[float](), set[str](), set[str]()

    def submit() -> None:
        for i in range(number):
            jobs.add(cluster.submit("polled", f"sleep {2 + i % 3}", "--ntasks=32"))

    try:
        while len(jobs) < number or not jobs <= over:
            found = await components.slurm["own"].get(JOBS, JOBS.path, read)
            polls.append(time.time())
            assert polls[-1] < polls[0] + DEADLINE + 5 * number, jobs - over
            over |= {owned.job.id for owned in found.jobs if owned.job.state in ENDED}
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
    polled = [(job, (job.ended or 0.0) - (job.started or 0.0)) for job in cluster.jobs() if job.id in jobs]
    # No poll saw those that ran between two.
    assert all(job.id in runs or ran <= longest + 1.0 for job, ran in polled)
    wait_errors = [waits[job.id] - ((job.started or 0.0) - job.submitted) for job, _ in polled if job.id in waits]
    run_errors = [runs[job.id] - ran for job, ran in polled if job.id in runs]
    print(f"| {len(runs)} | {longest:.1f} s | {described(wait_errors)} | {described(run_errors)} |")  # noqa: T201 - for the page
    # Slurm's times are whole seconds.
    assert max(map(abs, [*wait_errors, *run_errors])) <= longest + 1.0


def read(answer: Response) -> ClusterJobs:
    return read_jobs(open_answer(answer, "jobs"), answer.received)


def without_times(owned: OwnedJob) -> Job:
    return msgspec.structs.replace(owned.job, submitted=None, started=None, ended=None)


def described(errors: list[float]) -> str:
    return f"{fmean(errors):+.2f} s | {max(map(abs, errors)):.1f} s"
