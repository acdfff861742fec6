"""The parts of a configuration that shards poll: together they are the whole, and no two have anything in common."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.app.components import shard_config, targets_of
from exporter.config import Cluster, Config, OctopusProject, load
from exporter.polling import WHOLE, Shard, TargetKey

names = st.lists(st.sampled_from([f"user{n}" for n in range(12)]), unique=True, max_size=8)
collects = st.lists(st.sampled_from(["queue_jobs", "schedulers", "member_jobs"]), unique=True)
rates = st.none() | st.floats(min_value=0.1, max_value=50)
ACCOUNT = {"name": "lab", "user": "lab", "access_key": "a", "secret_key": "s"}
QUEUES = [{"queue_type": "PROCESSOR", "cluster_id": f"pool-{n}"} for n in range(4)] + [{"queue_type": "OTHER"}]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw configurations as people write them, with all that decides about targets."""

    def cluster(name: str) -> dict[str, Any]:
        members = [{"group_id": f"5{n}", "users": users} for n in range(2) if (users := draw(names))]
        written = {"name": name, "cluster_id": 1, "hpc_url": "https://hpc.example.com", "token": "t"}
        optional = {"users": draw(st.none() | names), "collect": draw(st.none() | collects), "members": members}
        given_values = {key: value for key, value in optional.items() if value is not None}
        return written | given_values | optional_rate()

    def project(name: str) -> dict[str, Any]:
        queues = draw(st.lists(st.sampled_from(QUEUES), unique_by=str, min_size=1))
        place = {"base_url": "https://octopus.example.com", "project_id": "p", "token": "t"}
        return {"name": name, "queues": queues, **place} | optional_rate()

    def optional_rate() -> dict[str, float]:
        rate = draw(rates)
        return {} if rate is None else {"requests_per_second": rate}

    return {"clusters": [cluster(name) for name in ("kunshan", "xian")], "octopus": [project("roads")]}


def loaded(folder: Path, document: dict[str, Any]) -> Config:
    file = folder / "exporter.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load(file)


def sources(config: Config) -> list[Cluster | OctopusProject]:
    return [*config.clusters, *config.octopus]


def targets(config: Config, shard: Shard = WHOLE) -> list[TargetKey]:
    return [key for source in sources(config) for key in targets_of(source) if shard.owns(key)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("share")


@given(document=documents(), total=st.integers(min_value=1, max_value=7))
def test_the_shards_are_the_whole_and_nothing_is_in_two_of_them(
    folder: Path, document: dict[str, Any], total: int
) -> None:
    config = loaded(folder, document)
    shards = [Shard(ordinal, total) for ordinal in range(total)]
    polled = [key for shard in shards for key in targets(shard_config(config, shard), shard)]
    assert sorted(polled) == sorted(targets(config))


@given(document=documents(), total=st.integers(min_value=2, max_value=7))
def test_a_shard_has_no_region_that_it_asks_nothing(folder: Path, document: dict[str, Any], total: int) -> None:
    config = loaded(folder, document)
    for ordinal in range(total):
        shard = Shard(ordinal, total)
        for source in sources(shard_config(config, shard)):
            assert any(shard.owns(key) for key in targets_of(source))


@given(document=documents(), total=st.integers(min_value=2, max_value=7))
def test_all_shards_together_keep_the_limits_of_requests(folder: Path, document: dict[str, Any], total: int) -> None:
    config = loaded(folder, document)
    shares = [shard_config(config, Shard(ordinal, total)) for ordinal in range(total)]
    for source in sources(config):
        parts = [part.requests_per_second for share in shares for part in sources(share) if part.name == source.name]
        if source.requests_per_second is None or not targets_of(source):
            assert not any(parts)
        else:
            assert sum(part or 0 for part in parts) == pytest.approx(source.requests_per_second)
            assert all(parts)


def test_the_only_shard_has_the_very_configuration(folder: Path) -> None:
    config = loaded(folder, {"clusters": [], "octopus": [], "accounts": [ACCOUNT]})
    assert shard_config(config, Shard(0, 1)) is config


def test_accounts_and_general_settings_are_in_every_shard(folder: Path) -> None:
    config = loaded(folder, {"accounts": [ACCOUNT], "poll": {"interval": "5m"}, "per_job": {"enabled": True}})
    share = shard_config(config, Shard(1, 2))
    assert (share.accounts, share.poll, share.per_job) == (config.accounts, config.poll, config.per_job)
