"""The facts behind `/api/v1/status` and the status page. Their form is in docs/status.schema.json."""

import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from msgspec.structs import asdict

from exporter import __version__
from exporter.app.joblist import JobPage, JobSelection, TrackedJobs, has_words, page_facts, select_jobs
from exporter.clock import timestamp, timestamp_or_none
from exporter.metrics.family import Family, Sample
from exporter.polling import STATES, Shard, TargetStatus
from exporter.polling.health import Last, source_up
from exporter.sources.capacity import CPUS, ENABLED, FREE_CPUS
from exporter.sources.collector import registry
from exporter.sources.display import (
    Figures,
    ListedMember,
    ListFigures,
    MemberFigures,
    QueueFigures,
    SampleFigures,
    StatusSummary,
    TaskFigures,
)
from exporter.sources.scnet.account import BALANCE, STATUS
from exporter.sources.scnet.region_cores import CPUS as CPUS_BY_STATE
from exporter.sources.scnet.storage_quota import QUOTA, USED
from exporter.text import encodable
from exporter.tracking import WaitView
from exporter.version import revision

DEFAULT_LIMIT: Final = 1000
MAX_LIMIT: Final = 10_000
# Tokens shown of each source, those that expire first: there may be thousands.
TOKENS_SHOWN: Final = 20
# Names shown of each source of those whose targets have a problem.
CONCERNED_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Selection:
    """The requested targets: those that match, in the order of the configuration, `limit` of them from `offset`.

    `text` has to be in a label or in the last error, case-insensitively; empty fields match everything. `jobs` are the single
    jobs that are requested besides.
    """

    text: str = ""
    states: frozenset[str] = frozenset()
    source: str = ""
    collector: str = ""
    offset: int = 0
    limit: int = DEFAULT_LIMIT
    jobs: JobSelection | None = None

    def chosen(self, statuses: Iterable[TargetStatus]) -> list[TargetStatus]:
        """All that match, before `offset` and `limit`."""
        return [
            status
            for status in statuses
            if (not self.source or status.key.source == self.source)
            and (not self.collector or status.key.collector == self.collector)
            and (not self.states or status.state in self.states)
            and (not self.text or has_words(self.text, " ".join((*status.key, str(status.last_error or "")))))
        ]


@dataclass(slots=True)
class Health:
    """Health of the targets of a source."""

    states: Counter[str] = field(default_factory=Counter)
    last_polls: Counter[Last] = field(default_factory=Counter)
    optional_polls: Counter[Last] = field(default_factory=Counter)
    # The users whose targets have a problem, and the collectors of such targets that are not for single users.
    users: dict[str, None] = field(default_factory=dict)
    collectors: dict[str, None] = field(default_factory=dict)
    last_success: float | None = None
    # A target with an error, preferably one without data.
    worst: TargetStatus | None = None

    @property
    def answers(self) -> bool | None:
        """As `hpc_up`; None where it is not known yet."""
        return source_up(self.last_polls, self.optional_polls)


