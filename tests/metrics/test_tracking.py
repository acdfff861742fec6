"""The exact lines of the tracker's counters."""

from exporter.metrics.format import Chunks
from exporter.metrics.tracking import tracked_group, tracked_member, waits
from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, Tracker, WaitView
from exporter.tracking.totals import MOST_QUEUES
from exporter.tracking.waits import ClassKey, Promise

KEY = MemberKey("kunshan", "533686286955839488", "test")


def text(chunks: Chunks) -> str:
    return b"".join(chunks[family] for family in sorted(chunks, key=lambda family: family.name)).decode()


def tracker(*states: JobState, cpus: int | None = 4) -> Tracker:
    """Return a job in these states at successive polls, a minute apart, after a poll without jobs at 0."""
    tracker = Tracker()
    tracker.observe(KEY, JobListing(()), 0.0, 60.0)
    for poll, state in enumerate(states, start=1):
        tracker.observe(KEY, JobListing((Job("1", "a", state, allocated_cpus=cpus),)), 60.0 * poll, 60.0)
    return tracker


def test_a_member_is_shown_with_every_outcome_and_the_transitions_that_occurred() -> None:
    view = tracker(JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED).member(KEY)
    start = 'hpc_cluster="kunshan",group="chemistry",user="test"'
    assert text(tracked_member("kunshan", "chemistry", "test", view)) == (
        f'hpc_job_transitions_total{{{start},from_state="none",to_state="queued"}} 1\n'
        f'hpc_job_transitions_total{{{start},from_state="queued",to_state="running"}} 1\n'
        f'hpc_job_transitions_total{{{start},from_state="running",to_state="completed"}} 1\n'
        f'hpc_jobs_finished_total{{{start},outcome="completed"}} 1\n'
        f'hpc_jobs_finished_total{{{start},outcome="deleted"}} 0\n'
        f'hpc_jobs_finished_total{{{start},outcome="failed"}} 0\n'
        f'hpc_jobs_finished_total{{{start},outcome="node_failure"}} 0\n'
        f'hpc_jobs_finished_total{{{start},outcome="timeout"}} 0\n'
        f'hpc_jobs_finished_total{{{start},outcome="unknown"}} 0\n'
        f'hpc_jobs_finished_total{{{start},outcome="vanished_queued"}} 0\n'
        f'hpc_jobs_finished_total{{{start},outcome="vanished_running"}} 0\n'
        f"hpc_member_cpu_seconds_total{{{start}}} 240.0\n"
        f"hpc_member_unaccounted_seconds_total{{{start}}} 0.0\n"
    )


def test_what_is_not_known_has_no_sample() -> None:
    """No job waits: no oldest one. No amount was ever listed: no seconds, which is not the same as 0."""
    shown = text(tracked_member("kunshan", "chemistry", "test", tracker(JobState.RUNNING, cpus=None).member(KEY)))
    assert "oldest_queued" not in shown
    assert "cpu_seconds" not in shown


def test_the_oldest_waiting_job_is_a_unix_time() -> None:
    shown = text(tracked_member("kunshan", "chemistry", "test", tracker(JobState.HELD, JobState.QUEUED).member(KEY)))
    assert (
        'hpc_member_oldest_queued_timestamp_seconds{hpc_cluster="kunshan",group="chemistry",user="test"} 60.0\n'
    ) in shown


def test_a_group_is_shown_with_buckets_that_hold_zero_and_every_kind_of_censoring() -> None:
    counted = tracker(JobState.RUNNING, JobState.COMPLETED)
    start = 'hpc_cluster="kunshan",group="chemistry"'
    lines = text(tracked_group("kunshan", "chemistry", counted.group(KEY.source, KEY.group_id))).splitlines()
    queue = f'{start},queue=""'
    assert f'hpc_job_observed_wait_seconds_bucket{{{queue},le="30.0"}} 1' in lines
    assert f'hpc_job_observed_wait_seconds_bucket{{{queue},le="+Inf"}} 1' in lines
    assert f"hpc_job_observed_wait_seconds_sum{{{queue}}} 0.0" in lines
    assert f"hpc_job_observed_run_seconds_count{{{queue}}} 1" in lines
    assert f"hpc_job_observed_run_seconds_sum{{{queue}}} 60.0" in lines
    assert [line for line in lines if line.startswith("hpc_job_observations_total")] == [
        f'hpc_job_observations_total{{{start},measure="run",basis="polls"}} 1',
        f'hpc_job_observations_total{{{start},measure="run",basis="reported"}} 0',
        f'hpc_job_observations_total{{{start},measure="wait",basis="polls"}} 1',
        f'hpc_job_observations_total{{{start},measure="wait",basis="reported"}} 0',
    ]
    assert sum(line.startswith("hpc_job_observations_censored_total") for line in lines) == 6


