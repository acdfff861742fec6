"""Which instance polls a target: exactly one, the same in every process, and few move when there is one more."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.polling import WHOLE, Shard, TargetKey
from exporter.polling.sharding import bucket, digest

keys = st.builds(TargetKey, st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
MANY = [TargetKey(f"region-{n % 6}", "queue_jobs", f"user-{n}") for n in range(6000)]


@pytest.mark.parametrize(
    ("key", "buckets", "expected"),
    [(1, 1, 0), (42, 57, 43), (0xDEAD10CC, 1, 0), (0xDEAD10CC, 666, 361), (256, 1024, 520)],
)
def test_the_hash_is_that_of_the_paper(key: int, buckets: int, expected: int) -> None:
    """Results that implementations of the paper in other languages agree on."""
    assert bucket(key, buckets) == expected


@given(keys, st.integers(min_value=1, max_value=40))
def test_each_target_has_exactly_one_shard(key: TargetKey, total: int) -> None:
    assert sum(Shard(ordinal, total).owns(key) for ordinal in range(total)) == 1


@given(keys, st.integers(min_value=1, max_value=40))
def test_a_target_moves_only_to_the_shard_that_is_new(key: TargetKey, total: int) -> None:
    before, after = bucket(digest(key), total), bucket(digest(key), total + 1)
    assert after in {before, total}


@pytest.mark.parametrize("total", [2, 3, 7, 16])
def test_shards_are_of_about_one_size_and_one_more_takes_its_share(total: int) -> None:
    """Within a fifth of the mean; the targets are fixed, so this says the same every time."""
    sizes = Counter(bucket(digest(key), total) for key in MANY)
    assert all(abs(size / (len(MANY) / total) - 1) < 0.2 for size in sizes.values())
    assert len(sizes) == total
    moved = sum(bucket(digest(key), total) != bucket(digest(key), total + 1) for key in MANY)
    assert abs(moved / (len(MANY) / (total + 1)) - 1) < 0.2


def test_other_processes_choose_the_same() -> None:
    """Python's own hash of a text is another one in every process."""
    program = (
        "from exporter.polling.sharding import TargetKey, bucket, digest;"
        "print([bucket(digest(TargetKey('kunshan', 'queue_jobs', f'用户{n}')), 5) for n in range(20)])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    here = [bucket(digest(TargetKey("kunshan", "queue_jobs", f"用户{n}")), 5) for n in range(20)]
    assert answer.stdout.strip() == str(here)
    assert len(set(here)) == 5


def test_the_shard_of_a_target_never_changes_with_a_new_version() -> None:
    """Another hash would move all members away from what the trackers remember of them."""
    chosen = [bucket(digest(TargetKey("kunshan", "member_jobs", f"chemistry/{n}")), 10) for n in range(10)]
    assert chosen == [0, 1, 4, 1, 4, 2, 4, 7, 9, 4]


def test_names_that_are_not_quite_unicode_have_a_shard_too() -> None:
    assert 0 <= bucket(digest(TargetKey("\ud800", "", "")), 3) < 3


def test_one_alone_polls_all() -> None:
    assert all(WHOLE.owns(key) for key in MANY)


@pytest.mark.parametrize(
    ("ordinal", "total", "message"),
    [
        (3, 3, "there is no shard 3 of 3: it can be 0 to 2"),
        (-1, 3, "there is no shard -1 of 3: it can be 0 to 2"),
        (1, 1, "there is no shard 1 of 1: it can be 0"),
    ],
)
def test_a_shard_that_cannot_be_is_rejected(ordinal: int, total: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}$"):
        Shard(ordinal, total)
