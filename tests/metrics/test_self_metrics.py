"""The exporter's own metrics, as they are scraped."""

import asyncio
import platform
import re
from collections.abc import Callable
from typing import get_args

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import __version__
from exporter.errors import Reason
from exporter.metrics.format import Format
from exporter.metrics.self_metrics import FAMILIES, SelfMetrics
from exporter.version import revision

OWN = {family.name: family for family in FAMILIES}


@pytest.fixture
def own() -> SelfMetrics:
    return SelfMetrics()


def lines(own: SelfMetrics, *containing: str) -> list[str]:
    """Sample lines with all of these texts, without those of histogram buckets."""
    text = own.render(Format.TEXT).decode().splitlines()
    return [
        line for line in text if line[0] != "#" and "_bucket" not in line and all(part in line for part in containing)
    ]


def exercise(own: SelfMetrics) -> None:
    """Everything once."""
    own.declare("kunshan", "queue_jobs")
    own.declare_token("kunshan")
    own.request("kunshan", "queue_jobs", 200)
    own.api_error("kunshan", "queue_jobs", "10008")
    own.retry("kunshan", "queue_jobs")
    own.poll("kunshan", "queue_jobs", 0.3, None)
    own.poll_interval("kunshan", "queue_jobs", 60)
    own.unknown_states("kunshan", "queue_jobs", 1)
    own.time_disagreements("kunshan", "queue_jobs", 1)
    own.rejected("kunshan", "queue_jobs", 1)
    own.declare_queues("kunshan")
    own.queues_dropped("kunshan", 2)
    own.token_expiry("kunshan", "bob", 1.7e9)
    own.token_refresh("kunshan", ok=True)
    own.tracked_jobs("kunshan", 2)
    own.state_file_write_failed()
    own.task_restarted("tracker writer")
    own.config_reload(ok=True, timestamp=1.7e9)
    own.http_request("/metrics", 200)


def test_failed_writes_of_the_state_file_are_counted_from_0(own: SelfMetrics) -> None:
    """A rate over them needs the 0 before the first."""
    assert lines(own, "state_file") == ["hpc_exporter_state_file_write_failures_total 0.0"]


def test_every_family_of_the_catalogue_can_be_exported(own: SelfMetrics) -> None:
    """And nothing else but the process collector's: a family that nothing exports would be a lie."""
    exercise(own)
    for fmt, parse in ((Format.TEXT, parse_text), (Format.OPENMETRICS, parse_openmetrics)):
        families = {
            family.name + "_total" * (family.type == "counter"): family for family in parse(own.render(fmt).decode())
        }

        ours = {name: family for name, family in families.items() if not name.startswith("process_")}
        assert ours.keys() == OWN.keys()
        for name, family in ours.items():
            assert (family.type, family.documentation) == (OWN[name].type, OWN[name].help)
            assert all(set(sample.labels) - {"le"} == set(OWN[name].labels) for sample in family.samples)


@pytest.mark.parametrize("fmt", Format)
def test_no_created_series(own: SelfMetrics, fmt: Format) -> None:
    """They would double the number of counters."""
    exercise(own)

    assert b"_created" not in own.render(fmt)


def test_a_family_without_series_has_no_header(own: SelfMetrics) -> None:
    assert b"hpc_exporter_polls_total" not in own.render(Format.TEXT)


def test_declared_counters_start_at_zero(own: SelfMetrics) -> None:
    """Including every reason of failure, so that a rate sees the first one; nothing is declared twice."""
    for _ in range(2):
        own.declare("kunshan", "queue_jobs")
        own.declare_token("kunshan")

    declared = lines(own, "source=")

    assert len([line for line in declared if "poll_failures_total" in line]) == len(get_args(Reason)) == 9
    assert all(line.endswith(" 0.0") for line in declared)
    of_collector = [line for line in declared if 'source="kunshan",collector="queue_jobs"' in line]
    assert len(of_collector) == 9 + 4 + 2
    assert all('source="kunshan"' in line for line in declared)
    assert 'hpc_exporter_api_retries_total{source="kunshan",collector="token"} 0.0' in declared


def test_a_source_that_is_configured_no_longer_leaves_no_series(own: SelfMetrics) -> None:
    exercise(own)
    own.poll("dongjiang", "queue_jobs", 0.3, "timeout")
    kept = lines(own, "dongjiang")

    own.drop_source("kunshan")
    own.drop_source("never there")

    assert lines(own, "kunshan") == []
    assert lines(own, "dongjiang") == kept != []
    assert b"kunshan" not in own.render(Format.TEXT)


