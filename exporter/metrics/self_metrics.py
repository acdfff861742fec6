"""The exporter's own metrics: counters, histograms and gauges held by prometheus-client, in a registry of ours."""

import platform
from collections.abc import Iterable
from typing import Final, TypeVar, cast, get_args

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
    "never, for an endpoint that is polled: it is there at 0 from the start.",
    "只要该接口被采集就不会缺失：从一开始就是 0。",
)
_NOT_RENEWED: Final = Text("for a source that only has tokens which nobody renews.", "该来源只有无人更新的令牌。")
_AFTER_FIRST: Final = Text("until the first of its kind.", "第一次发生之前。")

BUILD_INFO: Final = gauge(
    "hpc_exporter_build_info",
    ("version", "revision", "python_version"),
    "What is running: the exporter's version, source revision and Python version; always 1.",
    zh="正在运行的程序：版本、源代码版本和 Python 版本，恒为 1。",
    absent=_NEVER,
)

POLL_INTERVAL: Final = gauge(
    "hpc_exporter_poll_interval_seconds",
    _COLLECTOR,
    "Configured time between two polls of one target, in seconds.",
    zh="配置中同一目标两次采集的间隔（秒）。",
    absent=Text("never, for an endpoint that is polled.", "只要该接口被采集就不会缺失。"),
)

POLLS: Final = counter(
    "hpc_exporter_polls_total",
    _COLLECTOR,
    "Polls that ended, successful or not. A poll can take several requests.",
    zh="已结束的采集，不论成败。一次采集可能需要多个请求。",
    absent=_DECLARED,
)

POLL_FAILURES: Final = counter(
    "hpc_exporter_poll_failures_total",
    (*_COLLECTOR, "reason"),
    "Polls that failed after all their retries, by reason.",
    zh="重试之后仍然失败的采集，按原因分。",
    absent=_DECLARED,
)

POLL_DURATION: Final = histogram(
    "hpc_exporter_poll_duration_seconds",
    _COLLECTOR,
    "Duration of a poll in seconds, successful or not, with its retries and waits.",
    zh="一次采集的用时（秒），不论成败，包括重试和等待。",
    absent=_DECLARED,
)

API_REQUESTS: Final = counter(
    "hpc_exporter_api_requests_total",
    (*_COLLECTOR, "code"),
    "HTTP requests sent upstream, by status code of the answer; none where no answer came.",
    zh="发往上游的 HTTP 请求，按应答的状态码分；没有应答的为 none。",
    absent=_AFTER_FIRST,
)

API_ERRORS: Final = counter(
    "hpc_exporter_api_errors_total",
    (*_COLLECTOR, "api_code"),
    "Answers in which the API itself reported an error, by its code; codes that no API page lists count as other.",
    zh="接口自己报错的应答，按错误码分；接口文档没有列出的错误码记为 other。",
    absent=_AFTER_FIRST,
)

API_RETRIES: Final = counter(
    "hpc_exporter_api_retries_total",
    _COLLECTOR,
    "Further attempts after a transient failure within one poll.",
    zh="一次采集中遇到临时故障后的再次尝试。",
    absent=_DECLARED,
)

TOKEN_EXPIRY: Final = gauge(
    "hpc_exporter_token_expiry_timestamp_seconds",
    ("source", "user"),
    "Unix time at which the token now in use expires, in seconds; user is the token's owner, empty for the "
    "region's own. Absent where it is unknown.",
    zh="当前令牌到期的 Unix 时间（秒）；user 是令牌的所有者，区域自己的令牌为空。",
    absent=Text("", "到期时间未知。"),
)

TOKEN_REFRESHES: Final = counter(
    "hpc_exporter_token_refreshes_total",
    _SOURCE,
    "New tokens obtained, at the start or in place of an older one.",
    zh="取得的新令牌，包括启动时的和替换旧令牌的。",
    absent=_NOT_RENEWED,
)

TOKEN_REFRESH_FAILURES: Final = counter(
    "hpc_exporter_token_refresh_failures_total",
    _SOURCE,
    "Attempts to obtain a new token that failed.",
    zh="未能取得新令牌的尝试。",
    absent=_NOT_RENEWED,
)

UNKNOWN_STATES: Final = counter(
    "hpc_exporter_unknown_states_total",
    _COLLECTOR,
    "States of jobs that the exporter does not know; such jobs are counted in the state unknown.",
    zh="本程序不认识的作业状态；这些作业计入状态 unknown。",
    absent=_DECLARED,
)

RECORDS_REJECTED: Final = counter(
    "hpc_exporter_records_rejected_total",
    _COLLECTOR,
    "What was left out of otherwise good answers: records without a usable id or name, and single values "
    "that make no sense. Their jobs are counted, sums with them are absent.",
    zh="应答本身正常，但其中略去的内容：没有可用编号的记录，以及读不懂的单个值（其作业照常计数，含该值的合计不显示）。",
    absent=_DECLARED,
)

