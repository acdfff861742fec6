"""The effective configuration shows everything but secrets, and is a configuration itself."""

from pathlib import Path

import pytest
import yaml

from exporter.config import Config, effective_yaml, load

EXAMPLE = Path(__file__).parents[2] / "config" / "exporter.example.yml"


def reloaded(folder: Path, config: Config) -> Config:
    path = folder / "effective.yml"
    path.write_text(effective_yaml(config), encoding="utf-8")
    return load(path, {})


def from_text(folder: Path, source: str) -> Config:
    path = folder / "exporter.yml"
    path.write_text(source, encoding="utf-8")
    return load(path, {})


def test_defaults_are_filled_in_and_durations_readable(tmp_path: Path) -> None:
    source = "clusters: [{name: kunshan, cluster_id: 11112, hpc_url: https://h.example.com, token: hidden}]"
    shown = yaml.safe_load(effective_yaml(from_text(tmp_path, source)))
    poll = {
        "interval": "1m",
        "timeout": "15s",
        "stale_after": "3m",
        "max_concurrency": 16,
        "retries": 2,
        "max_body": "64MiB",
    }
    assert shown == {
        "poll": poll,
        "accounts": [],
        "clusters": [
            {
                "name": "kunshan",
                "cluster_id": "11112",
                "hpc_url": "https://h.example.com",
                "ac_url": "https://h.example.com",
                "token": "<secret>",
                "tls": {"insecure_skip_verify": False},
                "collect": ["schedulers", "queue_jobs", "member_jobs"],
                "poll": poll,
                "members": [],
            }
        ],
        "slurm": [],
        "octopus": [],
        "tracking": {"enabled": True, "history_grace": "10m", "history_window": "1d", "time_zone": "Asia/Shanghai"},
        "per_job": {"enabled": False, "max_jobs": 500},
        "metrics": {"exclude": []},
    }


def test_no_secret_of_the_example_is_shown() -> None:
    config = load(EXAMPLE, {})
    shown = effective_yaml(config)
    values = {secret.value() for secret in config.secrets()}
    assert len(values) >= 4
    assert not [value for value in values if value in shown]


def test_the_effective_example_is_a_configuration_with_the_same_effect(tmp_path: Path) -> None:
    once = reloaded(tmp_path, load(EXAMPLE, {}))
    assert effective_yaml(once) == effective_yaml(load(EXAMPLE, {}))
    assert reloaded(tmp_path, once) == once


def test_a_file_is_named_and_loaded_again(tmp_path: Path) -> None:
    (tmp_path / "${odd} token").write_text("hidden", encoding="utf-8")
    source = (
        "clusters: [{name: on, cluster_id: 0123, hpc_url: https://h.example.com, token_file: '$${odd} token',"
        " users: ['1234', {name: '~'}]}]"
    )
    config = from_text(tmp_path, source)
    assert "hidden" not in effective_yaml(config)
    assert reloaded(tmp_path, config) == config


@pytest.mark.parametrize(
    "name", ["'$${x}'", "'yes'", "王伟", "'null'", "'a: b'", "'# no comment'", "'- x'", "'*x'", "😀"]
)
def test_any_name_survives(name: str, tmp_path: Path) -> None:
    source = (
        f"accounts: [{{name: {name}, user: {name}, password: '<secret>', org_id: {name}, url: https://h.example.com}}]"
    )
    config = from_text(tmp_path, source)
    assert reloaded(tmp_path, config) == config


def test_a_token_in_an_address_is_not_shown(tmp_path: Path) -> None:
    """A secret pasted there is hidden, also in a path; a user who is called like a password is shown all the same."""
    (tmp_path / "t0ken-of-the-region.txt").write_text("another", encoding="utf-8")
    shown = effective_yaml(
        from_text(
            tmp_path,
            "clusters: [{name: k, cluster_id: 1, hpc_url: 'https://hpc/t0ken-of-the-region/', token: t0ken-of-the-region,"
            " users: [{name: alice1, token: alice1}, {name: bob, token_file: t0ken-of-the-region.txt}]}]",
        )
    )
    assert "t0ken-of-the" not in shown
    assert "hpc_url: https://hpc/<secret>" in shown
    assert "name: alice1" in shown
