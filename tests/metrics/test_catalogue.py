"""The catalogue is the public face: names, types and labels that people query."""

import re

from exporter.sources.collector import catalogue

# As documented; a change here is a change for everyone who has a dashboard.
PUBLIC = """
hpc_exporter_api_errors_total counter source collector api_code
hpc_exporter_api_requests_total counter source collector code
hpc_exporter_api_retries_total counter source collector
hpc_exporter_build_info gauge version revision python_version
hpc_exporter_config_last_reload_success_timestamp_seconds gauge
hpc_exporter_config_last_reload_successful gauge
hpc_exporter_http_requests_total counter path code
hpc_exporter_jobs_dropped gauge source
hpc_exporter_poll_duration_seconds histogram source collector
hpc_exporter_poll_failures_total counter source collector reason
hpc_exporter_poll_interval_seconds gauge source collector
hpc_exporter_polls_total counter source collector
hpc_exporter_queues_dropped_total counter source
hpc_exporter_records_rejected_total counter source collector
hpc_exporter_series gauge
hpc_exporter_shard_ordinal gauge
hpc_exporter_target_last_success_timestamp_seconds gauge source collector target
hpc_exporter_target_stale gauge source collector target
hpc_exporter_target_up gauge source collector target
hpc_exporter_targets gauge source
hpc_exporter_targets_up gauge source
hpc_exporter_token_expiry_timestamp_seconds gauge source user
hpc_exporter_token_refresh_failures_total counter source
hpc_exporter_token_refreshes_total counter source
hpc_exporter_total_shards gauge
hpc_exporter_tracked_jobs gauge source
hpc_exporter_time_disagreements_total counter source collector
hpc_exporter_unknown_states_total counter source collector
octopus_job_observed_queue_seconds histogram project queue_type cluster_type cluster_id
octopus_queue_arrivals_total counter project queue_type cluster_type cluster_id
octopus_queue_departures_total counter project queue_type cluster_type cluster_id
octopus_queue_length gauge project queue_type cluster_type cluster_id
octopus_queued_jobs gauge project queue_type cluster_type cluster_id job_type processor resource_spec
octopus_queued_oldest_rank_timestamp_seconds gauge project queue_type cluster_type cluster_id
octopus_queued_requested_cpu_cores gauge project queue_type cluster_type cluster_id
octopus_queued_requested_memory_bytes gauge project queue_type cluster_type cluster_id
octopus_up gauge project
hpc_job_allocated_cpus gauge hpc_cluster user job_id
hpc_job_allocated_dcus gauge hpc_cluster user job_id
hpc_job_allocated_gpus gauge hpc_cluster user job_id
hpc_job_info gauge hpc_cluster group user job_id job_name state
hpc_job_requested_cpus gauge hpc_cluster user job_id
hpc_job_requested_dcus gauge hpc_cluster user job_id
hpc_job_requested_gpus gauge hpc_cluster user job_id
hpc_job_observations_censored_total counter hpc_cluster group measure reason
hpc_job_observations_total counter hpc_cluster group measure basis
hpc_job_observed_run_seconds histogram hpc_cluster group queue
hpc_job_observed_wait_seconds histogram hpc_cluster group queue
hpc_job_requested_nodes gauge hpc_cluster user job_id
hpc_job_transitions_total counter hpc_cluster group user from_state to_state
hpc_jobs_finished_total counter hpc_cluster group user outcome
hpc_member_allocated_cpus gauge hpc_cluster group user state
hpc_member_allocated_dcus gauge hpc_cluster group user state
hpc_member_allocated_gpus gauge hpc_cluster group user state
hpc_member_cpu_seconds_total counter hpc_cluster group user
hpc_member_dcu_seconds_total counter hpc_cluster group user
hpc_member_gpu_seconds_total counter hpc_cluster group user
hpc_member_jobs gauge hpc_cluster group user state
hpc_member_oldest_queued_timestamp_seconds gauge hpc_cluster group user
hpc_member_requested_cpus gauge hpc_cluster group user state
hpc_member_requested_dcus gauge hpc_cluster group user state
hpc_member_requested_gpus gauge hpc_cluster group user state
hpc_member_requested_nodes gauge hpc_cluster group user state
hpc_member_unaccounted_seconds_total counter hpc_cluster group user
hpc_queue_jobs gauge hpc_cluster user queue state
hpc_scheduler_info gauge hpc_cluster scheduler_id scheduler_name scheduler_type
hpc_up gauge hpc_cluster
hpc_wait_bound_checked_total counter hpc_cluster group queue quantile
hpc_wait_bound_held_total counter hpc_cluster group queue quantile
hpc_wait_bound_seconds gauge hpc_cluster group queue quantile
"""


def test_public_names_types_and_labels_are_as_documented() -> None:
    documented = {line.split()[0]: line.split()[1:] for line in PUBLIC.split("\n") if line}

    catalogued = {family.name: [family.type, *family.labels] for family in catalogue().values()}

    for name, type_and_labels in documented.items():
        assert catalogued[name] == type_and_labels


def test_every_family_is_listed_once_in_order_of_names() -> None:
    assert list(catalogue()) == sorted(catalogue())
    assert all(name == family.name for name, family in catalogue().items())


def test_every_help_is_a_sentence_and_counters_alone_end_in_total() -> None:
    for family in catalogue().values():
        assert re.fullmatch(r"[A-Z].*[.]", family.help), family.name
        assert (family.type == "counter") == family.name.endswith("_total"), family.name
