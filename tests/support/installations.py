"""Installations of every size and condition, without anything that is polled: for the status and its page."""

import random
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from exporter.app.status import LastReload, Selection, Snapshot, status_of
from exporter.errors import AuthenticationError, PollError, UpstreamConnectionError, UpstreamTimeoutError
from exporter.polling import WHOLE, Shard, Target, TargetKey, TargetStatus
from exporter.records import Job, JobState
from exporter.sources.display import (
    Counts,
    InUse,
    MemberFigures,
    MemberJobs,
    QueueFigures,
    SampleFigures,
    StatusSummary,
    TaskFigures,
)
from exporter.sources.scnet.region_cores import CPUS
from exporter.text import Text
from exporter.tracking import MemberKey, TrackedJob
from exporter.tracking.bounds import QUANTILES, fewest_held
from exporter.tracking.waits import ClassKey, Promise, WaitView
from tests.support.face import FakeFace

NOW = 1_790_000_000.0
TIMEOUT = UpstreamTimeoutError(
    Text(
        "no complete answer from hpc.example.com:65106 within 15 s", "hpc.example.com:65106 在 15 秒内没有返回完整响应"
    )
)
REFUSED = UpstreamConnectionError(
    Text(
        "cannot connect to hpc.example.com:65106: Connection refused",
        "无法连接 hpc.example.com:65106：Connection refused",
    )
)
DENIED = AuthenticationError(
    Text(
        "the token from token_file xian-token was rejected: 10009 token not accepted",
        "token_file xian-token 中的令牌被拒绝：10009 令牌未被接受",
    )
)


async def nothing(*_: object) -> None:
    """Neither poll nor publish."""


