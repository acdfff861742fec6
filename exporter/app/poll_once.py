"""Single polls, for commands: of the targets of a configuration, or of every collector to find out which answer."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.app.components import Components, assembled
from exporter.app.tls import Contexts
from exporter.config import Account, Cluster, Config
from exporter.errors import NotThereError, PermanentError, PollError
from exporter.metrics import health
from exporter.metrics.format import Format
from exporter.polling import Outcome, SourceHealth, Target, TargetKey, poll_target
from exporter.sources.collector import Collector, Subject, collectors_of, registry, subjects_of

# Members of one region that are tried.
MEMBERS_TRIED = 200


async def poll_once(
    components: Components, targets: Iterable[Target], on_outcome: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Poll each of `targets`; the outcomes in their order. `on_outcome` gets each as its poll ends."""

    async def one(target: Target) -> Outcome:
        outcome = await poll(components, target)
        on_outcome(outcome)
        return outcome

    return list(await asyncio.gather(*map(one, targets)))


async def poll(components: Components, target: Target) -> Outcome:
    """Poll one target and put its samples into the exposition.

    The key of the outcome names the user, also where only the poll has found the token's owner.
    """
    outcome = await poll_target(target, components.context.clock)
    if not outcome.ok and (named := same_with_name(components, target)) is not None:
        outcome = await poll_target(named, components.context.clock)
    return outcome


def same_with_name(components: Components, target: Target) -> Target | None:
    """Return the target that has taken the place of that of a token's own user, as soon as a login has told the name."""
    if target.key.target:
        return None
    here = [each for each in components.sources[target.key.source].targets() if each.key[:2] == target.key[:2]]
    return next((each for each in here if each.key != target.key), None)


async def exposition(components: Components, outcomes: Iterable[Outcome]) -> bytes:
    """All samples, and the health of each target, in the Prometheus text format.

    Gauges only, without timestamps, and nothing about this process: fit for node_exporter's textfile collector, which
    exports its own.
    """
    display = components.context.display
    shown = display.exposition
    display.up_families = components.up_families
    shown.exclude(components.config.metrics.exclude)
    sources = defaultdict[str, SourceHealth](SourceHealth)
    for outcome in outcomes:
        key = outcome.key
        up = None if isinstance(outcome.error, NotThereError) else outcome.ok
        sources[key.source].add(key, optional=not registry()[key.collector].default)
        sources[key.source].record(key, up)
        last_success = outcome.at if up else None
        shown.put(("health", key), health.target_health(key, up=up, stale=up is False, last_success=last_success))
    for source, of_source in sources.items():
        display.source_changed(source, of_source.status)
    return await shown.body(Format.TEXT, compress=False)


@dataclass
class Trial:
    """The outcome for one region or account: errors by collector and target; None where a poll worked."""

    section: str
    errors: dict[str, dict[str, PollError | None]] = field(default_factory=dict)

    def works(self, collector: Collector) -> bool:
        """Whether the collector is of use.

        A target of it answered, or one that is on by default only failed in passing.
        """
        errors = self.errors.get(collector.name, {}).values()
        return any(error is None or (collector.default and not isinstance(error, PermanentError)) for error in errors)

    def problem(self, collector: Collector) -> PollError | None:
        """Return the error of a collector of which no target answered."""
        errors = [*self.errors.get(collector.name, {}).values()]
        return None if None in errors else next(iter(errors), None)

    def rejects(self, collector: Collector, subject: Subject) -> bool:
        """Whether this very target fails for good."""
        error = self.errors.get(collector.name, {}).get(collector.key(subject).target)
        return isinstance(error, PermanentError) and not isinstance(error, NotThereError)

    def chosen(self, *, members: bool) -> tuple[list[Collector], list[Collector]]:
        """Return the collectors to run, and those that would do in the place of one of them.

        Of those that list jobs one is enough: with `members` the one that tells most of them, else one for the token's
        own.
        """
        working = [each for each in collectors_of(self.section) if self.works(each)]
        listing = [each for each in working if each.lists_jobs]
        listing.sort(key=lambda each: ((each.per.key == "users") == members, each.default))
        return [each for each in working if not each.lists_jobs or each is listing[0]], listing[1:]


async def try_collectors(
    accounts: Iterable[Account], clusters: Iterable[Cluster], contexts: Contexts, seconds: float
) -> Mapping[str, Trial]:
    """Poll some targets of every collector of these once, without retries; return the outcomes by account or region.

    `seconds` is the longest that a request may take.
    """
    config = Config().model_copy(
        update={
            "accounts": tuple(_with_all(account, "accounts", seconds) for account in accounts),
            "clusters": tuple(_with_all(cluster, "clusters", seconds) for cluster in clusters),
        }
    )
    components = assembled(config, contexts)
    wanted = set(_wanted(config))
    try:
        targets = [target for target in components.targets() if target.key in wanted]
        outcomes = await poll_once(components, targets)
    finally:
        await components.close()
    trials = {each.name: Trial("accounts") for each in config.accounts}
    trials |= {each.name: Trial("clusters") for each in config.clusters}
    for outcome in outcomes:
        source, collector, target = outcome.key
        trials[source].errors.setdefault(collector, {})[target] = outcome.error
    return trials


def _with_all(part: Account | Cluster, section: str, timeout: float) -> Account | Cluster:
    poll = part.poll.model_copy(update={"timeout": timeout, "retries": 0})
    return part.model_copy(update={"collect": tuple(each.name for each in collectors_of(section)), "poll": poll})


def _wanted(config: Config) -> Iterator[TargetKey]:
    """Yield the first target of each collector, and of members the first few."""
    for section, parts in (("accounts", config.accounts), ("clusters", config.clusters)):
        for part in parts:
            tried = Counter[str]()
            for collector, subject in subjects_of(section, part):
                tried[collector.name] += 1
                if tried[collector.name] <= (MEMBERS_TRIED if subject.group_id else 1):
                    yield collector.key(subject)
