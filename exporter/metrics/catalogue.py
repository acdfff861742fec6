"""Every metric family of the exporter, exactly once: name, type, help and labels.

Documentation, dashboards and tests are held against this list. A family stands here only if something exports it.
Domain families are rendered by us (`render`, `families`) because there can be hundreds of thousands of their series;
the exporter's own are held by prometheus-client (`own`). ``process_*`` comes from prometheus-client's process collector
with names and help of its own.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from exporter.metrics.family import Family, FamilyType

_domain: list[Family] = []
_own: list[Family] = []


def _rendered(name: str, kind: FamilyType, documentation: str, labels: str) -> Family:
    family = Family(name, kind, documentation, tuple(labels.split()))
    _domain.append(family)
    return family


def _held(name: str, kind: FamilyType, documentation: str, labels: str = "") -> Family:
    family = Family(name, kind, documentation, tuple(labels.split()))
    _own.append(family)
    return family


# --- SCNet ------------------------------------------------------------------------------------------------------------

SCNET_UP: Final = _rendered(
    "scnet_up",
    "gauge",
    "Whether the last poll of every target of the region worked (1) or at least one failed (0). "
    "Absent until the region was polled.",
    "hpc_cluster",
)

# --- SCNet, from one poll to the next ------------------------------------------------------------------------------------

_TRACKED = "hpc_cluster group user"

SCNET_JOB_TRANSITIONS: Final = _rendered(
    "scnet_job_transitions_total",
    "counter",
    "Changes of a job's state from one poll to the next. From none: first listed; to gone: missing from two complete "
    "listings. States that a job passed through between two polls are not seen.",
    f"{_TRACKED} from_state to_state",
)

SCNET_JOBS_FINISHED: Final = _rendered(
    "scnet_jobs_finished_total",
    "counter",
    "Jobs that ended, each job id once, at the first sight of its end. vanished_running and vanished_queued: "
    "no longer listed, without an ended state seen; unknown: last seen in a state that nobody knows; completed means "
    "ended, not succeeded.",
    f"{_TRACKED} outcome",
)

SCNET_JOB_OBSERVED_WAIT: Final = _rendered(
    "scnet_job_observed_wait_seconds",
    "histogram",
    "Time that jobs waited (queued, held, waiting, or suspended before the first run) until they were seen running, in "
    "seconds, between the middles of the gaps between two polls: each wait is wrong by at most one such gap. A job "
    "submitted and started in one gap counts as 0. See scnet_job_observations_censored_total for what is not in here.",
    "hpc_cluster group",
)

SCNET_JOB_OBSERVED_RUN: Final = _rendered(
    "scnet_job_observed_run_seconds",
    "histogram",
    "Time that jobs ran (running, or suspended meanwhile) until they were seen no longer running, in seconds, between "
    "the middles of the gaps between two polls: each run is wrong by at most one such gap. "
    "Runs that began and ended in one gap are not seen.",
    "hpc_cluster group",
)

SCNET_JOB_OBSERVATIONS_CENSORED: Final = _rendered(
    "scnet_job_observations_censored_total",
    "counter",
    "Waits and runs that could not be measured. left_truncated: the job was there at the first poll, or new after "
    "more than three intervals without one; gap: it changed in such a time; vanished: it waited and never ran in sight.",
    "hpc_cluster group measure reason",
)

SCNET_MEMBER_OLDEST_QUEUED: Final = _rendered(
    "scnet_member_oldest_queued_timestamp_seconds",
    "gauge",
    "Unix time at which the longest-waiting listed job of a group member was first seen waiting, in seconds. "
    "Absent when none waits.",
    _TRACKED,
)

# Keyed by the attribute of tracking.MemberView that they show.
SCNET_MEMBER_RESOURCE_SECONDS: Final[Mapping[str, Family]] = MappingProxyType(
    {
        f"{resource}_seconds": _rendered(
            f"scnet_member_{resource}_seconds_total",
            "counter",
            f"{text} in use by a group member's jobs over time, in seconds times {text}: the mean of two polls times the "
            "time between them, at most three intervals of it. Jobs whose amount is unknown add nothing. "
            "Absent until an amount was listed.",
            _TRACKED,
        )
        for resource, text in (("cpu", "CPU cores"), ("gpu", "GPUs"), ("dcu", "DCUs"))
    }
)

SCNET_MEMBER_UNACCOUNTED: Final = _rendered(
    "scnet_member_unaccounted_seconds_total",
    "counter",
    "Time for which a group member's resource seconds are not counted, in seconds: what exceeds three intervals "
    "in the gaps between two successful polls.",
    _TRACKED,
)

# --- Octopus ----------------------------------------------------------------------------------------------------------

OCTOPUS_UP: Final = _rendered(
    "octopus_up",
    "gauge",
    "Whether the last poll of every queue of the project worked (1) or at least one failed (0). "
    "Absent until the project was polled.",
    "project",
)

_QUEUE = "project queue_type cluster_type cluster_id"
_WHOLE = "Absent where not all pages of the queue could be read, or nothing recent is known."
_TOLD = (
    "Counted from the first complete listing on, and absent while none is recent: a queue that moves while it is read, "
    "or a lost page, tells nothing."
)

OCTOPUS_QUEUE_LENGTH: Final = _rendered(
    "octopus_queue_length",
    "gauge",
    "Entries in the queue as the API counts them. The labels are the queue's in the configuration, empty where it "
    "leaves them out. Absent where the API does not say, or nothing recent is known.",
    _QUEUE,
)

OCTOPUS_QUEUE_LISTING_COMPLETE: Final = _rendered(
    "octopus_queue_listing_complete",
    "gauge",
    "Whether the last listing of the queue is known to hold each of its entries (1) or not (0): a page was lost, a row "
    "was unreadable, or the queue moved while it was read.",
    _QUEUE,
)

OCTOPUS_QUEUED_JOBS: Final = _rendered(
    "octopus_queued_jobs",
    "gauge",
    "Queued data jobs by type, processor and resource spec, as the API spells them; empty where it says nothing. "
    "Only kinds of which a job is queued. " + _WHOLE,
    f"{_QUEUE} job_type processor resource_spec",
)

OCTOPUS_REQUESTED_CPU_CORES: Final = _rendered(
    "octopus_queued_requested_cpu_cores",
    "gauge",
    "CPU cores that the queued jobs ask for, as far as their resource specs could be read: "
    "see octopus_queued_unread_resource_specs. " + _WHOLE,
    _QUEUE,
)

OCTOPUS_REQUESTED_MEMORY_BYTES: Final = _rendered(
    "octopus_queued_requested_memory_bytes",
    "gauge",
    "Memory that the queued jobs ask for, in bytes, as far as their resource specs could be read: "
    "see octopus_queued_unread_resource_specs. " + _WHOLE,
    _QUEUE,
)

OCTOPUS_UNREAD_SPECS: Final = _rendered(
    "octopus_queued_unread_resource_specs",
    "gauge",
    "Queued jobs whose resource spec is missing or not of a known form, and which the requested cores and memory "
    "therefore leave out. " + _WHOLE,
    _QUEUE,
)

OCTOPUS_OLDEST_RANK: Final = _rendered(
    "octopus_queued_oldest_rank_timestamp_seconds",
    "gauge",
    "Smallest ordering stamp in the queue, as Unix time in seconds. It changes when an entry is moved: it is not when the "
    "entry was queued. Absent where no entry has one. " + _WHOLE,
    _QUEUE,
)

OCTOPUS_ARRIVALS: Final = _rendered(
    "octopus_queue_arrivals_total",
    "counter",
    "Entries that came to the queue. " + _TOLD,
    _QUEUE,
)

OCTOPUS_DEPARTURES: Final = _rendered(
    "octopus_queue_departures_total",
    "counter",
    "Entries that left the queue, whatever became of them. In a queue of several pages each is counted one poll late, "
    "when a second listing lacks it. " + _TOLD,
    _QUEUE,
)

OCTOPUS_OBSERVED_QUEUE: Final = _rendered(
    "octopus_job_observed_queue_seconds",
    "histogram",
    "Time in the queue in seconds, of the entries that were seen to come and to leave: from the poll that showed an entry "
    "first to the middle between the last one that did and the first one that did not. " + _TOLD,
    _QUEUE,
)

# --- Targets: there can be tens of thousands, so they are rendered like domain series ------------------------------------

_TARGET = "source endpoint target"

TARGET_UP: Final = _rendered(
    "hpc_exporter_target_up",
    "gauge",
    "Whether the last poll of the target worked (1) or failed (0). Absent until it was tried. The target is a user, "
    "GROUP/USER, or a queue's type: QUEUE_TYPE/CLUSTER_TYPE/CLUSTER_ID where several queues of a project share a type.",
    _TARGET,
)

TARGET_STALE: Final = _rendered(
    "hpc_exporter_target_stale",
    "gauge",
    "Whether the target's domain series are left out because its last success is older than stale_after (1) or not (0).",
    _TARGET,
)

TARGET_LAST_SUCCESS: Final = _rendered(
    "hpc_exporter_target_last_success_timestamp_seconds",
    "gauge",
    "Unix time of the target's last successful poll, in seconds. Absent until one succeeded.",
    _TARGET,
)

JOBS_DROPPED: Final = _rendered(
    "hpc_exporter_jobs_dropped",
    "gauge",
    "Listed jobs of a region without series of their own because max_jobs was reached. Only with per_job.",
    "source",
)

# --- The exporter itself, held by prometheus-client ------------------------------------------------------------------

BUILD_INFO: Final = _held(
    "hpc_exporter_build_info",
    "gauge",
    "What is running: the exporter's version, source revision and Python version; always 1.",
    "version revision python_version",
)

POLL_INTERVAL: Final = _held(
    "hpc_exporter_poll_interval_seconds",
    "gauge",
    "Configured time between two polls of one target, in seconds.",
    "source endpoint",
)

POLLS: Final = _held(
    "hpc_exporter_polls_total",
    "counter",
    "Polls that ended, successful or not. A poll can take several requests.",
    "source endpoint",
)

POLL_FAILURES: Final = _held(
    "hpc_exporter_poll_failures_total",
    "counter",
    "Polls that failed after all their retries, by reason.",
    "source endpoint reason",
)

POLL_DURATION: Final = _held(
    "hpc_exporter_poll_duration_seconds",
    "histogram",
    "Duration of a poll in seconds, successful or not, with its retries and waits.",
    "source endpoint",
)

API_REQUESTS: Final = _held(
    "hpc_exporter_api_requests_total",
    "counter",
    "HTTP requests sent upstream, by status code of the answer; none where no answer came.",
    "source endpoint code",
)

API_ERRORS: Final = _held(
    "hpc_exporter_api_errors_total",
    "counter",
    "Answers in which the API itself reported an error, by its code; codes that no API page lists count as other.",
    "source endpoint api_code",
)

API_RETRIES: Final = _held(
    "hpc_exporter_api_retries_total",
    "counter",
    "Further attempts after a transient failure within one poll.",
    "source endpoint",
)

TOKEN_EXPIRY: Final = _held(
    "hpc_exporter_token_expiry_timestamp_seconds",
    "gauge",
    "Unix time at which the token now in use expires, in seconds; user is the token's owner, empty for the region's own. "
    "Absent where it is unknown.",
    "source user",
)

TOKEN_REFRESHES: Final = _held(
    "hpc_exporter_token_refreshes_total",
    "counter",
    "New tokens obtained, at the start or in place of an older one.",
    "source",
)

TOKEN_REFRESH_FAILURES: Final = _held(
    "hpc_exporter_token_refresh_failures_total",
    "counter",
    "Attempts to obtain a new token that failed.",
    "source",
)

UNKNOWN_STATES: Final = _held(
    "hpc_exporter_unknown_states_total",
    "counter",
    "States of jobs that the exporter does not know; such jobs are counted in the state unknown.",
    "source endpoint",
)

RECORDS_REJECTED: Final = _held(
    "hpc_exporter_records_rejected_total",
    "counter",
    "What was left out of otherwise good answers: records without a usable id or name, and single values that make no sense. "
    "Their jobs are counted, sums with them are absent.",
    "source endpoint",
)

QUEUES_DROPPED: Final = _held(
    "hpc_exporter_queues_dropped_total",
    "counter",
    "Queues without jobs that are no longer shown at 0, because a user had more than 1000 of them.",
    "source",
)

TRACKED_JOBS: Final = _held(
    "hpc_exporter_tracked_jobs",
    "gauge",
    "Jobs that the tracker follows between polls.",
    "source",
)

STATE_FILE_WRITE_FAILURES: Final = _held(
    "hpc_exporter_state_file_write_failures_total",
    "counter",
    "Writes of the tracker's state file that failed. Counting goes on in memory, and is lost with the process.",
)

SERIES: Final = _held(
    "hpc_exporter_series",
    "gauge",
    "Series in this answer of the exporter, all families together.",
)

CONFIG_RELOAD_SUCCESSFUL: Final = _held(
    "hpc_exporter_config_last_reload_successful",
    "gauge",
    "Whether the last attempt to load the configuration worked (1) or the one before it is still in use (0).",
)

CONFIG_RELOAD_TIMESTAMP: Final = _held(
    "hpc_exporter_config_last_reload_success_timestamp_seconds",
    "gauge",
    "Unix time at which the configuration in use was loaded, in seconds.",
)

SHARD_ORDINAL: Final = _held(
    "hpc_exporter_shard_ordinal",
    "gauge",
    "Number of this instance's shard of the targets, counted from 0.",
)

TOTAL_SHARDS: Final = _held(
    "hpc_exporter_total_shards",
    "gauge",
    "Number of shards that the targets are divided into; 1 means that this instance polls all of them.",
)

TASK_RESTARTS: Final = _held(
    "hpc_exporter_task_restarts_total",
    "counter",
    "Background tasks that failed in an unforeseen way and were started again, by task.",
    "task",
)

HTTP_REQUESTS: Final = _held(
    "hpc_exporter_http_requests_total",
    "counter",
    "HTTP requests that the exporter answered, by path and status code; paths it does not serve count as other.",
    "path code",
)


def _by_name(families: list[Family]) -> Mapping[str, Family]:
    return MappingProxyType({family.name: family for family in sorted(families, key=lambda family: family.name)})


DOMAIN: Final = _by_name(_domain)
OWN: Final = _by_name(_own)
CATALOGUE: Final = _by_name([*_domain, *_own])
