"""Lines about targets, regions and projects."""

import pytest

from exporter.metrics import health
from exporter.metrics.family import Family
from exporter.metrics.format import Chunks
from exporter.sources.octopus.subjects import UP as OCTOPUS_UP
from exporter.sources.scnet.subjects import UP as SCNET_UP


def text(chunks: Chunks) -> str:
    """The lines of all families in the order of their names, for comparison with a literal."""
    return b"".join(chunks[family] for family in sorted(chunks, key=lambda family: family.name)).decode()


@pytest.mark.parametrize(
    ("up", "stale", "last_success", "expected"),
    [
        (None, True, None, 'hpc_exporter_target_stale{source="kunshan",collector="queue_jobs",target="test"} 1\n'),
        (
            True,
            False,
            1700000000.5,
            """\
hpc_exporter_target_last_success_timestamp_seconds{source="kunshan",collector="queue_jobs",target="test"} 1700000000.5
hpc_exporter_target_stale{source="kunshan",collector="queue_jobs",target="test"} 0
hpc_exporter_target_up{source="kunshan",collector="queue_jobs",target="test"} 1
""",
        ),
        (
            False,
            False,
            None,
            """\
hpc_exporter_target_stale{source="kunshan",collector="queue_jobs",target="test"} 0
hpc_exporter_target_up{source="kunshan",collector="queue_jobs",target="test"} 0
""",
        ),
    ],
    ids=["never tried", "works", "failed, never worked"],
)
def test_target_health(up: bool | None, stale: bool, last_success: float | None, expected: str) -> None:
    chunks = health.target_health("kunshan", "queue_jobs", "test", up=up, stale=stale, last_success=last_success)

    assert text(chunks) == expected


@pytest.mark.parametrize(
    ("family", "up", "expected"),
    [
        (SCNET_UP, None, ""),
        (SCNET_UP, True, 'hpc_up{hpc_cluster="kunshan"} 1\n'),
        (SCNET_UP, False, 'hpc_up{hpc_cluster="kunshan"} 0\n'),
        (OCTOPUS_UP, True, 'octopus_up{project="kunshan"} 1\n'),
    ],
)
def test_source_up(family: Family, up: bool | None, expected: str) -> None:
    assert text(health.source_up(family, "kunshan", up)) == expected


@pytest.mark.parametrize(
    ("working", "expected"),
    [
        (None, 'hpc_exporter_targets{source="kunshan"} 3\n'),
        (0, 'hpc_exporter_targets{source="kunshan"} 3\nhpc_exporter_targets_up{source="kunshan"} 0\n'),
    ],
)
def test_source_targets(working: int | None, expected: str) -> None:
    assert text(health.source_targets("kunshan", 3, working)) == expected
