"""Members of groups that the configuration leaves to the platform, by the word `all`: requested, and put in its place."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping

import structlog
from pydantic import TypeAdapter, ValidationError

from exporter.clock import Clock
from exporter.config import Cluster, Config
from exporter.config.model import All, Member
from exporter.config.values import Name, Segment
from exporter.errors import ExporterError, PollError
from exporter.http import UNOBSERVED, Settings, TokenSource, Upstream
from exporter.sources.scnet.discovery import Group, ask_groups
from exporter.sources.scnet.login import PLATFORM
from exporter.sources.scnet.platform import AccountSession

log = structlog.get_logger()

HOUR = 3600.0
# Seconds after a refresh that failed.
PAUSE_AFTER_FAILURE = 60.0
_NAME, _USER = TypeAdapter[str](Name), TypeAdapter[str](Segment)


class UnknownMembersError(ExporterError):
    """The members that a command needs could not be requested."""


class Membership:
    """The groups of each account, as far as they are known. A refresh that fails changes nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[Group, ...]] = {}
        self._errors: dict[str, PollError] = {}

    def problems(self, config: Config) -> list[str]:
        """Return a message for each account of `config` whose groups could not be requested the last time."""
        wanted = accounts_with_members(config)
        return [
            f"the members of the groups of account {name} could not be asked: {error}"
            for name, error in self._errors.items()
            if name in wanted
        ]

    def expanded(self, config: Config) -> Config:
        """Return `config` with the known members in the place of `all`: none until they were requested once."""
        if not accounts_with_members(config):
            return config
        clusters = tuple(
            expanded(cluster, self._known.get(cluster.account or "", ())) if leaves_to_platform(cluster) else cluster
            for cluster in config.clusters
        )
        return config.model_copy(update={"clusters": clusters})

    async def refresh(self, config: Config, accounts: Mapping[str, AccountSession], slots: asyncio.Semaphore) -> bool:
        """Request the groups of all accounts of `config` that need it; return whether each of them answered."""
        wanted = accounts_with_members(config)
        answered = await asyncio.gather(
            *(self.ask(accounts[account.name], slots) for account in config.accounts if account.name in wanted)
        )
        return all(answered)

    async def ask(self, session: AccountSession, slots: asyncio.Semaphore) -> bool:
        """Request the groups of one account; return whether it answered."""
        account = session.account
        upstream = Upstream(
            Settings(account.name, account.poll.timeout, account.poll.retries, max_body=account.poll.max_body),
            slots=slots,
            clock=self._clock,
            tls=session.tls,
        )
        tokens = TokenSource(
            session.tokens, PLATFORM, source=account.name, user=None, upstream=upstream, observer=UNOBSERVED
        )
        try:
            groups = await ask_groups(upstream, tokens, account.url)
        except PollError as error:
            if account.name not in self._errors:
                log.warning(
                    "the members of groups could not be asked; those known before stay",
                    account=account.name,
                    error=str(error),
                )
            self._errors[account.name] = error
            return False
        finally:
            await upstream.close()
        if self._errors.pop(account.name, None) is not None:
            log.info("the members of groups are known again", account=account.name)
        # A member in a row that cannot be read is unknown, not gone.
        before = self._known.get(account.name, ()) if groups.rejected else ()
        self._known[account.name] = tuple(dict.fromkeys((*groups, *before)))
        return True


def leaves_to_platform(cluster: Cluster) -> bool:
    """Whether some members of a region are left to the platform."""
    return isinstance(cluster.members, All) or any(isinstance(member.users, All) for member in cluster.members)


def accounts_with_members(config: Config) -> set[str]:
    """Return the names of the accounts whose groups are to be requested."""
    return {cluster.account for cluster in config.clusters if cluster.account and leaves_to_platform(cluster)}


def expanded(cluster: Cluster, groups: Iterable[Group]) -> Cluster:
    """Return a region with the members of its `groups` in the place of `all`."""
    here = [group for group in groups if group.cluster_id in ("", cluster.cluster_id)]
    sections = tuple(member_sections(here, []))
    if isinstance(cluster.members, All):
        return cluster.model_copy(update={"members": tuple(placed(each, cluster) for each in sections)})
    users = {section.group_id: section.users for section in sections}
    # Those that the configuration names itself, in this group, stay with their own entry.
    named = {(member.group_id, user) for member in cluster.members for user in member.users}
    members = tuple(
        member.model_copy(
            update={
                "users": tuple(user for user in users.get(member.group_id, ()) if (member.group_id, user) not in named)
            }
        )
        if isinstance(member.users, All)
        else member
        for member in cluster.members
    )
    return cluster.model_copy(update={"members": members})


def placed(member: Member, cluster: Cluster) -> Member:
    """Return the section of a group with the place of the region that it is of, for later messages."""
    member._place = cluster.place  # noqa: SLF001 - no file has a place of its own for it
    return member


def member_sections(groups: Iterable[Group], left_out: list[str]) -> Iterator[Member]:
    """Yield a section for each group with members, with a label of its own; why others are missing is added to `left_out`."""
    labels: set[str] = set()
    for group_id, (name, members) in merged(groups).items():
        users = [user for user in members if usable(_USER, user)]
        left_out += [f"group {group_id}: the name {user!a} cannot be used" for user in members if user not in users]
        label = name if usable(_NAME, name) else group_id
        try:
            section = Member.model_validate(
                {"group_id": group_id, "group": f"{label} {group_id}" if label in labels else label, "users": users}
            )
        except ValidationError:
            left_out.append(f"group {group_id!a}: its id cannot be used")
            continue
        if not users:
            left_out.append(f"group {group_id}: it has no members")
            continue
        labels.add(section.group)
        yield section


def merged(groups: Iterable[Group]) -> Mapping[str, tuple[str, list[str]]]:
    """Return name and members of each group by its id: one may come in several rows."""
    found: dict[str, tuple[str, dict[str, None]]] = {}
    for group in groups:
        found.setdefault(group.group_id, (group.name, {}))[1].update(dict.fromkeys(group.members))
    return {group_id: (name, list(members)) for group_id, (name, members) in found.items()}


def usable(adapter: TypeAdapter[str], text: str) -> bool:
    """Whether a text can stand in the configuration."""
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True
