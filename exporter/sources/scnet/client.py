"""The three reads of a SCNet region."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from exporter.http import Request, Response, TokenProvider, Upstream, call_with_token
from exporter.records import JobListing, QueueStatistics, Schedulers
from exporter.sources.scnet import wire
from exporter.sources.scnet.envelope import is_bare_null, open_envelope

T = TypeVar("T")
R = TypeVar("R", QueueStatistics, JobListing)

# What the endpoints are called in metrics and in the configuration's `collect`.
QUEUE_JOBS, CLUSTER, MEMBER_JOBS = "queue_jobs", "cluster", "member_jobs"


class RegionClient:
    """Asks one region. Every method raises PollError, and yields records only from a success."""

    def __init__(self, upstream: Upstream, *, cluster_id: str, hpc_url: str, ac_url: str) -> None:
        self._upstream = upstream
        self._cluster_id = cluster_id
        self._hpc = f"{hpc_url}/hpc/openapi/v2"
        self._ac = f"{ac_url}/ac/openapi/v2"

    def queue_jobs(self, user: str, tokens: TokenProvider) -> Coroutine[Any, Any, QueueStatistics]:
        """Jobs of the scheduler user `user` by queue and state (page 查询队列作业统计信息)."""
        return self._get(QUEUE_JOBS, self._queue_url(user), tokens, lambda r: read_queues(user, r))

    def changed_queue_jobs(
        self, user: str, tokens: TokenProvider, *, known: int | None
    ) -> Coroutine[Any, Any, QueueStatistics | None]:
        """As `queue_jobs`, but None where the answer is the very one with the fingerprint `known`: it is not even read."""

        def decode(response: Response) -> QueueStatistics | None:
            return None if known == hash(response.body) else read_queues(user, response)

        return self._get(QUEUE_JOBS, self._queue_url(user), tokens, decode)

    def schedulers(self, tokens: TokenProvider) -> Coroutine[Any, Any, Schedulers]:
        """The region's schedulers (page 查询集群信息)."""
        return self._get(CLUSTER, f"{self._hpc}/cluster", tokens, lambda r: wire.schedulers(open_envelope(r)))

    def member_jobs(self, group_id: str, user: str, tokens: TokenProvider) -> Coroutine[Any, Any, JobListing]:
        """The jobs that a group's member has now (page 查询成员实时作业列表)."""
        url = (
            f"{self._ac}/clusters/{encoded(self._cluster_id)}/groups/{encoded(group_id)}"
            f"/clusterUserNames/{encoded(user)}/jobs"
        )
        return self._get(MEMBER_JOBS, url, tokens, read_jobs)

    def _queue_url(self, user: str) -> str:
        return f"{self._hpc}/view/queue/jobs?userName={encoded(user)}"

    # Here and above no coroutine of our own: each one is run through again whenever the request makes a step.
    def _get(
        self, endpoint: str, url: str, tokens: TokenProvider, decode: Callable[[Response], T]
    ) -> Coroutine[Any, Any, T]:
        def request(token: str) -> Request:
            return Request(endpoint, url, headers={"token": token}, secrets=(token,))

        return call_with_token(self._upstream, tokens, request, decode)


def read_queues(user: str, response: Response) -> QueueStatistics:
    if is_bare_null(response):
        return QueueStatistics(user, ())
    statistics = wire.queue_statistics(user, open_envelope(response))
    return with_fingerprint(statistics, response) if statistics.queues else statistics


def read_jobs(response: Response) -> JobListing:
    listing = wire.job_listing(open_envelope(response))
    return with_fingerprint(listing, response) if listing.jobs else listing


def with_fingerprint(records: R, response: Response) -> R:
    """The records, marked with the answer that they were read from; not where each poll has to count flaws in it."""
    if records.rejected or records.rejected_values or records.unknown_states:
        return records
    return msgspec.structs.replace(records, fingerprint=hash(response.body))


def encoded(text: str) -> str:
    """Percent-encoded for one path segment or query value: nothing but unreserved characters stays as it is."""
    return quote(text, safe="")
