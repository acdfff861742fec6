"""One Octopus project at work: its connections, its token and its queues."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from exporter.config import OctopusProject, OctopusQueue, Secret
from exporter.http import ALARMING_SKEW, Settings, StaticToken, TokenCache, TokenSource, Upstream
from exporter.metrics.family import Family, Text, gauge
from exporter.polling import Target, TargetKey
from exporter.sources.collector import Per, Subject, label_part, subjects_of
from exporter.sources.octopus.auth import IamLogin
from exporter.sources.octopus.queue_diff import QueueTotals
from exporter.sources.octopus.reading import Queue, QueueReader
from exporter.sources.source import Context, target_of

log = structlog.get_logger()

UP: Final = gauge(
    "octopus_up",
    ("project",),
    "Whether the project answers: 1 if the last poll of at least one target of a collector that is on by default worked, 0 if "
    "none did. Absent until one was tried.",
    zh="项目是否有响应：默认启用的采集项中至少有一个目标最近一次轮询成功为 1，全部失败为 0。",
    absent=Text("", "尚未尝试任何目标。"),
)


def _queues(project: OctopusProject, _owner: str) -> Iterator[Subject]:
    types = Counter(queue.queue_type for queue in project.queues)
    for queue in project.queues:
        target = _target_of(queue, alone=types[queue.queue_type] == 1)
        yield Subject(project.name, target, queue.place, section=queue)


def _target_of(queue: OctopusQueue, *, alone: bool) -> str:
    """Return the type of a queue, with the type and the id of the cluster where other queues are of the same type."""
    parts = (queue.queue_type, queue.cluster_type or "", queue.cluster_id or "")
    return "/".join(map(label_part, parts[:1] if alone else parts)).rstrip("/")


def _project(project: OctopusProject, _owner: str) -> Iterator[Subject]:
    yield Subject(project.name, "", project.place)


QUEUE = Per("octopus", UP, 0, "queues", Text("queue", "队列"), _queues)
PROJECT = Per("octopus", UP, 1, "", Text("project", "项目"), _project)


def whose(_subject: Subject) -> str:
    """Return the advice for a token that lacks the permission."""
    return "let the IAM user read this project's Octopus data"


class Project:
    """A configured project at work. Making one has no effect yet."""

    kind: Final = "octopus"
    up_family: Final[Family] = UP

    def __init__(
        self,
        project: OctopusProject,
        context: Context,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext | bool,
        before: "Project | None" = None,
        owns: Callable[[TargetKey], bool] = lambda _key: True,
    ) -> None:
        """`before` is the project of this name until now, whose queues' counters go on where they mean the same.

        `owns` says of each configured target whether this instance polls it, where several share them.
        """
        self.project = project
        self.tls = tls
        self.name = project.name
        self.context = context
        self.upstream = self._made_upstream(1, slots, tls, project.requests_per_second)
        # Logins go to another host than the project's calls, but count as the project's.
        self._iam = self._made_upstream(1, slots, tls, None)
        self.reader = QueueReader(
            self.upstream, base_url=project.base_url, project_id=project.project_id, clock=context.clock
        )
        self._logins = None
        if (iam := project.iam) is not None and iam.password is not None:
            login = IamLogin(iam.url, iam.domain, iam.user, iam.password, iam.project)
            self._logins = TokenCache(login, context.clock)
        self.token = self._made_token()
        self._owns = owns
        self._targets: list[Target] | None = None
        self._totals: dict[Queue, QueueTotals] = {}
        self._skew_told = False
        if before is not None and before._asked == self._asked:  # noqa: SLF001 - another of this class
            self._totals = before._totals  # noqa: SLF001 - as above

    def warnings(self) -> list[str]:
        """Return settings that are allowed but may surprise."""
        return []

    def targets(self) -> list[Target]:
        """Return a target for each queue, in the order of the configuration."""
        if self._targets is None:
            self._targets = [
                target_of(self, collector, subject, self.project.poll, (*self._asked, subject.section))
                for collector, subject in subjects_of("octopus", self.project)
                if self._owns(collector.configured_key(subject))
            ]
        for name in dict.fromkeys(target.key.collector for target in self._targets):
            self.context.own.declare(self.name, name)
            self.context.own.poll_interval(self.name, name, self.project.poll.interval)
        return self._targets

    def secrets_changed(self, secrets: frozenset[Secret]) -> list[TargetKey]:
        """Use the new contents of `secrets`, not all of them its own; return the targets that may work again now."""
        iam = self.project.iam
        if self.project.token not in secrets and (iam is None or iam.password not in secrets):
            return []
        if self._logins is not None:
            self._logins.credential_changed()
        return [target.key for target in self.targets()]

    async def show_token_expiry(self) -> None:
        """Declare the token's metrics; a pasted token carries no expiry."""
        if self._logins is not None:
            self.context.own.declare_token(self.name)

    async def hide_token_expiry(self) -> None:
        """Take the expiry of the token out of the metrics."""
        self.context.own.token_expiry(self.name, "", None)

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        await self.upstream.close()
        await self._iam.close()
        # They refer to the project: so all of it is freed immediately instead of being left to the garbage collector.
        self._targets = None

    def _made_upstream(
        self,
        max_concurrency: int,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext | bool,
        requests_per_second: float | None,
    ) -> Upstream:
        poll = self.project.poll
        settings = Settings(self.name, poll.timeout, poll.retries, max_concurrency, requests_per_second, poll.max_body)
        return Upstream(settings, slots=slots, observer=self.context.own, clock=self.context.clock, tls=tls)

    def _made_token(self) -> StaticToken | TokenSource:
        if self.project.token is not None:
            return StaticToken(self.project.token)
        assert self._logins is not None  # noqa: S101 - the configuration's checks see to it
        return TokenSource(self._logins, source=self.name, upstream=self._iam, observer=self.context.own)

    def totals_of(self, queue: Queue) -> QueueTotals:
        """Return the counts of a queue so far."""
        return self._totals.setdefault(queue, QueueTotals())

    @property
    def _asked(self) -> tuple[str, str]:
        return self.project.base_url, self.project.project_id

    def tell_skew(self, skew: float | None) -> None:
        """Log once that the clocks differ, and once that they no longer do."""
        if skew is None:
            return
        alarming = abs(skew) > ALARMING_SKEW
        if alarming and not self._skew_told:
            log.warning(
                "this machine's clock and the project's differ: one of the two needs setting",
                source=self.name,
                ours_ahead_by_seconds=round(skew),
            )
        elif self._skew_told and not alarming:
            log.info("this machine's clock agrees with the project's again", source=self.name)
        self._skew_told = alarming
