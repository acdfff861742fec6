"""``python -m tools.slurm [--suite sid]``: a real Slurm on this machine, for tests. Linux only, as root.

slurmctld, two virtual nodes of 64 cores and 4 GPUs, and slurmrestd. Debian's own Slurm, on a unix socket without tokens,
or with ``--suite`` that of another suite of Debian, in a chroot that is built once (a minute, 600 MB, with debootstrap),
on TCP with tokens (JWT) and with Slurm's own metrics. Prints one line of JSON when all is up, and takes all down at
SIGTERM and SIGINT.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("slurmctld", "slurmd", "slurmrestd", "munged", "sbatch")
PACKAGES: Final = ("slurmctld", "slurmd", "slurm-client", "munge", "slurmrestd")
DEADLINE: Final = 120.0
# Where jobs get a limit of memory. Slurm cannot tell without that a job ran out of it: with OverMemoryKill it just failed.
MEMORY: Final = Path("/sys/fs/cgroup/memory")

# Nothing of the cluster needs the network, and a job starts as soon as there is room.
CONF: Final = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=1
SlurmdParameters=config_overrides
MailProg=/bin/true
ReturnToService=2
MpiDefault=none
GresTypes=gpu,dcu
KillWait=2
MinJobAge=300
{more}
NodeName={first} NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} {node}
NodeName={second} NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} {node}
PartitionName=batch Nodes={first},{second} Default=YES MaxTime=INFINITE State=UP
PartitionName=debug Nodes={first} MaxTime=10 State=UP
"""
NODE: Final = "CPUs=64 CoresPerSocket=32 Sockets=2 RealMemory=512000 Gres=gpu:h100:4,dcu:2"
OLD: Final = "CredType=cred/munge\nSwitchType=switch/none"
NEW: Final = """CredType=auth/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
MetricsType=metrics/openmetrics"""


class SlurmError(Exception):
    """Slurm cannot be started; the text says why."""


@dataclass(frozen=True)
class Facts:
    """A running Slurm: `prefix` stands before each of its commands, `metrics` is the address of its own, if any.

    With `limits_memory` a job that uses more than it requested is ended as OUT_OF_MEMORY.
    """

    prefix: tuple[str, ...]
    url: str
    token: str
    metrics: str
    folder: str
    nodes: tuple[str, ...]
    limits_memory: bool


def missing_program() -> str | None:
    """Return a program of Debian's Slurm that is not installed, None if all are."""
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return next((name for name in PROGRAMS if shutil.which(name, path=places) is None), None)


