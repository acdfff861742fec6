"""What a poll of a queue yields, in the exporter's own words.

A new kind of record comes with its vendor: they are for `exporter.sources.octopus.samples`, and hold nothing of the API's forms.
"""

from exporter.records import Record

# The queue entry's number, or text where an API sends that.
EntryId = int | str
# Job type, processor and resource spec as the API spells them; "" where it says nothing.
Kind = tuple[str, str, str]


class Requested(Record, frozen=True, gc=False):
    """What the queued jobs ask for. `unread` counts those whose resource spec is missing or was not understood."""

    cpu_cores: float
    memory_bytes: float
    unread: int


class QueueContent(Record, frozen=True, gc=False):
    """What is in a queue.

    `oldest_rank` is the smallest ordering stamp, Unix seconds; None where no entry has one or one cannot be read.
    """

    jobs: dict[Kind, int]
    requested: Requested
    oldest_rank: float | None


class QueueListing(Record, frozen=True, gc=False):
    """One reading of a queue.

    `length` is what the API says, None where it says nothing. `content` is None where not everything could be read;
    `lost` then says why. `complete`: an entry that is not in `ids` was not in the queue; `certain`: and surely not,
    because all entries came in one answer. `rejected` counts rows without a usable id, `rejected_values` single values that
    make no sense. `skew` is how far our clock is ahead of the server's, in seconds.
    """

    length: int | None
    content: QueueContent | None
    ids: frozenset[EntryId]
    complete: bool
    certain: bool
    lost: str = ""
    rejected: int = 0
    skew: float | None = None
    rejected_values: int = 0
