"""Sockets from systemd and notifications to it, over real sockets."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from exporter.systemd import Manager, NoSocketsError, passed_sockets

# A process that is started with sockets and prints their ports.
CHILD = """
import os
os.environ["LISTEN_PID"] = str(os.getpid())
from exporter.systemd import passed_sockets
passed = passed_sockets()
print(*[s.getsockname()[1] for s in passed], os.get_inheritable(3), "LISTEN_FDS" in os.environ)
"""


class Listening:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(50)
        self.address = address

    def receive(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@hpc-exporter-test-{os.getpid()}-{id(request)}"
    with closing(Listening(address)) as listening:
        yield listening


def test_the_sockets_that_were_passed_are_listened_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        wanted = [str(listener.getsockname()[1]) for listener in (first, second)]
        program = (
            f"import os; os.dup2({first.fileno()}, 103); os.dup2({second.fileno()}, 104); "
            f"os.dup2(103, 3); os.dup2(104, 4)\n{CHILD}"
        )
        found = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", program],
            env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"},
            pass_fds=(first.fileno(), second.fileno()),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.split()
    assert found == [*wanted, "False", "False"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
    ],
)
def test_sockets_that_are_not_there_or_for_another_process(environ: dict[str, str]) -> None:
    with pytest.raises(NoSocketsError, match="systemd passed no socket"):
        passed_sockets(environ)
    assert environ == {}


def test_notifications(listening: Listening) -> None:
    manager = Manager({"NOTIFY_SOCKET": listening.address})
    manager.ready()
    assert listening.receive() == "READY=1"
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with suppress(ZeroDivisionError), manager.reloading():
        raise ZeroDivisionError
    first, moment = listening.receive().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    # Also after a failed reload, the exporter serves.
    assert listening.receive() == "READY=1"
    manager.stopping()
    assert listening.receive() == "STOPPING=1"


async def test_keep_alive_messages_come_twice_per_timeout(listening: Listening) -> None:
    manager = Manager({"NOTIFY_SOCKET": listening.address, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": str(os.getpid())})
    assert manager.watchdog_interval == 0.1
    task = asyncio.create_task(manager.keep_alive())
    for _ in range(2):
        assert await asyncio.to_thread(listening.receive) == "WATCHDOG=1"
    task.cancel()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
    ],
)
async def test_no_keep_alive_messages_without_a_watchdog(environ: dict[str, str]) -> None:
    async with asyncio.timeout(100):
        await Manager(environ).keep_alive()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"NOTIFY_SOCKET": "@nobody-listens"}])
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    manager = Manager(environ)
    manager.ready()
    with manager.reloading():
        pass
    manager.stopping()
    assert environ == {}


def test_a_manager_that_does_not_read_does_not_block(listening: Listening) -> None:
    manager = Manager({"NOTIFY_SOCKET": listening.address})
    started = time.monotonic()
    for _ in range(2000):
        manager.ready()
    assert time.monotonic() - started < 50