class Slurm:
    """The daemons of one cluster in a folder. `root` is "/", or that of a chroot."""

    def __init__(self, outside: Path, root: Path) -> None:
        self._outside = outside
        self._folder = Path("/", outside.relative_to(root))
        self._inside = [] if root == Path("/") else ["chroot", str(root)]
        self._ports = {name: free_port() for name in ("controller", "rest", "n1", "n2")}
        # Names of its own, for memory is limited by nodes' names, and other clusters may run on this machine.
        self.nodes = tuple(f"p{self._ports['controller']}n{number}" for number in (1, 2))
        self._limits_memory = can_limit_memory()
        self._rest: subprocess.Popen[bytes] | None = None
        self._users = {name: self._id(name) for name in ("munge", "nobody")}

    @property
    def prefix(self) -> tuple[str, ...]:
        sbin = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return (*self._inside, "env", f"PATH={sbin}", f"SLURM_CONF={self._folder}/slurm.conf")

    def run(self, *command: str) -> str:
        """Run a command of Slurm and return what it prints. Raises SlurmError."""
        done = subprocess.run([*self.prefix, *command], capture_output=True, text=True, timeout=DEADLINE, check=False)  # noqa: S603
        if done.returncode != 0:
            raise SlurmError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-400:]}")
        return done.stdout

    def start(self) -> Facts:
        """Start all daemons and wait until they work. Raises SlurmError."""
        self._write_files()
        munge = ("munged", f"--key-file={self._folder}/munge.key", f"--socket={self._folder}/munge/socket")
        files = (f"--pid-file={self._folder}/munge/munged.pid", f"--log-file={self._folder}/munge/log")
        self.run(*self.as_user("munge"), *munge, *files, f"--seed-file={self._folder}/munge/seed", "--force")
        self.start_controller()
        for node in self.nodes:
            self.run("slurmd", "-f", f"{self._folder}/slurm.conf", "-N", node)
        url = self._start_rest()
        wait_for("the nodes", lambda: set(self.run("sinfo", "-h", "-o", "%T").split()) == {"idle"})
        wait_for("slurmrestd", self._rest_listens)
        token = self.run("scontrol", "token", "lifespan=86400").strip().partition("=")[2] if self._inside else ""
        metrics = f"http://127.0.0.1:{self._ports['controller']}/metrics" if self._inside else ""
        return Facts(self.prefix, url, token, metrics, str(self._outside), self.nodes, self._limits_memory)

    def start_controller(self) -> None:
        """Start slurmctld; jobs that it knew before go on."""
        self.run("slurmctld", "-f", f"{self._folder}/slurm.conf", "-i")

    def stop(self) -> None:
        """Cancel all jobs and end all daemons."""
        if (self._outside / "slurmctld.pid").exists():
            with suppress(SlurmError, subprocess.TimeoutExpired):
                for user in ("root", "nobody"):
                    self.run("scancel", f"--user={user}")
                wait_for("the end of jobs", lambda: not self.run("squeue", "-h", "-t", "R,CG"), seconds=20.0)
        if self._rest is not None:
            self._rest.terminate()
            self._rest.wait()
        for name in (*(f"slurmd-{node}" for node in self.nodes), "slurmctld", "munge/munged"):
            end(self._outside / f"{name}.pid")
        for node in self.nodes:
            remove_cgroup(MEMORY / f"slurm_{node}")

    def stop_controller(self) -> None:
        """End slurmctld as a restart does."""
        end(self._outside / "slurmctld.pid")

    def _id(self, user: str) -> str:
        found = subprocess.run([*self._inside, "id", "-u", user], capture_output=True, text=True, check=False)  # noqa: S603
        if found.returncode != 0:
            raise SlurmError(f"there is no user {user}: is munge installed?")
        return found.stdout.strip()

    def as_user(self, user: str) -> tuple[str, ...]:
        """Return the prefix of a command that runs as a `user` other than root."""
        # slurmrestd does not run with root's group either.
        return ("setpriv", f"--reuid={self._users[user]}", "--regid=65534", "--clear-groups")

    def _write_files(self) -> None:
        outside, munge = self._outside, int(self._users["munge"])
        self._outside.chmod(0o755)
        for name in ("munge", "state", "rest", *(f"spool-{node}" for node in self.nodes)):
            (outside / name).mkdir()
        os.chown(outside / "munge", munge, -1)
        os.chown(outside / "rest", int(self._users["nobody"]), -1)
        for name, size, owner in (("munge.key", 1024, munge), ("jwt.key", 32, 0)):
            (outside / name).write_bytes(os.urandom(size))
            os.chown(outside / name, owner, -1)
            (outside / name).chmod(0o400)
        for device in (*(f"gpu{i}" for i in range(4)), "dcu0", "dcu1"):
            os.mknod(outside / device, 0o20666, os.makedev(1, 3))
        first, second = self.nodes
        values = {"folder": self._folder, "host": host_name(), "first": first, "second": second, **self._ports}
        more = f"{NEW if self._inside else OLD}\nTaskPlugin=task/{'cgroup' if self._limits_memory else 'none'}"
        devices = "NodeName={first},{second} Name={name} {type}File={folder}/{name}[0-{last}]\n"
        files = {
            "slurm.conf": CONF.format(more=more.format(**values), node=NODE, **values),
            "gres.conf": devices.format(name="gpu", type="Type=h100 ", last=3, **values)
            + devices.format(name="dcu", type="", last=1, **values),
            "cgroup.conf": self._cgroup_conf(),
        }
        for name, content in files.items():
            (outside / name).write_text(content, encoding="ascii")

    def _cgroup_conf(self) -> str:
        if self._inside and not self._limits_memory:
            return "CgroupPlugin=disabled\n"
        constraints = "ConstrainRAMSpace=yes\nConstrainSwapSpace=yes\n" if self._limits_memory else ""
        return "CgroupPlugin=cgroup/v1\n" + constraints + ("" if self._inside else "CgroupAutomount=no\n")

    def _start_rest(self) -> str:
        """Start slurmrestd, which does not run as root, and return its address."""
        # Of Debian's, which cannot list single tasks otherwise, no list of an array's waiting tasks is cut off.
        if self._inside:
            address = f"127.0.0.1:{self._ports['rest']}"
            command: tuple[str, ...] = ("env", "SLURM_JWT=daemon", "slurmrestd", "-a", "rest_auth/jwt", address)
        else:
            address = f"unix:{self._folder}/rest/socket"
            rest = ("slurmrestd", "-a", "rest_auth/local", "-s", "openapi/v0.0.38")
            command = ("env", "SLURM_BITSTR_LEN=0", *rest, address)
        log = (self._outside / "slurmrestd.log").open("wb")
        with log:
            everything = [*self.prefix, *self.as_user("nobody"), *command]
            self._rest = subprocess.Popen(everything, stdout=log, stderr=log)  # noqa: S603 - ours
        return f"http://{address}" if self._inside else address

    def _rest_listens(self) -> bool:
        if self._rest is None or self._rest.poll() is not None:
            log = (self._outside / "slurmrestd.log").read_text(encoding="utf-8", errors="replace")
            raise SlurmError(f"slurmrestd ended: {log.strip()[-400:]}")
        if not self._inside:
            return (self._outside / "rest/socket").exists()
        return listens(self._ports["rest"])


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def host_name() -> str:
    return os.uname().nodename.split(".")[0]