@dataclass(frozen=True, slots=True)
class LastReload:
    """The result of the last reload, the start included; `succeeded_at` is the Unix time of the last success."""

    successful: bool | None = None
    succeeded_at: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The input of a status, taken on the event loop and safe to be read by a thread.

    `kinds` are the kinds of the sources by name, `token_ends` the expiry times by source and user, `waits` the bounds for
    jobs submitted now, with the label of the group where the queue is not known; times are Unix seconds. `accounts` are
    the accounts that pay for regions, by the names of the regions. `tracked` are the tracker's jobs, where single jobs are
    requested; `single_jobs` says whether any may be shown.
    """

    now: float
    started_at: float
    ready: bool
    shard: Shard
    config_file: Path
    reload: LastReload
    warnings: Sequence[str]
    kinds: Mapping[str, str]
    statuses: Sequence[TargetStatus]
    figures: StatusSummary
    token_ends: Mapping[str, Mapping[str, float]]
    waits: Sequence[tuple[str, WaitView]] = ()
    accounts: Mapping[str, str] = field(default_factory=dict)
    single_jobs: bool = False
    tracked: TrackedJobs = field(default_factory=dict)


def status_of(snapshot: Snapshot, selection: Selection | None = None) -> dict[str, Any]:
    """Return the status of the exporter; times are RFC 3339 in UTC, null where unknown.

    Takes some 0.1 s for ten thousand targets.
    """
    selection = selection or Selection()
    statuses = snapshot.statuses
    health = health_by_source(statuses)
    chosen = selection.chosen(statuses)
    page = chosen[selection.offset : selection.offset + selection.limit]
    job_page: dict[str, JobPage] = {}
    if selection.jobs is not None:
        # Takes some 0.3 s for a hundred thousand jobs.
        job_page["job_page"] = select_jobs(snapshot.figures.jobs, snapshot.tracked, snapshot.now, selection.jobs)
    # In the order of the schema. The page of jobs is not in it: callers encode that themselves.
    return {
        "version": __version__,
        "revision": revision(),
        "python_version": platform.python_version(),
        "time": timestamp(snapshot.now),
        "started": timestamp(snapshot.started_at),
        "ready": snapshot.ready,
        "shard": {"ordinal": snapshot.shard.ordinal, "total": snapshot.shard.total},
        "config": {
            "file": encodable(str(snapshot.config_file)),
            "last_reload_successful": snapshot.reload.successful,
            "last_successful_reload": timestamp_or_none(snapshot.reload.succeeded_at),
            "last_reload_error": encodable(snapshot.reload.error) if snapshot.reload.error else None,
            "warnings": list(map(encodable, snapshot.warnings)),
        },
        "summary": state_counts(sum((of_source.states for of_source in health.values()), Counter())),
        "sources": [source_facts(snapshot, name, kind, health) for name, kind in snapshot.kinds.items()],
        "waits": [wait_facts(group, view) for group, view in snapshot.waits],
        "jobs": {
            "enabled": snapshot.single_jobs,
            "total": sum(len(member.jobs) for member in snapshot.figures.jobs) if snapshot.single_jobs else None,
            "missing": sources_without_lists(snapshot) if snapshot.single_jobs else [],
        },
        "page": page_facts(selection.offset, selection.limit, len(page), len(chosen), len(statuses)),
        "targets": [target_facts(status, snapshot.figures.of(status.key)) for status in page],
        **job_page,
    }


def sources_without_lists(snapshot: Snapshot) -> list[str]:
    """Return the sources of which at least one list of jobs is not known now, so that its jobs are missing."""
    listing = {each.name for each in registry().values() if each.lists_jobs}
    unknown = (
        status.key.source
        for status in snapshot.statuses
        if status.key.collector in listing and status.state != "absent" and snapshot.figures.of(status.key) is None
    )
    return list(dict.fromkeys(unknown))


def health_by_source(statuses: Iterable[TargetStatus]) -> dict[str, Health]:
    found: defaultdict[str, Health] = defaultdict(Health)
    for status in statuses:
        health = found[status.key.source]
        state = status.state
        health.states[state] += 1
        last: Last = "untried" if state == "pending" else status.up
        (health.optional_polls if status.target.optional else health.last_polls)[last] += 1
        if state in ("stale", "failing"):
            user = status.key.target.rpartition("/")[2]
            (health.users if user else health.collectors)[user or status.key.collector] = None
        success = status.last_success
        if success is not None and (health.last_success is None or success > health.last_success):
            health.last_success = success
        if status.last_error is not None and (health.worst is None or (status.stale and not health.worst.stale)):
            health.worst = status
    return found


def state_counts(states: Counter[str]) -> dict[str, int]:
    return {"total": states.total() - states["absent"], **{state: states[state] for state in STATES}}


def source_facts(snapshot: Snapshot, name: str, kind: str, health: Mapping[str, Health]) -> dict[str, Any]:
    of_source = health.get(name) or Health()
    totals = snapshot.figures.totals(name)
    tokens = sorted(snapshot.token_ends.get(name, {}).items(), key=lambda item: item[1])
    return {
        "name": name,
        "kind": kind,
        "state": worst_of(of_source.states),
        "answers": of_source.answers,
        "targets": state_counts(of_source.states),
        "concerned": {
            "total": len(of_source.users or of_source.collectors),
            "names": list(islice(of_source.users or of_source.collectors, CONCERNED_SHOWN)),
        },
        "last_success": timestamp_or_none(of_source.last_success),
        "last_error": error_facts(of_source.worst) if of_source.worst else None,
        "queues": totals.queues._asdict() if totals.queues else None,
        "members": member_facts(totals.members) if totals.members else None,
        "tasks": totals.tasks._asdict() if totals.tasks else None,
        "room": room_facts(snapshot.figures.samples(name), snapshot.figures.samples(snapshot.accounts.get(name, ""))),
        "tokens": [{"user": user, "expires": timestamp(end)} for user, end in tokens[:TOKENS_SHOWN]],
    }


def room_facts(samples: Iterable[Sample], of_account: Iterable[Sample]) -> dict[str, Any] | None:
    """Return free and all cores, storage and money, added up of the samples of optional collectors.

    Null is unknown, and None for the whole if all of it is. `of_account` are the samples of the account that pays; storage is that of users whose quota is known.
    """
    found: dict[Family, dict[tuple[str, ...], float]] = {}
    for family, labels, value in (*samples, *of_account):
        if value is not None:
            found.setdefault(family, {})[labels] = value
    free, cpus = _cores(found)
    quotas = {labels: quota for labels, quota in found.get(QUOTA, {}).items() if labels in found.get(USED, {})}
    facts = {
        "free_cpus": free,
        "cpus": cpus,
        "storage_used_bytes": sum(found[USED][labels] for labels in quotas) if quotas else None,
        "storage_quota_bytes": sum(quotas.values()) if quotas else None,
        "balance_cny": next(iter(found.get(BALANCE, {}).values()), None),
        "account_status": next((status for _, status in found.get(STATUS, {})), None),
    }
    return facts if any(fact is not None for fact in facts.values()) else None


def _cores(found: dict[Family, dict[tuple[str, ...], float]]) -> tuple[float | None, float | None]:
    """Return free cores and all, as the region itself says, else of its queues: of those that are open and say both."""
    by_state = {state: value for (_, state), value in found.get(CPUS_BY_STATE, {}).items()}
    if {"used", "unused"} <= by_state.keys():
        return by_state["unused"], by_state["used"] + by_state["unused"]
    enabled, free = found.get(ENABLED, {}), found.get(FREE_CPUS, {})
    total = {queue: cpus for queue, cpus in found.get(CPUS, {}).items() if queue in free}
    if not total:
        return None, None
    return sum(free[queue] for queue in total if enabled.get(queue) != 0), sum(total.values())


def worst_of(states: Counter[str]) -> str:
    """Return the state of the whole: the most urgent of its targets', "up" where there is none."""
    return next((state for state in STATES if states[state] and state != "absent"), "up")


