"""Invariants: at every scrape of a simulation, and after the end of one."""

import re
import sys
import traceback
from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from structlog import DropEvent

from exporter.app import Application
from exporter.polling import Outcome, Target, TargetStatus
from exporter.tracking import MemberKey
from tests.chaos.platform import GROUP, REGIONS, USERS, Platform, Shown
from tests.e2e.process import samples_of

# Not the process's own, which are of the real one.
COUNTER = re.compile(r"^# TYPE (hpc_\S+) (?:counter|histogram)$", re.MULTILINE)
SOURCE = re.compile(r'(?:source|hpc_cluster)="([^"]*)"')
# Of the tracker: on disk before they are shown.
KEPT = re.compile(r"hpc_(?:job_|jobs_|member_)")
TRACKER = "the tracker"
# A family and a member.
OF_MEMBER = re.compile(r'\w+\{hpc_cluster="[^"]*",group="[^"]*",user="[^"]*"')
# Seconds that one poll may take with all its retries, logins and pauses.
LONGEST_POLL = 900.0


class ViolationError(AssertionError):
    """Something that must always hold did not."""


class Before(NamedTuple):
    """The state when a scrape began: another one may overtake it, and polls may come and go."""

    at: float
    targets: list[TargetStatus]
    counters: dict[str, float]
    # The number of times that the counters of each region, and those of the tracker, had begun anew.
    anew: Counter[str]