QUEUES_DROPPED: Final = counter(
    "hpc_exporter_queues_dropped_total",
    _SOURCE,
    "Queues without jobs that are no longer shown at 0, because a user had more than 1000 of them.",
    zh="不再以 0 显示的无作业队列：一个用户的这类队列超过 1000 个。",
    absent=Text("for a source without queue statistics.", "该来源没有队列统计。"),
)

TRACKED_JOBS: Final = gauge(
    "hpc_exporter_tracked_jobs",
    _SOURCE,
    "Jobs that the tracker follows between polls.",
    zh="跟踪器在两次采集之间跟踪的作业数。",
    absent=Text("until a first list of the source was followed.", "尚未跟踪过该来源的作业列表。"),
)

STATE_FILE_WRITE_FAILURES: Final = counter(
    "hpc_exporter_state_file_write_failures_total",
    (),
    "Writes of the tracker's state file that failed. Counting goes on in memory, and is lost with the process.",
    zh="写入跟踪器状态文件失败的次数。计数在内存中继续，进程结束时丢失。",
    absent=_NEVER,
)

SERIES: Final = gauge(
    "hpc_exporter_series",
    (),
    "Series in this answer of the exporter, all families together.",
    zh="本次应答中的序列总数，包括所有指标。",
    absent=_NEVER,
)

CONFIG_RELOAD_SUCCESSFUL: Final = gauge(
    "hpc_exporter_config_last_reload_successful",
    (),
    "Whether the last attempt to load the configuration worked (1) or the one before it is still in use (0).",
    zh="最近一次加载配置是成功（1），还是仍在使用之前的配置（0）。",
    absent=_NEVER,
)

CONFIG_RELOAD_TIMESTAMP: Final = gauge(
    "hpc_exporter_config_last_reload_success_timestamp_seconds",
    (),
    "Unix time at which the configuration in use was loaded, in seconds.",
    zh="加载当前配置的 Unix 时间（秒）。",
    absent=_NEVER,
)

SHARD_ORDINAL: Final = gauge(
    "hpc_exporter_shard_ordinal",
    (),
    "Number of this instance's shard of the targets, counted from 0.",
    zh="本实例负责的分片的序号，从 0 开始。",
    absent=_NEVER,
)

TOTAL_SHARDS: Final = gauge(
    "hpc_exporter_total_shards",
    (),
    "Number of shards that the targets are divided into; 1 means that this instance polls all of them.",
    zh="目标被分成的分片数；1 表示本实例采集全部目标。",
    absent=_NEVER,
)

TASK_RESTARTS: Final = counter(
    "hpc_exporter_task_restarts_total",
    ("task",),
    "Background tasks that failed in an unforeseen way and were started again, by task.",
    zh="后台任务因未预见的错误而失败并被重新启动的次数，按任务分。",
    absent=Text("the task does not run.", "该任务没有运行。"),
)

HTTP_REQUESTS: Final = counter(
    "hpc_exporter_http_requests_total",
    ("path", "code"),
    "HTTP requests that the exporter answered, by path and status code; paths it does not serve count as other.",
    zh="本程序回答的 HTTP 请求，按路径和状态码分；不提供的路径记为 other。",
    absent=_AFTER_FIRST,
)

FAMILIES: Final = (
    BUILD_INFO,
    POLL_INTERVAL,
    POLLS,
    POLL_FAILURES,
    POLL_DURATION,
    API_REQUESTS,
    API_ERRORS,
    API_RETRIES,
    TOKEN_EXPIRY,
    TOKEN_REFRESHES,
    TOKEN_REFRESH_FAILURES,
    UNKNOWN_STATES,
    RECORDS_REJECTED,
    QUEUES_DROPPED,
    TRACKED_JOBS,
    STATE_FILE_WRITE_FAILURES,
    SERIES,
    CONFIG_RELOAD_SUCCESSFUL,
    CONFIG_RELOAD_TIMESTAMP,
    SHARD_ORDINAL,
    TOTAL_SHARDS,
    TASK_RESTARTS,
    HTTP_REQUESTS,
)

# From a query on the local network to the longest that a request, with its retries, usually takes.
POLL_DURATION_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_Metric = TypeVar("_Metric", bound=MetricWrapperBase)
# Rendering so many series takes about 4 ms.
_QUICK: Final = 1_000
_REASONS: Final[tuple[str, ...]] = get_args(Reason)


