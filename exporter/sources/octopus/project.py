"""An Octopus project as a source: its connections, its token and its queues."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import ClassVar, Final

from exporter.config import OctopusProject, OctopusQueue, Secret
from exporter.http import ALARMING_SKEW, StaticToken, TokenCache, TokenSource
from exporter.metrics.family import Family, Text, gauge
from exporter.polling import WHOLE, TargetKey
from exporter.sources.collector import Per, Subject, itself, label_part
from exporter.sources.octopus.auth import IamLogin
from exporter.sources.octopus.pages import PageReader
from exporter.sources.octopus.queue_diff import QueueTotals
from exporter.sources.octopus.reading import Queue
from exporter.sources.source import Context, Notice, Source

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


QUEUE = Per("octopus", UP, 0, "queues", Text("queue", "队列"), _queues)
PROJECT = Per("octopus", UP, 1, "", Text("project", "项目"), itself)


# For a token that lacks the permission.
ADVICE: Final = "let the IAM user read this project's Octopus data"


class Project(Source):
    """A configured project."""

    kind: ClassVar = "octopus"
    up_family: ClassVar[Family] = UP
    max_concurrency: ClassVar = 1

    def __init__(
        self,
        project: OctopusProject,
        context: Context,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext | bool,
        before: "Project | None" = None,
        owns: Callable[[TargetKey], bool] = WHOLE.owns,
    ) -> None:
        """`before` is the project of this name until now, whose queues' counters go on where they mean the same."""
        super().__init__(project, context, slots=slots, tls=tls, owns=owns)
        self.project = project
        self._logins: TokenCache | None = None
        self.token: StaticToken | TokenSource
        if project.token is not None:
            self.token = StaticToken(project.token)
        else:
            self._logins = TokenCache(login_of(project), context.clock)
            # Logins go to another host than the project's calls, but count as the project's.
            self.token = TokenSource(self._logins, source=self.name, upstream=self.connection(), observer=context.own)
        self.pages = PageReader(
            self.upstream, self.token, base_url=project.base_url, project_id=project.project_id, clock=context.clock
        )
        self._totals: dict[Queue, QueueTotals] = {}
        self._skew = Notice(
            "this machine's clock and the project's differ: one of the two needs setting",
            "this machine's clock agrees with the project's again",
            source=self.name,
        )
        if before is not None and before.address == self.address:
            self._totals = before._totals  # noqa: SLF001 - another of this class

    @property
    def address(self) -> Hashable:
        return self.project.base_url, self.project.project_id

    def use_changed(self, secrets: frozenset[Secret]) -> bool:
        """Use the new contents of `secrets`; False where none of them is its own."""
        iam = self.project.iam
        if self.project.token not in secrets and (iam is None or iam.password not in secrets):
            return False
        if self._logins is not None:
            self._logins.credential_changed()
        return True

    async def show_token_expiry(self) -> None:
        """Declare the token's metrics; a pasted token carries no expiry."""
        if self._logins is not None:
            self.context.own.declare_token(self.name)

    def totals_of(self, queue: Queue) -> QueueTotals:
        """Return the counts of a queue so far."""
        return self._totals.setdefault(queue, QueueTotals())

    def note_skew(self, skew: float | None) -> None:
        """Log it when the clocks begin or cease to differ; None: unknown."""
        if skew is not None:
            self._skew.update(abs(skew) > ALARMING_SKEW, ours_ahead_by_seconds=round(skew))


def login_of(project: OctopusProject) -> IamLogin:
    """Return the way that a project without a pasted token logs in."""
    iam = project.iam
    assert iam is not None  # noqa: S101 - the configuration's checks see to it
    assert iam.password is not None  # noqa: S101
    return IamLogin(iam.url, iam.domain, iam.user, iam.password, iam.project)