class Invariants:
    """Looks at one simulation, over all its processes."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._service: object = None
        self._left_alone: Collection[MemberKey] = ()
        self._counters: dict[str, float] = {}
        self._anew = Counter[str]()
        self._polls_since: dict[Any, float] = {}
        self.logged: list[str] = []

    def before(self, app: Application, now: float) -> Before:
        targets = app.scheduler.statuses
        copies = [status.copy() for status in targets]
        for copy, status in zip(copies, targets, strict=True):
            copy.succeeded_at = status.succeeded_at
        return Before(now, copies, dict(self._counters), self._anew.copy())

    def starting(self) -> None:
        """Note that a process starts: of its first tracker, `restarted` says what goes on."""
        self._service, self._left_alone = None, ()

    def left_alone(self, members: Collection[MemberKey]) -> None:
        """Note the members that another shard may have polled meanwhile: they begin anew."""
        self._left_alone = members

    def restarted(self, *, kept: bool) -> None:
        """Note the start of another process: all counts from 0 but what is `kept` in the state file."""
        self._polls_since.clear()
        anew = tuple(f'{{hpc_cluster="{key.source}",group="{GROUP}",user="{key.user}"' for key in self._left_alone)
        self._counters = {
            series: value
            for series, value in self._counters.items()
            if kept and KEPT.match(series) and not any(labels in series for labels in anew)
        }

    def reloaded(self, sources: Collection[str], service: object) -> None:
        """Forget the exporter's own counters of regions that are not among the `sources` any more: they begin anew.

        So do those of the tracker, where it has another file or none any more.
        """
        going_on = self._service is None or service is self._service
        self._service = service
        self._anew.update([*(REGIONS.keys() - sources), *([] if going_on else [TRACKER])])
        self._counters = {
            series: value
            for series, value in self._counters.items()
            if goes_on(series, sources) and (going_on or not KEPT.match(series))
        }

    def note(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> Any:
        """Remember errors, as a processor of structlog."""
        if event.get("exc_info") or "please report" in event["event"]:
            self.logged.append(f"{level}: {event}\n{''.join(traceback.format_exception(sys.exception()))}")
        raise DropEvent

    def polled(self, target: Target, outcome: Outcome) -> None:
        """Note a poll that failed because a reload closed its source under it, although it was not late."""
        if "no longer in use" in str(outcome.error) and outcome.seconds < target.stale_after:
            self.logged.append(f"{outcome.at}: {target.key} after {outcome.seconds} s: {outcome.error}")

    def raise_problems(self, of_loop: list[str]) -> None:
        for problems in (of_loop, self._platform.problems, self.logged):
            if problems:
                raise ViolationError("; ".join(problems))

    def check(self, text: str, app: Application, before: "Before", now: float) -> None:
        """Check a scrape."""
        samples, after = samples_of(text), app.scheduler.statuses
        self._check_counters(text, samples, before, app.components.sources)
        self._check_ends(samples)
        known = {status.key: status for status in before.targets}
        configured = {*known, *(status.key for status in after)}
        arrived = self._platform.arrived
        expected = {name for key in configured for each in arrived.get(key, ()) for name in each.samples}
        shown = samples.keys() - expected
        left = {
            key
            for key, answers in arrived.items()
            if key not in configured
            for each in answers
            if each.samples.keys() & shown
        }
        if left:
            raise ViolationError(f"still shown of what is not configured: {left}")
        self._check_polls({status.key: status for status in after if status.in_flight}, now)
        for status in after:
            if (earlier := known.get(status.key)) is not None:
                self._check_shown(samples, earlier, status, before.at, now)
        restarts = {series: value for series, value in samples.items() if "task_restarts_total" in series and value}
        if restarts:
            raise ViolationError(f"tasks failed: {restarts}")

    def _check_counters(
        self, text: str, samples: Mapping[str, float], before: Before, sources: Collection[str]
    ) -> None:
        """Check all but counters that began anew since the scrape did: it may show the old ones or the new ones."""
        families, known, anew = tuple(COUNTER.findall(text)), before.counters, self._anew - before.anew
        for series, value in samples.items():
            if series.startswith(families) and goes_on(series, sources) and owner(series) not in anew:
                if series in self._counters and value < known.get(series, 0.0) - 1e-6:
                    raise ViolationError(f"{series} went back from {known[series]} to {value}")
                self._counters[series] = max(value, self._counters.get(series, 0.0))
        gone = [series for series in known if series not in samples and known[series] and series in self._counters]
        if gone and TRACKER not in anew:
            shown = {found[0] for series in samples if (found := OF_MEMBER.match(series))}
            for series in gone:
                if KEPT.match(series) and (found := OF_MEMBER.match(series)) and found[0] in shown:
                    raise ViolationError(f"{series} was {known[series]} and is gone")

    def finished(self, samples: Mapping[str, float], region: str, user: str) -> float:
        """Return the number of ends that are counted."""
        series = f'hpc_jobs_finished_total{{hpc_cluster="{region}",group="{GROUP}",user="{user}",'
        return sum(value for name, value in samples.items() if name.startswith(series))

    def _check_ends(self, samples: Mapping[str, float]) -> None:
        for region in REGIONS:
            for user in USERS:
                counted, ended = self.finished(samples, region, user), self._platform.ended(region, user)
                if counted > ended:
                    raise ViolationError(f"{region}, {user}: {ended} jobs ended, {counted:g} counted")

    def _check_polls(self, in_flight: Mapping[Any, TargetStatus], now: float) -> None:
        self._polls_since = {status.task: self._polls_since.get(status.task, now) for status in in_flight.values()}
        for key, status in in_flight.items():
            if now - self._polls_since[status.task] > LONGEST_POLL:
                raise ViolationError(f"a poll of {key} has no end")

    def _check_listed(
        self, samples: Mapping[str, float], before: TargetStatus, after: TargetStatus, arrived: Sequence[Shown]
    ) -> None:
        """Check that each member shows what a good answer had of it, and nothing where the last ones had nothing."""
        times = [each.succeeded_at for each in (before, after) if each.succeeded_at is not None]
        last = max((number for number, each in enumerate(arrived) if times and each.at <= min(times)), default=0)
        for user in USERS:
            series = [
                f'hpc_member_jobs{{hpc_cluster="{after.key.source}",group="{GROUP}",user="{user}",state="{state}"}}'
                for state in ("running", "queued")
            ]
            shown = {name: samples[name] for name in series if name in samples}
            good = [{name: each.samples[name] for name in series if name in each.samples} for each in arrived[last:]]
            if shown and shown not in good:
                raise ViolationError(f"{after.key} shows {shown}, its last good answers are {good}")

    def _check_shown(
        self, samples: Mapping[str, float], before: TargetStatus, after: TargetStatus, began: float, now: float
    ) -> None:
        """Check that what is shown of a target is what its last good poll found, and nothing where that is too old."""
        arrived = self._platform.arrived.get(after.key)
        if arrived is None:
            return
        if after.key.collector == "live_jobs":
            self._check_listed(samples, before, after, arrived)
            return
        series = {name for each in arrived for name in each.samples}
        shown = {name: samples[name] for name in series if name in samples}
        times = [
            status.succeeded_at for status in (before, after) if status.succeeded_at is not None and not status.stale
        ]
        if not times:
            # Between what is shown and the health of its target the event loop may have a turn, in which time may pass.
            just = [each for each in arrived if each.at == now] or (arrived[-1:] if after.publishing else [])
            good: list[Mapping[str, float]] = [{}, *(each.samples for each in just)]
        else:
            # The answer that a poll under way has just published is fine, too.
            last = max((number for number, each in enumerate(arrived) if each.at <= min(times)), default=0)
            good = [each.samples for each in arrived[last:]]
            # It may have become too old since the scrape began.
            if len(times) == 1 or min(times) + after.target.stale_after < now:
                good.append({})
        # While a thread compresses lines, that of the poll under way and of later ones may be replaced or become too old.
        known = before.succeeded_at or 0.0
        later = max((number for number, each in enumerate(arrived) if each.at < began), default=0)
        good.extend(each.samples for each in arrived[later:] if each.at > known)
        if not any(fits(shown, samples) for samples in good):
            raise ViolationError(f"{after.key} shows {shown}, its last good answers are {good}")


def owner(series: str) -> str | None:
    """Return the region that a counter is of, or `TRACKER`; None where it is the process's own."""
    if KEPT.match(series):
        return TRACKER
    return source[1] if (source := SOURCE.search(series)) else None


def goes_on(series: str, sources: Collection[str]) -> bool:
    """Whether a counter must never step back while these sources are configured."""
    return owner(series) in (TRACKER, None, *sources)


def fits(shown: Mapping[str, float], samples: Mapping[str, float]) -> bool:
    """Whether each sample is shown. One that is 0 may be absent: what was never seen is not shown."""
    return all(shown.get(name, 0.0) == value for name, value in samples.items()) and shown.keys() <= samples.keys()