class SelfMetrics:
    """All of `FAMILIES`, and what is counted in them.

    `source` is a region's or project's name, `collector` names the way of asking.
    """

    def __init__(self) -> None:
        # Of the process, not of the registry: prometheus-client has no finer switch.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._by_source: list[MetricWrapperBase] = []
        # The same as `token_expiry_timestamp`, by source and user, for who is not Prometheus.
        self.token_ends: dict[str, dict[str, float]] = {}
        self._not_shown: set[Gauge] = set()
        self._excluded: frozenset[str] = frozenset()
        # How many there were the last time.
        self._series = 0
        # What every poll counts with. To have the library look it up takes longer than all the rest of counting.
        self._of_requests: dict[tuple[str, str, int | None], Counter] = {}
        self._of_polls: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

        self.build_info = self._gauge(BUILD_INFO)
        self.poll_interval_seconds = self._gauge(POLL_INTERVAL)
        self.polls = self._counter(POLLS)
        self.poll_failures = self._counter(POLL_FAILURES)
        self.poll_duration = self._histogram(POLL_DURATION, POLL_DURATION_BUCKETS)
        self.api_requests = self._counter(API_REQUESTS)
        self.api_errors = self._counter(API_ERRORS)
        self.api_retries = self._counter(API_RETRIES)
        self.token_expiry_timestamp = self._gauge(TOKEN_EXPIRY)
        self.token_refreshes = self._counter(TOKEN_REFRESHES)
        self.token_refresh_failures = self._counter(TOKEN_REFRESH_FAILURES)
        self.unknown_states_seen = self._counter(UNKNOWN_STATES)
        self.records_rejected = self._counter(RECORDS_REJECTED)
        self.queues_left_out = self._counter(QUEUES_DROPPED)
        self.tracked = self._gauge(TRACKED_JOBS)
        self.state_file_write_failures = self._counter(STATE_FILE_WRITE_FAILURES)
        self.config_reload_successful = self._gauge(CONFIG_RELOAD_SUCCESSFUL, shown=False)
        self.config_reload_timestamp = self._gauge(CONFIG_RELOAD_TIMESTAMP, shown=False)
        self.shard_ordinal = self._gauge(SHARD_ORDINAL)
        self.total_shards = self._gauge(TOTAL_SHARDS)
        self.task_restarts = self._counter(TASK_RESTARTS)
        self.http_requests = self._counter(HTTP_REQUESTS)

        self.build_info.labels(__version__, revision(), platform.python_version()).set(1)
        self.shard(0, 1)

    def declare(self, source: str, collector: str) -> None:
        """Show a polled endpoint's counters at 0, so that a rate over them sees the first increase."""
        labels = (source, collector)
        for metric in (
            self.polls,
            self.poll_duration,
            self.api_retries,
            self.unknown_states_seen,
            self.records_rejected,
        ):
            metric.labels(*labels)
        for reason in _REASONS:
            self.poll_failures.labels(*labels, reason)

    def declare_queues(self, source: str) -> None:
        """Show the counter of dropped queues at 0, for a source that has queues of users."""
        self.queues_left_out.labels(source)

    def declare_token(self, source: str) -> None:
        """The same for a source whose tokens are obtained by us."""
        for metric in (self.token_refreshes, self.token_refresh_failures):
            metric.labels(source)
        self.api_retries.labels(source, "token")

    def drop_source(self, source: str) -> None:
        """A region or project is configured no longer: its series leave."""
        self.token_ends.pop(source, None)
        self._of_requests.clear()
        self._of_polls.clear()
        for metric in self._by_source:
            metric.remove_by_labels({"source": source})

    def request(self, source: str, collector: str, code: int | None) -> None:
        """One HTTP request was answered with the status `code`, or not at all."""
        requests = self._of_requests.get((source, collector, code))
        if requests is None:
            requests = self.api_requests.labels(source, collector, "none" if code is None else code)
            self._of_requests[source, collector, code] = requests
        requests.inc()

    def api_error(self, source: str, collector: str, api_code: str) -> None:
        """The API reported an error. `api_code` is one that its pages list, or "other": strangers choose the rest."""
        self.api_errors.labels(source, collector, api_code).inc()

    def retry(self, source: str, collector: str) -> None:
        """A request is sent again within one poll."""
        self.api_retries.labels(source, collector).inc()

    def poll(self, source: str, collector: str, seconds: float, reason: Reason | None) -> None:
        """A poll ended after so many seconds; `reason` says why it failed, None that it worked."""
        of_polls = self._of_polls.get((source, collector))
        if of_polls is None:
            of_polls = self.polls.labels(source, collector), self.poll_duration.labels(source, collector)
            self._of_polls[source, collector] = of_polls
        polls, duration = of_polls
        polls.inc()
        duration.observe(seconds)
        if reason is not None:
            self.poll_failures.labels(source, collector, reason).inc()

    def poll_interval(self, source: str, collector: str, seconds: float) -> None:
        """The configured time between two polls of a target."""
        self.poll_interval_seconds.labels(source, collector).set(seconds)

    def unknown_states(self, source: str, collector: str, n: int) -> None:
        """An answer held `n` states of jobs that are not known."""
        if n:
            self.unknown_states_seen.labels(source, collector).inc(n)

    def rejected(self, source: str, collector: str, n: int) -> None:
        """An answer held `n` records that could not be read."""
        if n:
            self.records_rejected.labels(source, collector).inc(n)

    def queues_dropped(self, source: str, n: int) -> None:
        """The names of `n` queues without jobs were forgotten."""
        if n:
            self.queues_left_out.labels(source).inc(n)

    def token_expiry(self, source: str, user: str, seconds: float | None) -> None:
        """The token in use expires at that Unix time; None: it is not known when."""
        if seconds is None:
            self.token_ends.get(source, {}).pop(user, None)
            self.token_expiry_timestamp.remove(source, user)
        else:
            self.token_ends.setdefault(source, {})[user] = seconds
            self.token_expiry_timestamp.labels(source, user).set(seconds)

    def token_refresh(self, source: str, ok: bool) -> None:
        """A new token was asked for."""
        (self.token_refreshes if ok else self.token_refresh_failures).labels(source).inc()

    def state_file_write_failed(self) -> None:
        """Count a failed write of the tracker's state file."""
        self.state_file_write_failures.inc()

    def task_started(self, task: str) -> None:
        """A background task runs: its counter is shown at 0, so that a rate over it sees the first restart."""
        self.task_restarts.labels(task)

    def task_restarted(self, task: str) -> None:
        """A background task failed in an unforeseen way and is started again."""
        self.task_restarts.labels(task).inc()

    def tracked_jobs(self, source: str, n: int) -> None:
        """The tracker follows `n` jobs of the source."""
        self.tracked.labels(source).set(n)

    def http_request(self, path: str, code: int) -> None:
        """We answered a request. `path` is one of our routes, or "other": what strangers send must not become labels."""
        self.http_requests.labels(path, code).inc()

    def config_reload(self, ok: bool, timestamp: float) -> None:
        """A configuration was loaded, or refused, at that Unix time."""
        self._show(self.config_reload_successful).set(ok)
        if ok:
            self._show(self.config_reload_timestamp).set(timestamp)

    def shard(self, ordinal: int, total: int) -> None:
        """Which part of the targets this instance polls."""
        self.shard_ordinal.set(ordinal)
        self.total_shards.set(total)

    def exclude(self, names: Iterable[str]) -> None:
        """Show no families of these names from now on, and all others. They count on, in case they are shown again."""
        self._excluded = frozenset(names)

    async def document(self, fmt: Format, series: int = 0) -> bytes:
        """As `render`, in a thread where that takes a while, as with a hundred regions."""
        return await off_loop(self._series, _QUICK, lambda: self.render(fmt, series))

    def render(self, fmt: Format, series: int = 0) -> bytes:
        """All of it as one document. `series` counts those that the same answer holds besides these."""
        excluded = self._excluded
        metrics = [metric for metric in self.registry.collect() if metric.samples and _name(metric) not in excluded]
        self._series = sum(len(metric.samples) for metric in metrics)
        if SERIES.name not in excluded:
            self._series += 1
            metrics.append(GaugeMetricFamily(SERIES.name, SERIES.help, value=series + self._series))
        document = b"".join(_rendered(metric, fmt) for metric in sorted(metrics, key=lambda metric: metric.name))
        return document + EOF if fmt is Format.OPENMETRICS else document

    def _counter(self, family: Family) -> Counter:
        return self._made(Counter(family.name, family.help, family.labels, registry=self.registry), family)

    def _histogram(self, family: Family, buckets: tuple[float, ...]) -> Histogram:
        made = Histogram(family.name, family.help, family.labels, buckets=buckets, registry=self.registry)
        return self._made(made, family)

    def _gauge(self, family: Family, *, shown: bool = True) -> Gauge:
        made = Gauge(family.name, family.help, family.labels, registry=self.registry if shown else None)
        if not shown:
            self._not_shown.add(made)
        return self._made(made, family)

    def _made(self, metric: _Metric, family: Family) -> _Metric:
        if "source" in family.labels:
            self._by_source.append(metric)
        return metric

    def _show(self, gauge: Gauge) -> Gauge:
        """Register a gauge when it gets its first value: prometheus-client would show it as 0 before."""
        if gauge in self._not_shown:
            self._not_shown.remove(gauge)
            self.registry.register(gauge)
        return gauge


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _rendered(metric: Metric, fmt: Format) -> bytes:
    """A family of prometheus-client's, by our renderer: twice as fast as its own, and one way of writing numbers."""
    name = _name(metric)
    lines = [named_sample(sample.name, sample.labels, sample.value) for sample in metric.samples]
    return header(Family(name, cast("FamilyType", metric.type), metric.documentation), fmt) + to_bytes("".join(lines))
