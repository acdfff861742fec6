"""What newcomers are told to type works: against a simulated region, in the order of the page."""

import asyncio
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

RUN = (("discover",), ("check",), ("once",), ("jobs", "list"), ("completion",))


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
    return [(command, arguments) for command, arguments in found if arguments and is_harmless(arguments)]


def is_harmless(arguments: tuple[str, ...]) -> bool:
    return any(arguments[: len(command)] == command for command in RUN) and "--help" not in arguments


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_the_commands_of_the_page_succeed(
    name: str, simulator: Simulator, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, each with what those before it wrote."""
    typed = runnable(name)
    assert {"discover", "check"} <= {arguments[0] for _, arguments in typed}
    for command, arguments in typed:
        status = run(arguments, simulator)
        said = capsys.readouterr()
        assert status == 0, f"{PAGES[name].at(command.line)}: {command.written}: {said.out}{said.err}"
        if command.output:
            (folder / command.output).write_text(said.out, encoding="utf-8")
