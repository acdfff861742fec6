"""Queries that count an exporter once, however many jobs of Prometheus scrape it.

Each series then exists several times, with another ``job`` or ``instance``: sums double, and joins are many-to-many.
"""

import re
from typing import Final

from exporter.metrics.family import Family
from exporter.sources.collector import catalogue

CATALOGUE: Final = catalogue()

# Increases of a series add up over the instances of a job: a shard has a part, a new pod goes on under another name.
_GAINS: Final = ("increase", "rate", "resets", "changes")
# Gauges of which each shard has a part.
_PARTS: Final = (
    "hpc_exporter_targets",
    "hpc_exporter_targets_up",
    "hpc_exporter_tracked_jobs",
    "hpc_exporter_jobs_dropped",
)
# Each shard has a token of its own: the one that expires first counts.
_LEAST: Final = ("hpc_exporter_token_expiry_timestamp_seconds",)
# Families of which some series have a further label, which tells them from others.
_FURTHER: Final = {f"hpc_wait_bound_{name}": "accelerated" for name in ("seconds", "checked_total", "held_total")}
# Joined with by job and instance, to know which processes are exporters.
_AS_IT_IS: Final = ("hpc_exporter_build_info",)
_SERIES: Final = re.compile(
    r"(?P<gain>\b(?:\w+)\()?"
    rf"\b(?P<name>(?:{'|'.join(sorted(CATALOGUE, key=len, reverse=True))})(?:_bucket|_sum|_count)?)\b(?![\w:])"
    r"(?P<matchers>\{[^{}]*\})?(?P<window>\[[^\]]*\])?(?P<offset> offset \w+)?(?P<end>\)?)"
)


def counted_once(expression: str) -> str:
    """`expression` with each series reduced to the labels that the exporter gives it.

    Every selector and what a range function makes of one is wrapped; nothing else is changed. Labels of the process
    (`job`, `instance`) are gone then, but for families that are about a process: those keep `instance`.
    """
    return _SERIES.sub(lambda found: _once(found, by_instance="instance" in expression), expression)


def _once(found: re.Match[str], *, by_instance: bool) -> str:
    name, gain, end = found["name"], found["gain"] or "", found["end"]
    family = CATALOGUE.get(name) or CATALOGUE.get(re.sub(r"_(bucket|sum|count)$", "", name))
    if family is None or name in _AS_IT_IS:
        return found[0]
    selector = f"{name}{found['matchers'] or ''}{found['window'] or ''}{found['offset'] or ''}"
    labels = _labels(family, name, by_instance=by_instance)
    if not found["window"]:
        return f"{gain}{_reduced(selector, labels, name)}{end}"
    function = gain.removesuffix("(")
    if function in _GAINS:
        return f"max by ({labels}) (sum by (job, {labels}) ({function}({selector})))"
    return f"max by ({labels}) ({function}({selector}))"


def _reduced(selector: str, labels: str, name: str) -> str:
    if name in _PARTS:
        return f"max by ({labels}) (sum by (job, {labels}) ({selector}))"
    return f"{'min' if name in _LEAST else 'max'} by ({labels}) ({selector})"


def _labels(family: Family, name: str, *, by_instance: bool) -> str:
    of_process = not {"source", "hpc_cluster", "project", "account"} & set(family.labels)
    further = [_FURTHER[name]] if name in _FURTHER else []
    own = [*family.labels, *further, *(["le"] if name.endswith("_bucket") else [])]
    keeps = of_process and (by_instance or family.type == "gauge")
    return ", ".join((["instance"] if keeps else []) + own)
