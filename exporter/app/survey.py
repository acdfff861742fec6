"""Every target polled once, for commands that look and leave."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from exporter.app.assembly import Assembly
from exporter.errors import DecodeError, NotThereError, PollError
from exporter.metrics import families
from exporter.metrics.render import Format
from exporter.polling import Target, TargetKey
from exporter.records import QueueStatistics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the poll of a target ended: with `records` or with `error`. `at` is Unix time, `seconds` what it took."""

    key: TargetKey
    at: float
    seconds: float
    records: Any = None
    error: PollError | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed; an optional endpoint that is not there is no failure."""
        return self.error is None or isinstance(self.error, NotThereError)


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
    clock = assembly.services.clock
    started = clock.monotonic()

    def ended(**result: Any) -> Outcome:
        return Outcome(target.key, clock.now(), clock.monotonic() - started, **result)

    try:
        records = await target.poll()
        await target.publish(records)
    except PollError as error:
        return ended(error=error)
    except Exception:
        # One target's trouble must not hide the others.
        log.exception("a poll failed in an unforeseen way; please report this", **target.key._asdict())
        return ended(error=DecodeError("an error inside the exporter, see its log"))
    return named(ended(records=records))


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
    shown = assembly.services.exposition
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
