"""Specification of a simulated region: batch systems, users, and their behaviour.

Durations are in simulated seconds. Everything is frozen: change a part with `dataclasses.replace`.
"""

import math
import random
import time
from dataclasses import dataclass, field, replace

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A partition with nodes of its own. `cores`, `gpus` and `dcus` are those of one node.

    `price` is in yuan for a core and an hour, the devices beside it included. Without `groups` everyone may use it.
    """

    name: str
    nodes: int
    cores: int
    gpus: int = 0
    dcus: int = 0
    time_limit: float = DAY
    core_unit: int = 1  # cores are handed out in multiples of this, so a job can get more than it requested
    mean_time_between_failures: float = 60 * DAY  # of one node; math.inf: it never fails
    mean_repair_time: float = 2 * HOUR
    price: float = 0.1
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulerSpec:
    """A batch system. Two of them may have queues of one name. `cycle` is the pause between scheduling passes."""

    id: int
    queues: tuple[QueueSpec, ...]
    name: str = "Cluster"
    type: str = "SLURM"
    address: str = "10.0.150.45"
    port: str = "9091"
    first_job_id: int | None = None  # left out: drawn from the seed
    cycle: float = 5.0


@dataclass(frozen=True, slots=True)
class Demand:
    """The jobs that one user submits to one queue.

    `nodes` and, for each node, `cores`, `gpus` and `dcus` are the sizes met; a job draws one of each.
    Nothing is submitted while `max_pending` of the user's jobs wait, so that a clogged queue stays bounded.
    """

    queue: str
    jobs_per_hour: float
    median_runtime: float
    spread: float = 0.8  # sigma of the lognormal run time
    nodes: tuple[int, ...] = (1,)
    cores: tuple[int, ...] = (1,)
    gpus: tuple[int, ...] = (0,)
    dcus: tuple[int, ...] = (0,)
    max_pending: int = 12
    scheduler: int | None = None  # left out: the first scheduler with such a queue


@dataclass(frozen=True, slots=True)
class Habits:
    """Probabilities of the events in a job's life, from 0 to 1."""

    waits_for_another: float = 0.02  # submitted with a dependency
    submitted_held: float = 0.02
    held_while_queued: float = 0.05
    deleted_by_user: float = 0.04
    suspended: float = 0.03
    preempted: float = 0.02  # stopped and put back in the queue
    fails: float = 0.05
    underestimated: float = 0.04  # requested less time than it needs, so it times out
    requeued_after_node_failure: float = 0.5
    oddly_named: float = 0.06


