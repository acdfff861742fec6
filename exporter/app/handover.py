"""What the tracker remembers when members move from one shard to another: nothing may be counted by both."""

from pathlib import Path

from exporter.config import Cluster, Config
from exporter.polling import Shard
from exporter.scnet.client import MEMBER_JOBS
from exporter.tracking import MemberKey, TrackingService


def state_file_of(config: Config, shard: Shard) -> Path | None:
    """The file of this shard's tracker: that of the configuration for shard 0, one beside it for any other."""
    file = config.tracking.state_file
    if file is None or shard.ordinal == 0:
        return file
    return file.with_name(f"{file.name}.shard-{shard.ordinal}")


def tracked_members(cluster: Cluster) -> list[MemberKey]:
    """Whose jobs the tracker follows."""
    members = cluster.members if MEMBER_JOBS in cluster.collect else ()
    return [MemberKey(cluster.name, member.group_id, user) for member in members for user in member.users]


def followed_elsewhere(config: Config, share: Config) -> set[MemberKey]:
    """The members of `config` that other shards poll, where this one polls `share`."""
    if share is config:
        return set()
    everybody = {key for cluster in config.clusters for key in tracked_members(cluster)}
    return everybody.difference(key for cluster in share.clusters for key in tracked_members(cluster))


def left_alone(share: Config, shard: Shard, service: TrackingService) -> set[MemberKey]:
    """The members that nobody polled here for so long that another shard may have had them meanwhile.

    A shard that was taken away and comes back finds its old file: going on from there would count again what others
    counted in between. A restart takes less than the time until data is too old to be shown.
    """
    if shard.total == 1:
        return set()
    now = service.time()
    return {
        key
        for cluster in share.clusters
        for key in tracked_members(cluster)
        if (last := service.last_listed(key)) is not None and now - last > cluster.poll.stale_after
    }
