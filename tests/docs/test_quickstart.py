"""What readers are told to type works: against a simulated region, in the order of the page."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.cli.main import main
from exporter.cli.simulate import configuration
from exporter.simulator import Simulator, default_projects, default_regions
from tests.docs.pages import PAGES
from tests.docs.shell import Command
from tests.docs.test_commands import examples
from tests.e2e.real import real_part

RUN = (("discover",), ("check",), ("once",), ("jobs", "list"), ("completion",))
# What a page leaves to its readers, and the simulated region has.
PLACEHOLDERS = {"REGION": "kunshan", "USER": "test", "YOUR_LOGIN": "alice"}


@contextmanager
def served(simulator: Simulator) -> Iterator[Simulator]:
    """A simulator in a thread of its own, since the commands have event loops of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.start(), loop).result(20)
        yield simulator
        asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with served(Simulator(default_regions(1), projects=default_projects(1), clock=lambda: 0.0)) as running:
        yield running


@pytest.fixture
def folder(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: a configuration is there, and the keys are in the environment."""
    (tmp_path / "exporter.yml").write_text(configuration(simulator), encoding="utf-8")
    account = simulator.accounts[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCNET_ACCESS_KEY", account.access_key)
    monkeypatch.setenv("SCNET_SECRET_KEY", account.secret_key)
    return tmp_path


def run(arguments: tuple[str, ...], simulator: Simulator) -> int:
    """The exit status; logins are led to the simulator."""
    if arguments[0] == "discover":
        user = f"--user={simulator.accounts[0].user}"
        arguments = ("discover", user, f"--token-url={simulator.token_url}", *without_user(arguments[1:]))
    return main(arguments)


def without_user(arguments: tuple[str, ...]) -> list[str]:
    """A page's user is made up, so that of the simulator is taken; files of keys are not there."""
    return [word for word in arguments if not word.startswith(("--user=", "--access-key-file=", "--secret-key-file="))]


def runnable(name: str) -> list[tuple[Command, tuple[str, ...]]]:
    """Commands of a page that end by themselves and change nothing."""
    typed = [command for _, command in examples(PAGES[name]) if command.program == "hpc-exporter"]
    found = [(command, command.exporter_arguments) for command in typed]
    return [(command, filled_in(arguments)) for command, arguments in found if arguments and is_harmless(arguments)]


def filled_in(arguments: tuple[str, ...]) -> tuple[str, ...]:
    words = (word.partition("=") for word in arguments)
    return tuple(f"{flag}{equals}{PLACEHOLDERS.get(value, value)}" for flag, equals, value in words)


def is_harmless(arguments: tuple[str, ...]) -> bool:
    return any(arguments[: len(command)] == command for command in RUN) and "--help" not in arguments


# A translation has the same commands.
WITH_COMMANDS = [name for name in PAGES if not name.endswith((".zh.md", ".zh-CN.md")) and runnable(name)]


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_the_commands_of_the_page_succeed(
    name: str, simulator: Simulator, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, each with what those before it wrote; what goes to jq is understood there."""
    for command, arguments in runnable(name):
        status = run(arguments, simulator)
        said = capsys.readouterr()
        where = f"{PAGES[name].at(command.line)}: {command.written}"
        assert status == 0, f"{where}: {said.out}{said.err}"
        if command.output:
            (folder / command.output).write_text(said.out, encoding="utf-8")
        for words in filters(name, command):
            found = subprocess.run(  # noqa: S603 - the documentation's own filters
                [real_part("jq", "jq"), *words], input=said.out, check=False, capture_output=True, text=True
            )
            assert found.returncode == 0, f"{where}: {found.stderr}"


def filters(name: str, command: Command) -> list[tuple[str, ...]]:
    """What jq is given with the output of a command."""
    of_line = [each for _, each in examples(PAGES[name]) if each.line == command.line]
    return [each.words[1:] for each in of_line if command.piped and each.program == "jq"]


def test_newcomers_are_told_commands_that_are_tried() -> None:
    for name in ("README.md", "docs/quickstart.md"):
        assert {"discover", "check"} <= {arguments[0] for _, arguments in runnable(name)}
    assert filters("docs/migrating.md", runnable("docs/migrating.md")[0][0])
