"""Passes job listings to the tracker, and shows its counters while the targets that list the jobs are shown."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from exporter.metrics import tracking as families
from exporter.metrics.exposition import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import TargetKey
from exporter.records import EndedJob, JobListing
from exporter.supervise import ShortTasks
from exporter.tracking import MemberKey, TrackingService, WaitView

log = structlog.get_logger()


class Followed(NamedTuple):
    """A member whose jobs are followed, the target that lists them, and its group's label, which may change."""

    target: TargetKey
    member: MemberKey
    group: str


class Tracked:
    """The tracker's part of the exposition.

    Owners: ("tracked", target), ("tracked group", source, group id), and ("tracked waits", source).
    """

    def __init__(self, exposition: Exposition, own: SelfMetrics) -> None:
        self._exposition = exposition
        self._own = own
        self.service: TrackingService | None = None
        self._shown: dict[TargetKey, Followed] = {}
        self._targets_of: defaultdict[tuple[str, str], set[TargetKey]] = defaultdict(set)
        # Labels of the groups shown, by source and id, and what was last shown of waits.
        self._groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._waits: dict[str, tuple[WaitView, ...]] = {}
        self._tasks = ShortTasks()
        self._failing: set[TargetKey] = set()

    def observe(self, followed: Followed, listing: JobListing, interval: float) -> None:
        """Count what happened since the last listing.

        Shown a moment later, when it is on disk: no poll waits for that.
        """
        if self.service is None:
            return
        self._shown[followed.target] = followed
        self._targets_of[followed.member[:2]].add(followed.target)
        self._label(followed)
        self._tasks.start("observation of jobs", self._observe(self.service, followed, listing, interval))

    async def take_ends(self, target: TargetKey, rows: Sequence[EndedJob], until: float) -> None:
        """Count ends that a source's history tells, which was read up to the time `until`; return when they are shown."""
        service = self.service
        if service is None:
            return
        disagreements = await service.take_ends(target.source, rows, until)
        self._own.time_disagreements(target.source, target.collector, disagreements)
        users = {row.user for row in rows}
        for followed in list(self._shown.values()):
            if followed.member.source == target.source and followed.member.user in users and self.service is service:
                self._show(service, followed)

    def hide(self, target: TargetKey) -> None:
        """Hide the counters of a target that is stale or no longer polled; they go on when it is back."""
        followed = self._shown.pop(target, None)
        if followed is None:
            return
        self._exposition.remove(("tracked", target))
        group = followed.member[:2]
        self._targets_of[group].discard(target)
        if not self._targets_of[group]:
            del self._targets_of[group]
            self._exposition.remove(("tracked group", *group))
            self._hide_waits(*group)

    def hide_all(self) -> None:
        """Stop counting."""
        for target in list(self._shown):
            self.hide(target)

    async def _observe(
        self, service: TrackingService, followed: Followed, listing: JobListing, interval: float
    ) -> None:
        try:
            disagreements = await service.observe(followed.member, listing, service.time(), interval)
        except Exception:
            # The counts would stand still while the target goes on.
            self.hide(followed.target)
            if followed.target not in self._failing:
                self._failing.add(followed.target)
                log.exception("jobs cannot be followed; please report this", **followed.target._asdict())
            return
        self._failing.discard(followed.target)
        source = followed.member.source
        self._own.time_disagreements(source, followed.target.collector, disagreements)
        self._own.tracked_jobs(source, service.tracker.tracked_jobs(source))
        # It may have been hidden meanwhile, or a reload may have put another tracker in the place of this one.
        if self._shown.get(followed.target) == followed and self.service is service:
            self._show(service, followed)

    def _show(self, service: TrackingService, followed: Followed) -> None:
        source, group_id, user = followed.member
        of_member = families.tracked_member(source, followed.group, user, service.member(followed.member))
        of_group = families.tracked_group(source, followed.group, service.group(source, group_id))
        self._exposition.put(("tracked", followed.target), of_member)
        self._exposition.put(("tracked group", source, group_id), of_group)
        self._show_waits(source, service.waits(source))

    def waits(self) -> list[tuple[str, WaitView]]:
        """Return the bounds for jobs submitted now, with the label of the group, where it is shown."""
        return [
            ("" if view.key.queue else self._groups[source][view.key.group_id], view)
            for source, views in sorted(self._waits.items())
            for view in views
            if view.key.queue or view.key.group_id in self._groups[source]
        ]

    def _label(self, followed: Followed) -> None:
        source, group_id, _ = followed.member
        if self._groups[source].get(group_id) != followed.group:
            self._groups[source][group_id] = followed.group
            self._waits.pop(source, None)

    def _show_waits(self, source: str, views: tuple[WaitView, ...]) -> None:
        if self._waits.get(source) is not views:
            self._waits[source] = views
            self._exposition.put(("tracked waits", source), families.waits(source, self._groups[source], views))

    def _hide_waits(self, source: str, group_id: str) -> None:
        self._groups[source].pop(group_id, None)
        views = self._waits.pop(source, ())
        if self._groups[source]:
            self._show_waits(source, views)
        else:
            del self._groups[source]
            self._exposition.remove(("tracked waits", source))
