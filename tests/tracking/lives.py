"""A member whose jobs live by the clock: a job enters at every poll, runs for three and stays listed, ended, for six.

Which jobs are listed at a time depends on the time alone, so every poller, however often killed and started again,
can say afterwards what must have been counted.
"""

from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey
from exporter.tracking.bounds import WINDOW

INTERVAL = 60.0
START = 1_700_000_000.0
KEY = MemberKey("kunshan", "533686286955839488", "test")
ALONE = MemberKey("xian", "7", "bob")


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


def alone(poll: int) -> JobListing:
    """List the jobs of a member who has one at a time: it waits at every fourth poll, and runs at the one after it."""
    state = (None, None, JobState.QUEUED, JobState.RUNNING)[poll % 4]
    return JobListing((Job(str(poll // 4), "name", state),) if state else ())


def heads_by(poll: int) -> int:
    """Return the number of jobs of that member, as far as the bounds of waits count them."""
    return min(WINDOW, max(0, (poll - 2) // 4 + 1))
