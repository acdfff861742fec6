"""The reference of the metrics in Markdown: the catalogue, and who uses what of it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.metrics.catalogue import CATALOGUE, Family
from grafana.boards import BOARDS
from grafana.parts import dashboard, in_language
from reference.configuration import coded
from reference.metric_texts import ABSENT, EXAMPLES, GROUPS, INTRODUCTION, LABELS, Group

RULES: Final = Path(__file__).parent.parent / "config" / "rules"
# The first that fits the end of a name.
UNITS: Final[tuple[tuple[str, str], ...]] = (
    (r"timestamp_seconds", "Unix time in seconds"),
    (r"cpu_seconds_total", "core-seconds"),
    (r"gpu_seconds_total", "GPU-seconds"),
    (r"dcu_seconds_total", "DCU-seconds"),
    (r"_seconds(_total)?", "seconds"),
    (r"_bytes", "bytes"),
    (r"_cpu_cores|_cpus", "cores"),
    (r"_gpus", "GPUs"),
    (r"_dcus", "DCUs"),
    (r"_nodes", "nodes"),
    (r"_info", "always 1"),
    (r"_up|_stale|_successful|_complete", "0 or 1"),
    (r"jobs(_finished_total|_dropped)?|resource_specs", "jobs"),
    (r"queue_length|queue_(arrivals|departures)_total", "entries"),
    (r"transitions_total", "changes"),
    (r"unknown_states_total", "states"),
    (r"censored_total", "waits and runs"),
    (r"polls_total|poll_failures_total", "polls"),
    (r"requests_total|retries_total", "requests"),
    (r"api_errors_total", "answers"),
    (r"refreshes_total|refresh_failures_total", "attempts"),
    (r"rejected_total", "records"),
    (r"write_failures_total", "writes"),
    (r"_series", "series"),
    (r"shard_ordinal|total_shards", "shards"),
)


@dataclass(frozen=True)
class Uses:
    """Who asks for a family: names of alerts and recorded series, titles of dashboards."""

    alerts: Sequence[str]
    recordings: Sequence[str]
    dashboards: Sequence[str]


def document() -> str:
    """The whole page."""
    users = uses()
    return "\n\n".join([INTRODUCTION.strip(), _labels(), *(_group(group, users) for group in GROUPS)]) + "\n"


def families_of(group: Group) -> list[Family]:
    """The catalogue's families of a group, in the order of its patterns, then by name."""
    mine = [family for family in CATALOGUE.values() if group is next(each for each in GROUPS if holds(each, family))]
    found = (family for pattern in group.families for family in mine if re.fullmatch(pattern, family.name))
    return list(dict.fromkeys(found))


def holds(group: Group, family: Family) -> bool:
    return any(re.fullmatch(pattern, family.name) for pattern in group.families)


def unit_of(family: Family) -> str:
    """What a value counts; LookupError where nothing says so."""
    unit = next((unit for end, unit in UNITS if re.search(rf"(?:{end})$", family.name)), None)
    if unit is None:
        raise LookupError(f"{family.name} has no unit: give it one in UNITS")
    return unit


def told(family: Family) -> tuple[str, str]:
    """What the family means, and when it is absent."""
    sentences = re.split(r"(?<=\.) (?=[A-Z])", family.help)
    absences = [sentence.removeprefix("Absent ") for sentence in sentences if sentence.startswith("Absent ")]
    rest = [sentence for sentence in sentences if not sentence.startswith("Absent ")]
    absences += next(([text] for pattern, text in ABSENT if re.fullmatch(pattern, family.name)), [])
    if not absences:
        raise LookupError(f"{family.name} does not say when it is absent: say so in ABSENT")
    return " ".join(rest), " ".join(absences)


def _labels() -> str:
    used = dict.fromkeys(label for group in GROUPS for family in families_of(group) for label in family.labels)
    rows = [f"| `{label}` | {LABELS[label]} |" for label in used]
    return "\n".join(["## Labels", "", "| label | what it holds |", "|---|---|", *rows])


def _group(group: Group, users: Mapping[str, Uses]) -> str:
    families = [_family(family, users[family.name]) for family in families_of(group)]
    return "\n\n".join([f"## {group.title}", group.text, *families])


def _family(family: Family, users: Uses) -> str:
    meaning, absent = told(family)
    labels = ", ".join(f"`{label}`" for label in family.labels) or "none"
    facts = [f"- {family.type}, {unit_of(family)}; labels: {labels}", f"- absent: {coded(absent)}"]
    facts += [f"- used by {each}" for each in _users(users)]
    parts = [f"### `{family.name}`", coded(meaning), "\n".join(facts)]
    if family.name in EXAMPLES:
        question, query = EXAMPLES[family.name]
        parts += [question, f"```promql\n{query.strip()}\n```"]
    return "\n\n".join(parts)


def _users(users: Uses) -> Iterator[str]:
    if users.alerts:
        yield f"alerts: {', '.join(f'[{alert}](runbooks/{alert}.md)' for alert in users.alerts)}"
    if users.recordings:
        yield f"recording rules: {', '.join(f'`{name}`' for name in users.recordings)}"
    if users.dashboards:
        yield f"dashboards: {', '.join(users.dashboards)}"


def uses() -> Mapping[str, Uses]:
    """Who uses each family of the catalogue."""
    alerts, recordings, dashboards = _rules("alert"), _rules("record"), _dashboards()
    return {
        name: Uses(_asking(name, alerts), _asking(name, recordings), _asking(name, dashboards)) for name in CATALOGUE
    }


def _asking(name: str, expressions: Mapping[str, str]) -> list[str]:
    """Whose expressions name a family, or a part of its histogram."""
    series = re.compile(rf"(?<![\w:]){name}(?:_bucket|_sum|_count)?(?![\w:])")
    return [user for user, text in expressions.items() if series.search(text)]


def _rules(kind: str) -> dict[str, str]:
    groups: list[Any] = []
    for path in sorted(RULES.glob("*.yml")):
        groups += yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return {rule[kind]: rule["expr"] for group in groups for rule in group["rules"] if kind in rule}


def _dashboards() -> dict[str, str]:
    boards = (in_language(dashboard(board, BOARDS), "en") for board in BOARDS)
    return {re.sub(r"^HPC / \d ", "", board["title"]): " ".join(_expressions(board)) for board in boards}


def _expressions(board: Any) -> Iterable[str]:
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query")
