"""A line that cannot be written costs a line: the exporter goes on, and a command says by its status what was lost."""

import asyncio
import fcntl
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.process import DEADLINE, ExporterProcess, eventually
from tests.e2e.region import ScriptedRegion, cluster, configuration, envelope, queue, scripted_region

# How a command's output can come to nothing; what a shell writes for it.
BROKEN = {"a full disk": "{0}>/dev/full", "closed": "{0}>&-", "nobody reads": "{0}>&{1}"}
EXPORTER = f"{sys.executable} -W error -m exporter"
GOOD = (
    "clusters: [{name: k, cluster_id: 1, hpc_url: 'http://127.0.0.1:1', token: t, users: [a], collect: [queue_jobs]}]\n"
)


@contextmanager
def abandoned_pipe() -> Iterator[int]:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    os.set_inheritable(writer, True)
    try:
        yield writer
    finally:
        os.close(writer)


async def run(folder: Path, arguments: str, stream: int, how: str) -> tuple[int, str, str]:
    """Run a command with one of its streams broken: status, and what is on both."""
    (folder / "exporter.yml").write_text(GOOD)
    with abandoned_pipe() as pipe:
        process = await asyncio.create_subprocess_shell(
            f"exec {EXPORTER} {arguments} {BROKEN[how].format(stream, pipe)}",
            cwd=folder,
            # Others know descriptors of one digit only.
            executable="/bin/bash",
            pass_fds=[pipe],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE):
                stdout, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "check",
        "--config.check",
        "once --format=json",
        "completion bash",
        "simulate --listen-address=127.0.0.1:0",
        "demo --web.listen-address=127.0.0.1:0 --log.level=error",
    ],
)
async def test_results_that_cannot_be_written_are_a_failure(tmp_path: Path, arguments: str, how: str) -> None:
    status, _, stderr = await run(tmp_path, arguments, 1, how)
    assert status == 1
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    # A reader that has left has seen enough.
    told = {"a full disk": "No space left on device", "closed": "it is closed", "nobody reads": ""}[how]
    assert ("cannot write to standard output" in stderr) == bool(told)
    assert told in stderr


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(
    ("arguments", "status", "result"),
    [("sevre", 2, ""), ("check", 0, "the configuration is fine"), ("once --format=json", 1, '"ok": false')],
)
async def test_complaints_that_cannot_be_written_change_nothing(
    tmp_path: Path, arguments: str, status: int, result: str, how: str
) -> None:
    ended, stdout, _ = await run(tmp_path, arguments, 2, how)
    assert ended == status
    assert result in stdout


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
        arguments = f"--web.listen-address=127.0.0.1:{self.port} --log.level=debug --config.enable-auto-reload"
        broken = {**BROKEN, "nobody reads any more": "{0}>&{1}"}[how].format(2, pipe)
        self.process = await asyncio.create_subprocess_shell(
            f"exec {EXPORTER} {arguments} --config.auto-reload-interval=100ms {broken}",
            cwd=self.folder,
            # Others know descriptors of one digit only.
            executable="/bin/bash",
            pass_fds=[pipe],
            stdin=asyncio.subprocess.DEVNULL,
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
    """Each user's polls fail and work by turns: a line each time."""
    user = request.query["userName"]
    asked[user] += 1
    return web.Response(body=envelope([queue("q")]) if asked[user] % 2 else envelope(None, "10001", LONG))


def settings(region: ScriptedRegion, *users: str) -> str:
    one = cluster(region.url, users=[*USERS, *users], members=[], collect=["queue_jobs"], token_file="token")
    del one["token"]
    return configuration(one, poll={"interval": "1s", "timeout": "5s", "retries": 0})


@pytest.mark.parametrize("how", [*BROKEN, "nobody reads any more"])
async def test_an_exporter_that_nobody_hears_goes_on(tmp_path: Path, how: str) -> None:
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
        await eventually((tmp_path / "state.db").exists, "the state file is there")
        opened = Path(f"/proc/{process.pid}/fd")
        assert [str((opened / str(number)).readlink()) for number in range(3)] == [os.devnull] * 3
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (tmp_path / "state.db").read_bytes().startswith(b"SQLite format 3\0")