def can_limit_memory() -> bool:
    """Whether the kernel's groups of processes (cgroup v1) can limit memory here: not in most containers."""
    try:
        tried = Path(tempfile.mkdtemp(dir=MEMORY))
    except OSError:
        return False
    tried.rmdir()
    return True


def remove_cgroup(folder: Path) -> None:
    """Remove what daemons that have ended left of a group of processes."""
    with suppress(OSError):
        for within in sorted(folder.rglob("*/"), reverse=True):
            within.rmdir()
        folder.rmdir()


def wait_for(subject: str, done: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Wait until something is `done`. Raises SlurmError."""
    end_at = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end_at:
            raise SlurmError(f"{subject} did not come within {seconds:g} s")
        time.sleep(0.1)


def end(pid_file: Path) -> None:
    """End the process that wrote the file, and wait for that."""
    with suppress(OSError, ValueError):
        pid = int(pid_file.read_text(encoding="ascii"))
        os.kill(pid, signal.SIGTERM)
        wait_for("the end of a daemon", lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Whether a process goes on. One that has ended may wait for the process that inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def made_chroot(suite: str) -> Path:
    """Return the chroot of a suite of Debian with Slurm in it, built unless it is there. Raises SlurmError."""
    root = Path(f"/var/tmp/slurm-{suite}")  # noqa: S108 - kept from one run to the next
    if not (root / "ready").exists():
        # A run that was killed leaves its mounts behind.
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            if (target := line.split()[1]).startswith(f"{root}/"):
                subprocess.run(["umount", "--lazy", target], check=True)  # noqa: S603, S607
        shutil.rmtree(root, ignore_errors=True)
        packages = " ".join((*PACKAGES, "slurm-wlm-jwt-plugin", "procps"))
        install = f"apt-get update -q && apt-get install -q -y --no-install-recommends {packages}"
        steps: tuple[Sequence[str], ...] = (
            ("debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root)),
            # Debian's way to keep daemons from being started, and a mirror may be some weeks old.
            ("sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' >{root}/usr/sbin/policy-rc.d"),
            ("chmod", "+x", f"{root}/usr/sbin/policy-rc.d"),
            ("sh", "-c", f"echo 'Acquire::Check-Valid-Until \"false\";' >{root}/etc/apt/apt.conf.d/99mirror"),
            ("chroot", str(root), "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", install),
            ("touch", f"{root}/ready"),
        )
        for step in steps:
            try:
                subprocess.run(step, check=True, capture_output=True, text=True)  # noqa: S603
            except FileNotFoundError:
                raise SlurmError(f"{step[0]} is missing: apt-get install {step[0]}") from None
            except subprocess.CalledProcessError as error:
                raise SlurmError(f"{step[0]}: {error.stderr.strip()[-400:]}") from None
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {host_name()}\n", encoding="ascii")
    return root


@contextmanager
def mounted(root: Path) -> Iterator[None]:
    """Mount what daemons need in a chroot; nothing that deleting the chroot by hand would delete from this machine."""
    kinds: dict[str, Sequence[str]] = {"proc": ("-t", "proc", "proc")}
    if can_limit_memory():
        kinds[str(MEMORY.relative_to("/"))] = ("--bind", str(MEMORY))
    table, ours = Path("/proc/mounts").read_text(encoding="utf-8"), []
    try:
        for name, how in kinds.items():
            if root != Path("/") and f" {root / name} " not in table:
                (root / name).mkdir(parents=True, exist_ok=True)
                subprocess.run(["mount", *how, str(root / name)], check=True)  # noqa: S603, S607
                ours.append(str(root / name))
        yield
    finally:
        for target in reversed(ours):
            subprocess.run(["umount", "--lazy", target], check=False)  # noqa: S603, S607


@contextmanager
def running_slurm(suite: str = "") -> Iterator[tuple[Slurm, Facts]]:
    """Run a Slurm: this machine's, or that of a `suite` of Debian. Raises SlurmError."""
    if os.geteuid() != 0:
        raise SlurmError("only root can start it")
    if not suite and (name := missing_program()):
        raise SlurmError(f"{name} is missing: apt-get install {' '.join(PACKAGES)}")
    root = made_chroot(suite) if suite else Path("/")
    with mounted(root), tempfile.TemporaryDirectory(prefix="slurm-", dir=root / "tmp") as folder:
        slurm = Slurm(Path(folder), root)
        try:
            yield slurm, slurm.start()
        finally:
            slurm.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--suite", default="", help="run the Slurm of this suite of Debian, in a chroot")
    suite = parser.parse_args().suite
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with running_slurm(suite) as (_, facts):
            print(json.dumps(asdict(facts)), flush=True)
            signal.pause()
    except SlurmError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
