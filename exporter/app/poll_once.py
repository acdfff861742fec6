"""Single polls of all targets, for commands."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable

from exporter.app.components import Components
from exporter.errors import NotThereError
from exporter.metrics import health
from exporter.metrics.format import Format
from exporter.polling import Outcome, SourceHealth, Target, poll_target
from exporter.sources.collector import registry


def all_targets(components: Components) -> list[Target]:
    return [target for source in components.sources.values() for target in source.targets()]


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