def test_a_source_that_comes_back_is_counted_anew(own: SelfMetrics) -> None:
    exercise(own)
    own.drop_source("kunshan")

    own.request("kunshan", "queue_jobs", 200)
    own.poll("kunshan", "queue_jobs", 0.3, None)

    shown = lines(own, "kunshan")
    assert 'hpc_exporter_polls_total{source="kunshan",collector="queue_jobs"} 1.0' in shown
    assert 'hpc_exporter_api_requests_total{source="kunshan",collector="queue_jobs",code="200"} 1.0' in shown


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda own: own.request("k", "e", 404), 'api_requests_total{source="k",collector="e",code="404"} 1.0'),
        (lambda own: own.request("k", "e", None), 'api_requests_total{source="k",collector="e",code="none"} 1.0'),
        (
            lambda own: own.api_error("k", "e", "10008"),
            'api_errors_total{source="k",collector="e",api_code="10008"} 1.0',
        ),
        (lambda own: own.retry("k", "e"), 'api_retries_total{source="k",collector="e"} 1.0'),
        (
            lambda own: own.poll("k", "e", 1.5, "timeout"),
            'poll_failures_total{source="k",collector="e",reason="timeout"} 1.0',
        ),
        (lambda own: own.poll("k", "e", 1.5, None), 'polls_total{source="k",collector="e"} 1.0'),
        (lambda own: own.poll("k", "e", 1.5, None), 'poll_duration_seconds_sum{source="k",collector="e"} 1.5'),
        (lambda own: own.poll_interval("k", "e", 30), 'poll_interval_seconds{source="k",collector="e"} 30.0'),
        (lambda own: own.unknown_states("k", "e", 3), 'unknown_states_total{source="k",collector="e"} 3.0'),
        (lambda own: own.queues_dropped("k", 3), 'queues_dropped_total{source="k"} 3.0'),
        (lambda own: own.rejected("k", "e", 4), 'records_rejected_total{source="k",collector="e"} 4.0'),
        (
            lambda own: own.token_expiry("k", "", 1700000000.5),
            'token_expiry_timestamp_seconds{source="k",user=""} 1700000000.5',
        ),
        (lambda own: own.token_refresh("k", ok=True), 'token_refreshes_total{source="k"} 1.0'),
        (lambda own: own.token_refresh("k", ok=False), 'token_refresh_failures_total{source="k"} 1.0'),
        (lambda own: own.tracked_jobs("k", 5), 'tracked_jobs{source="k"} 5.0'),
        (
            lambda own: own.time_disagreements("k", "e", 2),
            'time_disagreements_total{source="k",collector="e"} 2.0',
        ),
        (lambda own: own.http_request("/k", 503), 'http_requests_total{path="/k",code="503"} 1.0'),
        (lambda own: own.state_file_write_failed(), "state_file_write_failures_total 1.0"),
    ],
)
def test_what_is_told_is_shown(own: SelfMetrics, call: Callable[[SelfMetrics], None], expected: str) -> None:
    call(own)
    assert f"hpc_exporter_{expected}" in lines(own)


def test_a_token_without_known_expiry_has_no_series(own: SelfMetrics) -> None:
    """Unknown is never zero; nor is it what was known of the token before."""
    own.token_expiry("k", "bob", None)
    own.token_expiry("k", "alice", 1.7e9)
    assert own.token_ends == {"k": {"alice": 1.7e9}}
    own.token_expiry("k", "alice", None)

    assert lines(own, "token_expiry") == []
    assert own.token_ends == {"k": {}}


def test_reloads(own: SelfMetrics) -> None:
    """Absent before the first; a rejected configuration leaves the time of the one in use."""
    name = "hpc_exporter_config_last_reload_success"
    assert lines(own, name) == []
    own.config_reload(ok=False, timestamp=1.5e9)
    assert lines(own, name) == [f"{name}ful 0.0"]
    own.config_reload(ok=True, timestamp=1.6e9)
    own.config_reload(ok=False, timestamp=1.7e9)
    assert lines(own, name) == [f"{name}_timestamp_seconds 1600000000.0", f"{name}ful 0.0"]


def test_build_info(own: SelfMetrics) -> None:
    """The same version and revision as `--version` tells."""
    about = f'version="{__version__}",revision="{revision()}",python_version="{platform.python_version()}"'
    assert lines(own, "build_info") == [f"hpc_exporter_build_info{{{about}}} 1.0"]


def test_shards(own: SelfMetrics) -> None:
    assert lines(own, "shard") == ["hpc_exporter_shard_ordinal 0.0", "hpc_exporter_total_shards 1.0"]
    own.shard(2, 3)
    assert lines(own, "shard") == ["hpc_exporter_shard_ordinal 2.0", "hpc_exporter_total_shards 3.0"]


@pytest.mark.parametrize("fmt", Format)
def test_series_counts_every_sample_line_of_the_answer(own: SelfMetrics, fmt: Format) -> None:
    """Its own line too, and those of the families that we render."""
    exercise(own)

    text = own.render(fmt, series=1000).decode()

    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert f"hpc_exporter_series {1000 + len(samples)}" in samples
    assert text.endswith("\n# EOF\n") is (fmt is Format.OPENMETRICS)


def test_two_instances_do_not_share_anything() -> None:
    """A test, or a demo beside a real exporter, must not add to the other's counters."""
    one, other = SelfMetrics(), SelfMetrics()

    one.retry("k", "e")

    assert lines(other, '"k"') == []


def test_the_duration_of_a_poll_has_the_buckets_of_requests(own: SelfMetrics) -> None:
    own.poll("k", "e", 0.3, None)
    text = own.render(Format.TEXT).decode()
    assert re.findall(r'poll_duration_seconds_bucket{.*le="(.*)"} (.*)', text) == [
        *((bound, "0.0") for bound in ("0.005", "0.025", "0.1", "0.25")),
        *((bound, "1.0") for bound in ("0.5", "1.0", "2.5", "5.0", "10.0", "30.0", "60.0", "+Inf")),
    ]


def test_the_process_is_shown(own: SelfMetrics) -> None:
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= {
        line.split()[0] for line in lines(own, "process_")
    }


async def test_a_long_document_is_rendered_without_holding_up_the_loop(own: SelfMetrics) -> None:
    """Other tasks go on meanwhile, and it is the same document."""
    for region in range(200):
        own.declare(f"region{region}", "queue_jobs")
    expected = own.render(Format.OPENMETRICS, 7)
    making = asyncio.create_task(own.document(Format.OPENMETRICS, 7))
    turns = 0
    while not making.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 3
    assert without_process(await making) == without_process(expected)


def without_process(document: bytes) -> list[bytes]:
    """Return samples that stay the same from one moment to the next."""
    return [line for line in document.splitlines() if b"process_" not in line]
