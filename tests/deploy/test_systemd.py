"""The units for systemd: systemd itself finds nothing wrong with them, and what they start works."""

import re
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from exporter.cli.main import main
from exporter.simulator import Simulator
from tests.deploy import units
from tests.deploy.booted import LOG, booted, installation
from tests.e2e.process import ExporterProcess, eventually, samples_of
from tests.e2e.real import real_part
from tests.support.platform import idle_regions

ROOT = Path(__file__).parents[2]
README = (units.FOLDER / "README.md").read_text(encoding="utf-8")
KEYS = {"access-key": "simulator-access-key", "secret-key": "simulator-secret-key"}


RELOADED = "hpc_exporter_config_last_reload_success_timestamp_seconds"


def reloaded_since(samples: Callable[[], Awaitable[dict[str, float]]], before: float) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return (await samples())[RELOADED] > before

    return look


def on_port(port: int) -> str:
    """Return a command that has the socket unit listen there."""
    settings = f"[Socket]\\nListenStream=\\nListenStream=127.0.0.1:{port}\\n"
    folder = "/run/systemd/system/hpc-exporter.socket.d"
    return f"printf '{settings}' > {folder}/port.conf && systemctl daemon-reload"


def analyzed(*arguments: str | Path) -> str:
    """Return the output of `systemd-analyze`, of both streams; fails where it fails."""
    done = subprocess.run(  # noqa: S603 - systemd's own program
        [real_part("systemd-analyze", "systemd"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return the units, where the program that they name exists."""
    program = tmp_path / "hpc-exporter"
    program.touch(mode=0o755)
    for unit in (units.SERVICE, units.SHARD, units.SOCKET):
        text = unit.read_text(encoding="utf-8").replace(units.INSTALLED, str(program))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return tmp_path


def configured(simulator: Simulator) -> str:
    """Return the sample configuration, for a simulated region."""
    text = (units.FOLDER / "exporter.yml").read_text(encoding="utf-8")
    region = simulator.regions["kunshan"]
    for old, new in {
        "user: alice": f"user: {simulator.accounts[0].user}\n    token_url: {simulator.token_url}",
        "https://hpc.example.com:65106": region.hpc_url,
        "https://ac.example.com:65102": region.ac_url,
        "11112": str(region.cluster_id),
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_systemd_finds_nothing_wrong_with_the_units(installed: Path) -> None:
    shard = installed / "hpc-exporter@0.service"
    (installed / units.SHARD.name).rename(shard)
    assert analyzed("verify", "--man=no", installed / units.SERVICE.name, installed / units.SOCKET.name, shard) == ""


@pytest.mark.parametrize("unit", [units.SERVICE, units.SHARD], ids=lambda unit: unit.name)
def test_little_is_exposed(unit: Path) -> None:
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", analyzed("security", "--offline=true", unit))
    assert found
    assert float(found[1]) < 2.0


def test_a_shard_differs_from_the_only_instance_in_its_share_and_port_alone() -> None:
    """All else, and so the hardening, is the same."""
    only, shard = dict(units.settings(units.SERVICE)), dict(units.settings(units.SHARD))
    assert [name for name, _ in units.settings(units.SERVICE)] == [name for name, _ in units.settings(units.SHARD)]
    assert {name for name in only if only[name] != shard[name]} == {"Description", "ExecStart"}
    first = units.command(units.SERVICE, {"ARGS": "--log.format=json"})
    assert units.command(units.SHARD, {"TOTAL_SHARDS": "3", "ARGS": "--log.format=json"}, "2") == [
        *first[:-1],
        *("--shard=2", "--total-shards=3", "--web.listen-address=:9862", "--log.format=json"),
    ]


def test_a_forgotten_number_of_shards_is_wrong_usage_which_is_not_tried_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(units.command(units.SHARD, {"TOTAL_SHARDS": ""}, "0")[1:])
    assert str(ended.value.code) == units.setting(units.SHARD, "RestartPreventExitStatus")
    assert "--total-shards" in capsys.readouterr().err


async def test_what_the_unit_starts_reads_its_credentials_keeps_its_state_and_tells_systemd(tmp_path: Path) -> None:
    """ExecStart with the sample configuration and the environment that systemd gives it, but without the sandbox."""
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    state.mkdir()
    for name, key in KEYS.items():
        (credentials / f"scnet_{name}").write_text(key)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.setblocking(False)
    environment = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "STATE_DIRECTORY": str(state),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "60000000",
    }
    async with Simulator(idle_regions(1)) as simulator:
        exporter = ExporterProcess(tmp_path, configured(simulator))
        program, *arguments = units.command(units.SERVICE, {"ARGS": "--web.listen-address=127.0.0.1:0"})
        assert program == units.INSTALLED
        arguments = [argument.replace(units.CONFIGURATION, str(exporter.config)) for argument in arguments]
        try:
            with closing(notify):
                await exporter.serve(*arguments, env=environment)
                await exporter.shows(lambda samples: samples.get('hpc_up{hpc_cluster="kunshan"}') == 1, "its region")
                ends = (await exporter.samples())[
                    'hpc_exporter_token_expiry_timestamp_seconds{source="kunshan",user=""}'
                ]
                assert ends > 0
                assert notify.recv(4096) == b"WATCHDOG=1"
                assert notify.recv(4096) == b"READY=1"
                assert await exporter.stop() == 0, exporter.stderr
        finally:
            await exporter.close()
    assert (state / "tracker.db").exists()
    assert not any(key in exporter.stderr for key in KEYS.values())


async def test_a_real_systemd_runs_it_in_the_sandbox(tmp_path: Path) -> None:
    """Start, reload, stop and start on a socket, under a systemd booted for this, with every restriction in force."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with Simulator(idle_regions(1)) as simulator, aiohttp.ClientSession() as http:

        async def samples() -> dict[str, float]:
            async with http.get(f"{url}/metrics") as answer:
                return samples_of(await answer.text())

        async def polls() -> object:
            return (await samples()).get('hpc_up{hpc_cluster="kunshan"}') == 1

        defaults = f"ARGS=--web.listen-address=127.0.0.1:{port}\n"
        installation(tmp_path / "files", configured(simulator), KEYS, defaults)
        async with booted(tmp_path) as system:
            await system.good("systemctl", "start", "hpc-exporter")
            await eventually(polls, "it polls its region")
            found = await samples()
            assert found["process_resident_memory_bytes"] > 0
            main = await system.good("systemctl", "show", "hpc-exporter", "-p", "MainPID", "--value")
            process = await system.good("cat", f"/proc/{main}/status")
            assert "Uid:\t0" not in process
            assert "NoNewPrivs:\t1\nSeccomp:\t2" in process
            await system.good("systemctl", "reload", "hpc-exporter")
            await eventually(reloaded_since(samples, found[RELOADED]), "it was reloaded")
            await system.good("systemctl", "stop", "hpc-exporter")
            await system.good(
                "sh", "-c", f"echo ARGS=--web.systemd-socket > /etc/default/hpc-exporter; {on_port(port)}"
            )
            await system.good("systemctl", "start", "hpc-exporter.socket", "hpc-exporter.service")
            await eventually(polls, "it polls again, and answers on the socket of systemd")
            await system.good("systemctl", "stop", "hpc-exporter.socket", "hpc-exporter.service")
            assert await system.good("systemctl", "show", "hpc-exporter", "-p", "Result", "--value") == "success"
            assert await system.good("ls", "/var/lib/hpc-exporter") == "tracker.db"
            log = await system.good("cat", LOG)
    assert "level=warning" not in log
    assert "level=error" not in log


def test_the_readme_installs_what_there_is() -> None:
    """Every file that a command of it takes from the repository exists, and every file here is spoken of."""
    for path in re.findall(r"\b(?:deploy/systemd/[\w@.-]+|config/[\w.-]+\.yml|requirements/\w+\.txt)", README):
        assert (ROOT / path).exists(), path
    assert {file.name for file in units.FOLDER.iterdir()} - {"README.md"} == set(
        re.findall(r"^\| \[`([\w@.-]+)`\]", README, re.MULTILINE)
    )
