"""Waiting.

Waits of jobs, their trend, and the share that could be measured.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from exporter.metrics.family import Text
from grafana.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, WAITING, YELLOW
from grafana.parts import (
    JOBS,
    NONE_WAITS,
    Dashboard,
    Panel,
    Query,
    Row,
    bars,
    coloured,
    lines,
    named,
    number,
    override,
    p90_and_p50,
    quantile,
    ranking,
)
from grafana.variables import GROUP, IN_GROUP, REGION

WAIT, RUN = "hpc_job_observed_wait_seconds", "hpc_job_observed_run_seconds"
OBSERVED, CENSORED = "hpc_job_observations_total", "hpc_job_observations_censored_total"
WAITS = f"{WAIT}_bucket{{{IN_GROUP}}}"
# Bounds of queues have no group: they are of all of its jobs.
IN_BOUNDS = 'hpc_cluster=~"$region", group=~"$group|"'
NONE = Text("none seen", "未见启动")

# Lengths: from, to (bounds of the histogram's buckets), name, colour from cold to hot.
Class: TypeAlias = tuple[str, str, Text, str]
CLASSES = (
    ("", "300.0", Text("up to 5 min", "5 分钟内"), BLUE),
    ("300.0", "1800.0", Text("5 to 30 min", "5–30 分钟"), SKY),
    ("1800.0", "7200.0", Text("30 min to 2 h", "30 分钟–2 小时"), GREEN),
    ("7200.0", "28800.0", Text("2 to 8 h", "2–8 小时"), YELLOW),
    ("28800.0", "86400.0", Text("8 h to a day", "8 小时–1 天"), ORANGE),
    ("86400.0", "+Inf", Text("over a day", "超过 1 天"), VERMILION),
)
RUN_CLASSES = (
    ("", "600.0", Text("up to 10 min", "10 分钟内"), BLUE),
    ("600.0", "3600.0", Text("10 min to 1 h", "10 分钟–1 小时"), SKY),
    ("3600.0", "14400.0", Text("1 to 4 h", "1–4 小时"), GREEN),
    ("14400.0", "86400.0", Text("4 h to a day", "4 小时–1 天"), ORANGE),
    ("86400.0", "+Inf", Text("over a day", "超过 1 天"), PURPLE),
)


def by_length(title: Text, en: str, zh: str, family: str, classes: Sequence[Class], **more: Any) -> Panel:
    """Return bars of the observations in each class of lengths."""

    def upto(bound: str) -> str:
        return f'sum(increase({family}_bucket{{{IN_GROUP}, le="{bound}"}}[$__rate_interval]))'

    queries = [Query(f"{upto(end)} - {upto(start)}" if start else upto(end), name) for start, end, name, _ in classes]
    colours = [override(name, color={"mode": "fixed", "fixedColor": colour}) for _, _, name, colour in classes]
    return bars(title, en, zh, queries, axis=JOBS, overrides=colours, **more)


def measured(title: Text, en: str, zh: str, measure: str, family: str, **more: Any) -> Panel:
    """Return the share of the waits or runs that could be measured."""
    seen = f"sum(increase({family}_count{{{IN_GROUP}}}[$__range]))"
    unseen = f'sum(increase({CENSORED}{{{IN_GROUP}, measure="{measure}"}}[$__range]))'
    return number(
        title,
        en,
        zh,
        f"{seen} / ({seen} + {unseen} > 0)",
        instant=True,
        unit="percentunit",
        steps=((None, VERMILION), (0.8, ORANGE), (0.95, SKY)),
        no_value=NONE,
        defaults={"decimals": 1},
        **more,
    )


def wait(title: Text, en: str, zh: str, share: float) -> Panel:
    """Return a quantile of the waits in the time on screen."""
    of_waits = quantile(share, WAITS, window="$__range")
    return number(title, en, zh, of_waits, instant=True, unit="s", size=(5, 4), no_value=NONE)


BOARD = Dashboard(
    uid="hpc-waiting",
    title=Text("HPC / 4 Waiting", "HPC / 4 等待"),
    description=Text("How long do jobs wait, and how reliable is that figure?", "作业等待多久，结果有多可靠？"),
    variables=[REGION, GROUP],
    hours=24,
    panels=[
        wait(
            Text("Median wait", "等待时间中位数"),
            "The median wait of jobs that started in the time on screen. To plan a deadline, go by p90.",
            "所选时段内启动作业的等待中位数。规划期限请参考 p90。",
            0.5,
        ),
        wait(
            Text("Wait p90", "等待时间 p90"),
            "Of the jobs that started in the time on screen. Much above the median: large jobs wait far longer than small ones.",
            "所选时段内启动的作业。远高于中位数：大作业比小作业等得久得多。",
            0.9,
        ),
        measured(
            Text("Waits measured", "等待测量覆盖率"),
            "Of all waits that ended in the time on screen, the share that could be measured. Below 80 % do not trust "
            "the numbers here: look for gaps between polls, or shorten poll.interval.",
            "所选时段内结束的等待中可测量的比例。低于 80% 时不要相信本页数值：检查轮询间隔或缩短 poll.interval。",
            "wait",
            WAIT,
            size=(5, 4),
        ),
        measured(
            Text("Runs measured", "运行测量覆盖率"),
            "The same for runs. Runs shorter than a poll interval are not seen at all, and not in here.",
            "运行时间的覆盖率。短于轮询间隔的运行完全不可见，不计入。",
            "run",
            RUN,
            size=(4, 4),
        ),
        number(
            Text("Waiting now, longest", "当前最长等待"),
            "The job that waits longest at this moment; it is in none of the other numbers yet. The dashboard Overview shows whose.",
            "此刻等待最久的作业，尚未计入其他数值。归属见“总览”。",
            f"max(time() - hpc_member_oldest_queued_timestamp_seconds{{{IN_GROUP}}})",
            unit="s",
            size=(5, 4),
            steps=WAITING,
            no_value=NONE_WAITS,
        ),
        Row(Text("The first job submitted now", "现在提交的第一个作业")),
        ranking(
            Text("First jobs: 19 in 20 start within", "第一个作业：20 次中 19 次的等待上界"),
            "For the first job that a user submits now, if it is not held: at 95 % confidence 19 in 20 start within this time. "
            "It is no promise about further jobs submitted together with it, nor about unusually large ones. Queues that are "
            "missing: too little is known, or such bounds failed too often of late.",
            "仅针对用户现在提交的第一个、且未被保留的作业：置信度 95%，20 次中有 19 次在此时间内开始运行。不适用于一同提交的其余作业，"
            "也不适用于特别大的作业。缺少的队列：已知的等待太少，或近来上界失准过多。",
            f'max by (hpc_cluster, group, queue, accelerated) (hpc_wait_bound_seconds{{{IN_BOUNDS}, quantile="0.95"}})',
            names=named("hpc_cluster", "queue", "group", "accelerated"),
            value=Text("Within", "不超过"),
            falling=False,
            unit="s",
            size=(10, 8),
            steps=WAITING,
            no_value=Text("too little is known", "已知太少"),
        ),
        lines(
            Text("Bounds that held", "上界成立的比例"),
            "Of the bounds of first jobs that could be checked in a week, the share that was right, over all queues. A line well "
            "below its name: waits change faster than the last 256 first jobs tell; do not plan by it.",
            "一周内可检验的第一个作业的等待上界中，成立的比例（所有队列）。曲线明显低于其名称：等待变化太快，不要据此规划。",
            Query(
                f"sum by (quantile) (increase(hpc_wait_bound_held_total{{{IN_BOUNDS}}}[7d])) "
                f"/ (sum by (quantile) (increase(hpc_wait_bound_checked_total{{{IN_BOUNDS}}}[7d])) > 0)",
                "{{quantile}}",
            ),
            unit="percentunit",
            size=(14, 8),
        ),
        Row(Text("The distribution of waits", "等待时间分布")),
        by_length(
            Text("Started jobs by wait", "启动的作业（按等待时长）"),
            "Each bar is the jobs that started then; the warmer the colour, the longer they had waited. Growing warm parts: "
            "the region gets fuller. No bars: nothing starts, look at Queues.",
            "每根柱子为当时启动的作业，颜色越暖等待越久。暖色增多说明区域变满；无柱子说明没有启动，见“队列”。",
            WAIT,
            CLASSES,
            size=(14, 9),
        ),
        p90_and_p50(
            Text("Waits by group", "各组等待时间"),
            "p50 and p90 of the jobs that started within the hour before. One group far above the others: its quota or priority.",
            "此前一小时内启动作业的 p50 与 p90。某组远高于其他组：检查其配额或优先级。",
            WAITS,
            by="hpc_cluster, group",
            legend="{{hpc_cluster}} {{group}}",
            size=(10, 9),
        ),
        Row(Text("Data quality", "数据质量")),
        bars(
            Text("Observed and censored waits", "已测量与未测量的等待"),
            "Observed by the scheduler's own times (reported) or by the middles of the gaps between polls (polls). Censored: the "
            "job was there before the first poll (left_truncated), changed in a long gap (gap), or was gone without having run "
            "in sight (vanished). Mostly vanished is users who delete; mostly gap is failing polls.",
            "已测量：依据调度系统自己的时间（reported）或轮询间隔的中点（polls）。未测量：首次轮询前已存在（left_truncated）、"
            "在长间隔中变化（gap）、未见运行即消失（vanished）。vanished 多为用户删除；gap 多为轮询失败。",
            [
                Query(
                    f'sum by (basis) (increase({OBSERVED}{{{IN_GROUP}, measure="wait"}}[$__rate_interval]))',
                    "{{basis}}",
                ),
                Query(
                    f'sum by (reason) (increase({CENSORED}{{{IN_GROUP}, measure="wait"}}[$__rate_interval]))',
                    "{{reason}}",
                ),
            ],
            axis=JOBS,
            overrides=coloured(
                {"reported": BLUE, "polls": SKY, "left_truncated": GREY, "gap": VERMILION, "vanished": ORANGE}
            ),
        ),
        lines(
            Text("Measured waits / waiting jobs", "已测等待与等待作业之比"),
            "By Little's law: the measured waits of a day, added up, as a share of the time that jobs were seen to wait. In the band from "
            "0.7 to 1.3 the measured waits account for the waiting jobs. Below: jobs wait that do not start, or many waits are "
            "censored. Above, for hours: a backlog is being worked off. Says little while the number of waiting jobs grows or falls.",
            "依据利特尔法则：一天内已测等待之和，与作业处于等待的总时间之比。在 0.7 到 1.3 的带内，已测的等待足以解释等待作业数。"
            "低于该带：有作业迟迟不启动，或许多等待未能测量。数小时高于该带：积压正在消化。等待作业数增减明显时参考意义有限。",
            Query(
                f"sum(increase({WAIT}_sum{{{IN_GROUP}}}[1d])) / "
                f'(300 * sum(sum_over_time(hpc_member_jobs{{{IN_GROUP}, state=~"queued|held|waiting|requeued"}}[1d:5m])) > 0)',
                Text("ratio", "比值"),
            ),
            unit="none",
            steps=((None, ORANGE), (0.7, BLUE), (1.3, SKY)),
            defaults={"decimals": 2},
            custom={"thresholdsStyle": {"mode": "area"}, "axisSoftMax": 1.6},
        ),
        bars(
            Text("State changes", "作业状态变化"),
            "Changes of state from one poll to the next. Many from running to queued: jobs are preempted or lose their node.",
            "相邻两次轮询之间的状态变化。running→queued 多：作业被抢占或节点故障。",
            Query(
                f'sum by (from_state, to_state) (increase(hpc_job_transitions_total{{{IN_GROUP}, to_state!="gone"}}[$__rate_interval])) > 0',
                "{{from_state}} → {{to_state}}",
            ),
            axis=Text("changes", "变化次数"),
        ),
        Row(Text("Runs", "运行时间")),
        by_length(
            Text("Ended runs by length", "结束的运行（按时长）"),
            "Very short ones in number: programs that fail immediately, or jobs better put together. Runs that no poll caught are missing.",
            "大量极短运行：程序立即失败，或应合并作业。未被轮询捕捉的运行不包含在内。",
            RUN,
            RUN_CLASSES,
            size=(14, 8),
        ),
        ranking(
            Text("Mean wait / mean run", "平均等待/平均运行"),
            "How many times its own run a job waits, in the time on screen. Above 1: waiting takes longer than computing.",
            "所选时段内作业等待时间与运行时间之比。大于 1：等待比计算更久。",
            f"(sum by (hpc_cluster, group) (increase({WAIT}_sum{{{IN_GROUP}}}[$__range])) "
            f"/ sum by (hpc_cluster, group) (increase({WAIT}_count{{{IN_GROUP}}}[$__range]))) "
            f"/ (sum by (hpc_cluster, group) (increase({RUN}_sum{{{IN_GROUP}}}[$__range])) "
            f"/ sum by (hpc_cluster, group) (increase({RUN}_count{{{IN_GROUP}}}[$__range])))",
            names=named("hpc_cluster", "group"),
            value=Text("Wait / run", "等待/运行"),
            unit="none",
            size=(10, 8),
            steps=((None, SKY), (1, ORANGE)),
            no_value=NONE,
            defaults={"decimals": 2},
        ),
    ],
)
