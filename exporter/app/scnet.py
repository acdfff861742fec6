"""One SCNet region at work: its client, its tokens and its targets."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from exporter.app.publisher import show_jobs_dropped
from exporter.app.services import Services
from exporter.app.tls import mistake_at
from exporter.config import Cluster, FileSecret, Member
from exporter.errors import ConfigurationError
from exporter.metrics import families
from exporter.metrics.render import Chunks
from exporter.polling import Target, TargetKey
from exporter.records import JobListing, QueueStatistics, Schedulers
from exporter.scnet import RegionClient, StaticToken
from exporter.scnet.client import CLUSTER, MEMBER_JOBS, QUEUE_JOBS
from exporter.upstream import Settings, Upstream

# Rendering this many jobs takes a few milliseconds; more is done in a thread.
RENDER_ON_LOOP_LIMIT = 2_000


class Region:
    """A configured region. Making one has no effect yet; it raises ConfigurationError where it cannot work."""

    def __init__(self, cluster: Cluster, services: Services, *, slots: asyncio.Semaphore, tls: ssl.SSLContext) -> None:
        self.cluster = cluster
        self.name = cluster.name
        self._services = services
        self._upstream = Upstream(
            Settings(
                name=cluster.name,
                timeout=cluster.poll.timeout,
                retries=cluster.poll.retries,
                max_concurrency=cluster.poll.max_concurrency,
                requests_per_second=cluster.requests_per_second,
            ),
            slots=slots,
            observer=services.own,
            clock=services.clock,
            tls=tls,
        )
        self._client = RegionClient(
            self._upstream, cluster_id=cluster.cluster_id, hpc_url=cluster.hpc_url, ac_url=cluster.ac_url
        )
        if cluster.credential is None:
            raise ConfigurationError(
                [mistake_at(cluster.place, "account", "accounts are not supported yet; give a token")]
            )
        self._token = StaticToken(cluster.credential)
        self._users = self._tokens_of_users()

    def _tokens_of_users(self) -> dict[str, StaticToken]:
        """Each user of the queue statistics with the token to ask with."""
        if self.cluster.users is None:
            owner = self._token.claims().compute_user
            if not owner:
                message = f"left out, and {self._token.origin} does not say whose token it is: list the users"
                raise ConfigurationError([mistake_at(self.cluster.place, "users", message)])
            return {owner: self._token}
        return {
            user.name: StaticToken(user.credential) if user.credential else self._token for user in self.cluster.users
        }

    def targets(self) -> list[Target]:
        """All that is polled in this region, in the order of the configuration."""
        collect = self.cluster.collect
        targets: list[Target] = []
        if CLUSTER in collect:
            targets.append(self._schedulers())
        if QUEUE_JOBS in collect:
            targets += [self._queue_jobs(user, token) for user, token in self._users.items()]
        if MEMBER_JOBS in collect:
            targets += [self._member_jobs(member, user) for member in self.cluster.members for user in member.users]
        return targets

    def targets_using(self, secret: FileSecret) -> list[TargetKey]:
        """The targets whose next poll can work again once the content of `secret` has changed."""
        own = {user.name for user in self.cluster.users or () if user.credential == secret}
        region_wide = self.cluster.credential == secret
        return [key for key in (target.key for target in self.targets()) if region_wide or key.target in own]

    def show_token_expiry(self) -> None:
        """Put the ends of all tokens into the metrics; also to be called when a token's file has changed."""
        self._services.own.token_expiry(self.name, "", self._token.claims().expires)
        for user, token in self._users.items():
            if token is not self._token:
                self._services.own.token_expiry(self.name, user, token.claims().expires)

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        await self._upstream.close()

    def _target(
        self, endpoint: str, target: str, poll: Callable[[], Any], publish: Callable[[TargetKey, Any], Any]
    ) -> Target:
        key = TargetKey(self.name, endpoint, target)
        self._services.own.declare(self.name, endpoint)
        self._services.own.poll_interval(self.name, endpoint, self.cluster.poll.interval)

        async def publish_for_key(records: Any) -> None:
            await publish(key, records)

        cluster = self.cluster
        return Target(
            key=key,
            interval=cluster.poll.interval,
            stale_after=cluster.poll.stale_after,
            poll=poll,
            publish=publish_for_key,
            identity=(cluster.cluster_id, cluster.hpc_url, cluster.ac_url, target),
        )

    def _schedulers(self) -> Target:
        async def publish(key: TargetKey, records: Schedulers) -> None:
            self._services.own.rejected(self.name, CLUSTER, records.rejected)
            self._services.exposition.put(key, families.schedulers(self.name, records))

        return self._target(CLUSTER, "", lambda: self._client.schedulers(self._token), publish)

    def _queue_jobs(self, user: str, token: StaticToken) -> Target:
        async def publish(key: TargetKey, records: QueueStatistics) -> None:
            own = self._services.own
            own.rejected(self.name, QUEUE_JOBS, records.rejected)
            own.unknown_states(self.name, QUEUE_JOBS, records.unknown_states)
            seen = self._services.queues_seen[key]
            self._services.exposition.put(key, families.queue_statistics(self.name, records, seen))
            seen.update(queue.queue for queue in records.queues)

        return self._target(QUEUE_JOBS, user, lambda: self._client.queue_jobs(user, token), publish)

    def _member_jobs(self, member: Member, user: str) -> Target:
        async def publish(key: TargetKey, records: JobListing) -> None:
            own = self._services.own
            own.rejected(self.name, MEMBER_JOBS, records.rejected)
            own.unknown_states(self.name, MEMBER_JOBS, records.unknown_states)
            if len(records.jobs) > RENDER_ON_LOOP_LIMIT:
                chunks = await asyncio.to_thread(families.member_jobs, self.name, member.group, user, records)
            else:
                chunks = families.member_jobs(self.name, member.group, user, records)
            self._services.exposition.put(key, {**chunks, **self._per_job(key, member.group, user, records)})

        return self._target(
            MEMBER_JOBS,
            f"{member.group}/{user}",
            lambda: self._client.member_jobs(member.group_id, user, self._token),
            publish,
        )

    def _per_job(self, key: TargetKey, group: str, user: str, records: JobListing) -> Chunks:
        budget = self._services.per_job
        if budget is None:
            return {}
        jobs = budget.grant(key, self.name, user, records.jobs)
        show_jobs_dropped(self._services, self.name)
        return families.per_job(self.name, group, user, jobs)
