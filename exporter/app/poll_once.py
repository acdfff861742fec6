"""Every target polled once, for commands that print what they found and end."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from exporter.app.components import Components
from exporter.metrics import health
from exporter.metrics.format import Format
from exporter.polling import Outcome, Target, poll_target
from exporter.sources.scnet.queue_jobs import QueueStatistics


def ignore(_outcome: Outcome) -> None:
    """Take no notice."""


def all_targets(components: Components) -> list[Target]:
    return [target for source in components.sources.values() for target in source.targets()]


async def poll_once(
    components: Components, targets: Iterable[Target], on_outcome: Callable[[Outcome], None] = ignore
) -> list[Outcome]:
    """Poll each of `targets`; the outcomes in their order. `on_outcome` gets each as it is there."""

    async def one(target: Target) -> Outcome:
        outcome = await poll(components, target)
        on_outcome(outcome)
        return outcome

    return list(await asyncio.gather(*map(one, targets)))


async def poll(components: Components, target: Target) -> Outcome:
    """Poll one target and put what was found into the exposition.

    The outcome is under its user's name, also where only the poll has found out whose queues they are.
    """
    outcome = await poll_target(target, components.context.clock)
    if isinstance(outcome.records, QueueStatistics):
        return msgspec.structs.replace(outcome, key=outcome.key._replace(target=outcome.records.user))
    return outcome


async def exposition(components: Components, outcomes: Iterable[Outcome]) -> bytes:
    """All that was found, and how each target did, in the Prometheus text format.

    Gauges only, without timestamps, and nothing about this process: fit for node_exporter's textfile collector, which has
    names of its own for that.
    """
    shown = components.context.display.exposition
    shown.exclude(components.config.metrics.exclude)
    ups: dict[str, bool] = {}
    for outcome in outcomes:
        key = outcome.key
        ups[key.source] = ups.get(key.source, True) and outcome.ok
        last_success = outcome.at if outcome.ok else None
        shown.put(
            ("health", key),
            health.target_health(*key, up=outcome.ok, stale=not outcome.ok, last_success=last_success),
        )
    for source, up in ups.items():
        shown.put(("up", source), health.source_up(components.sources[source].up_family, source, up))
    return await shown.body(Format.TEXT, compress=False)
