"""The command line in processes of its own, forked from one that has loaded it.

An interpreter's start costs most of a second.

They differ from ``python -m exporter`` in nothing but what the interpreter does before it runs the first line. A test
of that starts `sys.executable`.
"""

import asyncio
import atexit
import contextlib
import gc
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from exporter import cli
from exporter.cli.main import run_process

ROOT = Path(__file__).parent.parent.parent
# Of a message between the two: arguments and environment.
LONGEST_REQUEST = 1024 * 1024
# Variables that Python and the C library read when they start.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG")
# For a process that has an interpreter of its own, and so its own command line.
OWN_INTERPRETER = {"PYTHONUNBUFFERED": "1"}
# The variable of the environment that names a file of Python which a new process runs first.
RUN_FIRST = "HPC_EXPORTER_TESTS_RUN_FIRST"

File = int | IO[bytes]


class Fork:
    """A running command: what tests use of `asyncio.subprocess.Process`."""

    def __init__(self, report: socket.socket) -> None:
        self.pid = int(report.recv(20))
        self._report = report
        self._status: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negative number of the signal that ended it; None while it runs."""
        if self._status is None:
            try:
                self._status = int(self._report.recv(20, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return None
            self._report.close()
        return self._status

    async def wait(self) -> int:
        loop = asyncio.get_running_loop()
        while (status := self.returncode) is None:
            changed = asyncio.Event()
            # Two may wait for the same process.
            with self._report.dup() as report:
                loop.add_reader(report, changed.set)
                try:
                    await changed.wait()
                finally:
                    loop.remove_reader(report)
        return status

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = Fork | asyncio.subprocess.Process


async def start(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    stdin: IO[bytes] | None = None,
    stdout: File,
    stderr: File,
    warning: str,
) -> Process:
    """Start ``python -W warning -m exporter arguments``, with `env` beside the environment of the tests."""
    environment = {**os.environ, **env}
    with contextlib.nullcontext(stdin) if stdin else open(os.devnull, "rb") as given:  # noqa: ASYNC230, PTH123 - no disk
        if any(name.startswith(READ_AT_START) for name in env):
            command = (sys.executable, "-W", warning, "-m", "exporter", *arguments)
            return await asyncio.create_subprocess_exec(
                *command, cwd=cwd, env=environment, stdin=given, stdout=stdout, stderr=stderr
            )
        request = {"arguments": arguments, "cwd": str(cwd), "env": environment, "warning": warning}
        return server().fork(request, [descriptor(file) for file in (given, stdout, stderr)])


def descriptor(file: File) -> int:
    return file if isinstance(file, int) else file.fileno()


class Server:
    """The process that forks; it ends with the tests."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST_REQUEST)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this very module
                [sys.executable, "-W", "error", "-m", "tests.support.forks", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def fork(self, request: dict[str, Any], standard: list[int]) -> Fork:
        """Start a command with these three descriptors as its standard input, output and error."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [json.dumps(request).encode()], [*standard, theirs.fileno()])
        return Fork(ours)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


_servers: list[Server] = []


def server() -> Server:
    """Return the one of this process of tests."""
    if not _servers:
        _servers.append(Server())
    return _servers[0]


class Forker:
    """Serve: fork a process for each request and report its end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        # The number and the listener of each running process, by what becomes readable at its end.
        self._running: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> dict[str, Any] | None:
        """Return None when the tests have ended; in a new process, the request for it."""
        while True:
            for key, _ in self._selector.select():
                if key.fd in self._running:
                    self._tell_end(key.fd)
                    continue
                content, descriptors, _, _ = socket.recv_fds(self._control, LONGEST_REQUEST, 4)
                if not content:
                    return None
                if self._forked(descriptors):
                    request: dict[str, Any] = json.loads(content)
                    return request

    def _tell_end(self, pidfd: int) -> None:
        pid, listener = self._running.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        # A test that failed does not wait.
        with listener, contextlib.suppress(BrokenPipeError):
            listener.send(b"%d" % status)

    def _forked(self, descriptors: list[int]) -> bool:
        """Fork a process with these as its standard descriptors, and then where to tell its end; whether this is it."""
        *standard, last = descriptors
        listener = socket.socket(fileno=last)
        pid = os.fork()
        if pid == 0:
            for number, descriptor in enumerate(standard):
                os.dup2(descriptor, number)
            self._close(listener)
        else:
            listener.send(b"%d" % pid)
            pidfd = os.pidfd_open(pid)
            self._running[pidfd] = pid, listener
            self._selector.register(pidfd, selectors.EVENT_READ)
        for descriptor in standard:
            os.close(descriptor)
        return pid == 0

    def _close(self, listener: socket.socket) -> None:
        """Let go of all that is the server's."""
        self._selector.close()
        for pidfd, (_, other) in self._running.items():
            os.close(pidfd)
            other.close()
        listener.close()
        self._control.close()


def main() -> None:
    for module in pkgutil.iter_modules(cli.__path__):
        import_module(f"exporter.cli.{module.name}")
    # Frozen objects are not examined when a process ends, and so not copied.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = Forker(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is None:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    warnings.resetwarnings()
    warnings.simplefilter(request["warning"])
    if first := os.environ.pop(RUN_FIRST, None):
        runpy.run_path(first)
    sys.argv = ["hpc-exporter", *request["arguments"]]
    run_process()


if __name__ == "__main__":
    main()
