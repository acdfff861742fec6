"""What is wrong right now, as one query: the conditions of the alerts, without their patience."""

from pathlib import Path
from typing import Final

import yaml

from grafana.parts import ORANGE, SKY, VERMILION, Json, Text

ALERTS: Final = Path(__file__).parent.parent / "config" / "rules" / "alerts.yml"
RUNBOOKS: Final = "https://github.com/hpc-exporter/hpc-exporter/blob/main/docs/runbooks"

# What each alert is called here. Those that are left out do not say where users should look.
NAMES: Final = {
    "DataStale": Text("Data is missing", "数据缺失"),
    "ShardsIncomplete": Text("Shards are missing", "分片不完整"),
    "TargetFailing": Text("Polls fail", "轮询失败"),
    "TokenRefreshFailing": Text("No new token", "无法更新令牌"),
    "TokenExpiring": Text("Token near its end", "令牌即将到期"),
    "ApiThrottled": Text("Asked too often", "请求被限流"),
    "NoSchedulers": Text("No batch system", "无可用调度系统"),
    "QueueStuck": Text("Queue is stuck", "队列停滞"),
    "JobWaitingTooLong": Text("Job waits too long", "作业等待过久"),
    "JobsFailing": Text("Jobs end badly", "作业异常结束"),
    "OctopusBacklogGrowing": Text("Backlog grows", "积压增长"),
    "UnknownStates": Text("Unknown job states", "未知作业状态"),
}
SEVERITIES: Final = {
    "critical": (3, Text("critical", "严重"), VERMILION),
    "warning": (2, Text("warning", "警告"), ORANGE),
    "info": (1, Text("info", "提示"), SKY),
}
_WHERE, _WHAT = ("source", "hpc_cluster", "project"), ("group", "user", "target", "queue", "queue_type", "endpoint")
_TARGETS: Final = ("source", "endpoint")
# NoSchedulers has its region twice, by both names; which regions a missing shard is about nobody knows.
_WHERE_OF: Final = {"NoSchedulers": ("hpc_cluster",), "ShardsIncomplete": ("job",)}


def rules() -> dict[str, Json]:
    """The alerting rules by name."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def expression() -> str:
    """A series for each problem, with the labels problem, where and what; its value is the severity. Never empty."""
    found = " or ".join(
        f"max by (problem, where, what) ({_labelled(alert, _summarised(alert, rule['expr']))}) * 0 + {SEVERITIES[rule['labels']['severity']][0]}"
        for alert, rule in rules().items()
        if alert in NAMES
    )
    return f'{found} or on () label_replace(vector(0), "problem", "none", "", "")'


def _labelled(alert: str, condition: str) -> str:
    where = _WHERE_OF.get(alert, _WHERE)
    what = ", ".join(f'"{label}"' for label in _WHAT)
    joined = f'label_join(label_join({condition}, "where", "", {_quoted(where)}), "what", " ", {what})'
    trimmed = f'label_replace({joined}, "what", "$1", "what", "\\\\s*(.*?)\\\\s*")'
    # What is empty leaves its separators behind.
    closed = f'label_replace({trimmed}, "what", "$1 $2", "what", "(\\\\S+)\\\\s+(.*)")'
    return f'label_replace({closed}, "problem", "{alert}", "", "")'


def _summarised(alert: str, condition: str) -> str:
    """Where every target of an endpoint has the same trouble, one line says so; and stale ones fail of course."""
    if alert == "TargetFailing":
        condition = f"{condition} unless on (source, endpoint, target) hpc_exporter_target_stale == 1"
    if alert in ("DataStale", "TargetFailing"):
        by = f"by ({', '.join(_TARGETS)})"
        everyone = f"count {by} ({condition}) == count {by} (hpc_exporter_target_stale)"
        return f"({everyone} or ({condition} unless on ({', '.join(_TARGETS)}) ({everyone})))"
    return f"({condition})"


def _quoted(labels: tuple[str, ...]) -> str:
    return ", ".join(f'"{label}"' for label in labels)
