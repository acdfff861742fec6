"""Texts of the metrics reference beside the declarations, in both languages: groups, labels, units, and questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from exporter.errors import Reason
from exporter.metrics import health, self_metrics, tracking
from exporter.metrics.family import Family, Text
from exporter.records import PENDING_REASONS, JobState
from exporter.sources import jobs
from exporter.sources.collector import collectors_of, registry
from exporter.tracking.model import BASES, CENSOR_REASONS, MEASURES, OUTCOMES


@dataclass(frozen=True)
class Group:
    """Families with one heading."""

    title: Text
    text: Text
    families: Sequence[Family]


def _words(values: Sequence[str]) -> Text:
    return Text(", ".join(f"`{value}`" for value in values), "、".join(f"`{value}`" for value in values))


INTRODUCTION: Final = Text(
    """
# Metrics

<!-- Made by `make docs` from the declarations in exporter/, config/rules/ and grafana/. Do not edit: a test compares them. -->

*[中文](metrics.zh.md)*

**Unknown is never zero.** A value that an API did not send has no sample. A poll that failed changes nothing; when the last
success of a target is older than `poll.stale_after`, all its series disappear from `/metrics`, and
`hpc_exporter_target_stale` is 1. A sum over members or queues is therefore a sum over those that are known: compare it with
`hpc_exporter_target_up`, as the dashboards do. A 0 of a region or project was always reported by an answer.

Histograms have series that end in `_bucket`, `_sum` and `_count`. There are no `_created` series. `/metrics` answers in the
text format 0.0.4 or in OpenMetrics 1.0.0, as the scraper prefers; names, labels and values are the same in both.

| request | collector | endpoint of the API |
|---|---|---|
""",
    """
# 指标

<!-- Made by `make docs` from the declarations in exporter/, config/rules/ and grafana/. Do not edit: a test compares them. -->

*[English](metrics.md)*

**未知绝不等于零。** 接口没有返回的值就没有样本。轮询失败不会改变任何数值；当一个目标最近一次成功早于 `poll.stale_after`
时，来自它的全部数据都会从 `/metrics` 消失，并由 `hpc_exporter_target_stale` 说明。因此对成员或队列求和，只是对已知部分求和：
请像看板那样与 `hpc_exporter_target_up` 对照着看。区域或项目的数值为 0，一定是某次响应给出的。

直方图含有以 `_bucket`、`_sum` 和 `_count` 结尾的序列，没有 `_created` 序列。`/metrics` 按抓取方的偏好以文本格式 0.0.4 或
OpenMetrics 1.0.0 回答，两者的名称、标签和数值相同。

