"""Lines about targets and their regions and projects. There can be tens of thousands, so they are rendered like domain series."""

from exporter.metrics import catalogue
from exporter.metrics.family import Family
from exporter.metrics.render import Chunks, label_block, number, sample, to_bytes


def source_up(family: Family, source: str, up: bool | None) -> Chunks:
    """Whether all targets of a region or project work, in the `family` of its kind; `up` is None while not known yet."""
    return {} if up is None else {family: to_bytes(sample(family, (source,), up))}


def target_health(
    source: str, endpoint: str, target: str, *, up: bool | None, stale: bool, last_success: float | None
) -> Chunks:
    """How a target's polls go. `up` is None before the first one, `last_success` (Unix seconds) before the first good one."""
    values = {catalogue.TARGET_STALE: stale, catalogue.TARGET_UP: up, catalogue.TARGET_LAST_SUCCESS: last_success}
    labels = label_block(catalogue.TARGET_STALE.labels, (source, endpoint, target))
    return {
        family: to_bytes(f"{family.name}{{{labels}}} {number(value)}\n")
        for family, value in values.items()
        if value is not None
    }
