"""Lines about the health of targets."""

import pytest

from exporter.metrics import health
from exporter.metrics.format import Chunks


def text(chunks: Chunks) -> str:
    """Return the lines of all families in the order of their names, for comparison with a literal."""
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
    chunks = health.target_health(("kunshan", "queue_jobs", "test"), up=up, stale=stale, last_success=last_success)

    assert text(chunks) == expected
