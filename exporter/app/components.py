"""The parts that a configuration names, ready to be polled by the service, or once by a command."""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from exporter.app.membership import Membership, UnknownMembersError, accounts_with_members
from exporter.app.tls import Contexts, context_for
from exporter.clock import SystemClock
from exporter.config import Account, Cluster, Config, OctopusProject, Polled, Slurm, Tls, load
from exporter.config.files import UnansweredFileError, answered
from exporter.errors import ConfigProblem, ConfigurationError
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family
from exporter.metrics.format import Chunks
from exporter.polling import WHOLE, Shard, Target, TargetKey
from exporter.sources.collector import subjects_of
from exporter.sources.octopus.project import Project
from exporter.sources.per_job import PerJobBudget
from exporter.sources.scnet.platform import AccountSession, Platform, account_session
from exporter.sources.scnet.region import Region, account_names
from exporter.sources.slurm.cluster import SlurmCluster
from exporter.sources.source import Context, Source

S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class Components:
    """The parts that a configuration names. `slots` limits the requests in flight; `contexts` are by TLS settings.

    `sources` are those with a target of this shard, in the order in which they are shown; `config` is complete.
    """

    config: Config
    contexts: Contexts
    context: Context
    slots: asyncio.Semaphore
    accounts: Mapping[str, AccountSession]
    sources: Mapping[str, Source]

    @classmethod
    def none(cls, context: Context) -> "Components":
        """Those of an empty configuration."""
        config = Config()
        return cls(config, {}, context, asyncio.Semaphore(config.poll.max_concurrency), {}, {})

    @property
    def regions(self) -> dict[str, Region]:
        return self._of(Region)

    @property
    def slurm(self) -> dict[str, SlurmCluster]:
        return self._of(SlurmCluster)

    @property
    def projects(self) -> dict[str, Project]:
        return self._of(Project)

    def _of(self, kind: type[S]) -> dict[str, S]:
        return {name: source for name, source in self.sources.items() if isinstance(source, kind)}

    @property
    def warnings(self) -> list[str]:
        """Settings of the configuration that are allowed but may surprise."""
        return [*self.config.warnings, *(warning for source in self.sources.values() for warning in source.warnings())]

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each source by name: scnet, slurm, octopus or account."""
        return {name: source.kind for name, source in self.sources.items()}

    @property
    def up_families(self) -> dict[str, Family]:
        """The families that say whether a source works, by its name."""
        return {name: source.up_family for name, source in self.sources.items()}

    def targets(self) -> list[Target]:
        """All that is polled, in the order of the configuration."""
        return [target for source in self.sources.values() for target in source.targets()]

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(source.close() for source in self.sources.values()))


class GaugesOnly(Exposition):
    """Metrics of one moment: gauges only, since a counter that restarts with every run of a command has no meaning."""

    def put(self, owner: object, chunks: Chunks) -> None:
        """Keep gauges, drop other families."""
        super().put(owner, {family: lines for family, lines in chunks.items() if family.type == "gauge"})


def load_with_tls(path: Path) -> tuple[Config, dict[Tls, ssl.SSLContext]]:
    """Load a configuration, and a context for each of the TLS settings in it. Blocks.

    Raises ConfigurationError.
    """
    config = load(path)
    contexts: dict[Tls, ssl.SSLContext] = {}
    mistakes: list[ConfigProblem] = []
    for part in config.polled:
        try:
            contexts[part.tls] = context_for(part.tls, part.place)
        except ConfigurationError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigurationError(mistakes)
    return config, contexts


def assemble(path: Path, *, retries: int | None = None, offline: bool = False) -> Components:
    """Do all that a start does with a configuration, except polling and tracking. Blocks. Raises ConfigurationError.

    `retries` replaces those of the configuration. Members that are left to the platform are requested, unless `offline`;
    raises UnknownMembersError where that fails.
    """
    config, contexts = load_with_tls(path)
    config = config if retries is None else with_retries(config, retries)
    if not offline and accounts_with_members(config):
        config = asyncio.run(_with_members(config, contexts))
    return assembled(config, contexts)


async def _with_members(config: Config, contexts: Contexts) -> Config:
    """Return a configuration with the members that the platform lists now. Raises UnknownMembersError."""
    clock = SystemClock()
    context, membership = Context(clock, GaugesOnly()), Membership(clock)
    accounts = {account.name: account_session(account, context, contexts[account.tls]) for account in config.accounts}
    await membership.refresh(config, accounts, asyncio.Semaphore(config.poll.max_concurrency))
    if problems := membership.problems(config):
        raise UnknownMembersError("; ".join(problems))
    return membership.expanded(config)


def assembled(config: Config, contexts: Contexts) -> Components:
    """Return the parts of a configuration for single polls."""
    # Without a tracker: a single poll has no transitions.
    context = Context(SystemClock(), GaugesOnly())
    context.display.per_job = job_budget(config)
    context.zone = config.tracking.time_zone
    context.history_window = config.tracking.history_window
    none = Components.none(context)
    return build(config, config, unchanged(config, contexts, none), before=none)


async def rebuilt(config: Config, contexts: Contexts, before: Components, shard: Shard) -> Components:
    """Return the parts of a configuration that `shard` polls; unchanged parts of `before` are kept, with their tokens.

    Yields to the event loop between steps, each of which takes some milliseconds for thousands of targets.
    """
    share = await asyncio.to_thread(shard_config, config, shard)
    kept = await asyncio.to_thread(unchanged, share, contexts, before)
    await asyncio.sleep(0)
    components = build(config, share, kept, before=before, shard=shard)
    await asyncio.sleep(0)
    for region in components.regions.values():
        await region.prepare()
    return components


def unchanged(share: Config, contexts: Contexts, before: Components) -> Components:
    """Return the parts to keep: of unchanged configuration, CA and accounts.

    Takes a while for thousands of users.
    """
    accounts = {
        name: session
        for name, session in before.accounts.items()
        if session.account in share.accounts and session.tls is contexts[session.account.tls]
    }
    kept = replace(before, contexts=contexts, accounts=accounts, sources={})
    if share.poll.max_concurrency != before.config.poll.max_concurrency:
        return replace(kept, slots=asyncio.Semaphore(share.poll.max_concurrency))
    sources = {
        part.name: source
        for part in collecting(share)
        if (source := before.sources.get(part.name)) is not None
        and source.section == part
        and source.tls is contexts[part.tls]
        and all(accounts.get(name) is before.accounts[name] for name in accounts_of(part))
    }
    return replace(kept, sources=sources)


def collecting(config: Config) -> Iterator[Polled]:
    """Yield the parts that are a source each: all but accounts that only log in."""
    return (part for part in config.polled if part.collect or not isinstance(part, Account))


def accounts_of(part: Polled) -> set[str]:
    """Return the names of the accounts whose tokens a part takes."""
    if isinstance(part, Cluster):
        return account_names(part)
    return {part.name} if isinstance(part, Account) else set()


def build(config: Config, share: Config, kept: Components, *, before: Components, shard: Shard = WHOLE) -> Components:
    """Return the parts of `share`, the `shard`'s part of `config`: `kept` ones, or else new ones.

    A new project continues the counters of its namesake in `before`, an account that logs in alike keeps its tokens.
    """
    contexts, context, slots = kept.contexts, kept.context, kept.slots
    accounts = {
        account.name: kept.accounts.get(account.name)
        or account_session(account, context, contexts[account.tls], before.accounts.get(account.name))
        for account in share.accounts
    }

    def made(part: Polled) -> Source:
        tls, owns = contexts[part.tls], shard.owns
        match part:
            case Cluster():
                return Region(part, accounts, context, slots=slots, tls=tls, owns=owns)
            case Slurm():
                return SlurmCluster(part, context, slots=slots, tls=tls, owns=owns)
            case OctopusProject():
                namesake = before.projects.get(part.name)
                return Project(part, context, slots=slots, tls=tls, before=namesake, owns=owns)
            case Account():
                return Platform(accounts[part.name], context, slots=slots, owns=owns)

    sources = {part.name: kept.sources.get(part.name) or made(part) for part in collecting(share)}
    return Components(config, contexts, context, slots, accounts, sources)


def shard_config(config: Config, shard: Shard) -> Config:
    """`config` without the regions and projects that have no target of `shard`; accounts without one collect nothing.

    A limit of requests per second is divided among the shards in proportion to their targets.
    """
    if shard.total == 1:
        return config

    def of_shard(part: Polled) -> list[Polled]:
        # Regions need the tokens of accounts.
        idle: list[Polled] = [part.model_copy(update={"collect": ()})] if isinstance(part, Account) else []
        return part_of(part, shard) or idle

    return config.with_each(of_shard)


def part_of(whole: Polled, shard: Shard) -> list[Polled]:
    """Return the region, project or account with its share of the requests per second.

    Empty without a target of the shard.
    """
    keys = targets_of(whole)
    mine = sum(map(shard.owns, keys))
    if not mine:
        return []
    if whole.requests_per_second is None:
        return [whole]
    return [whole.model_copy(update={"requests_per_second": whole.requests_per_second * mine / len(keys)})]


def targets_of(source: Polled) -> list[TargetKey]:
    """Return the keys of all its targets; where no users are listed, the token's own user stands for them."""
    return [collector.configured_key(subject) for collector, subject in subjects_of(source.listed_in, source)]


def job_budget(config: Config) -> PerJobBudget | None:
    """Return the budget for series of single jobs; None where they are off."""
    return PerJobBudget(config.per_job.max_jobs) if config.per_job.enabled else None


def with_retries(config: Config, retries: int) -> Config:
    """Return the configuration with other `retries` everywhere."""
    return config.with_each(
        lambda part: [part.model_copy(update={"poll": part.poll.model_copy(update={"retries": retries})})]
    )


def validate(path: Path) -> list[str]:
    """Check a configuration as a start does, but for opening the state file; the warnings.

    Raises ConfigurationError.
    """
    components = assemble(path, offline=True)
    tracking = components.config.tracking
    folder = tracking.state_file.parent if tracking.enabled and tracking.state_file is not None else None
    if folder is None:
        return components.warnings
    try:
        if answered(folder, folder.is_dir):
            return components.warnings
        problem = f"there is no folder {folder}"
    except UnansweredFileError as error:
        problem = f"{folder}: {error}"
    # A warning: this machine need not be the one that serves.
    return [*components.warnings, f"{path}: tracking.state_file: {problem}: serve does not start without it"]
