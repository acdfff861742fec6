"""Every target polled once, for commands that look and leave."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable

from exporter.app.assembly import Assembly
from exporter.metrics import families
from exporter.metrics.render import Format
from exporter.polling import Outcome, Target, poll_target
from exporter.records import QueueStatistics


def ignore(_outcome: Outcome) -> None:
    """Nobody waits for news."""


async def survey(
    assembly: Assembly, targets: Iterable[Target] | None = None, on_outcome: Callable[[Outcome], None] = ignore
) -> list[Outcome]:
    """Poll each target of the configuration once, or each of `targets`; the outcomes in their order.

    `on_outcome` hears of each as it ends. What was found is put into the assembly's exposition.
    """

    async def one(target: Target) -> Outcome:
        outcome = await polled(assembly, target)
        on_outcome(outcome)
        return outcome

    chosen = all_targets(assembly) if targets is None else targets
    return list(await asyncio.gather(*map(one, chosen)))


def all_targets(assembly: Assembly) -> list[Target]:
    return [target for source in assembly.sources.values() for target in source.targets()]


async def polled(assembly: Assembly, target: Target) -> Outcome:
    """Poll one target and put what was found into the exposition."""
    return named(await poll_target(target, assembly.services.clock))


def named(outcome: Outcome) -> Outcome:
    """The outcome under its user's name, where only the poll has found out whose queues they are."""
    if isinstance(outcome.records, QueueStatistics):
        return dataclasses.replace(outcome, key=outcome.key._replace(target=outcome.records.user))
    return outcome


async def exposition(assembly: Assembly, outcomes: Iterable[Outcome]) -> bytes:
    """All that was found, and how each target did, in the Prometheus text format.

    Gauges only, without timestamps, and nothing about this process: fit for node_exporter's textfile collector, which has
    names of its own for that.
    """
    shown = assembly.services.display.exposition
    ups: dict[str, bool] = {}
    for outcome in outcomes:
        key = outcome.key
        ups[key.source] = ups.get(key.source, True) and outcome.ok
        last_success = outcome.at if outcome.ok else None
        shown.put(
            ("health", key),
            families.target_health(*key, up=outcome.ok, stale=not outcome.ok, last_success=last_success),
        )
    for source, up in ups.items():
        shown.put(("up", source), families.source_up(assembly.sources[source].up_family, source, up))
    return await shown.body(Format.TEXT, compress=False)
