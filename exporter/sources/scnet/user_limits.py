"""Limits of each user, and the machine time that is left. Source: the page 查询用户限额 (userlimit).

The page of machine time (walltime) is left out: clients disagree about its unit.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from exporter.metrics.family import Sample, Text, gauge
from exporter.sources.collector import Rows, Subject, collector
from exporter.sources.scnet.owner import OfUser
from exporter.sources.scnet.subjects import USER
from exporter.sources.values import Amount, not_negative

LIMIT: Final = gauge(
    "hpc_user_limit",
    ("hpc_cluster", "user", "resource"),
    "Limits of a user at any one time: cpus, gpus, dcus, nodes, running_jobs, and submitted_jobs (running and waiting). With the "
    "prefix account_: of all users of their account together. Absent without a limit, where schedulers of the region differ, and "
    "while there is no recent data.",
    zh="用户的并发上限：cpus、gpus、dcus、nodes、running_jobs（运行中的作业），以及 submitted_jobs（含等待中的作业）。"
    "资源名以 account_ 开头的为其账户下全部用户合计。",
    absent=Text("", "没有限制、区域的几个调度系统不一致，或没有近期数据。"),
)
REMAINING: Final = gauge(
    "hpc_user_walltime_remaining_seconds",
    ("hpc_cluster", "user"),
    "Remaining machine time of the user, in seconds. Absent without a limit, and while there is no recent data.",
    zh="用户剩余的机时（秒）。",
    absent=Text("", "没有限制，或没有近期数据。"),
)


class Row(msgspec.Struct, rename="camel"):
    """Numbers or text; -1 is no limit."""

    user_max_cpu: Amount | None = None
    user_max_gpu: Amount | None = None
    user_max_dcu: Amount | None = None
    user_max_node: Amount | None = None
    user_max_run_job: Amount | None = None
    user_max_submit_job: Amount | None = None
    account_max_cpu: Amount | None = None
    account_max_gpu: Amount | None = None
    account_max_dcu: Amount | None = None
    account_max_node: Amount | None = None
    account_max_run_job: Amount | None = None
    account_max_submit_job: Amount | None = None
    max_wall_time: Amount | None = None


RESOURCES: Final = {
    "cpu": "cpus",
    "gpu": "gpus",
    "dcu": "dcus",
    "node": "nodes",
    "run_job": "running_jobs",
    "submit_job": "submitted_jobs",
}


@collector(
    "user_limits",
    path="/hpc/openapi/v2/userquotas/userlimit?strJobManagerID={scheduler_id}",
    per=USER,
    title=Text("limits", "限额"),
    gives=Text("limits of users, and machine time left", "用户的限额和剩余机时"),
    families=(LIMIT, REMAINING),
    polling=OfUser,
)
def user_limits(user: Subject, rows: Rows[Row]) -> Iterator[Sample]:
    for row in rows:
        for field, resource in RESOURCES.items():
            yield LIMIT(user.source, user.user, resource, value=not_negative(getattr(row, f"user_max_{field}")))
            limit = not_negative(getattr(row, f"account_max_{field}"))
            yield LIMIT(user.source, user.user, f"account_{resource}", value=limit)
        yield REMAINING(user.source, user.user, value=not_negative(row.max_wall_time))