@dataclass
class Installation:
    """The parts of an application that `status_of` needs, with made-up content."""

    statuses: list[TargetStatus] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    figures: StatusSummary = field(default_factory=StatusSummary)
    token_ends: dict[str, dict[str, float]] = field(default_factory=dict)
    waits: list[tuple[str, WaitView]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    config_file: str = "exporter.yml"
    reload_error: str | None = None
    shard: Shard = WHOLE
    now: float = NOW
    # Whether single jobs may be shown, and how the tracker follows them.
    single_jobs: bool = True
    tracked: dict[MemberKey, dict[str, TrackedJob]] = field(default_factory=dict)

    def add(self, source: str, collector: str, target: str, state: str = "up", error: PollError = TIMEOUT) -> TargetKey:
        """Return a target in this state; the source comes with it."""
        key = TargetKey(source, collector, target)
        self.sources.setdefault(source, "octopus" if collector == "queuing_jobs" else "scnet")
        status = TargetStatus(Target(key, 60.0, 180.0, nothing, nothing))
        ago = 7.0 + len(self.statuses) * 13 % 50
        status.next_poll = self.now + 60 - ago
        status.absent = state == "absent"
        if state not in ("pending", "absent"):
            status.up, status.stale = state == "up", state == "stale"
            status.last_attempt = self.now - ago
            status.last_success = self.now - (ago if state == "up" else 95.0 if state == "failing" else 4000.0)
        if state in ("failing", "stale"):
            status.last_error, status.last_error_at, status.failures = error, self.now - ago, 5
        self.statuses.append(status)
        return key

    def add_user(
        self, source: str, user: str, state: str = "up", queues: tuple[str, ...] = ("debug", "normal"), **more: Any
    ) -> None:
        key = self.add(source, "queue_jobs", user, state, **more)
        if state in ("up", "failing"):
            rng = random.Random(f"{source}{user}")  # noqa: S311 - repeatable
            numbers = [(rng.randrange(9), rng.randrange(30), rng.randrange(3), 0, 0) for _ in queues]
            self.figures.show(key, QueueFigures(queues, tuple(chain.from_iterable(numbers))))

    def add_member(self, source: str, member: str, state: str = "up", **more: Any) -> None:
        key = self.add(source, "member_jobs", member, state, **more)
        if state in ("up", "failing"):
            rng = random.Random(f"{source}{member}")  # noqa: S311 - repeatable
            jobs, cards = rng.randrange(12), rng.randrange(8)
            self.figures.show(key, MemberFigures(Counts(jobs, rng.randrange(20)), InUse(jobs * 32, cards, 8 - cards)))

    def add_jobs(self, source: str, member: str, *jobs: Job, tracked: dict[str, TrackedJob] | None = None) -> None:
        """Add single jobs of a member, GROUP/USER, that the last target lists."""
        group, _, user = member.rpartition("/")
        listed = MemberJobs(source, group, user, group and "7", jobs)
        self.tracked[listed.key] = tracked or {}
        self.figures.show_jobs(TargetKey(source, "member_jobs", member), (listed,))

    def add_tasks(self, source: str, queue: str, length: int | None) -> None:
        self.figures.show(self.add(source, "queuing_jobs", queue), TaskFigures(length))

    def add_waits(self, source: str, queue: str, *bounds: float | None, group: str = "", right: int = 97) -> None:
        """Add the bounds of a queue; those that were `right` too seldom of the last 100 are withheld."""
        promises = tuple(
            Promise(
                quantile=quantile,
                seconds=None if right < fewest_held(100, quantile) else bound,
                withheld=right < fewest_held(100, quantile),
                checked=300,
                held=2 * 97 + right,
                recent_checked=100,
                recent_held=right,
            )
            for quantile, bound in zip(QUANTILES, bounds, strict=True)
        )
        key = ClassKey(source, group and "7", queue, accelerated=bool(group))
        self.waits.append((group, WaitView(key=key, heads=256, promises=promises)))

    def status(self, selection: Selection | None = None) -> dict[str, Any]:
        """Return the status of an application in this condition."""
        snapshot = Snapshot(
            now=self.now,
            started_at=self.now - 86400 * 3,
            ready=all(status.up is not None for status in self.statuses),
            shard=self.shard,
            config_file=Path("/etc/hpc-exporter", self.config_file),
            reload=LastReload(self.reload_error is None, self.now - 7200, self.reload_error),
            warnings=self.warnings,
            kinds=self.sources,
            statuses=self.statuses,
            figures=self.figures,
            token_ends=self.token_ends,
            waits=self.waits,
            single_jobs=self.single_jobs,
            tracked=self.tracked,
        )
        return status_of(snapshot, selection)


class StagedFace(FakeFace):
    """The face of an installation, for a web server."""

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self.installation = installation

    def status(self, selection: Selection | None = None) -> dict[str, Any]:
        return self.installation.status(selection)


def some_jobs(now: float) -> tuple[Job, ...]:
    """Return jobs as they are listed with everything that a list can tell, and with little."""
    return (
        Job(
            "4711", "sleep_0526", JobState.RUNNING, 1, 32, 0, 4, 32, 0, 4,
            queue="normal", submitted=now - 7200, started=now - 3600,
        ),
        Job("4712", "train", JobState.QUEUED, 2, 64, 0, 8, 0, 0, 0, queue="gpu", reason="resources", submitted=now - 90_000),
        Job("4713", "", JobState.UNKNOWN, raw_state="statX"),
    )  # fmt: skip


def empty() -> Installation:
    return Installation()


def healthy() -> Installation:
    """Three regions and a project, as a laboratory may have them."""
    made = Installation()
    users = ("alice", "bob", "王伟", "zhang-san", "carol")
    for region in ("kunshan", "xian", "hefei"):
        made.add(region, "schedulers", "")
        for user in users:
            made.add_user(region, user)
        for user in users:
            made.add_member(region, f"{'chemistry' if user < 'c' else 'physics'}/{user}")
        made.token_ends[region] = {"": made.now + 20 * 3600}
    made.add_tasks("driving", "PROCESSOR", 128)
    made.add_tasks("driving", "INTERNAL", 3)
    return made


def half_broken() -> Installation:
    """One region without data, one that begins to fail, one that works, and a configuration with a mistake."""
    made = Installation(
        warnings=["exporter.yml:14:5: clusters[1].tls.insecure_skip_verify: certificates are not verified"],
        reload_error="exporter.yml:8:5: clusters[0].usres: unknown key; did you mean users?",
    )
    for region, state, error in (("kunshan", "up", TIMEOUT), ("xian", "stale", DENIED), ("hefei", "failing", REFUSED)):
        made.add(region, "schedulers", "", state, error)
        for number, user in enumerate(("alice", "bob", "王伟", "zhang-san")):
            made.add_user(region, user, "up" if number == 0 and state == "failing" else state, error=error)
            made.add_member(region, f"physics/{user}", state, error=error)
        made.token_ends[region] = {"": made.now + (20 * 3600 if state == "up" else -600)}
    made.add("new", "schedulers", "", "pending")
    made.add_tasks("driving", "PROCESSOR", None)
    made.add_waits("kunshan", "normal", 720.0, 7741.0, 20_000.0)
    made.add_waits("xian", "", 720.0, 7741.0, 20_000.0, group="physics", right=80)
    key = TargetKey("kunshan", "schedulers", "")
    made.add_jobs("kunshan", "physics/alice", *some_jobs(made.now))
    cores = [CPUS("kunshan", state, value=number) for state, number in (("unused", 90), ("used", 2_070))]
    made.figures.show(key, SampleFigures(tuple(cores)))
    return made


def huge(targets: int = 10_000) -> Installation:
    """Eight regions with thousands of users, a handful of whom have trouble."""
    made = Installation()
    for number in range(targets):
        region = f"region-{number % 8 + 1}"
        state = "failing" if number % 1250 == 7 else "stale" if number == 4321 else "up"
        if number % 5:
            made.add_user(region, f"user{number:05}", state)
        else:
            made.add_member(region, f"group{number % 40:02}/user{number:05}", state)
    for region in made.sources:
        made.token_ends[region] = {"": made.now + 9 * 3600}
    return made
