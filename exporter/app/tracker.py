"""The tracker of the service: opening it, exchanging it at a reload, and the members that other shards follow."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from exporter.config import Config
from exporter.polling import Shard
from exporter.sources.collector import collectors_of, subjects_of
from exporter.sources.source import Context
from exporter.supervise import ShortTasks
from exporter.tracking import MemberKey, StateFileError, TrackingService

# Seconds after which a state file that is not open counts as unusable.
STATE_FILE_TIMEOUT = 10.0


class Followed(NamedTuple):
    """The members whose jobs are followed: by this shard, and by others."""

    mine: frozenset[MemberKey]
    others: frozenset[MemberKey]

    @classmethod
    def of(cls, config: Config, shard: Shard) -> "Followed":
        """Those that `config` names. Takes a while for thousands of users."""
        mine, others = set[MemberKey](), set[MemberKey]()
        for cluster in config.clusters:
            for collector, subject in subjects_of("clusters", cluster):
                if collector.lists_jobs:
                    members = mine if shard.owns(collector.configured_key(subject)) else others
                    members.add(MemberKey(cluster.name, subject.group_id, subject.user))
        return cls(frozenset(mine), frozenset(others))


class TrackerSwitch:
    """Exchanges the tracking service in use. The old one is stopped by a task in `closing`."""

    def __init__(self, context: Context, shard: Shard, closing: ShortTasks) -> None:
        self._context = context
        self._shard = shard
        self._closing = closing
        self._config = Config()

    @property
    def service(self) -> TrackingService | None:
        """The service in use; None without tracking."""
        return self._context.tracked.service

    async def open(self, config: Config) -> TrackingService | None:
        """Return the service that `config` requires, started: the one in use where its settings are the same.

        Raises StateFileError where the state file cannot be used.
        """
        if not config.tracking.enabled:
            return None
        if self.service is not None and self._config.tracking.state_file == config.tracking.state_file:
            return self.service
        file = state_file_of(config, self._shard)
        service = TrackingService(file, clock=self._context.clock, observer=self._context.own)
        starting = asyncio.ensure_future(service.start())
        try:
            await asyncio.wait({starting}, timeout=STATE_FILE_TIMEOUT)
            raise_unless_open(starting, config.tracking.state_file)
        except BaseException:
            self._abandon(service, starting)
            raise
        return service

    def use(self, service: TrackingService | None, config: Config, followed: Followed) -> None:
        """Let `service` count from now on, and tell it which members are polled."""
        old, self._context.tracked.service, self._config = self.service, service, config
        if old is not None and old is not service:
            self._context.tracked.hide_all()
            self._closing.start("stop of the tracker", old.stop())
        if service is not None:
            others = followed.others
            if old is not service:
                others = others | left_alone(config, followed.mine, self._shard, service)
            service.graces = dict.fromkeys(sources_with_history(config), config.tracking.history_grace)
            service.forget_members(followed.mine, others)

    async def stop(self) -> None:
        """Write the state and stop."""
        if self.service is not None:
            await self.service.stop()

    def _abandon(self, service: TrackingService, starting: asyncio.Future[None]) -> None:
        """Close the state file; one that is not open yet is closed when it is."""
        if not starting.cancel() and not starting.cancelled() and starting.exception() is None:
            self._closing.start("close of a state file", service.stop())


def sources_with_history(config: Config) -> set[str]:
    """Return the names of the regions whose history of ended jobs is read."""
    return {
        cluster.name
        for cluster in config.clusters
        for collector in collectors_of("clusters")
        if collector.tells_ends and collector.name in cluster.collect
    }


def raise_unless_open(opening: asyncio.Future[None], file: Path | None) -> None:
    """Raise StateFileError if a state file could not be opened, or is not open yet."""
    if not opening.done():
        raise StateFileError(
            f"state file {file}: is not open after {STATE_FILE_TIMEOUT:g} seconds: "
            "is the disk or network share that it is on there?"
        )
    opening.result()


def state_file_of(config: Config, shard: Shard) -> Path | None:
    """Return the file of this shard's tracker: that of the configuration for shard 0, one beside it for any other."""
    file = config.tracking.state_file
    if file is None or shard.ordinal == 0:
        return file
    return file.with_name(f"{file.name}.shard-{shard.ordinal}")


def left_alone(config: Config, members: Iterable[MemberKey], shard: Shard, service: TrackingService) -> set[MemberKey]:
    """Return the members that were not polled here for so long that another shard may have had them meanwhile.

    A shard that was removed and comes back finds its old file: continuing from it would count again what others counted
    meanwhile. A restart takes less time than data needs to become stale.
    """
    if shard.total == 1:
        return set()
    now = service.time()
    stale_after = {cluster.name: cluster.poll.stale_after for cluster in config.clusters}
    return {
        key
        for key in members
        if (last := service.tracker.last_listed(key)) is not None and now - last > stale_after[key.source]
    }