| 轮询内容 | 采集项 | API 的接口 |
|---|---|---|
""",
)

TOKENS: Final = Text(
    "| tokens, by logging in or renewing | `token` | by the kind of login |",
    "| 令牌：登录或更新 | `token` | 取决于登录方式 |",
)

_STATES: Final = _words([state.value for state in JobState])
_REASONS: Final = _words(get_args(Reason))
_CENSORED: Final = _words(CENSOR_REASONS)
_PENDING: Final = _words(PENDING_REASONS)

LABELS: Final[Mapping[str, Text]] = {
    "hpc_cluster": Text("the region's `name` in the configuration", "区域在配置中的 `name`"),
    "user": Text(
        "the scheduler user; for the expiry of a token its owner, empty for the region's own",
        "调度系统用户；对令牌过期时间而言是令牌的所有者，区域自己的令牌为空",
    ),
    "queue": Text(
        "the queue's name in the region; for waits and runs empty if unknown",
        "队列在区域中的名称；对等待和运行而言，未知时为空",
    ),
    "state": _STATES,
    "scheduler_id": Text("the scheduler's number in the region", "调度系统在区域中的编号"),
    "scheduler_name": Text("the scheduler's name", "调度系统的名称"),
    "scheduler_type": Text(
        "its type, as the API spells it, such as `SLURM`", "调度系统的类型，与接口返回一致，例如 `SLURM`"
    ),
    "task": Text("the background task's name", "后台任务的名称"),
    "group": Text("the group's label in the configuration, or its id", "用户组在配置中的标签，没有则为编号"),
    "job_id": Text("the job's id, unique within a region", "作业号，在区域内唯一"),
    "job_name": Text("the job's name", "作业名"),
    "from_state": Text("as `state`; `none` if the job was not listed before", "同 `state`；作业此前未列出时为 `none`"),
    "to_state": Text("as `state`; `gone` if it is no longer listed", "同 `state`；作业不再列出时为 `gone`"),
    "outcome": _words(OUTCOMES),
    "measure": _words(MEASURES),
    "basis": _words(BASES),
    "reason": Text(
        f"of a poll's failure: {_REASONS.en}; of a wait or run that was not measured: {_CENSORED.en}; of a "
        f"job that waits: {_PENDING.en}",
        f"轮询失败的原因：{_REASONS.zh}；等待或运行未能测得的原因：{_CENSORED.zh}；作业等待的原因：{_PENDING.zh}",
    ),
    "quantile": Text(
        "the probability that the bound holds: `0.5`, `0.9`, `0.95`", "上界成立的概率：`0.5`、`0.9`、`0.95`"
    ),
    "account": Text("the account's `name` in the configuration", "账号在配置中的 `name`"),
    "status": Text(
        "of an account: `Normal`, `Trial`, `Owe`, `Disable`, `other`; of data jobs: `queued`, `running`",
        "账号的状态：`Normal`、`Trial`、`Owe`、`Disable`、`other`；数据作业的状态：`queued`、`running`",
    ),
    "kind": Text(
        "`data` for data jobs of processors, `system` for those of the service",
        "`data` 为处理器的数据作业，`system` 为服务自身的",
    ),
    "project": Text("the Octopus project's `name` in the configuration", "Octopus 项目在配置中的 `name`"),
    "queue_type": Text(
        "as in the configuration: `PROCESSOR`, `INTERNAL`, `RESIM`",
        "配置中队列的类型：`PROCESSOR`、`INTERNAL`、`RESIM`",
    ),
    "cluster_type": Text(
        "as in the configuration, empty if left out: `CCE`, `MODELARTS`",
        "配置中队列的集群类型，不写则为空：`CCE`、`MODELARTS`",
    ),
    "cluster_id": Text("as in the configuration, empty if left out", "配置中队列的集群编号，不写则为空"),
    "job_type": Text("as Octopus spells it, empty if not sent", "与 Octopus 返回一致，没有返回则为空"),
    "processor": Text(
        "the processor's name in Octopus, empty if not sent", "处理器在 Octopus 中的名称，没有返回则为空"
    ),
    "resource_spec": Text("as Octopus spells it, empty if not sent", "与 Octopus 返回一致，没有返回则为空"),
    "source": Text(
        "the `name` of the region, project or account in the configuration", "区域、项目或账号在配置中的 `name`"
    ),
    "collector": Text("see the table above", "见上表"),
    "target": Text(
        "the user, `GROUP/USER` (a slash in the group's name is `%2F`, a percent sign `%25`), or the queue's type; empty for what "
        "is requested once for a region: its schedulers, and its part of `live_jobs`",
        "用户、`GROUP/USER`（组名中的斜杠写作 `%2F`，百分号写作 `%25`），或队列的类型；每个区域只请求一次的为空，如调度系统和 `live_jobs` 中该区域的部分",
    ),
    "version": Text("of the exporter", "本程序的版本"),
    "revision": Text("of its sources", "源代码的版本"),
    "python_version": Text("of the interpreter", "解释器的版本"),
    "code": Text("the HTTP status, or `none` without a response", "HTTP 状态码，没有响应时为 `none`"),
    "api_code": Text(
        "the code in the answer, if an API page lists it, or `other`", "响应中的错误码；接口文档没有列出的记为 `other`"
    ),
    "path": Text(
        "for storage the path of a quota; for requests to the exporter a path that it serves, or `other`",
        "存储：配额所在的路径；对本程序的请求：本程序提供的路径，其余为 `other`",
    ),
    "resource": Text("as the metric lists them", "见该指标的说明"),
}


def _default(section: str, without: Sequence[Family] = ()) -> tuple[Family, ...]:
    """Return the families of the collectors of a section that are on by default."""
    collectors = [each for each in collectors_of(section) if each.default]
    found = [family for each in collectors for family in (each.per.up, *each.families) if family not in without]
    return tuple(dict.fromkeys(found))


_DEFAULTS: Final = frozenset(each for section in ("clusters", "octopus") for each in _default(section))


def _further() -> tuple[Family, ...]:
    found = [family for each in registry().values() if not each.default for family in (each.per.up, *each.families)]
    return tuple(family for family in dict.fromkeys(found) if family not in _DEFAULTS)


GROUPS: Final[Sequence[Group]] = (
    Group(
        Text("SCNet: now", "SCNet：此刻"),
        Text(
            "The present state of a region. Queue statistics come from `queue_jobs`, schedulers from `schedulers`, everything "
            "about members from `member_jobs`.",
            "区域此刻的情况。队列统计来自 `queue_jobs`，调度系统来自 `schedulers`，成员的一切来自 `member_jobs`。",
        ),
        _default("clusters", without=jobs.OF_SINGLE_JOBS),
    ),
    Group(
        Text("SCNet: from poll to poll", "SCNet：逐次轮询"),
        Text(
            "Derived by comparing successive lists of jobs; if a list or the history has the scheduler's own times, from "
            "these. [What the tracker knows, and how well](accuracy.md) describes the method and its errors. Only with "
            "`tracking.enabled`, which is the default. Counters continue after a restart if there is a `tracking.state_file`.",
            "这些数值由相邻两次作业列表比较得出；列表或作业历史给出调度系统自己的时间时，以那些时间为准。方法和误差见"
            "[跟踪器知道什么、有多准](accuracy.zh.md)。需要 `tracking.enabled`，默认已开启。设置了 `tracking.state_file` 时，"
            "重启后接着计数。",
        ),
        tracking.FAMILIES,
    ),
    Group(
        Text("SCNet: single jobs", "SCNet：单个作业"),
        Text(
            "Only with `per_job.enabled`, for at most `per_job.max_jobs` jobs of the whole process: running ones first, then "
            "queued ones. A job that has series keeps them while it is listed. From the collector that lists jobs.",
            "需要 `per_job.enabled`，整个进程最多 `per_job.max_jobs` 个作业：先是运行中的，然后是排队的。有了序列的作业在列表中"
            "期间一直保留。来自列出作业的采集项。",
        ),
        jobs.OF_SINGLE_JOBS,
    ),
    Group(
        Text("Octopus", "Octopus"),
        Text(
            "From `queuing_jobs`, one target per queue. A queue of many pages can move while it is read; values that would then "
            "be wrong are left out.",
            "来自 `queuing_jobs`，每个队列一个目标。页数多的队列在读取过程中可能变化，因此会出错的数值不予给出。",
        ),
        _default("octopus"),
    ),
    Group(
        Text("Health of the polls", "轮询情况"),
        Text(
            "Whether the numbers above are reliable. All of these, and those below, are left out with "
            "`--web.disable-exporter-metrics`; `HPCExporterDown` fires then, and no other alert about the exporter and its polls.",
            "上面的数字是否可信。使用 `--web.disable-exporter-metrics` 时，本节和下一节的指标都不提供：此时 `HPCExporterDown` 会触发，"
            "关于 exporter 及其轮询的其他告警都不会触发。",
        ),
        (*health.FAMILIES, *(each for each in self_metrics.FAMILIES if "source" in each.labels)),
    ),
    Group(
        Text("The exporter itself", "本程序自身"),
        Text(
            "Besides these there are the `process_*` metrics of prometheus-client, on Linux: `process_cpu_seconds_total`, "
            "`process_resident_memory_bytes`, `process_open_fds` and others.",
            "此外，在 Linux 上还有 prometheus-client 的 `process_*` 指标：`process_cpu_seconds_total`、"
            "`process_resident_memory_bytes`、`process_open_fds` 等。",
        ),
        tuple(each for each in self_metrics.FAMILIES if "source" not in each.labels),
    ),
    Group(
        Text("Further collectors", "其他采集项"),
        Text(
            "From collectors that are enabled with `collect`: see [the list](configuration.md#collectors).",
            "来自用 `collect` 启用的采集项，见[列表](configuration.zh.md#采集项)。",
        ),
        _further(),
    ),
)

NO_TEXT: Final = Text("–", "–")

# The first that fits the end of a name.
UNITS: Final[Sequence[tuple[str, Text]]] = (
    (r"timestamp_seconds", Text("Unix time in seconds", "Unix 时间（秒）")),
    (r"cpu_seconds_total", Text("core-seconds", "核秒")),
    (r"gpu_seconds_total", Text("GPU-seconds", "GPU 秒")),
    (r"dcu_seconds_total", Text("DCU-seconds", "DCU 秒")),
    (r"_seconds(_total)?", Text("seconds", "秒")),
    (r"_bytes", Text("bytes", "字节")),
    (r"_cpu_cores|_cpus", Text("cores", "核")),
    (r"_gpus", Text("GPUs", "GPU 数")),
    (r"_dcus", Text("DCUs", "DCU 数")),
    (r"_cny", Text("yuan (CNY)", "元（人民币）")),
    (r"_rate", Text("as reported by the region", "按区域给出的数值")),
    (r"_limit", Text("of the resource", "该资源的数量")),
    (r"_nodes", Text("nodes", "节点数")),
    (r"_info|_status", Text("always 1", "恒为 1")),
    (r"_up|_enabled|_stale|_successful|_complete", Text("0 or 1", "0 或 1")),
    (r"jobs(_finished_total|_dropped)?|resource_specs", Text("jobs", "作业数")),
    (r"queue_length|queue_(arrivals|departures)_total", Text("entries", "条目数")),
    (r"transitions_total", Text("changes", "变化次数")),
    (r"queues_dropped_total", Text("queues", "队列数")),
    (r"unknown_states_total", Text("states", "状态数")),
    (r"time_disagreements_total", Text("times", "时间数")),
    (r"censored_total", Text("waits and runs", "等待和运行的次数")),
    (r"polls_total|poll_failures_total", Text("polls", "轮询次数")),
    (r"task_restarts_total", Text("restarts", "重启次数")),
    (r"requests_total|retries_total", Text("requests", "请求数")),
    (r"api_errors_total", Text("answers", "响应数")),
    (r"refreshes_total|refresh_failures_total", Text("attempts", "次数")),
    (r"rejected_total", Text("records", "记录数")),
    (r"write_failures_total", Text("writes", "写入次数")),
    (r"_series", Text("series", "序列数")),
    (r"shard_ordinal|total_shards", Text("shards", "分片")),
)

EXAMPLES: Final[Mapping[str, tuple[Text, str]]] = {
    "hpc_up": (Text("Regions that do not answer now:", "此刻哪些区域没有响应："), "hpc_up == 0"),
    "hpc_queue_jobs": (
        Text("Users with the most queued jobs, by queue:", "各队列里谁排队的作业最多："),
        'topk(10, sum by (hpc_cluster, queue, user) (hpc_queue_jobs{state="queued"}))',
    ),
    "hpc_scheduler_info": (
        Text("Number of schedulers of each region:", "每个区域有几个调度系统："),
        "count by (hpc_cluster) (hpc_scheduler_info)",
    ),
    "hpc_member_jobs": (
        Text("Jobs of each group by state:", "每个组各状态的作业数："),
        "sum by (hpc_cluster, group, state) (hpc_member_jobs)",
    ),
    "hpc_member_allocated_dcus": (
        Text("Users of more DCUs than they requested:", "谁占用的 DCU 比申请的多："),
        'hpc_member_allocated_dcus{state="running"} > hpc_member_requested_dcus{state="running"}',
    ),
    "hpc_jobs_finished_total": (
        Text("The share of jobs that failed within a day:", "一天内非正常结束的作业所占比例："),
        """
