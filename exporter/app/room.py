"""Room in a region and money of an account, added up of the samples of optional collectors, for the status."""

from collections.abc import Iterable
from typing import Any

from exporter.metrics.family import Family, Sample
from exporter.sources.capacity import CPUS, ENABLED, FREE_CPUS
from exporter.sources.scnet.account import BALANCE, STATUS
from exporter.sources.scnet.region_cores import CPUS as CPUS_BY_STATE
from exporter.sources.scnet.storage_quota import QUOTA, USED

Values = dict[tuple[str, ...], float]


def room_facts(samples: Iterable[Sample], of_account: Iterable[Sample]) -> dict[str, Any] | None:
    """Return free and all cores, storage and money; null is unknown, and None for the whole if all of it is.

    `of_account` are the samples of the account that pays; storage is that of users whose quota is known.
    """
    found: dict[Family, Values] = {}
    for family, labels, value in (*samples, *of_account):
        if value is not None:
            found.setdefault(family, {})[labels] = value
    free, cpus = _cores(found)
    quotas = {labels: quota for labels, quota in found.get(QUOTA, {}).items() if labels in found.get(USED, {})}
    facts = {
        "free_cpus": free,
        "cpus": cpus,
        "storage_used_bytes": sum(found[USED][labels] for labels in quotas) if quotas else None,
        "storage_quota_bytes": sum(quotas.values()) if quotas else None,
        "balance_cny": next(iter(found.get(BALANCE, {}).values()), None),
        "account_status": next((status for _, status in found.get(STATUS, {})), None),
    }
    return facts if any(fact is not None for fact in facts.values()) else None


def _cores(found: dict[Family, Values]) -> tuple[float | None, float | None]:
    """Return free cores and all, as the region itself says, else of its queues: of those that are open and say both."""
    by_state = {state: value for (_, state), value in found.get(CPUS_BY_STATE, {}).items()}
    if {"used", "unused"} <= by_state.keys():
        return by_state["unused"], by_state["used"] + by_state["unused"]
    enabled, free = found.get(ENABLED, {}), found.get(FREE_CPUS, {})
    total = {queue: cpus for queue, cpus in found.get(CPUS, {}).items() if queue in free}
    if not total:
        return None, None
    return sum(free[queue] for queue in total if enabled.get(queue) != 0), sum(total.values())
