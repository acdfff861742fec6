"""Commands of the documentation work against a simulated region, in the order of the page."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli.main import main
from exporter.cli.simulate import configuration
from exporter.simulator import Simulator, default_projects, default_regions
from tests.docs.commands import Command, commands
from tests.docs.pages import PAGES
from tests.e2e.real import real_part

# They end by themselves and change nothing.
RUN = (["discover"], ["check"], ["once"], ["jobs", "list"], ["completion"])
# Names that a page leaves to its readers, and those that the simulated region has.
PLACEHOLDERS = {"REGION": "kunshan", "USER": "test", "YOUR_LOGIN": "alice"}
# A user and files of keys are made up in a page.
OF_READERS = ("--user=", "--access-key-file=", "--secret-key-file=")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """In a thread of its own, since the commands have event loops of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = Simulator(default_regions(1), projects=default_projects(1), clock=lambda: 0.0)
    try:
        asyncio.run_coroutine_threadsafe(running.start(), loop).result(60)
        yield running
        asyncio.run_coroutine_threadsafe(running.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def runnable(name: str) -> list[tuple[Command, list[str]]]:
    """Commands of a page with the arguments that they are run with."""
    found = []
    for command in commands(PAGES[name]):
        given = command.words[1:]
        if (
            command.program == "hpc-exporter"
            and "--help" not in given
            and any(given[: len(each)] == each for each in RUN)
        ):
            split = (word.partition("=") for word in given)
            found.append(
                (command, [f"{flag}{equals}{PLACEHOLDERS.get(value, value)}" for flag, equals, value in split])
            )
    return found


def filter_of(name: str, command: Command) -> list[str] | None:
    """Return the arguments of jq where it gets the output of a command."""
    others = (each.words for each in commands(PAGES[name]) if each.line == command.line and each.program == "jq")
    return next(others, None) if command.piped else None


# A translation has the same commands.
WITH_COMMANDS = [name for name in PAGES if not name.endswith((".zh.md", ".zh-CN.md")) and runnable(name)]


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_the_commands_of_the_page_succeed(
    name: str, simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with what those before it wrote; jq understands what it gets of them."""
    (tmp_path / "exporter.yml").write_text(configuration(simulator), encoding="utf-8")
    account = simulator.accounts[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCNET_ACCESS_KEY", account.access_key)
    monkeypatch.setenv("SCNET_SECRET_KEY", account.secret_key)
    for command, arguments in runnable(name):
        if arguments[0] == "discover":
            arguments[1:] = [word for word in arguments[1:] if not word.startswith(OF_READERS)]
            arguments += [f"--user={account.user}", f"--token-url={simulator.token_url}"]
        status = main(arguments)
        said = capsys.readouterr()
        assert status == 0, f"{PAGES[name].at(command.line)}: {command.written}: {said.out}{said.err}"
        if command.output:
            (tmp_path / command.output).write_text(said.out, encoding="utf-8")
        if jq := filter_of(name, command):
            run = [real_part("jq", "jq"), *jq[1:]]
            found = subprocess.run(run, input=said.out, check=False, capture_output=True, text=True)  # noqa: S603 - our own filters
            assert found.returncode == 0, f"{PAGES[name].at(command.line)}: {found.stderr}"


def test_newcomers_are_told_commands_that_are_tried() -> None:
    for name in ("README.md", "docs/quickstart.md"):
        assert {"discover", "check"} <= {arguments[0] for _, arguments in runnable(name)}
    assert filter_of("docs/migrating.md", runnable("docs/migrating.md")[0][0])
