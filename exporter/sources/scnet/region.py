"""One SCNet region at work: its client, its tokens and its targets."""

# Annotations stay text: the functions within functions here are made for each of thousands of targets.
from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import structlog

from exporter.config import Cluster, FileSecret, Member
from exporter.errors import PermanentError, RejectedError
from exporter.metrics import catalogue, families
from exporter.metrics.family import Family
from exporter.metrics.render import Chunks
from exporter.polling import SLICE, Target, TargetKey
from exporter.records import JobListing, QueueStatistics, Schedulers
from exporter.scnet import RegionClient
from exporter.scnet.client import CLUSTER, MEMBER_JOBS, QUEUE_JOBS
from exporter.sources.figures import MemberFigures, QueueFigures, member_figures, queue_figures
from exporter.sources.keys import OWNER, member_key, queues_key, schedulers_key
from exporter.sources.scnet.region_tokens import AccountAtWork, RegionTokens
from exporter.sources.scnet.seen_queues import SeenQueues
from exporter.sources.services import Services, show_jobs_dropped
from exporter.sources.tracked import Followed
from exporter.threads import off_loop
from exporter.tracking import MemberKey
from exporter.upstream import Settings, StaticToken, TokenSource, Upstream

log = structlog.get_logger()

# A region that spells its states differently all the time must not fill the log.
UNKNOWN_WORDS_TOLD: Final = 50
# Rendering this many jobs or queues takes a few milliseconds; more is done in a thread.
RENDER_ON_LOOP_LIMIT = 2_000


class MadeTargets:
    """A region's targets, made when its queues were asked for of these `users`."""

    def __init__(self, users: list[str], targets: list[Target]) -> None:
        self.users = users
        self.targets = targets
        self.endpoints = tuple(dict.fromkeys(target.key.endpoint for target in targets))


