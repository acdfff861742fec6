"""A line that cannot be written costs a line: the exporter goes on, and a command says by its status what was lost."""

import asyncio
import fcntl
import os
import signal
import socket
import sys
import tempfile
import termios
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.process import DEADLINE, ExporterProcess, eventually
from tests.e2e.region import ScriptedRegion, cluster, configuration, envelope, queue, scripted_region
from tests.support import forks
from tests.support.command import Command, Ended, Running, abandoned_pipe

# Ways for a command's output to be lost.
BROKEN = ("a full disk", "closed", "nobody reads")
# A stream that is closed from the beginning costs a start of Python: of commands that print in the same way, one does it.
FORKED = ("a full disk", "nobody reads")
EXPORTER = f"{sys.executable} -W error -m exporter"
GOOD = (
    "clusters: [{name: k, cluster_id: 1, hpc_url: 'http://127.0.0.1:1', token: t, users: [a], collect: [queue_jobs]}]\n"
)


async def run(folder: Path, arguments: str, stream: str, how: str) -> Ended:
    """Run a command with one of its streams broken."""
    command = Command(folder, GOOD)
    with abandoned_pipe() as pipe, Path("/dev/full").open("wb") as full:  # noqa: ASYNC230 - no disk
        if how == "closed":
            return await with_closed(folder, arguments, stream)
        running = await command.start(*arguments.split(), to={stream: full if how == "a full disk" else pipe})
        return await running.ended()


async def with_closed(folder: Path, arguments: str, stream: str) -> Ended:
    """Return the same for a stream that is closed before the interpreter starts."""
    stdout, stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed at its end
    closed = {"stdout": "1>&-", "stderr": "2>&-"}[stream]
    process = await asyncio.create_subprocess_shell(
        f"exec {EXPORTER} {arguments} {closed}",
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )
    return await Running(process, stdout, stderr).ended()


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        *product(["--version", "--config.check", "completion bash"], FORKED),
        *product(
            [
                "--help",
                "check",
                "once --format=json",
                "simulate --listen-address=127.0.0.1:0",
                "demo --web.listen-address=127.0.0.1:0 --log.level=error",
            ],
            BROKEN,
        ),
    ],
)
async def test_results_that_cannot_be_written_are_a_failure(tmp_path: Path, arguments: str, how: str) -> None:
    ended = await run(tmp_path, arguments, "stdout", how)
    assert ended.status == 1
    assert "Exception ignored" not in ended.stderr
    # A reader that has left has seen enough.
    told = {"a full disk": "No space left on device", "closed": "it is closed", "nobody reads": ""}[how]
    assert ("cannot write to standard output" in ended.stderr) == bool(told)
    assert told in ended.stderr


async def test_an_interruption_ends_a_command_whose_reader_does_not_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        running = await Command(tmp_path, "").start("completion", "bash", to={"stdout": writer})
        await eventually(
            lambda: fcntl.ioctl(reader, termios.FIONREAD, b"    ") == size.to_bytes(4, "little"), "it is full"
        )
        running.process.send_signal(signal.SIGINT)
        assert (await running.ended()).status == 130
    finally:
        os.close(reader)
        os.close(writer)