sum by (group) (increase(hpc_jobs_finished_total{outcome=~"failed|timeout|node_failure"}[1d]))
  / sum by (group) (increase(hpc_jobs_finished_total[1d]))
""",
    ),
    "hpc_job_transitions_total": (
        Text("Jobs that began to run in an hour, as far as a poll saw them:", "一小时内开始运行的作业（轮询看到的）："),
        'sum by (hpc_cluster, group) (increase(hpc_job_transitions_total{to_state="running"}[1h]))',
    ),
    "hpc_job_observed_wait_seconds": (
        Text(
            "The p90 of the waits of jobs that started within a day:",
            "一天内开始运行的作业的等待时间 p90：",
        ),
        "histogram_quantile(0.9, sum by (hpc_cluster, group, le) (increase(hpc_job_observed_wait_seconds_bucket[1d])))",
    ),
    "hpc_job_observations_censored_total": (
        Text(
            "The share of waits that could be measured; with a small one, do not trust the quantiles:",
            "能够测得的等待所占比例；比例小时不要相信分位数：",
        ),
        """
sum by (group) (increase(hpc_job_observed_wait_seconds_count[1d]))
  / (sum by (group) (increase(hpc_job_observed_wait_seconds_count[1d]))
    + sum by (group) (increase(hpc_job_observations_censored_total{measure="wait"}[1d])))
