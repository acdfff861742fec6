"""The command line as a whole: what it says, where it says it, and how it ends."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import __version__
from exporter.cli.main import COMMANDS, build_parser, main
from tests.e2e.process import run

GOOD = "clusters: [{name: kunshan, cluster_id: 11112, hpc_url: 'https://hpc.example.com', token: t, users: [test]}]\n"
BAD = """\
poll: {interval: 5, interval: 10s}
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: ftp://hpc.example.com
    token: ${HPC_EXPORTER_TEST_UNSET}
"""

# Interrupts the process where it begins to load the module that is its argument.
INTERRUPTED = """
import signal, sys
from exporter.__main__ import entry_point

class Interrupt:
    module = sys.argv.pop(1)

    def find_spec(self, name, path, target=None):
        if name == self.module:
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
entry_point()
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "exporter.yml"
    file.write_text(GOOD)
    return file


@pytest.mark.parametrize("arguments", [["--version"], ["serve", "--version"]])
def test_the_version_is_told_as_prometheus_programs_do(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"hpc-exporter, version {__version__} (revision: ")
    assert second.startswith("  python version: 3.")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_a_result(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    output = capsys.readouterr()
    assert end.value.code == 0
    assert output.out.startswith("usage: hpc-exporter")
    assert output.err == ""


def test_every_command_has_a_line_in_the_help() -> None:
    text = build_parser().format_help()
    for name in COMMANDS:
        assert re.search(rf"^  {name}\s+\S", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "usage", "message"),
    [
        (["sevre"], "hpc-exporter COMMAND [FLAGS]", "there is no command 'sevre'; did you mean serve?"),
        (["serve", "exporter.yml"], "hpc-exporter serve [-h]", "unexpected argument: exporter.yml"),
        (["--shards=3"], "hpc-exporter serve [-h]", "there is no flag --shards; did you mean --shard?"),
        (["--config.fil=x"], "hpc-exporter serve [-h]", "there is no flag --config.fil; did you mean --config.file?"),
        (["--config.file"], "hpc-exporter serve [-h]", "argument --config.file: expected one argument"),
        (["check", "--web.listen-address=:0"], "hpc-exporter check [-h]", "there is no flag --web.listen-address"),
        (["jobs", "lst"], "hpc-exporter jobs [-h]", "there is no command 'lst'; did you mean list?"),
        (["jobs", "delete", "--cluste=x", "1"], "hpc-exporter jobs delete [-h]", "did you mean --cluster?"),
        (["jobs"], "hpc-exporter jobs [-h]", "a command is missing; there are: list, delete"),
        (["once", "--format=jsn"], "hpc-exporter once [-h]", "there is no format 'jsn'; did you mean json?"),
        (["once", "--top=0"], "hpc-exporter once [-h]", "--top: '0' is not a number of 1 or more"),
        (["simulate", "--seed=x"], "hpc-exporter simulate [-h]", "--seed: 'x' is not a whole number"),
        *(
            ([flag], "hpc-exporter serve [-h]", f"error: argument {flag.partition('=')[0]}: ")
            for flag in (
                *("--web.listen-address=9851", "--web.listen-address=[::1:9851", "--web.max-requests=-1"),
                *("--web.max-requests=many", "--shard=-1", "--total-shards=0", "--total-shards=some"),
                *("--web.telemetry-path=metrics", "--web.telemetry-path=/", "--web.telemetry-path=/-/healthy"),
                *("--web.telemetry-path=/{x}", "--web.telemetry-path=/static/metrics", "--web.telemetry-path=/config"),
                *("--config.auto-reload-interval=0", "--config.auto-reload-interval=30"),
            )
        ),
        (["--log.level=loud"], "hpc-exporter serve [-h]", "there is no log.level 'loud'"),
        (["--log.format=xml"], "hpc-exporter serve [-h]", "there is no log.format 'xml'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_with_the_nearest_name_and_ends_with_2(
    arguments: list[str], usage: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    output = capsys.readouterr()
    assert (end.value.code, output.out) == (2, "")
    assert output.err.startswith(f"usage: {usage}")
    assert message in output.err


@pytest.mark.parametrize("words", [[], ["once"], ["jobs", "list"]], ids=" ".join)
def test_help_is_a_command_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for arguments in (["help", *words], [*words, "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


def test_defaults_of_serve() -> None:
    args = build_parser().parse_args(["serve"])
    assert (args.config_enable_auto_reload, args.config_auto_reload_interval) == (False, 30)
    assert (args.web_config_file, args.web_systemd_socket) == (None, False)


def test_a_shard_that_is_not_one_of_them_is_wrong_usage(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"--config.file={config}", "--shard=3", "--total-shards=3"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "--shard does not fit --total-shards: there is no shard 3 of 3: it can be 0 to 2" in output.err


@pytest.mark.parametrize("arguments", [["check"], ["serve", "--config.check"], ["--config.check"]], ids=" ".join)
def test_a_good_configuration_passes_the_check(
    arguments: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, f"--config.file={config}"]) == 0
    output = capsys.readouterr()
    assert output.out == f"{config}: the configuration is fine\n"
    assert output.err == ""


@pytest.mark.parametrize("arguments", [["check"], ["serve", "--config.check"], ["--config.check"]], ids=" ".join)
def test_every_mistake_is_named_with_its_place(
    arguments: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(BAD)
    assert main([*arguments, f"--config.file={config}"]) == 1
    output = capsys.readouterr()
    places = [line.partition(": ")[0] for line in output.out.splitlines()]
    assert places == [f"{config}:{place}" for place in ("1:18", "1:21", "5:14", "6:12")]
    assert output.err.endswith(f"{config}: 4 mistakes\n")


def test_a_risky_setting_is_a_warning(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(GOOD.replace("token: t,", "token: t, tls: {insecure_skip_verify: true},"))
    assert main(["check", f"--config.file={config}"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith(f"warning: {config}:1:")
    assert "insecure_skip_verify" in output.err


def test_a_state_file_without_a_folder_is_a_warning(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be there on the machine that serves."""
    config.write_text(f"{GOOD}\ntracking: {{state_file: not-there/state.db}}\n")
    assert main(["check", f"--config.file={config}"]) == 0
    folder = config.parent / "not-there"
    assert f"{config}: tracking.state_file: there is no folder {folder}" in capsys.readouterr().err
    folder.mkdir()
    assert main(["check", f"--config.file={config}"]) == 0
    assert capsys.readouterr().err == ""


def test_a_configuration_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"--config.file={tmp_path / 'none.yml'}"]) == 1
    assert f"{tmp_path / 'none.yml'}:1:1: " in capsys.readouterr().out


def test_a_long_token_in_the_place_of_a_file_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    token = f"{'Ab1' * 100}x"
    assert main(["check", f"--config.file={token}"]) == 1
    output = capsys.readouterr()
    assert "its name is too long" in output.out
    assert "Ab1Ab1" not in output.out + output.err


def test_a_working_directory_that_is_gone_is_said_so(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["discover", "--user=alice", "--access-key-file=ak", "--secret-key-file=sk"]) == 1
    assert "the working directory is no longer there" in capsys.readouterr().err
    assert main(["check", f"--config.file={config}"]) == 0


async def test_a_command_is_a_process_without_a_traceback(tmp_path: Path) -> None:
    """As people run it: the configuration of the folder, results on one side, the rest on the other."""
    (tmp_path / "exporter.yml").write_text(BAD)
    status, stdout, stderr = await run(tmp_path, "check")
    assert status == 1
    assert stdout.count("exporter.yml:") == 4
    assert stderr == "exporter.yml: 4 mistakes\n"


@pytest.mark.parametrize(
    ("module", "status"), [("exporter.cli.main", -signal.SIGINT), ("yaml", -signal.SIGINT), ("exporter.cli.check", 130)]
)
def test_an_interrupt_while_modules_are_loaded_leaves_no_traceback(config: Path, module: str, status: int) -> None:
    command = [sys.executable, "-c", INTERRUPTED, module, "check", f"--config.file={config}"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own command
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")
