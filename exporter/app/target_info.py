"""The configuration of each target: its subject, host and credential."""

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.config import Cluster, Config, OctopusProject, Secret, Tls
from exporter.polling import TargetKey
from exporter.sources.collector import Collector, Subject, subjects_of
from exporter.sources.scnet.subjects import OWNER


@dataclass(frozen=True, slots=True)
class Address:
    """A host that a target needs, and the place (FILE:LINE:COL) of the part that names it and its TLS settings."""

    url: str
    place: str
    tls: Tls


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """A target in the configuration.

    `address` is the requested host, `login` the host of its token; None for a pasted token, which is the `credential`, given
    at `credential_place` (FILE:LINE:COL).
    """

    collector: Collector
    subject: Subject
    address: Address
    login: Address | None
    credential: Secret | None
    credential_place: str


def target_infos(config: Config) -> dict[TargetKey, TargetInfo]:
    """Every possible target of the configuration by its key, also those that are not collected."""
    found = dict(pair for cluster in config.clusters for pair in of_cluster(config, cluster))
    return found | dict(pair for project in config.octopus for pair in of_project(project))


def info_of(known: dict[TargetKey, TargetInfo], key: TargetKey) -> TargetInfo:
    """Return the configuration of a target. That of the token's own user has no user name there."""
    return known[key] if key in known else known[key._replace(target=OWNER)]


def of_cluster(config: Config, cluster: Cluster) -> Iterator[tuple[TargetKey, TargetInfo]]:
    own = login_of(config, cluster, cluster.account), cluster.token, cluster.place
    with_own_token = {user.name: user for user in cluster.users or () if user.token or user.account}
    for collector, subject in subjects_of("clusters", cluster, every=True):
        url = cluster.ac_url if collector.path.startswith("/ac/") else cluster.hpc_url
        user = None if subject.group_id else with_own_token.get(subject.user)
        token = own if user is None else (login_of(config, cluster, user.account), user.token, user.place)
        address = Address(url, cluster.place, cluster.tls)
        yield collector.configured_key(subject), TargetInfo(collector, subject, address, *token)


def login_of(config: Config, cluster: Cluster, account: str | None) -> Address | None:
    if account is None:
        return None
    found = next(each for each in config.accounts if each.name == account)
    url = found.token_url if found.password is None else found.url or cluster.ac_url
    return Address(url, found.place, found.tls)


def of_project(project: OctopusProject) -> Iterator[tuple[TargetKey, TargetInfo]]:
    address = Address(project.base_url, project.place, project.tls)
    login = Address(project.iam.url, project.place, project.tls) if project.iam is not None else None
    for collector, subject in subjects_of("octopus", project, every=True):
        info = TargetInfo(collector, subject, address, login, project.token, project.place)
        yield collector.configured_key(subject), info
