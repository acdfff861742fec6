"""Says it on the edge: one log line when something breaks, one when it heals, whatever the number of its targets."""

from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from exporter.errors import DecodeError, PollError, TransientError, UnexpectedStatusError
from exporter.polling.target import TargetKey

log = structlog.get_logger()

# A host that is in trouble times out, hangs up and answers 5xx by turns: that is one trouble.
UNREACHABLE = frozenset({"connection", "timeout", "http"})


class Trouble(NamedTuple):
    """What is broken: `culprit` is a credential, an endpoint, or an endpoint's target; empty for a whole source."""

    source: str
    kind: str
    culprit: str


@dataclass(slots=True)
class Affected:
    since: float
    failing: set[TargetKey] = field(default_factory=set)
    worst: int = 0
    # Whether a target left it since one failed last.
    healing: bool = False


class EdgeLog:
    """Groups failing targets by their trouble and speaks when a group begins and when it is empty again."""

    def __init__(self) -> None:
        self._groups: dict[Trouble, Affected] = {}
        self._trouble_of: dict[TargetKey, Trouble] = {}

    def failed(self, key: TargetKey, error: PollError, now: float) -> None:
        trouble = trouble_of(key, error)
        previous = self._trouble_of.get(key)
        group = self._groups.get(trouble)
        if group is not None:
            group.healing = False
        if previous == trouble:
            return
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
        """Note a success; the trouble that `key` was in, if this is the first sign that it is over."""
        trouble = self._trouble_of.pop(key, None)
        if trouble is None:
            return None
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
        first_sign = not group.healing
        group.healing = True
        return trouble if first_sign else None

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
    """What is wrong, as widely as the error says: rather one line for too many targets than one for each of thousands."""
    if error.reason == "auth":
        return Trouble(key.source, "auth", error.culprit)
    if isinstance(error, UnexpectedStatusError | DecodeError):
        return Trouble(key.source, error.reason, key.endpoint)
    if error.reason in UNREACHABLE:
        return Trouble(key.source, "unreachable", "")
    if isinstance(error, TransientError):
        return Trouble(key.source, error.reason, "")
    return Trouble(key.source, error.reason, f"{key.endpoint} {key.target}")
