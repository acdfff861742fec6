"""What the catalogue does not say of the metrics: groups, labels, further absences, and questions with their queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from exporter.errors import Reason
from exporter.records import JobState
from exporter.tracking.model import CENSOR_REASONS, MEASURES, OUTCOMES


@dataclass(frozen=True)
class Group:
    """Families with one heading; a family is in the first group of which a pattern fits its name."""

    title: str
    text: str
    families: Sequence[str]


def _words(values: Sequence[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


INTRODUCTION: Final = """
# Metrics

<!-- Made by `make docs` from exporter/metrics/catalogue.py, config/rules/ and grafana/. Do not edit: a test compares them. -->

**Unknown is never zero.** A value that an API did not send has no sample. A poll that failed changes nothing; when the last
success of a target is older than `poll.stale_after`, all that came from it leaves `/metrics`, and
`hpc_exporter_target_stale` says so. So a sum over members or queues is a sum over those that are known: hold it against
`scnet_up` or `octopus_up`, as the dashboards do. A zero is a zero that somebody said.

Histograms have series that end in `_bucket`, `_sum` and `_count`. There are no `_created` series. `/metrics` answers in the
text format 0.0.4 or in OpenMetrics 1.0.0, as the scraper prefers; names, labels and values are the same in both.

| what is asked | endpoint | of the API |
|---|---|---|
| jobs of a scheduler user by queue and state | `queue_jobs` | `GET HPC_URL/hpc/openapi/v2/view/queue/jobs` |
| schedulers of a region | `cluster` | `GET HPC_URL/hpc/openapi/v2/cluster` |
| jobs of a group's member | `member_jobs` | `GET AC_URL/ac/openapi/v2/clusters/ID/groups/ID/clusterUserNames/USER/jobs` |
| entries of an Octopus queue | `queuing_jobs` | `GET BASE_URL/v1.0/PROJECT_ID/data/queuing-jobs` |
| tokens, by logging in or renewing | `token` | by the kind of login |
"""

LABELS: Final[Mapping[str, str]] = {
    "hpc_cluster": "the region's `name` in the configuration",
    "user": "the scheduler user; of a token's end, whose token it is, empty for the region's own",
    "queue": "the queue's name in the region",
    "state": _words([state.value for state in JobState]),
    "scheduler_id": "the scheduler's number in the region",
    "scheduler_name": "the scheduler's name",
    "scheduler_type": "its kind, as the API spells it: `SLURM` for one",
    "group": "the group's label in the configuration, or its id",
    "job_id": "the job's id, unique within a region",
    "job_name": "the job's name",
    "from_state": "as `state`; `none` where the job was not listed before",
    "to_state": "as `state`; `gone` where it is listed no longer",
    "outcome": _words(OUTCOMES),
    "measure": _words(MEASURES),
    "reason": f"of a poll's failure: {_words(get_args(Reason))}; of a wait or run that was not measured: {_words(CENSOR_REASONS)}",
    "project": "the Octopus project's `name` in the configuration",
    "queue_type": "the queue's in the configuration: `PROCESSOR`, `INTERNAL`, `RESIM`",
    "cluster_type": "the queue's in the configuration, empty where it is left out: `CCE`, `MODELARTS`",
    "cluster_id": "the queue's in the configuration, empty where it is left out",
    "job_type": "as Octopus spells it, empty where it does not say",
    "processor": "the processor's name in Octopus, empty where it does not say",
    "resource_spec": "as Octopus spells it, empty where it does not say",
    "source": "the region's or project's `name` in the configuration",
    "endpoint": "see the table above",
    "target": "the user, `GROUP/USER`, or the queue's type; empty for the schedulers of a region",
    "version": "of the exporter",
    "revision": "of its sources",
    "python_version": "of the interpreter",
    "code": "the HTTP status, or `none` where no answer came",
    "api_code": "the code in the answer, if an API page lists it, or `other`",
    "path": "a path that the exporter serves, or `other`",
}

GROUPS: Final[Sequence[Group]] = (
    Group(
        "SCNet: now",
        "What a region says at this moment. Queue statistics come from `queue_jobs`, schedulers from `cluster`, all about "
        "members from `member_jobs`.",
        (
            "scnet_up",
            "scnet_queue_jobs",
            "scnet_scheduler_info",
            "scnet_member_jobs",
            "scnet_member_requested_.*",
            "scnet_member_allocated_.*",
        ),
    ),
    Group(
        "SCNet: from poll to poll",
        "Worked out by comparing successive lists of `member_jobs`: the API gives no times. "
        "[What the tracker knows, and how well](accuracy.md) says how, and how wrong it can be. Only with "
        "`tracking.enabled`, which is the default. Counters go on after a restart if there is a `tracking.state_file`.",
        (
            "scnet_job_transitions_total",
            "scnet_jobs_finished_total",
            "scnet_job_observed_.*",
            "scnet_job_observations_.*",
            "scnet_member_.*",
        ),
    ),
    Group(
        "SCNet: single jobs",
        "Only with `per_job.enabled`, for at most `per_job.max_jobs` jobs of the whole process: running ones first, then "
        "queued ones. A job that has series keeps them while it is listed. From `member_jobs`.",
        ("scnet_job_info", "scnet_job_requested_.*", "scnet_job_allocated_.*"),
    ),
    Group(
        "Octopus",
        "From `queuing_jobs`, one target a queue. A queue of many pages can move while it is read; what would then be wrong "
        "is left out.",
        (
            "octopus_up",
            "octopus_queue_length",
            "octopus_queue_listing_complete",
            "octopus_queued_.*",
            "octopus_queue_.*",
            "octopus_job_.*",
        ),
    ),
    Group(
        "How the polls go",
        "Whether the numbers above can be believed. All of these, and those below, are left out with "
        "`--web.disable-exporter-metrics`.",
        (
            "hpc_exporter_target_.*",
            "hpc_exporter_poll.*",
            "hpc_exporter_api_.*",
            "hpc_exporter_unknown_states_total",
            "hpc_exporter_records_rejected_total",
            "hpc_exporter_token_.*",
        ),
    ),
    Group(
        "The exporter itself",
        "Besides these there are the `process_*` metrics of prometheus-client, on Linux: `process_cpu_seconds_total`, "
        "`process_resident_memory_bytes`, `process_open_fds` and others.",
        ("hpc_exporter_.*",),
    ),
)

_MEMBER_GONE = "while nothing recent is known of the member; counting goes on when it is back."
_GROUP_GONE = "while nothing recent is known of any member of the group; counting goes on when one is back."
_DECLARED = "never, for an endpoint that is polled: it is there at 0 from the start."
_AFTER_FIRST = "until the first of its kind."
_ALWAYS = "never."

# The first that fits a name. Families whose help says it all need none.
ABSENT: Final[Sequence[tuple[str, str]]] = (
    (
        "scnet_job_transitions_total",
        f"before the first change between two states, which an increase therefore misses, and {_MEMBER_GONE}",
    ),
    ("scnet_jobs_finished_total", f"{_MEMBER_GONE} Every outcome is there at 0 from the first list on."),
    ("scnet_member_unaccounted_seconds_total", _MEMBER_GONE),
    ("scnet_job_observed_.*", _GROUP_GONE),
    ("scnet_job_observations_.*", f"{_GROUP_GONE} Every reason is there at 0 from the first list on."),
    (
        "scnet_job_info",
        "where the job is listed no longer, there was no room left for it, or nothing recent is known.",
    ),
    (
        "scnet_job_(requested|allocated)_.*",
        "where the amount is unknown, and where scnet_job_info of the job is absent.",
    ),
    ("scnet_member_(cpu|gpu|dcu)_seconds_total", f"Also {_MEMBER_GONE}"),
    ("scnet_member_oldest_queued_timestamp_seconds", "Also while nothing recent is known."),
    ("octopus_queue_listing_complete", "while nothing recent is known."),
    ("octopus_queue_(arrivals|departures)_total", "until a first complete listing, and while none is recent."),
    ("octopus_job_observed_queue_seconds", "until a first complete listing, and while none is recent."),
    ("hpc_exporter_target_stale", "until the target was tried."),
    ("hpc_exporter_poll_interval_seconds", "never, for an endpoint that is polled."),
    ("hpc_exporter_(polls|poll_failures|api_retries|unknown_states|records_rejected)_total", _DECLARED),
    ("hpc_exporter_poll_duration_seconds", _DECLARED),
    ("hpc_exporter_api_(requests|errors)_total", _AFTER_FIRST),
    ("hpc_exporter_token_refresh.*", "for a source that only has tokens which nobody renews."),
    ("hpc_exporter_jobs_dropped", "without per_job."),
    ("hpc_exporter_tracked_jobs", "until a first list of the source was followed."),
    ("hpc_exporter_http_requests_total", _AFTER_FIRST),
    ("hpc_exporter_.*(build_info|series|shard.*|config_.*|state_file_.*)", _ALWAYS),
)

EXAMPLES: Final[Mapping[str, tuple[str, str]]] = {
    "scnet_up": (
        "Regions of which something is missing now:",
        "scnet_up == 0",
    ),
    "scnet_queue_jobs": (
        "Who has most jobs queued, by queue:",
        'topk(10, sum by (hpc_cluster, queue, user) (scnet_queue_jobs{state="queued"}))',
    ),
    "scnet_scheduler_info": (
        "How many schedulers each region has:",
        "count by (hpc_cluster) (scnet_scheduler_info)",
    ),
    "scnet_member_jobs": (
        "Jobs of each group by state:",
        "sum by (hpc_cluster, group, state) (scnet_member_jobs)",
    ),
    "scnet_member_allocated_dcus": (
        "Who uses more DCUs than were asked for:",
        'scnet_member_allocated_dcus{state="running"} > scnet_member_requested_dcus{state="running"}',
    ),
    "scnet_jobs_finished_total": (
        "The share of jobs that ended badly within a day:",
        (
            'sum by (group) (increase(scnet_jobs_finished_total{outcome=~"failed|timeout|node_failure"}[1d]))\n'
            "  / sum by (group) (increase(scnet_jobs_finished_total[1d]))"
        ),
    ),
    "scnet_job_transitions_total": (
        "Jobs submitted in an hour, as far as a poll saw them:",
        'sum by (hpc_cluster, group) (increase(scnet_job_transitions_total{from_state="none"}[1h]))',
    ),
    "scnet_job_observed_wait_seconds": (
        "How long nine of ten jobs waited at most, of those that started within a day:",
        "histogram_quantile(0.9, sum by (hpc_cluster, group, le) (increase(scnet_job_observed_wait_seconds_bucket[1d])))",
    ),
    "scnet_job_observations_censored_total": (
        "The share of waits that could be measured; with a small one, do not trust the quantiles:",
        (
            "sum by (group) (increase(scnet_job_observed_wait_seconds_count[1d]))\n"
            "  / (sum by (group) (increase(scnet_job_observed_wait_seconds_count[1d]))\n"
            '    + sum by (group) (increase(scnet_job_observations_censored_total{measure="wait"}[1d])))'
        ),
    ),
    "scnet_member_oldest_queued_timestamp_seconds": (
        "For how many hours the longest-waiting job of each member waits:",
        "(time() - scnet_member_oldest_queued_timestamp_seconds) / 3600",
    ),
    "scnet_member_gpu_seconds_total": (
        "GPU-hours of each group in the last 30 days:",
        "sum by (group) (increase(scnet_member_gpu_seconds_total[30d])) / 3600",
    ),
    "scnet_job_info": (
        "Cores of single jobs, with their names:",
        "scnet_job_allocated_cpus * on (hpc_cluster, user, job_id) group_left (job_name, state) scnet_job_info",
    ),
    "octopus_queue_length": (
        "Queues that got longer within two hours:",
        "octopus_queue_length - octopus_queue_length offset 2h > 0",
    ),
    "octopus_queued_jobs": (
        "What is queued, by resource spec:",
        "sum by (project, resource_spec) (octopus_queued_jobs)",
    ),
    "octopus_job_observed_queue_seconds": (
        "The mean time in the queue of what left it within six hours:",
        (
            "sum by (project, queue_type) (increase(octopus_job_observed_queue_seconds_sum[6h]))\n"
            "  / sum by (project, queue_type) (increase(octopus_job_observed_queue_seconds_count[6h]))"
        ),
    ),
    "hpc_exporter_target_last_success_timestamp_seconds": (
        "How old the oldest data of each region is, in seconds:",
        "max by (source) (time() - hpc_exporter_target_last_success_timestamp_seconds)",
    ),
    "hpc_exporter_poll_failures_total": (
        "Why polls fail:",
        "sum by (source, reason) (increase(hpc_exporter_poll_failures_total[1h])) > 0",
    ),
    "hpc_exporter_poll_duration_seconds": (
        "The mean duration of a poll:",
        (
            "sum by (source, endpoint) (rate(hpc_exporter_poll_duration_seconds_sum[15m]))\n"
            "  / sum by (source, endpoint) (rate(hpc_exporter_poll_duration_seconds_count[15m]))"
        ),
    ),
    "hpc_exporter_token_expiry_timestamp_seconds": (
        "Hours until each token ends:",
        "(hpc_exporter_token_expiry_timestamp_seconds - time()) / 3600",
    ),
}
