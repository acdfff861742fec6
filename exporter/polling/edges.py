"""Says it on the edge: one log line when something breaks, one when it heals, whatever the number of its targets."""

from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from exporter.errors import PollError
from exporter.polling.target import TargetKey

log = structlog.get_logger()

# These say nothing about a single target: all targets of a region fail for them together.
SHARED_REASONS = {"connection": "unreachable", "timeout": "unreachable", "throttled": "throttled", "auth": "auth"}


class Trouble(NamedTuple):
    """What is broken: `culprit` is a credential or, for a trouble of its own, the endpoint and target."""

    source: str
    kind: str
    culprit: str


@dataclass(slots=True)
class Affected:
    since: float
    failing: set[TargetKey] = field(default_factory=set)
    worst: int = 0


class EdgeLog:
    """Groups failing targets by their trouble and speaks when a group begins and when it is empty again."""

    def __init__(self) -> None:
        self._groups: dict[Trouble, Affected] = {}
        self._trouble_of: dict[TargetKey, Trouble] = {}

    def failed(self, key: TargetKey, error: PollError, now: float) -> None:
        trouble = trouble_of(key, error)
        previous = self._trouble_of.get(key)
        if previous == trouble:
            return
        group = self._groups.get(trouble)
        if group is None:
            group = self._groups[trouble] = Affected(since=now)
            log.warning(
                "polls fail",
                source=key.source,
                endpoint=key.endpoint,
                target=key.target,
                reason=error.reason,
                error=str(error),
            )
        self._trouble_of[key] = trouble
        group.failing.add(key)
        group.worst = max(group.worst, len(group.failing))
        # After the new group is there: a trouble that turned into another is not healed.
        if previous is not None:
            self._leave(key, previous)

    def succeeded(self, key: TargetKey, now: float) -> Trouble | None:
        """Note a success; the trouble that `key` was in, if it was in one."""
        trouble = self._trouble_of.pop(key, None)
        if trouble is not None:
            group = self._leave(key, trouble)
            if not group.failing:
                log.info(
                    "polls work again",
                    source=key.source,
                    endpoint=key.endpoint,
                    target=key.target,
                    targets=group.worst,
                    after_seconds=round(now - group.since, 1),
                )
        return trouble

    def forget(self, key: TargetKey) -> None:
        """The target is no longer polled."""
        trouble = self._trouble_of.pop(key, None)
        if trouble is not None:
            self._leave(key, trouble)

    def sharing(self, trouble: Trouble) -> frozenset[TargetKey]:
        """The targets that are still in `trouble`."""
        group = self._groups.get(trouble)
        return frozenset(group.failing) if group else frozenset()

    def _leave(self, key: TargetKey, trouble: Trouble) -> Affected:
        group = self._groups[trouble]
        group.failing.discard(key)
        if not group.failing:
            del self._groups[trouble]
        return group


def trouble_of(key: TargetKey, error: PollError) -> Trouble:
    kind = SHARED_REASONS.get(error.reason)
    if kind is None:
        return Trouble(key.source, error.reason, f"{key.endpoint} {key.target}")
    return Trouble(key.source, kind, error.culprit if kind == "auth" else "")