def test_histograms_have_no_label_that_grows_with_jobs_or_users() -> None:
    counted = tracker(JobState.RUNNING)
    for user in ("alice", "bob"):
        counted.observe(KEY._replace(user=user), JobListing((Job("2", "b", JobState.RUNNING),)), 60.0, 60.0)
    shown = text(tracked_group("kunshan", "chemistry", counted.group(KEY.source, KEY.group_id)))
    assert "alice" not in shown
    assert "job_id" not in shown
    assert len(shown.splitlines()) == 2 * (34 + 1 + 2) + 4 + 6


def test_each_queue_has_histograms_of_its_own_from_its_first_job_on() -> None:
    """A series that begins at 1 would hide its first observation from increase()."""
    counted = tracker()
    job = Job("2", "b", JobState.QUEUED, queue="comp")
    counted.observe(KEY, JobListing((job,)), 60.0, 60.0)
    lines = text(tracked_group("kunshan", "chemistry", counted.group(KEY.source, KEY.group_id))).splitlines()
    start = 'hpc_cluster="kunshan",group="chemistry"'
    assert [line for line in lines if "seconds_count" in line] == [
        f'hpc_job_observed_run_seconds_count{{{start},queue="comp"}} 0',
        f'hpc_job_observed_wait_seconds_count{{{start},queue="comp"}} 0',
    ]
    other = Job("3", "b", JobState.QUEUED, queue="big")
    counted.observe(KEY, JobListing((job, other)), 120.0, 60.0)
    shown = text(tracked_group("kunshan", "chemistry", counted.group(KEY.source, KEY.group_id)))
    assert all(line.startswith("hpc_job_observ") for line in shown.splitlines())
    assert [line.rpartition(",")[2] for line in shown.splitlines() if "run_seconds_count" in line] == [
        'queue="big"} 0',
        'queue="comp"} 0',
    ]


def test_queues_that_change_their_names_for_ever_do_not_fill_the_memory() -> None:
    counted = tracker()
    for poll in range(1, 400):
        job = Job(str(poll), "b", JobState.RUNNING, queue=f"queue-{poll}")
        counted.observe(KEY, JobListing((job,)), 60.0 * poll, 60.0)
    queues = counted.group(KEY.source, KEY.group_id).queues
    assert len(queues) <= MOST_QUEUES + 1
    assert sum(spells.waits.count for spells in queues.values()) == 399


def promise(quantile: float, seconds: float | None, checked: int = 0, held: int = 0) -> Promise:
    return Promise(
        quantile=quantile, seconds=seconds, withheld=False, checked=checked, held=held, recent_checked=0, recent_held=0
    )


def test_bounds_of_waits_are_shown_by_queue_or_by_group_and_those_of_accelerators_apart() -> None:
    """A group that is not shown has none, and the score of a bound is there as soon as there is one, or was."""
    classes = {
        ("kunshan", "", "comp", False): (promise(0.5, 60.0), promise(0.95, None)),
        ("kunshan", "", "comp", True): (promise(0.5, 90.0, 7, 5),),
        ("kunshan", "7", "", False): (promise(0.5, None, 3, 2),),
        ("kunshan", "8", "", False): (promise(0.5, 60.0),),
        ("kunshan", "8", "other", False): (promise(0.5, 30.0),),
    }
    views = [WaitView(key=ClassKey(*key), heads=60, promises=promises) for key, promises in classes.items()]
    comp = 'hpc_cluster="kunshan",group="",queue="comp",quantile="0.5"'
    other = 'hpc_cluster="kunshan",group="",queue="other",quantile="0.5"'
    chemistry = 'hpc_cluster="kunshan",group="chemistry",queue="",quantile="0.5"'
    assert text(waits("kunshan", {"7": "chemistry"}, views)).splitlines() == [
        f"hpc_wait_bound_checked_total{{{comp}}} 0",
        f'hpc_wait_bound_checked_total{{{comp},accelerated="true"}} 7',
        f"hpc_wait_bound_checked_total{{{chemistry}}} 3",
        f"hpc_wait_bound_checked_total{{{other}}} 0",
        f"hpc_wait_bound_held_total{{{comp}}} 0",
        f'hpc_wait_bound_held_total{{{comp},accelerated="true"}} 5',
        f"hpc_wait_bound_held_total{{{chemistry}}} 2",
        f"hpc_wait_bound_held_total{{{other}}} 0",
        f"hpc_wait_bound_seconds{{{comp}}} 60.0",
        f'hpc_wait_bound_seconds{{{comp},accelerated="true"}} 90.0',
        f"hpc_wait_bound_seconds{{{other}}} 30.0",
    ]
