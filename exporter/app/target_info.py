"""The configuration of each target: its subject, host and credential."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exporter.config import Account, Cluster, Config, OctopusProject, Secret, Slurm, Tls
from exporter.http import Issued
from exporter.polling import TargetKey
from exporter.sources.collector import Collector, Subject, subjects_of
from exporter.sources.scnet.login import read_token as read_scnet_token
from exporter.sources.scnet.subjects import OWNER
from exporter.sources.slurm.api import read_token as read_slurm_token


@dataclass(frozen=True, slots=True)
class Address:
    """A host that a target needs, and the place (FILE:LINE:COL) of the part that names it and its TLS settings."""

    url: str
    place: str
    tls: Tls


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """A target in the configuration.

    `address` is the requested host, `login` the host of its login. A pasted token has no login: it is the `credential`,
    given at `credential_place` (FILE:LINE:COL), and `read_token` reads its claims.
    """

    collector: Collector
    subject: Subject
    address: Address
    login: Address | None
    credential: Secret | None
    credential_place: str
    read_token: Callable[[str], Issued] = read_scnet_token


def target_infos(config: Config) -> dict[TargetKey, TargetInfo]:
    """Every possible target of the configuration by its key, also those that are not collected."""
    found = dict(pair for cluster in config.clusters for pair in of_cluster(config, cluster))
    return found | dict(pair for part in config.polled if not isinstance(part, Cluster) for pair in of_part(part))


def info_of(known: dict[TargetKey, TargetInfo], key: TargetKey) -> TargetInfo:
    """Return the configuration of a target. That of the token's own user has no user name there."""
    return known[key] if key in known else known[key._replace(target=OWNER)]


def of_cluster(config: Config, cluster: Cluster) -> Iterator[tuple[TargetKey, TargetInfo]]:
    own = login_of(config, cluster.account), cluster.token, cluster.place
    with_own_token = {user.name: user for user in cluster.users or () if user.token or user.account}
    for collector, subject in subjects_of("clusters", cluster, every=True):
        url = cluster.ac_url if collector.path.startswith("/ac/") else cluster.hpc_url
        user = None if subject.group_id else with_own_token.get(subject.user)
        token = own if user is None else (login_of(config, user.account), user.token, user.place)
        address = Address(url, cluster.place, cluster.tls)
        if collector.per.needs_account and cluster.account is not None:
            account = account_of(config, cluster.account)
            address = Address(account.url, account.place, account.tls)
        yield collector.configured_key(subject), TargetInfo(collector, subject, address, *token)


def login_of(config: Config, account: str | None) -> Address | None:
    if account is None:
        return None
    return host_of_login(account_of(config, account))


def account_of(config: Config, name: str) -> Account:
    return next(each for each in config.accounts if each.name == name)


def host_of_login(account: Account) -> Address:
    url = account.token_url if account.password is None else account.url
    return Address(url, account.place, account.tls)


def of_part(part: Account | OctopusProject | Slurm) -> Iterator[tuple[TargetKey, TargetInfo]]:
    login: Address | None = None
    token: Secret | None = None
    read_token = read_scnet_token
    match part:
        case Account():
            url, login = part.url, host_of_login(part)
        case Slurm():
            url, token, read_token = part.url, part.token, read_slurm_token
        case OctopusProject():
            url, token = part.base_url, part.token
            login = Address(part.iam.url, part.place, part.tls) if part.iam is not None else None
    address = Address(url, part.place, part.tls)
    for collector, subject in subjects_of(part.listed_in, part, every=True):
        info = TargetInfo(collector, subject, address, login, token, part.place, read_token)
        yield collector.configured_key(subject), info
