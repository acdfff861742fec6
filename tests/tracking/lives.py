"""A member whose jobs live by the clock: a job enters at every poll, runs for three and stays listed, ended, for six.

Which jobs are listed at a time depends on the time alone, so every poller, however often killed and started again,
can say afterwards what must have been counted.
"""

from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey

INTERVAL = 60.0
START = 1_700_000_000.0
KEY = MemberKey("kunshan", "533686286955839488", "test")


def time_of(poll: int) -> float:
    return START + INTERVAL * poll


def listing(poll: int) -> JobListing:
    jobs = [
        Job(str(entered), "name", _state(poll - entered), allocated_cpus=2) for entered in range(poll - 9, poll + 1)
    ]
    return JobListing(tuple(job for job in jobs if int(job.id) > 0))


def ended_by(poll: int) -> int:
    """Return the number of jobs that have ended at that poll."""
    return max(0, poll - 4)


def _state(age: int) -> JobState:
    return JobState.QUEUED if age == 0 else JobState.RUNNING if age < 4 else JobState.COMPLETED
