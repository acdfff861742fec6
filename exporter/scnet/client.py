"""The three reads of a SCNet region."""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from exporter.records import JobListing, QueueStatistics, Schedulers
from exporter.scnet import wire
from exporter.scnet.envelope import is_bare_null, open_envelope
from exporter.upstream import Request, Response, TokenProvider, Upstream, call_with_token

T = TypeVar("T")

# What the endpoints are called in metrics and in the configuration's `collect`.
QUEUE_JOBS, CLUSTER, MEMBER_JOBS = "queue_jobs", "cluster", "member_jobs"


class RegionClient:
    """Asks one region. Every method raises PollError, and yields records only from a success."""

    def __init__(self, upstream: Upstream, *, cluster_id: str, hpc_url: str, ac_url: str) -> None:
        self._upstream = upstream
        self._cluster_id = cluster_id
        self._hpc = f"{hpc_url}/hpc/openapi/v2"
        self._ac = f"{ac_url}/ac/openapi/v2"

    async def queue_jobs(self, user: str, tokens: TokenProvider) -> QueueStatistics:
        """Jobs of the scheduler user `user` by queue and state (page 查询队列作业统计信息)."""
        url = f"{self._hpc}/view/queue/jobs?userName={encoded(user)}"

        def decode(response: Response) -> QueueStatistics:
            if is_bare_null(response):
                return QueueStatistics(user, ())
            return wire.queue_statistics(user, open_envelope(response))

        return await self._get(QUEUE_JOBS, url, tokens, decode)

    async def schedulers(self, tokens: TokenProvider) -> Schedulers:
        """The region's schedulers (page 查询集群信息)."""
        return await self._get(CLUSTER, f"{self._hpc}/cluster", tokens, lambda r: wire.schedulers(open_envelope(r)))

    async def member_jobs(self, group_id: str, user: str, tokens: TokenProvider) -> JobListing:
        """The jobs that a group's member has now (page 查询成员实时作业列表)."""
        url = (
            f"{self._ac}/clusters/{encoded(self._cluster_id)}/groups/{encoded(group_id)}"
            f"/clusterUserNames/{encoded(user)}/jobs"
        )
        return await self._get(MEMBER_JOBS, url, tokens, lambda r: wire.job_listing(open_envelope(r)))

    async def _get(self, endpoint: str, url: str, tokens: TokenProvider, decode: Callable[[Response], T]) -> T:
        def request(token: str) -> Request:
            return Request(endpoint, url, headers={"token": token}, secrets=(token,))

        return await call_with_token(self._upstream, tokens, request, decode)


def encoded(text: str) -> str:
    """Percent-encoded for one path segment or query value: nothing but unreserved characters stays as it is."""
    return quote(text, safe="")
