"""Current problems as one query: the conditions of the alerts, without their `for`."""

from functools import cache
from pathlib import Path
from typing import Final

import yaml

from exporter.metrics.family import Text
from grafana.colours import ORANGE, SKY, VERMILION
from grafana.parts import Json

ALERTS: Final = Path(__file__).parent.parent / "config" / "rules" / "alerts.yml"
RUNBOOKS: Final = "https://github.com/hpc-exporter/hpc-exporter/blob/main/docs/runbooks"

# An alert on targets counts them for each region; here they are named, unless nothing of the region works.
_EACH: Final = "max by (source, collector, target)"
_TARGETS_OF: Final = {
    "HPCDataStale": f"{_EACH} (hpc_exporter_target_stale) == 1",
    "HPCTargetFailing": f"{_EACH} (hpc_exporter_target_up) == 0 unless on (source, collector, target) hpc_exporter_target_stale == 1",
}
# Name of each alert on the board. Those that are left out do not say where users should look.
NAMES: Final = {
    "HPCRegionDown": Text("Nothing works", "完全不可用"),
    "HPCDataStale": Text("Data is missing", "数据缺失"),
    "HPCShardsIncomplete": Text("Shards are missing", "分片不完整"),
    "HPCTargetFailing": Text("Polling fails", "轮询失败"),
    "HPCTokenRefreshFailing": Text("No new token", "无法更新令牌"),
    "HPCTokenExpiring": Text("Token expires soon", "令牌即将过期"),
    "HPCApiThrottled": Text("Throttled", "请求被限流"),
    "HPCNoSchedulers": Text("No batch system", "无可用调度系统"),
    "HPCAccountBlocked": Text("Account is blocked", "账号被停用"),
    "HPCBalanceRunsOut": Text("Money runs out", "余额将用完"),
    "HPCStorageFull": Text("Storage is full", "存储将满"),
    "HPCStorageFillingUp": Text("Storage fills up", "存储即将用完"),
    "HPCQueueDisabled": Text("Queue is disabled", "队列已停用"),
    "HPCMemberAtLimit": Text("At the limit of jobs", "作业数达到上限"),
    "HPCQueueStuck": Text("Queue is stuck", "队列停滞"),
    "HPCJobWaitingTooLong": Text("Job waits too long", "作业等待过久"),
    "HPCJobsFailing": Text("Jobs fail", "作业失败"),
    "HPCOctopusBacklogGrowing": Text("Backlog grows", "积压增长"),
    "HPCUnknownStates": Text("Unknown job states", "未知作业状态"),
}
# Stands for no problem. It opens a page like each problem, that of all runbooks.
NONE: Final = "README"
SEVERITIES: Final = {
    "critical": (3, Text("critical", "严重"), VERMILION),
    "warning": (2, Text("warning", "警告"), ORANGE),
    "info": (1, Text("info", "提示"), SKY),
}
_WHERE = ("source", "hpc_cluster", "project")
_WHAT = ("group", "user", "target", "path", "queue", "queue_type", "collector")
_TARGETS: Final = ("source", "collector")
# HPCNoSchedulers has its region twice, by both names; the regions of a missing shard are unknown.
_WHERE_OF: Final = {"HPCNoSchedulers": ("hpc_cluster",), "HPCShardsIncomplete": ("job",)}


def rules() -> dict[str, Json]:
    """Return the alerting rules by name."""
    return {rule["alert"]: rule for rule in _written() if "alert" in rule}


@cache
def _written() -> list[Json]:
    groups = yaml.load(ALERTS.read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def thresholds() -> dict[str, str]:
    """Return the default thresholds of the alerts: expressions by name."""
    return {rule["record"]: rule["expr"] for rule in _written() if "record" in rule}


def expression() -> str:
    """Return a series for each problem, with the labels problem, where and what; its value is the severity.

    Never empty.
    """
    found = " or ".join(
        f"max by (problem, where, what) ({_labelled(alert, _summarised(alert, _with_defaults(rule['expr'])))}) * 0 + {SEVERITIES[rule['labels']['severity']][0]}"
        for alert, rule in rules().items()
        if alert in NAMES
    )
    return f'{found} or on () label_replace(vector(0), "problem", "{NONE}", "", "")'


def _labelled(alert: str, condition: str) -> str:
    where = _WHERE_OF.get(alert, _WHERE)
    what = ", ".join(f'"{label}"' for label in _WHAT)
    joined = f'label_join(label_join({condition}, "where", "", {_quoted(where)}), "what", " ", {what})'
    trimmed = f'label_replace({joined}, "what", "$1", "what", "\\\\s*(.*?)\\\\s*")'
    # Empty parts leave their separators behind.
    closed = f'label_replace({trimmed}, "what", "$1 $2", "what", "(\\\\S+)\\\\s+(.*)")'
    return f'label_replace({closed}, "problem", "{alert}", "", "")'


def _with_defaults(condition: str) -> str:
    """Thresholds as they are in Prometheus, or as they are written where it does not have the rules."""
    for name, default in thresholds().items():
        condition = condition.replace(f"scalar({name})", f"scalar({name} or {default})")
    return condition


def _summarised(alert: str, condition: str) -> str:
    """One line where every target of a collector has the same problem."""
    if alert == "HPCTokenExpiring":
        # One login gives the tokens of many users, which then expire together.
        many = f"(count by (source) ({condition}) > 2)"
        counted = f'label_replace(count_values by (source) ("user", {many}), "user", "× $1", "user", "(.+)")'
        return f"(({condition}) unless on (source) {many} or {counted})"
    if alert not in _TARGETS_OF:
        return f"({condition})"
    by = f"({', '.join(_TARGETS)})"
    each = f"{_TARGETS_OF[alert]} unless on (source) max by (source) (hpc_exporter_target_up) == 0"
    everyone = f"count by {by} ({each}) == count by {by} ({_EACH} (hpc_exporter_target_stale))"
    return f"({everyone} or ({each} unless on {by} ({everyone})))"


def _quoted(labels: tuple[str, ...]) -> str:
    return ", ".join(f'"{label}"' for label in labels)