@dataclass(frozen=True, slots=True)
class GroupSpec:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class UserSpec:
    """A scheduler user; `group` is empty for one without.

    An administrator's token may list the jobs of every member of the region's groups.

    At most `max_running` of the user's jobs run at a time. `machine_hours` are the core-hours that the user had at the
    start, `stored` the GB of files, of `quota` GB.
    """

    name: str
    group: str
    demands: tuple[Demand, ...] = ()
    administrator: bool = False
    max_running: int | None = None
    machine_hours: float | None = None
    quota: float = 2000.0
    stored: float = 800.0


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """A region. `title` is what the login calls it; `warm_up` is simulated before the first request is answered."""

    name: str
    cluster_id: int
    schedulers: tuple[SchedulerSpec, ...]
    groups: tuple[GroupSpec, ...]
    users: tuple[UserSpec, ...]
    title: str = ""
    habits: Habits = field(default_factory=Habits)
    ended_listed_for: float = 5 * MINUTE  # 0: an ended job is gone immediately
    truth_kept_for: float = math.inf  # after the end of a job
    warm_up: float = 6 * HOUR
    separate_ac_port: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a demand can never be met: such a job would block its queue permanently."""
        for user in self.users:
            if user.group not in {"", *(group.name for group in self.groups)}:
                raise ValueError(f"user {user.name} is in the group {user.group}, which the region does not have")
            for demand in user.demands:
                _check_fits(user.name, demand, self.queue_of(demand)[1])

    def queue_of(self, demand: Demand) -> tuple[SchedulerSpec, QueueSpec]:
        """Return the scheduler and queue that take `demand`; ValueError where there is none."""
        for scheduler in self.schedulers:
            for queue in scheduler.queues:
                if queue.name == demand.queue and demand.scheduler in (None, scheduler.id):
                    return scheduler, queue
        raise ValueError(f"no scheduler has the queue {demand.queue}")


def _check_fits(user: str, demand: Demand, queue: QueueSpec) -> None:
    cores = -(-max(demand.cores) // queue.core_unit) * queue.core_unit
    wanted = (max(demand.nodes), cores, max(demand.gpus), max(demand.dcus))
    if any(want > have for want, have in zip(wanted, (queue.nodes, queue.cores, queue.gpus, queue.dcus), strict=True)):
        raise ValueError(f"user {user} asks for more than the queue {queue.name} has: {wanted}")


# Typical names of jobs.
_PROGRAMS = ("COMSOL_GUI", "vasp_std", "lammps", "gromacs_md", "train-resnet50", "wrf.exe", "matlab_batch", "bash")

# Each needs escaping in a log line, a label value, a URL, a table or a format string.
ODD_NAMES = (
    'run "final" v2',
    "C:\\jobs\\new",
    "two\nlines",
    "back\\nslash-n",
    "100%s done %d",
    "../../etc/passwd",
    "a/b/c",
    "分子动力学_第3轮",
    "🚀 train 🧪",
    "{job='x'}",
    "tab\there",
    "<b>bold</b>",
    "it's; rm -rf",
    "",
    "x" * 300,
)


def job_name(rng: random.Random, submitted: float, oddly_named: float) -> str:
    """Return a name; `oddly_named` is the share of hostile ones, `submitted` the Unix time that plain ones carry."""
    if rng.random() < oddly_named:
        return rng.choice(ODD_NAMES)
    return f"{rng.choice(_PROGRAMS)}_{time.strftime('%m%d_%H%M%S', time.gmtime(submitted))}"


# Two groups whose ids differ only beyond the 53 bits of a float: a client that lets them become one mixes them up.
CHEMISTRY = GroupSpec(533686286955839488, "chemistry")
PHYSICS = GroupSpec(533686286955839489, "physics")

# Name, title and clusterId of the regions that exist by default.
_PLACES = (
    ("kunshan", "华东一区【昆山】", 11112),
    ("xian", "西北一区【西安】", 11136),
    ("harbin", "东北一区【哈尔滨】", 11225),
    ("wuzhen", "华东三区【乌镇】", 11250),
    ("shenzhen", "华南一区【深圳】", 11276),
    ("zhengzhou", "核心节点【郑州】", 11292),
)


def default_region(index: int = 0) -> RegionSpec:
    """Return a lively region: `normal` is clogged, `gpu` is half idle, `debug` turns over fast, `dcu` is busy."""
    name, title, cluster_id = _PLACES[index % len(_PLACES)]
    again = index // len(_PLACES)
    return RegionSpec(
        name=f"{name}-{again + 1}" if again else name,
        title=title,
        cluster_id=cluster_id + 1000 * again,
        schedulers=(SchedulerSpec(id=1638523853 + index, queues=_QUEUES),),
        groups=(CHEMISTRY, PHYSICS),
        users=_USERS,
    )


def default_regions(count: int = 1, *, truth_kept_for: float = math.inf) -> tuple[RegionSpec, ...]:
    return tuple(replace(default_region(index), truth_kept_for=truth_kept_for) for index in range(count))


_QUEUES = (
    QueueSpec("debug", nodes=4, cores=32, time_limit=30 * MINUTE, core_unit=2, price=0.05),
    QueueSpec("normal", nodes=16, cores=64, time_limit=12 * HOUR, core_unit=2),
    QueueSpec("gpu", nodes=8, cores=32, gpus=4, time_limit=DAY, price=0.6),
    QueueSpec("dcu", nodes=8, cores=32, dcus=4, time_limit=DAY, mean_time_between_failures=4 * DAY, price=0.3),
)


def _debug(rate: float) -> Demand:
    return Demand("debug", rate, 6 * MINUTE, cores=(1, 2, 4, 16), nodes=(1, 1, 1, 2), max_pending=5)


def _normal(rate: float) -> Demand:
    return Demand("normal", rate, 50 * MINUTE, nodes=(1, 1, 2, 4), cores=(16, 32, 64, 64))


def _gpu(rate: float) -> Demand:
    return Demand("gpu", rate, 90 * MINUTE, cores=(4, 8), gpus=(1, 1, 2, 4), max_pending=6)


def _dcu(rate: float) -> Demand:
    return Demand("dcu", rate, 2 * HOUR, nodes=(1, 1, 2), cores=(8, 16), dcus=(2, 4))


_USERS = (
    UserSpec("test", "chemistry", (_debug(6), _normal(3)), administrator=True),
    UserSpec("alice", "chemistry", (_debug(4), _normal(8)), quota=4000.0, stored=3500.0),
    UserSpec("王伟", "chemistry", (_normal(4), _gpu(2))),
    UserSpec("bob", "physics", (_normal(6), _debug(5))),
    UserSpec("carol", "physics", (_gpu(2),), max_running=12),
    UserSpec("zhang-san", "physics", (_dcu(5), _debug(1)), machine_hours=50_000.0),
    # A researcher whose account administers nothing and is in no group.
    UserSpec("erin", "", (_debug(2), _gpu(1))),
)
