"""The exporter's own metrics: counters, histograms and gauges held by prometheus-client, in a registry of ours."""

import platform
from collections.abc import Iterable
from typing import Any, Final, cast, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from exporter import __version__
from exporter.errors import Reason
from exporter.metrics.family import Family, FamilyType, Text, counter, gauge, histogram
from exporter.metrics.format import EOF, Format, header, named_sample, to_bytes
from exporter.threads import off_loop
from exporter.version import revision

_SOURCE: Final = ("source",)
_COLLECTOR: Final = ("source", "collector")
_NEVER: Final = Text("never.", "不会缺失。")
_DECLARED: Final = Text(
    "never, for an endpoint that is polled: present at 0 from the start.",
    "只要该接口被轮询就不会缺失：从一开始就是 0。",
)
_NOT_RENEWED: Final = Text("for a source whose tokens are not renewed.", "该来源只有不会自动更新的令牌。")
_AFTER_FIRST: Final = Text("until the first of its kind.", "第一次发生之前。")

BUILD_INFO: Final = gauge(
    "hpc_exporter_build_info",
    ("version", "revision", "python_version"),
    "Version, source revision and Python version of the exporter; always 1.",
    zh="exporter 的版本、源代码版本和 Python 版本，恒为 1。",
    absent=_NEVER,
)

POLL_INTERVAL: Final = gauge(
    "hpc_exporter_poll_interval_seconds",
    _COLLECTOR,
    "Configured time between two polls of one target, in seconds.",
    zh="配置中同一目标两次轮询的间隔（秒）。",
    absent=Text("never, for an endpoint that is polled.", "只要该接口被轮询就不会缺失。"),
)

POLLS: Final = counter(
    "hpc_exporter_polls_total",
    _COLLECTOR,
    "Completed polls, successful or not. A poll can take several requests.",
    zh="已完成的轮询次数，不论成败。一次轮询可能需要多个请求。",
    absent=_DECLARED,
)

POLL_FAILURES: Final = counter(
    "hpc_exporter_poll_failures_total",
    (*_COLLECTOR, "reason"),
    "Polls that failed after all retries, by reason.",
    zh="重试之后仍然失败的轮询次数，按原因分。",
    absent=_DECLARED,
)

POLL_DURATION: Final = histogram(
    "hpc_exporter_poll_duration_seconds",
    _COLLECTOR,
    "Duration of polls in seconds, successful or not, including retries and rate limiting.",
    zh="轮询耗时（秒），不论成败，包括重试和限速等待。",
    absent=_DECLARED,
)

API_REQUESTS: Final = counter(
    "hpc_exporter_api_requests_total",
    (*_COLLECTOR, "code"),
    "HTTP requests sent upstream, by status code of the response; none without a response.",
    zh="发往上游的 HTTP 请求数，按响应状态码分；没有响应的为 none。",
    absent=_AFTER_FIRST,
)

API_ERRORS: Final = counter(
    "hpc_exporter_api_errors_total",
    (*_COLLECTOR, "api_code"),
    "API responses that reported an error, by the API's own error code; undocumented codes count as other.",
    zh="接口返回错误的响应数，按接口错误码分；接口文档没有列出的错误码记为 other。",
    absent=_AFTER_FIRST,
)

API_RETRIES: Final = counter(
    "hpc_exporter_api_retries_total",
    _COLLECTOR,
    "Retries of requests after transient failures, within a poll.",
    zh="单次轮询内因临时故障而重试的次数。",
    absent=_DECLARED,
)

TOKEN_EXPIRY: Final = gauge(
    "hpc_exporter_token_expiry_timestamp_seconds",
    ("source", "user"),
    "Unix time at which the token in use expires, in seconds; user is the token's owner, empty for the "
    "region's own. Absent where the expiry is unknown.",
    zh="当前令牌过期的 Unix 时间（秒）；user 是令牌的所有者，区域自己的令牌为空。",
    absent=Text("", "过期时间未知。"),
)

TOKEN_REFRESHES: Final = counter(
    "hpc_exporter_token_refreshes_total",
    _SOURCE,
    "Tokens obtained, at startup or to replace an older one.",
    zh="取得新令牌的次数，包括启动时获取和替换旧令牌。",
    absent=_NOT_RENEWED,
)

TOKEN_REFRESH_FAILURES: Final = counter(
    "hpc_exporter_token_refresh_failures_total",
    _SOURCE,
    "Failed attempts to obtain a token.",
    zh="获取令牌失败的次数。",
    absent=_NOT_RENEWED,
)