class Region:
    """A configured region at work. Making one has no effect yet."""

    up_family: Final[Family] = catalogue.SCNET_UP

    def __init__(
        self,
        cluster: Cluster,
        accounts: Mapping[str, AccountAtWork],
        services: Services,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext,
    ) -> None:
        self.cluster = cluster
        self.tls = tls
        self.accounts = {name: accounts[name] for name in account_names(cluster)}
        self.name = cluster.name
        self._services = services
        self.upstream = Upstream(
            Settings(
                name=cluster.name,
                timeout=cluster.poll.timeout,
                retries=cluster.poll.retries,
                max_concurrency=cluster.poll.max_concurrency,
                requests_per_second=cluster.requests_per_second,
                max_body=cluster.poll.max_body,
            ),
            slots=slots,
            observer=services.own,
            clock=services.clock,
            tls=tls,
        )
        self.client = RegionClient(
            self.upstream, cluster_id=cluster.cluster_id, hpc_url=cluster.hpc_url, ac_url=cluster.ac_url
        )
        self._made: MadeTargets | None = None
        self.tokens = RegionTokens(cluster, self.accounts, services, upstream=self.upstream, slots=slots)

    def warnings(self) -> list[str]:
        """What is allowed but may surprise."""
        if QUEUE_JOBS in self.cluster.collect and not self._queue_users():
            token = self.tokens.own.origin
            message = f"users is left out, and {token} does not say whose it is: no queue statistics; list the users"
            return [f"{self.cluster.place}: {message}"]
        return []

    def _queue_users(self) -> list[str]:
        """Whose queues are counted; OWNER stands for the token's own user while only a login can tell who that is."""
        if self.cluster.users is not None:
            return [user.name for user in self.cluster.users]
        owner = self.tokens.own.issued.owner
        if owner:
            return [owner]
        return [OWNER] if self.cluster.account is not None else []

    def targets(self) -> list[Target]:
        """All that is polled in this region, in the order of the configuration: the same targets every time."""
        made = self._made
        if made is None or self._owner_changed(made):
            users = self._queue_users()
            made = self._made = MadeTargets(users, list(self._make_targets(users)))
        for endpoint in made.endpoints:
            self._services.own.declare(self.name, endpoint)
            self._services.own.poll_interval(self.name, endpoint, self.cluster.poll.interval)
        if QUEUE_JOBS in made.endpoints:
            self._services.own.declare_queues(self.name)
        return made.targets

    async def prepare(self) -> None:
        """Make the targets, bit by bit: thousands at once would keep the event loop from everything else for too long."""
        if self._made is None:
            users, targets = self._queue_users(), list[Target]()
            for target in self._make_targets(users):
                targets.append(target)
                if len(targets) % SLICE == 0:
                    await asyncio.sleep(0)
            self._made = MadeTargets(users, targets)

    def _owner_changed(self, made: MadeTargets) -> bool:
        """Whether the token turned out to be another user's than when the targets were made."""
        return self.cluster.users is None and made.users != self._queue_users()

    def _make_targets(self, users: list[str]) -> Iterator[Target]:
        collect = self.cluster.collect
        if CLUSTER in collect:
            yield self._schedulers()
        if QUEUE_JOBS in collect:
            yield from map(self._queue_jobs, users)
        if MEMBER_JOBS in collect:
            for member in self.cluster.members:
                for user in member.users:
                    yield self._member_jobs(member, user)

    def secret_changed(self, secret: FileSecret) -> list[TargetKey]:
        """Use the new content of `secret`; the targets that may work again now."""
        if not self.tokens.uses(secret):
            return []
        self.tokens.credential_changed(secret)
        return [target.key for target in self.targets()]

    def show_token_expiry(self) -> None:
        """Put the ends of the tokens into the metrics."""
        self.tokens.show_expiry()

    def hide_token_expiry(self) -> None:
        """Take the ends of the tokens out of the metrics."""
        self.tokens.hide_expiry()

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        await self.tokens.close()
        await self.upstream.close()
        # They refer to the region: so all of it is gone at once instead of being left to the garbage collector.
        self._made = None

    def _target(
        self, key: TargetKey, poll: Callable[[], Awaitable[Any]], publish: Callable[[Any], Awaitable[None]]
    ) -> Target:
        cluster = self.cluster
        return Target(
            key=key,
            interval=cluster.poll.interval,
            stale_after=cluster.poll.stale_after,
            poll=poll,
            publish=publish,
            identity=(cluster.cluster_id, cluster.hpc_url, cluster.ac_url, key.target),
        )

    def _schedulers(self) -> Target:
        key = schedulers_key(self.cluster)

        async def publish(records: Schedulers) -> None:
            self._services.own.rejected(self.name, CLUSTER, records.rejected)
            self._services.exposition.put(key, families.schedulers(self.name, records))

        return self._target(key, lambda: self.client.schedulers(self.tokens.own), publish)

    def _queue_jobs(self, user: str) -> Target:
        key = queues_key(self.cluster, user)
        token = self.tokens.of_user(user)
        shown_answers = self._services.shown_answers

        async def ask() -> QueueStatistics | None:
            known = shown_answers.get(key)
            records = await self.client.changed_queue_jobs(user, token, known=known)
            if records is None and shown_answers.get(key) != known:
                # It got too old to be shown while it was asked for again.
                return await self.client.queue_jobs(user, token)
            return records

        async def ask_for_the_owner() -> QueueStatistics | None:
            await self._make_way_for(await self._owner(token), user)
            try:
                records = await ask()
            except PermanentError:
                await self._make_way_for(token.issued.owner, user)
                raise
            # A token that replaced a refused one may be another user's: what it says of this one is nothing.
            await self._make_way_for(token.issued.owner, user)
            return records

        async def publish(records: QueueStatistics | None) -> None:
            if records is None:
                return
            self._count_flaws(QUEUE_JOBS, records)
            await self._show_queues(key, records)
            shown_answers[key] = records.fingerprint

        return self._target(key, ask_for_the_owner if self.cluster.users is None else ask, publish)

    async def _show_queues(self, key: TargetKey, records: QueueStatistics) -> None:
        before = self._services.queues_seen.get(key, SeenQueues())

        def rendered() -> tuple[Chunks, QueueFigures, SeenQueues, int]:
            seen, dropped = before.after(queue.queue for queue in records.queues)
            chunks = families.queue_statistics(self.name, records, seen.absent)
            return chunks, queue_figures(records, seen.absent), seen, dropped

        chunks, figures, seen, dropped = await off_loop(len(records.queues), RENDER_ON_LOOP_LIMIT, rendered)
        self._services.exposition.put(key, chunks)
        self._services.figures.show(key, figures)
        self._services.queues_seen[key] = seen
        self._services.own.queues_dropped(self.name, dropped)

    def _count_flaws(self, endpoint: str, records: QueueStatistics | JobListing) -> None:
        """Count what could not be used of an answer; log a state that nobody knows once for each spelling."""
        own = self._services.own
        own.rejected(self.name, endpoint, records.rejected + records.rejected_values)
        own.unknown_states(self.name, endpoint, records.unknown_states)
        told = self._services.unknown_words_told[self.name]
        for word in records.unknown_words:
            if word not in told and len(told) < UNKNOWN_WORDS_TOLD:
                told.add(word)
                log.warning(
                    "a state that nobody knows is shown as unknown and holds no resources; please report it",
                    source=self.name,
                    endpoint=endpoint,
                    state=word,
                )

    async def _make_way_for(self, owner: str, user: str) -> None:
        """Let a target of the right name take over from that of `user`, if the token is no longer theirs."""
        if owner in ("", user):
            return
        self._services.targets_changed()
        # The poll is cancelled here, unless a reload was faster.
        await asyncio.sleep(0)
        raise RejectedError(f"the token is no longer that of {user} but of {owner}")

    async def _owner(self, token: StaticToken | TokenSource) -> str:
        """The scheduler user that `token` belongs to. Raises PollError where it does not say."""
        await token.current()
        owner = token.issued.owner
        if not owner:
            raise RejectedError(
                f"the token from {token.origin} does not say whose it is: list the users of {self.name} in the configuration"
            )
        return owner

    def _member_jobs(self, member: Member, user: str) -> Target:
        key = member_key(self.cluster, member, user)

        async def publish(records: JobListing) -> None:
            self._count_flaws(MEMBER_JOBS, records)
            # Which jobs have series of their own depends on other listings too: then the same answer is not enough.
            if self._services.per_job is not None or not self._shown(key, records.fingerprint):
                await self._show_member(key, member.group, user, records)
            followed = Followed(key, MemberKey(self.name, member.group_id, user), member.group)
            self._services.tracked.observe(followed, records, self.cluster.poll.interval)

        return self._target(key, lambda: self.client.member_jobs(member.group_id, user, self.tokens.members), publish)

    async def _show_member(self, key: TargetKey, group: str, user: str, records: JobListing) -> None:
        def rendered() -> tuple[Chunks, MemberFigures]:
            return families.member_jobs(self.name, group, user, records), member_figures(records)

        chunks, figures = await off_loop(len(records.jobs), RENDER_ON_LOOP_LIMIT, rendered)
        self._services.exposition.put(key, {**chunks, **self._per_job(key, group, user, records)})
        self._services.figures.show(key, figures)
        # Series of single jobs must go once nobody wants them any more, even if the answer stays the same.
        self._services.shown_answers[key] = records.fingerprint if self._services.per_job is None else None

    def _shown(self, key: TargetKey, fingerprint: int | None) -> bool:
        """Whether what the target shows comes from an answer with this fingerprint."""
        return fingerprint is not None and fingerprint == self._services.shown_answers.get(key)

    def _per_job(self, key: TargetKey, group: str, user: str, records: JobListing) -> Chunks:
        budget = self._services.per_job
        if budget is None:
            return {}
        jobs = budget.grant(key, self.name, user, records.jobs)
        show_jobs_dropped(self._services, self.name)
        return families.per_job(self.name, group, user, jobs)


def account_names(cluster: Cluster) -> set[str]:
    """The accounts that a region takes tokens from."""
    names = [cluster.account, *(user.account for user in cluster.users or ())]
    return {name for name in names if name is not None}
