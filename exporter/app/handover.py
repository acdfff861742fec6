"""What the tracker remembers when members move from one shard to another: nothing may be counted by both."""

from collections.abc import Iterable
from pathlib import Path

from exporter.config import Config
from exporter.polling import Shard
from exporter.sources.collector import subjects_of
from exporter.tracking import MemberKey, TrackingService


def state_file_of(config: Config, shard: Shard) -> Path | None:
    """The file of this shard's tracker: that of the configuration for shard 0, one beside it for any other."""
    file = config.tracking.state_file
    if file is None or shard.ordinal == 0:
        return file
    return file.with_name(f"{file.name}.shard-{shard.ordinal}")


def followed(config: Config, shard: Shard) -> tuple[list[MemberKey], set[MemberKey]]:
    """Whose jobs the tracker follows: the members that `shard` polls, and those that other shards do."""
    mine, others = list[MemberKey](), set[MemberKey]()
    for cluster in config.clusters:
        for collector, subject in subjects_of("clusters", cluster):
            if collector.lists_jobs:
                member = MemberKey(cluster.name, subject.group_id, subject.user)
                if shard.owns(collector.configured_key(subject)):
                    mine.append(member)
                else:
                    others.add(member)
    return mine, others


def left_alone(config: Config, members: Iterable[MemberKey], shard: Shard, service: TrackingService) -> set[MemberKey]:
    """The members that nobody polled here for so long that another shard may have had them meanwhile.

    A shard that was taken away and comes back finds its old file: going on from there would count again what others
    counted in between. A restart takes less than the time until data is too old to be shown.
    """
    if shard.total == 1:
        return set()
    now = service.time()
    stale_after = {cluster.name: cluster.poll.stale_after for cluster in config.clusters}
    return {
        key
        for key in members
        if (last := service.last_listed(key)) is not None and now - last > stale_after[key.source]
    }
