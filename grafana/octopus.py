"""Octopus.

Octopus queues: their length, its trend, requested resources and time in the queue.
"""

from exporter.metrics.family import Text
from grafana.colours import BLUE, ORANGE
from grafana.parts import (
    JOBS,
    NO_DATA,
    QUEUED,
    UNKNOWN,
    Dashboard,
    Query,
    Row,
    bars,
    dashed,
    lines,
    number,
    p90_and_p50,
    quantile,
    ranking,
    tiles,
)
from grafana.variables import IN_PROJECT, PROJECT, QUEUE_TYPE

QUEUE = "{{project}} {{queue_type}}"
BY_QUEUE = "project, queue_type"
TIMES = f"octopus_job_observed_queue_seconds_bucket{{{IN_PROJECT}}}"
ENTRIES = Text("entries", "条目数")


def by_queue(expression: str) -> str:
    return f"sum by ({BY_QUEUE}) ({expression})"


BOARD = Dashboard(
    uid="hpc-octopus",
    title=Text("HPC / 5 Octopus", "HPC / 5 Octopus"),
    description=Text(
        "What is queued in Huawei Octopus, and is the backlog growing?", "华为 Octopus 中哪些在排队，是否在积压？"
    ),
    variables=[PROJECT, QUEUE_TYPE],
    panels=[
        tiles(
            Text("Are the lists complete?", "列表是否完整？"),
            "Whether the last list of each queue held every entry. Where not, a page was lost, an entry could not be read, or "
            "the queue moved meanwhile: requested amounts are then not shown. Incomplete all the time: shorten the queue's "
            "pages, or look at the exporter's log.",
            "每个队列最近一次列表是否包含全部条目。不完整：丢页、条目不可读或读取时队列变化，此时不显示申请量。"
            "一直不完整：查看 exporter 日志。",
            f"min by ({BY_QUEUE}) (octopus_queue_listing_complete{{{IN_PROJECT}}})",
            legend=QUEUE,
            size=(9, 4),
            states=[(Text("incomplete", "不完整"), ORANGE), (Text("complete", "完整"), BLUE)],
            no_value=NO_DATA,
        ),
        number(
            Text("Queued now", "当前排队"),
            "Entries as the API counts them. Rising for hours: see below whether arrivals rose or departures fell.",
            "API 统计的条目数。持续上升：见下方是到达增多还是离开减少。",
            f"sum(octopus_queue_length{{{IN_PROJECT}}})",
            size=(5, 4),
            steps=((None, ORANGE),),
            no_value=NO_DATA,
        ),
        number(
            Text("Median time in queue", "排队时间中位数"),
            "Median time in the queue of entries that left it in the time on screen.",
            "所选时段内离开队列的条目的排队时间中位数。",
            quantile(0.5, TIMES, window="$__range"),
            instant=True,
            unit="s",
            size=(5, 4),
            no_value=Text("none left", "无离开"),
        ),
        number(
            Text("Unreadable resource specs", "无法解析的规格"),
            "Queued jobs whose resource spec is missing or of an unknown form: cores and memory here leave them out. Please "
            "report new forms.",
            "资源规格缺失或格式未知的排队作业：核数与内存不含这些。请反馈新格式。",
            f"sum(octopus_queued_unread_resource_specs{{{IN_PROJECT}}})",
            size=(5, 4),
            no_value=UNKNOWN,
        ),
        Row(Text("Is it growing?", "是否在积压？")),
        lines(
            Text("Queue length", "队列长度"),
            "Rising for two hours raises HPCOctopusBacklogGrowing. A step is a new data set, a slope a pool that is too small.",
            "持续上升两小时将触发 HPCOctopusBacklogGrowing。台阶为新数据集，斜坡为资源池过小。",
            Query(by_queue(f"octopus_queue_length{{{IN_PROJECT}}}"), QUEUE),
            axis=ENTRIES,
            size=(12, 8),
        ),
        lines(
            Text("Arrivals and departures", "到达与离开"),
            "Entries per hour. Departures at nothing with a queue: the pool is down. Arrivals above departures: it grows.",
            "每小时条目数。有排队而离开为零：资源池故障。到达高于离开：积压增长。",
            [
                Query(
                    by_queue(f"rate(octopus_queue_{what}_total{{{IN_PROJECT}}}[$__rate_interval])") + " * 3600",
                    Text(f"{QUEUE} {en}", f"{QUEUE} {zh}"),
                )
                for what, en, zh in (("arrivals", "arrivals", "到达"), ("departures", "departures", "离开"))
            ],
            axis=Text("entries per hour", "条目/小时"),
            min_step="15m",
            overrides=[dashed("B")],
            size=(12, 8),
        ),
        p90_and_p50(
            Text("Time in the queue", "排队时间"),
            "p50 and p90 of the entries that left within the hour before, as far as they were seen to come and to leave.",
            "此前一小时内离开的条目的 p50 与 p90（仅含可见到达与离开者）。",
            TIMES,
            by=BY_QUEUE,
            legend=QUEUE,
            size=(12, 8),
        ),
        lines(
            Text("Age of the head of the queue", "队首时间"),
            "Time since the smallest ordering stamp. It changes when an entry is moved, so it is a hint, not a wait. Growing "
            "without end: the head is blocked.",
            "距最小排序戳的时间。条目被移动时会变化，仅供参考。持续增长：队首被阻塞。",
            Query(
                f"max by ({BY_QUEUE}) (time() - octopus_queued_oldest_rank_timestamp_seconds{{{IN_PROJECT}}})",
                QUEUE,
            ),
            unit="s",
            size=(12, 8),
        ),
        Row(Text("What is queued?", "哪些在排队？")),
        ranking(
            Text("By type and processor", "按类型与处理器"),
            "The largest kinds. One that makes up the backlog and is not urgent can be stopped in Octopus.",
            "数量最多的类别。非紧急的大类可在 Octopus 中停止。",
            f"topk(8, sum by (job_type, processor) (octopus_queued_jobs{{{IN_PROJECT}}}))",
            names=[("job_type", Text("Type", "类型")), ("processor", Text("Processor", "处理器"))],
            value=QUEUED,
            size=(12, 8),
            steps=((None, ORANGE),),
            no_value=Text("nothing is queued", "无排队"),
        ),
        lines(
            Text("Requested CPU cores", "申请的 CPU 核"),
            "Requested by the queued jobs, to compare with the pool's size.",
            "排队作业的 CPU 核申请量，可与资源池规模比较。",
            Query(by_queue(f"octopus_queued_requested_cpu_cores{{{IN_PROJECT}}}"), QUEUE),
            axis=Text("cores", "核"),
            size=(6, 8),
        ),
        lines(
            Text("Requested memory", "申请的内存"),
            "Requested by the queued jobs, to compare with the pool's size.",
            "排队作业的内存申请量，可与资源池规模比较。",
            Query(by_queue(f"octopus_queued_requested_memory_bytes{{{IN_PROJECT}}}"), QUEUE),
            unit="bytes",
            size=(6, 8),
        ),
        Row(Text("Data jobs", "数据作业")),
        lines(
            Text("Open data jobs", "未结束的数据作业"),
            "Queued and running data jobs. Only with the collector data_jobs. Queued without running: nothing is processed.",
            "排队和运行的数据作业，需启用采集项 data_jobs。只排队不运行：没有作业在处理。",
            Query(f"sum by (project, kind, status) (octopus_jobs{{{IN_PROJECT}}})", "{{project}} {{kind}} {{status}}"),
            axis=JOBS,
            size=(6, 8),
        ),
        bars(
            Text("Ended data jobs, by outcome", "结束的数据作业（按结果）"),
            "Jobs that ended then. Many failed: the processor or its input; look at one of them in Octopus.",
            "当时结束的作业。失败多：检查处理器或其输入，在 Octopus 中查看其中一个作业。",
            Query(
                f"sum by (outcome) (increase(octopus_jobs_ended_total{{{IN_PROJECT}}}[$__rate_interval]))",
                "{{outcome}}",
            ),
            axis=JOBS,
            size=(6, 8),
        ),
        p90_and_p50(
            Text("Wait of data jobs", "数据作业的等待时间"),
            "From creation to start, by the API's own times: p50 and p90 of the jobs that ended within the hour before.",
            "从创建到启动，依据接口返回的时间：此前一小时内结束作业的 p50 与 p90。",
            f"octopus_job_wait_seconds_bucket{{{IN_PROJECT}}}",
            by="project, kind",
            legend="{{project}} {{kind}}",
            size=(6, 8),
        ),
        p90_and_p50(
            Text("Run of data jobs", "数据作业的运行时间"),
            "From start to end, by the API's own times: p50 and p90 of the jobs that ended within the hour before.",
            "从启动到结束，依据接口返回的时间：此前一小时内结束作业的 p50 与 p90。",
            f"octopus_job_run_seconds_bucket{{{IN_PROJECT}}}",
            by="project, kind",
            legend="{{project}} {{kind}}",
            size=(6, 8),
        ),
    ],
)
