"""What the tracker counted as samples. Pure functions like those of `families`; they know the tracker's views only."""

from typing import Final

from exporter.metrics import catalogue
from exporter.metrics.family import Family
from exporter.metrics.render import Chunks, histogram, sample, to_bytes
from exporter.tracking import GroupView, HistogramView, MemberView

_HISTOGRAMS: Final = (("waits", catalogue.SCNET_JOB_OBSERVED_WAIT), ("runs", catalogue.SCNET_JOB_OBSERVED_RUN))


def tracked_member(hpc_cluster: str, group: str, user: str, view: MemberView) -> Chunks:
    """A member's counters. Every outcome has a sample from the start, a transition once it occurred."""
    labels = (hpc_cluster, group, user)
    lines: dict[Family, list[str]] = {
        catalogue.SCNET_JOB_TRANSITIONS: [
            sample(catalogue.SCNET_JOB_TRANSITIONS, (*labels, *states), count)
            for states, count in sorted(view.transitions.items())
        ],
        catalogue.SCNET_JOBS_FINISHED: [
            sample(catalogue.SCNET_JOBS_FINISHED, (*labels, outcome), count)
            for outcome, count in sorted(view.finished.items())
        ],
    }
    values: dict[Family, float | None] = {
        catalogue.SCNET_MEMBER_OLDEST_QUEUED: view.oldest_queued,
        catalogue.SCNET_MEMBER_UNACCOUNTED: view.unaccounted_seconds,
    }
    for attribute, family in catalogue.SCNET_MEMBER_RESOURCE_SECONDS.items():
        values[family] = getattr(view, attribute)
    for family, value in values.items():
        if value is not None:
            lines[family] = [sample(family, labels, value)]
    return _chunks(lines)


def tracked_group(hpc_cluster: str, group: str, view: GroupView) -> Chunks:
    """A group's waits and runs. Every kind of censored observation has a sample from the start."""
    labels = (hpc_cluster, group)
    lines = {family: [_histogram(family, labels, getattr(view, attribute))] for attribute, family in _HISTOGRAMS}
    censored = catalogue.SCNET_JOB_OBSERVATIONS_CENSORED
    lines[censored] = [sample(censored, (*labels, *kind), count) for kind, count in sorted(view.censored.items())]
    return _chunks(lines)


def _histogram(family: Family, labels: tuple[str, ...], view: HistogramView) -> str:
    return histogram(family, labels, view.bounds, view.cumulative, view.sum)


def _chunks(lines: dict[Family, list[str]]) -> Chunks:
    return {family: to_bytes("".join(of_family)) for family, of_family in lines.items() if of_family}