def target_facts(status: TargetStatus, figures: Figures | None) -> dict[str, Any]:
    return {
        "source": status.key.source,
        "collector": status.key.collector,
        "target": status.key.target,
        "state": status.state,
        "interval_seconds": status.target.interval,
        "consecutive_failures": status.failures,
        "last_attempt": timestamp_or_none(status.last_attempt),
        "last_success": timestamp_or_none(status.last_success),
        "last_error": error_facts(status),
        "next_poll": timestamp_or_none(status.next_poll),
        "queues": None
        if not isinstance(figures, QueueFigures)
        else [{"queue": queue, **counts._asdict()} for queue, counts in figures.queues],
        "member": member_facts(figures) if isinstance(figures, MemberFigures) else None,
        "members": list(map(listed_facts, figures.members)) if isinstance(figures, ListFigures) else None,
        "tasks": figures._asdict() if isinstance(figures, TaskFigures) else None,
        "values": value_facts(figures.samples) if isinstance(figures, SampleFigures) else None,
    }


def wait_facts(group: str, view: WaitView) -> dict[str, Any]:
    return {
        "source": view.key.source,
        "group": group,
        "queue": view.key.queue,
        "accelerated": view.key.accelerated,
        "heads": view.heads,
        "bounds": [asdict(promise) for promise in view.promises],
    }


def value_facts(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    return [
        {"family": family.name, "labels": dict(zip(family.labels, values, strict=True)), "value": value}
        for family, values, value in samples
    ]


def error_facts(status: TargetStatus) -> dict[str, Any] | None:
    error = status.last_error
    if error is None:
        return None
    return {
        "reason": error.reason,
        "message": encodable(error.text.en),
        "message_zh": encodable(error.text.zh),
        "time": timestamp_or_none(status.last_error_at),
    }


def listed_facts(member: ListedMember) -> dict[str, Any]:
    queues = [{"queue": queue, **counts._asdict()} for queue, counts in member.queues]
    return {"group": member.group, "user": member.user, **member_facts(member.figures), "queues": queues}


def member_facts(figures: MemberFigures) -> dict[str, Any]:
    return {"jobs": figures.jobs._asdict(), "in_use": figures.in_use._asdict()}
