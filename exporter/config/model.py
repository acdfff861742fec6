"""The configuration as the rest of the exporter sees it: complete, checked, frozen, comparable part by part."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from exporter.config.secrets import FileSecret, Secret
from exporter.sources.collector import collected_by_default

TOKEN_URL = "https://api.scnet.cn/api/user/v3/tokens"  # noqa: S105 - an address, not a token


class Part(BaseModel):
    """A frozen piece of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PlacedPart(Part):
    """A part that can be blamed later: `place` is its FILE:LINE:COL and takes no part in comparisons."""

    place: str = Field(default="", exclude=True, repr=False)

    def _content(self) -> tuple[object, ...]:
        return tuple(value for name, value in self.__dict__.items() if name != "place")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacedPart) and type(self) is type(other) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())


class PollSettings(Part):
    """How one source is polled; times in seconds, sizes in bytes."""

    interval: float = 60.0
    timeout: float = 15.0
    stale_after: float = Field(default_factory=lambda data: 3 * data["interval"])
    max_concurrency: int = 16
    retries: int = 2
    max_body: int = 64 * 1024**2


class Tls(Part):
    ca_file: Path | None = None
    insecure_skip_verify: bool = False


class Account(PlacedPart):
    """An SCNet login: either `access_key` and `secret_key`, or `password`, `org_id` and `url`; the others are None."""

    name: str
    user: str
    access_key: Secret | None = None
    secret_key: Secret | None = None
    token_url: str = TOKEN_URL
    password: Secret | None = None
    org_id: str | None = None
    url: str | None = None
    tls: Tls = Tls()


class User(PlacedPart):
    """A scheduler user whose queues are counted; without `credential` and `account` the region's own is used."""

    name: str
    credential: Secret | None = None
    account: str | None = None


class Member(PlacedPart):
    group_id: str
    group: str
    users: tuple[str, ...]


class Cluster(PlacedPart):
    """An SCNet region. Exactly one of `credential` and `account` is set; `users` None is the token's own user."""

    name: str
    cluster_id: str
    hpc_url: str
    ac_url: str
    credential: Secret | None = None
    account: str | None = None
    requests_per_second: float | None = None
    tls: Tls = Tls()
    collect: tuple[str, ...] = Field(default_factory=lambda: collected_by_default("clusters"))
    poll: PollSettings = PollSettings()
    users: tuple[User, ...] | None = None
    members: tuple[Member, ...] = ()


class Iam(Part):
    url: str
    domain: str
    user: str
    password: Secret
    project: str


class OctopusQueue(PlacedPart):
    """A queue of a project; `target` is the label of what polls it, no other queue of the project has the same."""

    queue_type: str
    cluster_type: str | None = None
    cluster_id: str | None = None
    target: str = Field(exclude=True, repr=False)


class OctopusProject(PlacedPart):
    """A Huawei Octopus project. Exactly one of `credential` and `iam` is set."""

    name: str
    base_url: str
    project_id: str
    credential: Secret | None = None
    iam: Iam | None = None
    queues: tuple[OctopusQueue, ...]
    requests_per_second: float | None = None
    tls: Tls = Tls()
    poll: PollSettings = PollSettings()

    @property
    def collect(self) -> tuple[str, ...]:
        return collected_by_default("octopus")


class Tracking(Part):
    enabled: bool = True
    state_file: Path | None = None


class PerJob(Part):
    enabled: bool = False
    max_jobs: int = 500


class Config(Part):
    """Everything. `warnings` are sentences about what is allowed but unwise, each with its place."""

    poll: PollSettings = PollSettings()
    accounts: tuple[Account, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    octopus: tuple[OctopusProject, ...] = ()
    tracking: Tracking = Tracking()
    per_job: PerJob = PerJob()
    warnings: tuple[str, ...] = ()

    def secrets(self) -> tuple[Secret, ...]:
        return tuple(secret for secret in self._all_secrets() if secret is not None)

    def file_secrets(self) -> tuple[FileSecret, ...]:
        """Return what `SecretFiles` has to watch."""
        return tuple(secret for secret in self.secrets() if isinstance(secret, FileSecret))

    def secret_values(self) -> tuple[str, ...]:
        """Return every secret in clear, as it is now, for taking them out of texts that others wrote."""
        return tuple(dict.fromkeys(secret.value() for secret in self.secrets()))

    def keeping(self, previous: "Config") -> "Config":
        """Return this configuration with the very file secrets of `previous`, where they are the same files.

        Whoever still holds a secret from before a reload then sees its file change, by the watch over `file_secrets`.
        """
        known = {secret.identity: secret for secret in previous.file_secrets()}
        return _with_secrets(self, known)

    def _all_secrets(self) -> Iterator[Secret | None]:
        for account in self.accounts:
            yield from (account.access_key, account.secret_key, account.password)
        for cluster in self.clusters:
            yield cluster.credential
            yield from (user.credential for user in cluster.users or ())
        for project in self.octopus:
            yield project.credential
            yield project.iam.password if project.iam else None


_Known = Mapping[tuple[object, ...], FileSecret]
_P = TypeVar("_P", bound=BaseModel)


def _with_secrets(part: _P, known: _Known) -> _P:
    changed = {name: new for name, value in part if (new := _with_known(value, known)) is not value}
    return part.model_copy(update=changed) if changed else part


def _with_known(value: object, known: _Known) -> object:
    if isinstance(value, FileSecret):
        return known.get(value.identity, value)
    if isinstance(value, BaseModel):
        return _with_secrets(value, known)
    if isinstance(value, tuple):
        items = tuple(_with_known(item, known) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