UNKNOWN_STATES: Final = counter(
    "hpc_exporter_unknown_states_total",
    _COLLECTOR,
    "Job states that the exporter does not know; such jobs are counted in the state unknown.",
    zh="无法识别的作业状态数；这些作业计入状态 unknown。",
    absent=_DECLARED,
)

TIME_DISAGREEMENTS: Final = counter(
    "hpc_exporter_time_disagreements_total",
    _COLLECTOR,
    "Timestamps reported by a scheduler and not used because they contradict the polls: a start more than a minute before a poll "
    "saw the job waiting, or after one saw it running; a start before the submission; a time in the future.",
    zh="调度系统给出、但与轮询结果矛盾而未采用的时间戳数：开始时间比观测到作业等待早、或比观测到作业运行晚一分钟以上，"
    "早于提交时间，或在未来。",
    absent=Text("for a collector whose jobs are not followed.", "该采集项的作业没有被跟踪。"),
)

RECORDS_REJECTED: Final = counter(
    "hpc_exporter_records_rejected_total",
    _COLLECTOR,
    "Records without a usable id or name, and single values that cannot be read, left out of otherwise valid responses. "
    "Such a record is missing from counts; a job with such a value is counted, and sums that need the value are absent.",
    zh="从其余部分有效的响应中丢弃的内容：没有可用编号或名称的记录（不计入任何统计），以及无法解析的单个值（其作业照常计数，"
    "依赖该值的合计缺失）。",
    absent=_DECLARED,
)

QUEUES_DROPPED: Final = counter(
    "hpc_exporter_queues_dropped_total",
    _SOURCE,
    "Queues without jobs that are no longer exposed at 0, because a user had more than 1000 of them.",
    zh="不再以 0 提供的空队列数：同一用户的空队列超过 1000 个。",
    absent=Text("for a source without queue statistics.", "该来源没有队列统计。"),
)

TRACKED_JOBS: Final = gauge(
    "hpc_exporter_tracked_jobs",
    _SOURCE,
    "Jobs that the tracker follows from poll to poll.",
    zh="跟踪器当前跟踪的作业数。",
    absent=Text("until a first list of the source was followed.", "尚未跟踪过该来源的作业列表。"),
)

STATE_FILE_WRITE_FAILURES: Final = counter(
    "hpc_exporter_state_file_write_failures_total",
    (),
    "Failed writes of the tracker's state file. Counting continues in memory and is lost when the process ends.",
    zh="写入跟踪器状态文件失败的次数。计数在内存中继续，进程结束时丢失。",
    absent=_NEVER,
)

SERIES: Final = gauge(
    "hpc_exporter_series",
    (),
    "Series in this scrape, of all metrics together.",
    zh="本次抓取返回的序列总数，包括所有指标。",
    absent=_NEVER,
)

CONFIG_RELOAD_SUCCESSFUL: Final = gauge(
    "hpc_exporter_config_last_reload_successful",
    (),
    "Whether the last configuration reload attempt was successful (1) or the previous configuration is still in use (0).",
    zh="最近一次加载配置是否成功：1 为成功，0 为失败，仍使用之前的配置。",
    absent=_NEVER,
)

CONFIG_RELOAD_TIMESTAMP: Final = gauge(
    "hpc_exporter_config_last_reload_success_timestamp_seconds",
    (),
    "Unix time of the last successful configuration reload, in seconds.",
    zh="最近一次成功加载配置的 Unix 时间（秒）。",
    absent=_NEVER,
)

SHARD_ORDINAL: Final = gauge(
    "hpc_exporter_shard_ordinal",
    (),
    "Ordinal of this instance's shard, counted from 0.",
    zh="本实例的分片序号，从 0 开始。",
    absent=_NEVER,
)

TOTAL_SHARDS: Final = gauge(
    "hpc_exporter_total_shards",
    (),
    "Number of shards that share the targets; 1 means that this instance polls all of them.",
    zh="分片总数；1 表示本实例轮询全部目标。",
    absent=_NEVER,
)

TASK_RESTARTS: Final = counter(
    "hpc_exporter_task_restarts_total",
    ("task",),
    "Restarts of background tasks after unexpected errors, by task.",
    zh="后台任务因意外错误而重新启动的次数，按任务分。",
    absent=Text("where the task does not run.", "该任务没有运行。"),
)

HTTP_REQUESTS: Final = counter(
    "hpc_exporter_http_requests_total",
    ("path", "code"),
    "HTTP requests served by the exporter, by path and status code; paths that do not exist count as other.",
    zh="exporter 处理的 HTTP 请求数，按路径和状态码分；不存在的路径记为 other。",
    absent=_AFTER_FIRST,
)