""",
    ),
    "hpc_member_oldest_queued_timestamp_seconds": (
        Text("Hours that the longest-waiting job of each member has waited:", "每个成员等得最久的作业已等待多少小时："),
        "(time() - hpc_member_oldest_queued_timestamp_seconds) / 3600",
    ),
    "hpc_member_gpu_seconds_total": (
        Text("GPU-hours of each group in the last 30 days:", "最近 30 天每个组的 GPU 小时数："),
        "sum by (group) (increase(hpc_member_gpu_seconds_total[30d])) / 3600",
    ),
    "hpc_job_info": (
        Text("Cores of single jobs, with their names:", "单个作业占用的核数，带作业名："),
        "hpc_job_allocated_cpus * on (hpc_cluster, user, job_id) group_left (job_name, state) hpc_job_info",
    ),
    "octopus_queue_length": (
        Text("Queues that got longer within two hours:", "两小时内变长的队列："),
        "octopus_queue_length - octopus_queue_length offset 2h > 0",
    ),
    "octopus_queued_jobs": (
        Text("Queued jobs by resource spec:", "按资源规格统计排队的作业："),
        "sum by (project, resource_spec) (octopus_queued_jobs)",
    ),
    "octopus_job_observed_queue_seconds": (
        Text(
            "The mean time in the queue of entries that left it within six hours:",
            "六小时内离开队列的条目平均排队多久：",
        ),
        """
