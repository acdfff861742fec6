"""What a simulated Octopus project is made of."""

from dataclasses import dataclass, field, replace

from exporter.simulator.spec import (
    DAY,
    HOUR,
    MINUTE,
    Demand,
    GroupSpec,
    Habits,
    QueueSpec,
    RegionSpec,
    SchedulerSpec,
    UserSpec,
)


@dataclass(frozen=True, slots=True)
class DataQueueSpec:
    """A queue of data jobs: those that wait in the batch system's queue `fed_by`; "" for a cluster that has no name."""

    queue_type: str
    fed_by: str
    cluster_type: str = ""
    cluster_id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.queue_type, self.cluster_type, self.cluster_id


@dataclass(frozen=True, slots=True)
class ProjectSpec:
    """A project. `batch` is what fills its queues; `region` is what its users' tokens are scoped to.

    `max_limit` is the largest page that it serves; the login is of a service that does not exist.
    """

    name: str
    project_id: str
    batch: RegionSpec
    queues: tuple[DataQueueSpec, ...]
    region: str = "cn-north-11"
    domain: str = "simulated-company"
    user: str = "exporter"
    password: str = "simulator-password"  # noqa: S105 - see above
    max_limit: int = 200
    default_limit: int = 10
    other_regions: tuple[str, ...] = field(default=("cn-east-3",))


def default_project(index: int = 0) -> ProjectSpec:
    """A busy project: the queue of the processors takes several pages, the internal one comes and goes."""
    name = "driving" if index == 0 else f"driving-{index + 1}"
    processor = QueueSpec("processor", nodes=10, cores=32, time_limit=12 * HOUR)
    internal = QueueSpec("internal", nodes=3, cores=16, time_limit=4 * HOUR)
    scheduler = SchedulerSpec(id=1700000001 + index, queues=(processor, internal), name="DataCluster", first_job_id=1)
    teams = tuple(
        UserSpec(
            team,
            "data",
            (
                Demand("processor", 60, 20 * MINUTE, cores=(2, 4, 8, 8), max_pending=110),
                Demand("internal", 40, 6 * MINUTE, cores=(1, 2, 4), max_pending=40),
            ),
        )
        for team in ("mining", "labelling", "replay")
    )
    return ProjectSpec(
        name=name,
        project_id=f"{index:02x}7679f0aa05c0f0ad2f5e902b",
        batch=RegionSpec(
            name=name,
            cluster_id=90_000 + index,
            schedulers=(scheduler,),
            groups=(GroupSpec(1, "data"),),
            users=teams,
            habits=Habits(oddly_named=0.0),
        ),
        queues=(
            DataQueueSpec("PROCESSOR", "processor", "MODELARTS", "pool-1"),
            DataQueueSpec("INTERNAL", "internal"),
        ),
    )


def default_projects(count: int = 1, *, truth_kept_for: float = DAY) -> tuple[ProjectSpec, ...]:
    projects = (default_project(index) for index in range(count))
    return tuple(replace(each, batch=replace(each.batch, truth_kept_for=truth_kept_for)) for each in projects)
