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
from exporter.metrics import catalogue
from exporter.metrics.family import Family, FamilyType
from exporter.metrics.render import EOF, Format, header, named_sample, to_bytes
from exporter.threads import off_loop
from exporter.version import revision

# From a query on the local network to the longest that a request, with its retries, usually takes.
POLL_DURATION_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_Metric = TypeVar("_Metric", bound=MetricWrapperBase)
# Rendering so many series takes about 4 ms.
_QUICK: Final = 1_000
_REASONS: Final[tuple[str, ...]] = get_args(Reason)


class OwnMetrics:
    """Every family of `catalogue.OWN`, each an attribute, and what other rooms do with them.

    `source` is a region's or project's name, `endpoint` what is polled there.
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

        self.build_info = self._gauge(catalogue.BUILD_INFO)
        self.poll_interval_seconds = self._gauge(catalogue.POLL_INTERVAL)
        self.polls = self._counter(catalogue.POLLS)
        self.poll_failures = self._counter(catalogue.POLL_FAILURES)
        self.poll_duration = self._histogram(catalogue.POLL_DURATION, POLL_DURATION_BUCKETS)
        self.api_requests = self._counter(catalogue.API_REQUESTS)
        self.api_errors = self._counter(catalogue.API_ERRORS)
        self.api_retries = self._counter(catalogue.API_RETRIES)
        self.token_expiry_timestamp = self._gauge(catalogue.TOKEN_EXPIRY)
        self.token_refreshes = self._counter(catalogue.TOKEN_REFRESHES)
        self.token_refresh_failures = self._counter(catalogue.TOKEN_REFRESH_FAILURES)
        self.unknown_states_seen = self._counter(catalogue.UNKNOWN_STATES)
        self.records_rejected = self._counter(catalogue.RECORDS_REJECTED)
        self.queues_left_out = self._counter(catalogue.QUEUES_DROPPED)
        self.tracked = self._gauge(catalogue.TRACKED_JOBS)
        self.state_file_write_failures = self._counter(catalogue.STATE_FILE_WRITE_FAILURES)
        self.config_reload_successful = self._gauge(catalogue.CONFIG_RELOAD_SUCCESSFUL, shown=False)
        self.config_reload_timestamp = self._gauge(catalogue.CONFIG_RELOAD_TIMESTAMP, shown=False)
        self.shard_ordinal = self._gauge(catalogue.SHARD_ORDINAL)
        self.total_shards = self._gauge(catalogue.TOTAL_SHARDS)
        self.task_restarts = self._counter(catalogue.TASK_RESTARTS)
        self.http_requests = self._counter(catalogue.HTTP_REQUESTS)

        self.build_info.labels(__version__, revision(), platform.python_version()).set(1)
        self.shard(0, 1)

    def declare(self, source: str, endpoint: str) -> None:
        """Show a polled endpoint's counters at 0, so that a rate over them sees the first increase."""
        labels = (source, endpoint)
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

    def request(self, source: str, endpoint: str, code: int | None) -> None:
        """One HTTP request was answered with the status `code`, or not at all."""
        requests = self._of_requests.get((source, endpoint, code))
        if requests is None:
            requests = self.api_requests.labels(source, endpoint, "none" if code is None else code)
            self._of_requests[source, endpoint, code] = requests
        requests.inc()

    def api_error(self, source: str, endpoint: str, api_code: str) -> None:
        """The API reported an error. `api_code` is one that its pages list, or "other": strangers choose the rest."""
        self.api_errors.labels(source, endpoint, api_code).inc()

    def retry(self, source: str, endpoint: str) -> None:
        """A request is sent again within one poll."""
        self.api_retries.labels(source, endpoint).inc()

    def poll(self, source: str, endpoint: str, seconds: float, reason: Reason | None) -> None:
        """A poll ended after so many seconds; `reason` says why it failed, None that it worked."""
        of_polls = self._of_polls.get((source, endpoint))
        if of_polls is None:
            of_polls = self.polls.labels(source, endpoint), self.poll_duration.labels(source, endpoint)
            self._of_polls[source, endpoint] = of_polls
        polls, duration = of_polls
        polls.inc()
        duration.observe(seconds)
        if reason is not None:
            self.poll_failures.labels(source, endpoint, reason).inc()

    def poll_interval(self, source: str, endpoint: str, seconds: float) -> None:
        """The configured time between two polls of a target."""
        self.poll_interval_seconds.labels(source, endpoint).set(seconds)

    def unknown_states(self, source: str, endpoint: str, n: int) -> None:
        """An answer held `n` states of jobs that are not known."""
        if n:
            self.unknown_states_seen.labels(source, endpoint).inc(n)

    def rejected(self, source: str, endpoint: str, n: int) -> None:
        """An answer held `n` records that could not be read."""
        if n:
            self.records_rejected.labels(source, endpoint).inc(n)

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
        """What the tracker knows could not be written to its state file."""
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
        if catalogue.SERIES.name not in excluded:
            self._series += 1
            metrics.append(GaugeMetricFamily(catalogue.SERIES.name, catalogue.SERIES.help, value=series + self._series))
        document = b"".join(_rendered(metric, fmt) for metric in sorted(metrics, key=lambda metric: metric.name))
        return document + EOF if fmt is Format.OPENMETRICS else document

    def _counter(self, family: Family) -> Counter:
        return self._made(Counter(family.name, family.help, family.labels, registry=self.registry), family)

    def _histogram(self, family: Family, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(family.name, family.help, family.labels, buckets=buckets, registry=self.registry)
        return self._made(histogram, family)

    def _gauge(self, family: Family, *, shown: bool = True) -> Gauge:
        gauge = Gauge(family.name, family.help, family.labels, registry=self.registry if shown else None)
        if not shown:
            self._not_shown.add(gauge)
        return self._made(gauge, family)

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