sum by (project, queue_type) (increase(octopus_job_observed_queue_seconds_sum[6h]))
  / sum by (project, queue_type) (increase(octopus_job_observed_queue_seconds_count[6h]))
""",
    ),
    "octopus_job_wait_seconds": (
        Text("The mean wait of the data jobs that ended within six hours:", "六小时内结束的数据作业平均等待多久："),
        """
sum by (project, kind) (increase(octopus_job_wait_seconds_sum[6h]))
  / sum by (project, kind) (increase(octopus_job_wait_seconds_count[6h]))
""",
    ),
    "hpc_exporter_target_last_success_timestamp_seconds": (
        Text("The age of the oldest data of each region, in seconds:", "每个区域最旧的数据有多旧（秒）："),
        "max by (source) (time() - hpc_exporter_target_last_success_timestamp_seconds)",
    ),
    "hpc_exporter_poll_failures_total": (
        Text("Reasons of failed polls:", "轮询为什么失败："),
        "sum by (source, reason) (increase(hpc_exporter_poll_failures_total[1h])) > 0",
    ),
    "hpc_exporter_poll_duration_seconds": (
        Text("The mean duration of a poll:", "一次轮询的平均用时："),
        """
sum by (source, collector) (rate(hpc_exporter_poll_duration_seconds_sum[15m]))
  / sum by (source, collector) (rate(hpc_exporter_poll_duration_seconds_count[15m]))
""",
    ),
    "hpc_exporter_token_expiry_timestamp_seconds": (
        Text("Hours until each token expires:", "每个令牌还有几小时过期："),
        "(hpc_exporter_token_expiry_timestamp_seconds - time()) / 3600",
    ),
}

# Words between the facts of a family.
LABELS_HEADING: Final = Text("Labels", "标签")
LABEL_COLUMNS: Final = Text("| label | value |", "| 标签 | 内容 |")
FACTS: Final = Text("{}, {}; labels: {}", "{}，{}；标签：{}")
NO_LABELS: Final = Text("none", "无")
ABSENT_WHEN: Final = Text("absent: {}", "缺失：{}")
ALERT: Final = Text("[{0}](runbooks/{0}.md)", "[{0}](runbooks/{0}.zh.md)")
USED_BY_ALERTS: Final = Text("used by alerts: {}", "用于告警：{}")
USED_BY_RECORDINGS: Final = Text("used by recording rules: {}", "用于记录规则：{}")
USED_BY_DASHBOARDS: Final = Text("used by dashboards: {}", "用于看板：{}")
COMMA: Final = Text(", ", "、")
