"""What is known of an Octopus queue as samples. Pure functions like those of `families`."""

from typing import NamedTuple

from exporter.metrics import catalogue
from exporter.metrics.family import Family
from exporter.metrics.render import Chunks, escape, histogram, number, sample, start, to_bytes
from exporter.sources.octopus.records import QueueContent, QueueListing
from exporter.tracking import HistogramView


class QueueLabels(NamedTuple):
    """The labels of a queue, in the catalogue's order; "" for what its configuration leaves out."""

    project: str
    queue_type: str
    cluster_type: str
    cluster_id: str


class QueueCounters(NamedTuple):
    """What came and went since the start."""

    arrivals: int
    departures: int
    waits: HistogramView


def queue(labels: QueueLabels, listing: QueueListing, counters: QueueCounters | None) -> Chunks:
    """All samples of a queue. `counters` is None while nothing is known of what comes and goes."""
    values: dict[Family, float | None] = {
        catalogue.OCTOPUS_QUEUE_LENGTH: listing.length,
        catalogue.OCTOPUS_QUEUE_LISTING_COMPLETE: listing.complete,
    }
    lines: dict[Family, str] = {}
    if listing.content is not None:
        requested = listing.content.requested
        values |= {
            catalogue.OCTOPUS_REQUESTED_CPU_CORES: requested.cpu_cores,
            catalogue.OCTOPUS_REQUESTED_MEMORY_BYTES: requested.memory_bytes,
            catalogue.OCTOPUS_UNREAD_SPECS: requested.unread,
            catalogue.OCTOPUS_OLDEST_RANK: listing.content.oldest_rank,
        }
        lines[catalogue.OCTOPUS_QUEUED_JOBS] = _jobs(labels, listing.content)
    if counters is not None:
        values |= {
            catalogue.OCTOPUS_ARRIVALS: counters.arrivals,
            catalogue.OCTOPUS_DEPARTURES: counters.departures,
        }
        waits = counters.waits
        family = catalogue.OCTOPUS_OBSERVED_QUEUE
        lines[family] = histogram(family, labels, waits.bounds, waits.cumulative, waits.sum)
    lines |= {family: sample(family, labels, value) for family, value in values.items() if value is not None}
    return {family: to_bytes(text) for family, text in lines.items() if text}


def _jobs(labels: QueueLabels, content: QueueContent) -> str:
    """In a fixed order, so that an unchanged queue gives unchanged bytes."""
    family = catalogue.OCTOPUS_QUEUED_JOBS
    line_start = start(family, *labels)
    names = family.labels[len(labels) :]
    return "".join(
        [
            line_start
            + "".join([f',{name}="{escape(value)}"' for name, value in zip(names, kind, strict=True)])
            + f"}} {number(count)}\n"
            for kind, count in sorted(content.jobs.items())
        ]
    )
