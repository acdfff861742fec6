"""The exact lines of the tracker's counters."""

from exporter.metrics.format import Chunks
from exporter.metrics.tracking import tracked_group, tracked_member
from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, Tracker

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
    assert f'hpc_job_observed_wait_seconds_bucket{{{start},le="60.0"}} 1' in lines
    assert f'hpc_job_observed_wait_seconds_bucket{{{start},le="+Inf"}} 1' in lines
    assert f"hpc_job_observed_wait_seconds_sum{{{start}}} 0.0" in lines
    assert f"hpc_job_observed_run_seconds_count{{{start}}} 1" in lines
    assert f"hpc_job_observed_run_seconds_sum{{{start}}} 60.0" in lines
    assert sum(line.startswith("hpc_job_observations_censored_total") for line in lines) == 6


def test_histograms_have_no_label_that_grows_with_jobs_or_users() -> None:
    counted = tracker(JobState.RUNNING)
    for user in ("alice", "bob"):
        counted.observe(KEY._replace(user=user), JobListing((Job("2", "b", JobState.RUNNING),)), 60.0, 60.0)
    shown = text(tracked_group("kunshan", "chemistry", counted.group(KEY.source, KEY.group_id)))
    assert "alice" not in shown
    assert "job_id" not in shown
    assert len(shown.splitlines()) == 2 * (14 + 1 + 2) + 6
