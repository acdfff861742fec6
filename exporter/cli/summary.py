"""From what polls found to what commands print."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter

from exporter.app.survey import Outcome
from exporter.app.target_info import info_of, target_infos
from exporter.cli import shapes
from exporter.config import Config, OctopusQueue
from exporter.errors import PollError
from exporter.polling import TargetKey
from exporter.records import Job, JobListing, JobState, QueueCounts, QueueStatistics, Schedulers
from exporter.sources.collector import Found, Subject
from exporter.sources.octopus.records import QueueListing

USUAL_STATES = (JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.SUSPENDED)


def once(config: Config, outcomes: Iterable[Outcome], now: float) -> shapes.Once:
    """All that the polls of `outcomes` found, at the Unix time `now`."""
    outcomes = list(outcomes)
    known = target_infos(config)
    found = [(outcome.key, outcome.records) for outcome in outcomes]
    return shapes.Once(
        time=timestamp(now),
        ok=all(outcome.ok for outcome in outcomes),
        targets=[target_outcome(outcome) for outcome in outcomes],
        schedulers=[
            row for key, records in found if isinstance(records, Schedulers) for row in schedulers(key, records)
        ],
        queues=[row for key, records in found if isinstance(records, QueueStatistics) for row in queues(key, records)],
        members=[
            member(key, info_of(known, key).subject, records)
            for key, records in found
            if isinstance(records, JobListing)
        ],
        octopus_queues=[
            octopus_queue(key, info_of(known, key).subject, records)
            for key, records in found
            if isinstance(records, QueueListing)
        ],
        values=[row for key, records in found if isinstance(records, Found) for row in values(key, records)],
    )


def timestamp(seconds: float) -> str:
    """RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def failure(error: PollError | None) -> shapes.Failure | None:
    return None if error is None else shapes.Failure(reason=error.reason, message=str(error))


def target_outcome(outcome: Outcome) -> shapes.TargetOutcome:
    return shapes.TargetOutcome(
        **outcome.key._asdict(),
        ok=outcome.ok,
        seconds=round(outcome.seconds, 3),
        unreadable_records=unreadable(outcome),
        error=failure(outcome.error),
    )


def unreadable(outcome: Outcome) -> int:
    """How many records and single values of a good answer were left out."""
    return getattr(outcome.records, "rejected", 0) + getattr(outcome.records, "rejected_values", 0)


def schedulers(key: TargetKey, found: Schedulers) -> list[shapes.SchedulerRow]:
    return [
        shapes.SchedulerRow(cluster=key.source, id=each.id, name=each.name, type=each.type) for each in found.schedulers
    ]


def queues(key: TargetKey, found: QueueStatistics) -> list[shapes.QueueRow]:
    """A row for each queue; those of one name, of two schedulers, are added up."""
    by_name: defaultdict[str, list[QueueCounts]] = defaultdict(list)
    for queue in found.queues:
        by_name[queue.queue].append(queue)
    return [
        shapes.QueueRow(cluster=key.source, user=found.user, queue=name, jobs=added([each.counts for each in of_name]))
        for name, of_name in sorted(by_name.items())
    ]


def added(counts: list[dict[JobState, int]]) -> dict[JobState, int]:
    """The sums; unknown in one is unknown in all. The state `unknown` itself is there only where a job is in it."""
    known = [
        state
        for state in JobState
        if any(state in each for each in counts)
        and (state is JobState.UNKNOWN or all(state in each for each in counts))
    ]
    return {state: sum(each.get(state, 0) for each in counts) for state in known}


def member(key: TargetKey, subject: Subject, listing: JobListing) -> shapes.MemberRow:
    jobs: Mapping[JobState, list[Job]] = {state: [] for state in USUAL_STATES}
    of_state = defaultdict(list, jobs)
    for job in listing.jobs:
        of_state[job.state].append(job)
    group, group_id = group_of(subject)
    return shapes.MemberRow(
        cluster=key.source,
        group=group,
        group_id=group_id,
        user=subject.user,
        states={state: state_row(jobs) for state, jobs in of_state.items()},
    )


def group_of(subject: Subject) -> tuple[str, str]:
    """Label and id of the group that a member's target is of."""
    return subject.group, subject.group_id


def state_row(jobs: list[Job]) -> shapes.StateRow:
    return shapes.StateRow(
        jobs=len(jobs),
        requested=shapes.Requested(
            **{name: total(jobs, f"requested_{name}") for name in ("nodes", "cpus", "gpus", "dcus")}
        ),
        allocated=shapes.Allocated(**{name: total(jobs, f"allocated_{name}") for name in ("cpus", "gpus", "dcus")}),
    )


def total(jobs: Iterable[Job], amount: str) -> int | None:
    """The sum over the jobs, None where that of one of them is unknown."""
    values = list(map(attrgetter(amount), jobs))
    return None if None in values else sum(values)


def values(key: TargetKey, found: Found) -> list[shapes.ValueRow]:
    return [
        shapes.ValueRow(
            collector=key.endpoint,
            family=family.name,
            labels=dict(zip(family.labels, labels, strict=True)),
            value=0 if value is None else value,
        )
        for family, labels, value in found.samples
    ]


def octopus_queue(key: TargetKey, subject: Subject, listing: QueueListing) -> shapes.OctopusRow:
    queue: OctopusQueue = subject.section
    requested = listing.content.requested if listing.content else None
    return shapes.OctopusRow(
        project=key.source,
        queue_type=queue.queue_type,
        cluster_type=queue.cluster_type or "",
        cluster_id=queue.cluster_id or "",
        length=listing.length,
        requested_cpu_cores=requested.cpu_cores if requested else None,
        requested_memory_bytes=requested.memory_bytes if requested else None,
    )


def job_row(key: TargetKey, subject: Subject, job: Job) -> shapes.JobRow:
    group, group_id = group_of(subject)
    row = state_row([job])
    return shapes.JobRow(
        cluster=key.source,
        group=group,
        group_id=group_id,
        user=subject.user,
        id=job.id,
        name=job.name,
        state=job.state,
        raw_state=job.raw_state or None,
        requested=row.requested,
        allocated=row.allocated,
    )
