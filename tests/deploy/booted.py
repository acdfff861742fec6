"""A real systemd as the first process of its own world, where root may make one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.deploy import units
from tests.e2e.process import eventually
from tests.e2e.real import real_part

ROOT: Final = Path(__file__).parents[2]
BOOT: Final = Path(__file__).parent / "boot.sh"
# Of its own are mounts, processes, messages, names and control groups; it shares the network with the tests.
NAMESPACES: Final = ("-m", "-p", "-i", "-u", "-C")
LOG: Final = "/var/log/hpc-exporter.log"
# The output that explains why a service does not work.
EXPLANATIONS: Final = (("systemctl", "status", "--no-pager", "hpc-exporter*"), ("cat", LOG))
# The interpreter and the packages of the tests, where a service without access to homes can read them.
PROGRAM: Final = f"""#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/source:/opt/site PYTHONDONTWRITEBYTECODE=1
exec /opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor} -m exporter "$@"
"""
# There is no journal, and nothing that a whole system would start first.
DROP_IN: Final = f"[Unit]\nDefaultDependencies=no\n[Service]\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"


class System:
    """A running service manager; `start` is its first process, seen from outside."""

    def __init__(self, start: int) -> None:
        self._enter = [real_part("nsenter", "util-linux"), f"--target={start}", *NAMESPACES, "-r"]

    async def run(self, *command: str) -> tuple[int, str]:
        """Run a command in there: its exit status and what it says."""
        process = await asyncio.create_subprocess_exec(
            *self._enter,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(100):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def answers(self) -> bool:
        """Whether it takes orders."""
        return (await self.run("systemctl", "is-active", "under-test.target"))[0] == 0

    async def good(self, *command: str) -> str:
        """Run a command that has to work; what it says."""
        status, output = await self.run(*command)
        assert status == 0, "\n".join([f"{command}: {output}", *[(await self.run(*more))[1] for more in EXPLANATIONS]])
        return output.strip()


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def installation(files: Path, configuration: str, credentials: dict[str, str], defaults: str) -> None:
    """Install the files that the README says to."""
    write(files / units.INSTALLED[1:], PROGRAM, 0o755)
    write(files / units.CONFIGURATION[1:], configuration)
    write(files / "etc/default/hpc-exporter", defaults)
    for name, text in credentials.items():
        write(files / "etc/hpc-exporter/credentials" / name, text, 0o600)
    (files / "etc/hpc-exporter/credentials").chmod(0o700)
    system = files / "run/systemd/system"
    write(system / "under-test.target", "[Unit]\nDefaultDependencies=no\n")
    (system / "network-online.target").symlink_to("/dev/null")
    for unit in (units.SERVICE, units.SHARD, units.SOCKET):
        write(system / unit.name, unit.read_text(encoding="utf-8"))
    for unit in (units.SERVICE, units.SHARD):
        write(system / f"{unit.name}.d/test.conf", DROP_IN)
    write(system / f"{units.SOCKET.name}.d/test.conf", "[Unit]\nDefaultDependencies=no\n")


def control_group() -> Path | None:
    """Return a new control group of version 2; None where there is none to be had."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for _, folder, kind, *_ in mounts:
        if kind == "cgroup2" and os.access(folder, os.W_OK):
            group = Path(folder) / f"hpc-exporter-test-{os.getpid()}"
            try:
                group.mkdir(exist_ok=True)
            except OSError:
                return None
            return group
    return None


def first_process(parent: int) -> int | None:
    """Return the one child of a process, once it has become systemd."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
        if children and Path(f"/proc/{children[0]}/comm").read_text(encoding="utf-8") == "systemd\n":
            return int(children[0])
    except OSError:
        pass
    return None


def removed(group: Path) -> bool:
    """Remove a control group, unless its processes have not ended yet."""
    try:
        for inner in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            inner.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True


async def within(seconds: float, look: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    try:
        async with asyncio.timeout(seconds):
            while not look():  # noqa: ASYNC110 - the kernel sets no event of ours
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


@asynccontextmanager
async def booted(folder: Path) -> AsyncIterator[System]:
    """Boot `folder`/files laid over this system; skips where namespaces of one's own are not to be had."""
    real_part("systemctl", "systemd")
    group = control_group() if os.geteuid() == 0 else None
    if group is None:
        pytest.skip("needs root, and a control group of its own")
    for name in ("changes", "root"):
        (folder / name).mkdir()
    # An environment may borrow its packages from another.
    packages = Path(aiohttp.__file__).parents[1]
    inside = [sys.base_prefix, str(packages), str(ROOT)]
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec setpriv --pdeathsig KILL "$@"', str(group)),
        # Should the tests be killed, nothing of it is left.
        *("unshare", "--kill-child", *NAMESPACES, "--fork", "sh", str(BOOT), str(folder), *inside),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    start = None
    try:
        await within(5, lambda: process.returncode is not None or first_process(process.pid) is not None)
        start = first_process(process.pid)
        if start is None:
            pytest.skip("a service manager cannot be started in namespaces here")
        system = System(start)
        await eventually(system.answers, "the service manager answers")
        yield system
    finally:
        # Everything in there ends with its first process.
        with suppress(ProcessLookupError):
            os.kill(start or process.pid, signal.SIGKILL)
        await process.communicate()
        await within(5, lambda: removed(group))
