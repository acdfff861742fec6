"""What the configuration says about each target: who or what it is, where it is asked for, and with which credential."""

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.config import Cluster, Config, Member, OctopusProject, OctopusQueue, Secret, Tls, User
from exporter.polling import TargetKey
from exporter.sources.keys import OWNER, member_key, octopus_key, queues_key, schedulers_key


@dataclass(frozen=True, slots=True)
class Address:
    """A host that a target needs, and the place (FILE:LINE:COL) of the part that names it and its TLS settings."""

    url: str
    place: str
    tls: Tls


@dataclass(frozen=True, slots=True)
class Subject:
    """A target in the configuration, at `place` (FILE:LINE:COL).

    `address` is where it is asked for, `login` where its token comes from, None for a token that somebody pasted, which is
    then the `credential`, given at `credential_place`. `member` and `queue` are what is listed, where it is one of these.
    """

    place: str
    address: Address
    login: Address | None
    credential: Secret | None
    credential_place: str
    user: str = ""
    member: Member | None = None
    queue: OctopusQueue | None = None


def subjects(config: Config) -> dict[TargetKey, Subject]:
    """Every target that the configuration can have, whether it is collected or not."""
    found = dict(pair for cluster in config.clusters for pair in of_cluster(config, cluster))
    return found | dict(pair for project in config.octopus for pair in of_project(project))


def subject_of(known: dict[TargetKey, Subject], key: TargetKey) -> Subject:
    """The subject of a target. One of the token's own user stands there without a name."""
    return known[key] if key in known else known[key._replace(target=OWNER)]


def of_cluster(config: Config, cluster: Cluster) -> Iterator[tuple[TargetKey, Subject]]:
    hpc = Address(cluster.hpc_url, cluster.place, cluster.tls)
    ac = Address(cluster.ac_url, cluster.place, cluster.tls)
    own = login_of(config, cluster, cluster.account), cluster.credential, cluster.place
    yield schedulers_key(cluster), Subject(cluster.place, hpc, *own)
    if cluster.users is None:
        yield queues_key(cluster, OWNER), Subject(cluster.place, hpc, *own)
    for user in cluster.users or ():
        token = own if user.credential is None and user.account is None else of_user(config, cluster, user)
        yield queues_key(cluster, user.name), Subject(user.place, hpc, *token, user=user.name)
    for member in cluster.members:
        for name in member.users:
            yield member_key(cluster, member, name), Subject(member.place, ac, *own, user=name, member=member)


def of_user(config: Config, cluster: Cluster, user: User) -> tuple[Address | None, Secret | None, str]:
    return login_of(config, cluster, user.account), user.credential, user.place


def login_of(config: Config, cluster: Cluster, account: str | None) -> Address | None:
    if account is None:
        return None
    found = next(each for each in config.accounts if each.name == account)
    url = found.token_url if found.password is None else found.url or cluster.ac_url
    return Address(url, found.place, found.tls)


def of_project(project: OctopusProject) -> Iterator[tuple[TargetKey, Subject]]:
    address = Address(project.base_url, project.place, project.tls)
    login = Address(project.iam.url, project.place, project.tls) if project.iam is not None else None
    for queue in project.queues:
        subject = Subject(queue.place, address, login, project.credential, project.place, queue=queue)
        yield octopus_key(project, queue), subject