async def test_standard_input_that_is_closed_is_empty(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("import sys; sys.stdin = None")
    env = {forks.RUN_FIRST: str(tmp_path / "first.py")}
    arguments = ("jobs", "delete", "--cluster=k", "--user=a", "--from-file=-")
    ended = await Command(tmp_path, GOOD)(*arguments, env=env)
    assert (ended.status, "no job ids were given" in ended.stderr) == (2, True), ended.stderr


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(
    ("arguments", "status", "result"),
    [("sevre", 2, ""), ("check", 0, "the configuration is fine"), ("once --format=json", 1, '"ok": false')],
)
async def test_complaints_that_cannot_be_written_change_nothing(
    tmp_path: Path, arguments: str, status: int, result: str, how: str
) -> None:
    ended = await run(tmp_path, arguments, "stderr", how)
    assert ended.status == status
    assert result in ended.stdout


# serve


class Unheard(ExporterProcess):
    """Its standard error is something that takes no lines, so its address cannot be learned from there."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve_with(self, how: str, pipe: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        auto = "--config.enable-auto-reload --config.auto-reload-interval=100ms"
        arguments = f"serve --web.listen-address=127.0.0.1:{self.port} --log.level=debug {auto}"
        with (self.folder / "stdout").open("wb") as stdout, Path("/dev/full").open("wb") as full:  # noqa: ASYNC230 - no disk
            if how == "closed":
                self.process = await asyncio.create_subprocess_shell(
                    f"exec {EXPORTER} {arguments} 2>&-",
                    cwd=self.folder,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=stdout,
                )
            else:
                stderr = full if how == "a full disk" else pipe
                self.process = await forks.start(
                    *arguments.split(), cwd=self.folder, env={}, stdout=stdout, stderr=stderr, warning="error"
                )
        await eventually(self._answers, "it answers")

    async def _answers(self) -> bool:
        assert self.process.returncode is None
        try:
            return (await self.ask("/-/healthy")).status == 200
        except OSError:
            return False


USERS = [f"user{number:02}" for number in range(30)]
asked: Counter[str] = Counter()
LONG = "so many words about what is wrong that a few of them fill a pipe, " * 3


async def refuse_every_other(request: web.Request) -> web.Response:
    """Each user's polls fail and work alternately: a line each time."""
    user = request.query["userName"]
    asked[user] += 1
    return web.Response(body=envelope([queue("q")]) if asked[user] % 2 else envelope(None, "10001", LONG))


def settings(region: ScriptedRegion, *users: str) -> str:
    one = cluster(region.url, users=[*USERS, *users], members=[], collect=["queue_jobs"], token_file="token")
    del one["token"]
    return configuration(one, poll={"interval": "1s", "timeout": "5s", "retries": 0})


@pytest.mark.parametrize("how", [*BROKEN, "nobody reads any more"])
async def test_an_exporter_with_a_blocked_log_goes_on(tmp_path: Path, how: str) -> None:
    """Polls, the watch over secrets, reloads and the tracker: each of them writes lines."""
    (tmp_path / "token").write_text("the-first-token")
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    if how == "nobody reads":
        os.close(reader)
    async with scripted_region({"queue_jobs": refuse_every_other}) as region:
        exporter = Unheard(tmp_path, settings(region))
        try:
            await exporter.serve_with(how, writer)
            await eventually(lambda: len(region.requests) > 4 * len(USERS), "it polls again and again")
            (tmp_path / "token").write_text("the-second-token")
            await eventually(lambda: region.requests[-1].headers["token"] == "the-second-token", "it saw the new token")
            for user in (f"eve {how}", f"mallory {how}"):
                exporter.config.write_text("clusters: [oh no")
                await exporter.shows(
                    lambda of: of["hpc_exporter_config_last_reload_successful"] == 0, "a failed reload"
                )
                exporter.config.write_text(settings(region, user))
                await eventually(partial(asked.__getitem__, user), "the new configuration is in use")
            answer = await exporter.ask("/metrics")
            assert 'hpc_exporter_task_restarts_total{task="secret watch"} 0' in answer.text
            assert await exporter.stop() == 0
        finally:
            await exporter.close()
            os.close(writer)
            if how != "nobody reads":
                os.close(reader)


async def test_log_lines_do_not_go_into_what_is_opened_later(tmp_path: Path) -> None:
    """With standard error closed, the next file or socket would get its number."""
    (tmp_path / "exporter.yml").write_text(GOOD + "tracking: {state_file: state.db}\n")
    process = await asyncio.create_subprocess_shell(
        f"exec {EXPORTER} --web.listen-address=127.0.0.1:0 <&- >&- 2>&-", cwd=tmp_path
    )
    try:
        state = tmp_path / "state.db"
        await eventually(lambda: state.exists() and state.stat().st_size, "the state file is written")
        opened = Path(f"/proc/{process.pid}/fd")
        assert [str((opened / str(number)).readlink()) for number in range(3)] == [os.devnull] * 3
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert state.read_bytes().startswith(b"SQLite format 3\0")