FAMILIES: Final = tuple(family for family in tuple(globals().values()) if isinstance(family, Family))

# From a query on the local network to the longest that a request, with its retries, usually takes.
POLL_DURATION_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Counters of a collector, and of a source whose tokens are renewed, that are shown at 0 from the start.
_OF_COLLECTOR: Final = (POLLS, POLL_DURATION, API_RETRIES, UNKNOWN_STATES, RECORDS_REJECTED)
_OF_TOKENS: Final = (TOKEN_REFRESHES, TOKEN_REFRESH_FAILURES)
# Rendering this many series takes about 4 ms.
_QUICK: Final = 1_000
_REASONS: Final[tuple[str, ...]] = get_args(Reason)


class SelfMetrics:
    """The values of `FAMILIES`. `source` is a region's or project's name, `collector` that of a collector."""

    def __init__(self) -> None:
        # Of the process, not of the registry: prometheus-client has no finer switch.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._metrics = {family: _metric(family, self.registry) for family in FAMILIES if family is not SERIES}
        # The library's own look-up takes longer than all the rest of counting.
        self._children: dict[tuple[Family, tuple[str, ...]], Any] = {}
        # Token expiry by source and user, for the status page.
        self.token_ends: dict[str, dict[str, float]] = {}
        # Gauges that have no value yet: prometheus-client would show them as 0.
        self._unset = {CONFIG_RELOAD_SUCCESSFUL.name, CONFIG_RELOAD_TIMESTAMP.name}
        self._excluded: frozenset[str] = frozenset()
        self._series = 0  # in the last document

        self._child(BUILD_INFO, __version__, revision(), platform.python_version()).set(1)
        self.shard(0, 1)

    def declare(self, source: str, collector: str) -> None:
        """Show a collector's counters at 0, so that a rate over them sees the first increase."""
        for family in _OF_COLLECTOR:
            self._child(family, source, collector)
        for reason in _REASONS:
            self._child(POLL_FAILURES, source, collector, reason)

    def declare_queues(self, source: str) -> None:
        """Show the counter of dropped queues at 0, for a source that has queues of users."""
        self._child(QUEUES_DROPPED, source)

    def declare_token(self, source: str) -> None:
        """Show the counters of token refreshes at 0, for a source whose tokens the exporter obtains."""
        for family in _OF_TOKENS:
            self._child(family, source)
        self._child(API_RETRIES, source, "token")

    def drop_source(self, source: str) -> None:
        """Remove the series of a region or project that is no longer configured."""
        self.token_ends.pop(source, None)
        self._children.clear()
        for family, metric in self._metrics.items():
            if "source" in family.labels:
                metric.remove_by_labels({"source": source})

    def request(self, source: str, collector: str, code: int | None) -> None:
        """Count an HTTP request by the status `code` of its answer, None without an answer."""
        self._child(API_REQUESTS, source, collector, "none" if code is None else str(code)).inc()

    def api_error(self, source: str, collector: str, api_code: str) -> None:
        """Count an error that the API reported.

        `api_code` is one that its pages list, or "other": strangers choose the rest.
        """
        self._child(API_ERRORS, source, collector, api_code).inc()

    def retry(self, source: str, collector: str) -> None:
        """Count a request that is sent again within one poll."""
        self._child(API_RETRIES, source, collector).inc()

    def poll(self, source: str, collector: str, seconds: float, reason: Reason | None) -> None:
        """Count a poll and its duration; `reason` says why it failed, None that it worked."""
        self._child(POLLS, source, collector).inc()
        self._child(POLL_DURATION, source, collector).observe(seconds)
        if reason is not None:
            self._child(POLL_FAILURES, source, collector, reason).inc()

    def poll_interval(self, source: str, collector: str, seconds: float) -> None:
        """Set the configured time between two polls of a target."""
        self._child(POLL_INTERVAL, source, collector).set(seconds)

    def unknown_states(self, source: str, collector: str, n: int) -> None:
        """Count job states in an answer that are not known."""
        if n:
            self._child(UNKNOWN_STATES, source, collector).inc(n)

    def time_disagreements(self, source: str, collector: str, n: int) -> None:
        """Count reported times that do not fit what the polls saw."""
        self._child(TIME_DISAGREEMENTS, source, collector).inc(n)

    def rejected(self, source: str, collector: str, n: int) -> None:
        """Count records and values in an answer that could not be read."""
        if n:
            self._child(RECORDS_REJECTED, source, collector).inc(n)

    def queues_dropped(self, source: str, n: int) -> None:
        """Count queues without jobs whose names were forgotten."""
        if n:
            self._child(QUEUES_DROPPED, source).inc(n)

    def token_expiry(self, source: str, user: str, seconds: float | None) -> None:
        """Set the Unix time at which the token in use expires; None where it is unknown."""
        if seconds is None:
            self.token_ends.get(source, {}).pop(user, None)
            self._children.pop((TOKEN_EXPIRY, (source, user)), None)
            self._metrics[TOKEN_EXPIRY].remove(source, user)
        else:
            self.token_ends.setdefault(source, {})[user] = seconds
            self._child(TOKEN_EXPIRY, source, user).set(seconds)

    def token_refresh(self, source: str, ok: bool) -> None:
        """Count a request for a new token."""
        self._child(TOKEN_REFRESHES if ok else TOKEN_REFRESH_FAILURES, source).inc()

    def state_file_write_failed(self) -> None:
        """Count a failed write of the tracker's state file."""
        self._child(STATE_FILE_WRITE_FAILURES).inc()

    def task_started(self, task: str) -> None:
        """Show the restarts of a background task at 0, so that a rate over them sees the first."""
        self._child(TASK_RESTARTS, task)

    def task_restarted(self, task: str) -> None:
        """Count a background task that failed in an unforeseen way and is started again."""
        self._child(TASK_RESTARTS, task).inc()

    def tracked_jobs(self, source: str, n: int) -> None:
        """Set the number of jobs of the source that the tracker follows."""
        self._child(TRACKED_JOBS, source).set(n)

    def http_request(self, path: str, code: int) -> None:
        """Count a request that was answered.

        `path` is a route, or "other": what strangers send must not become labels.
        """
        self._child(HTTP_REQUESTS, path, str(code)).inc()

    def config_reload(self, ok: bool, timestamp: float) -> None:
        """Note that a configuration was loaded, or rejected, at that Unix time."""
        self._child(CONFIG_RELOAD_SUCCESSFUL).set(ok)
        self._unset.discard(CONFIG_RELOAD_SUCCESSFUL.name)
        if ok:
            self._child(CONFIG_RELOAD_TIMESTAMP).set(timestamp)
            self._unset.clear()

    def shard(self, ordinal: int, total: int) -> None:
        """Set which part of the targets this instance polls."""
        self._child(SHARD_ORDINAL).set(ordinal)
        self._child(TOTAL_SHARDS).set(total)

    def exclude(self, names: Iterable[str]) -> None:
        """Show all families but those of these names from now on. The hidden ones count on."""
        self._excluded = frozenset(names)

    async def document(self, fmt: Format, series: int = 0) -> bytes:
        """As `render`, in a thread where that takes a while, as with a hundred regions."""
        return await off_loop(self._series, _QUICK, lambda: self.render(fmt, series))

    def render(self, fmt: Format, series: int = 0) -> bytes:
        """All of it as one document. `series` counts those that the same answer holds besides these."""
        hidden = self._excluded | self._unset
        metrics = [metric for metric in self.registry.collect() if metric.samples and _name(metric) not in hidden]
        self._series = sum(len(metric.samples) for metric in metrics)
        if SERIES.name not in hidden:
            self._series += 1
            metrics.append(GaugeMetricFamily(SERIES.name, SERIES.help, value=series + self._series))
        document = b"".join(_rendered(metric, fmt) for metric in sorted(metrics, key=lambda metric: metric.name))
        return document + EOF if fmt is Format.OPENMETRICS else document

    def _child(self, family: Family, *labels: str) -> Any:
        """Return the counter, gauge or histogram with these label values, shown from now on."""
        child = self._children.get((family, labels))
        if child is None:
            metric = self._metrics[family]
            child = self._children[family, labels] = metric.labels(*labels) if labels else metric
        return child


def _metric(family: Family, registry: CollectorRegistry) -> MetricWrapperBase:
    if family.type == "histogram":
        return Histogram(family.name, family.help, family.labels, buckets=POLL_DURATION_BUCKETS, registry=registry)
    return (Counter if family.type == "counter" else Gauge)(family.name, family.help, family.labels, registry=registry)


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _rendered(metric: Metric, fmt: Format) -> bytes:
    """Render a family of prometheus-client's: twice as fast as its own renderer, and numbers are written one way."""
    name = _name(metric)
    lines = [named_sample(sample.name, sample.labels, sample.value) for sample in metric.samples]
    return header(Family(name, cast("FamilyType", metric.type), metric.documentation), fmt) + to_bytes("".join(lines))
