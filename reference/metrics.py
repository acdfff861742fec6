"""The reference of the metrics in Markdown, in two languages: their declarations, and who uses what of them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.metrics.family import Family, Text
from exporter.sources.collector import catalogue, registry
from grafana.boards import BOARDS, dashboard, in_language
from reference import metric_texts as texts
from reference.configuration import coded
from reference.metric_texts import EXAMPLES, GROUPS, LABELS, NO_TEXT, UNITS, Group

# The key of the configuration that the path of a collector follows, by its beginning.
BASES: Final = {"/hpc/": "HPC_URL", "/ac/": "AC_URL", "/v1.0/": "BASE_URL"}
RULES: Final = Path(__file__).parent.parent / "config" / "rules"


@dataclass(frozen=True)
class Uses:
    """Users of a family: names of alerts and recorded series, titles of dashboards."""

    alerts: Sequence[str]
    recordings: Sequence[str]
    dashboards: Sequence[str]


def document(language: str) -> str:
    """Return the whole page; `language` is that of a Text."""
    return _Page(language).text()


class _Page:
    def __init__(self, language: str) -> None:
        self._language = language
        self._users = uses(language)

    def text(self) -> str:
        introduction = "\n".join([self._say(texts.INTRODUCTION).strip(), *self._endpoints(), self._say(texts.TOKENS)])
        return "\n\n".join([introduction, self._labels(), *(self._group(group) for group in GROUPS)]) + "\n"

    def _say(self, text: Text) -> str:
        said: str = getattr(text, self._language)
        return said

    def _endpoints(self) -> Iterator[str]:
        for name, collector in registry().items():
            base = next((key for start, key in BASES.items() if collector.path.startswith(start)), "")
            yield f"| {self._say(collector.gives)} | `{name}` | `GET {base}{collector.path}` |"

    def _labels(self) -> str:
        used = dict.fromkeys(label for group in GROUPS for family in group.families for label in family.labels)
        rows = [f"| `{label}` | {self._say(LABELS.get(label, NO_TEXT))} |" for label in used]
        head = [f"## {self._say(texts.LABELS_HEADING)}", "", self._say(texts.LABEL_COLUMNS), "|---|---|"]
        return "\n".join([*head, *rows])

    def _group(self, group: Group) -> str:
        families = [self._family(family) for family in group.families]
        return "\n\n".join([f"## {self._say(group.title)}", self._say(group.text), *families])

    def _family(self, family: Family) -> str:
        meaning, absent = told(family, self._language)
        labels = self._listed([f"`{label}`" for label in family.labels]) or self._say(texts.NO_LABELS)
        facts = [
            self._say(texts.FACTS).format(family.type, self._say(unit_of(family)), labels),
            self._say(texts.ABSENT_WHEN).format(coded(absent)),
            *self._uses(self._users[family.name]),
        ]
        parts = [f"### `{family.name}`", coded(meaning), "\n".join(f"- {fact}" for fact in facts)]
        if family.name in EXAMPLES:
            question, query = EXAMPLES[family.name]
            parts += [self._say(question), f"```promql\n{query.strip()}\n```"]
        return "\n\n".join(parts)

    def _uses(self, found: Uses) -> Iterator[str]:
        alerts = [self._say(texts.ALERT).format(alert) for alert in found.alerts]
        recordings = [f"`{name}`" for name in found.recordings]
        for text, names in (
            (texts.USED_BY_ALERTS, alerts),
            (texts.USED_BY_RECORDINGS, recordings),
            (texts.USED_BY_DASHBOARDS, found.dashboards),
        ):
            if names:
                yield self._say(text).format(self._listed(names))

    def _listed(self, words: Sequence[str]) -> str:
        return self._say(texts.COMMA).join(words)


def unit_of(family: Family) -> Text:
    """Return the unit of a family's values, from the end of its name."""
    return next((unit for end, unit in UNITS if re.search(rf"(?:{end})$", family.name)), Text("number", "数值"))


def told(family: Family, language: str = "en") -> tuple[str, str]:
    """Meaning of the family, and when it is absent. Raises LookupError for a missing text."""
    if language == "en":
        meaning, absent = _helped(family)
        absent = " ".join(filter(None, [absent, family.absent.en]))
    else:
        meaning, absent = family.zh, family.absent.zh
    if not meaning or not absent:
        raise LookupError(f"the declaration of {family.name} does not say what it means and when it is absent")
    return meaning, absent


def _helped(family: Family) -> tuple[str, str]:
    """Return the help's own words about what it is, and when it is absent."""
    sentences = re.split(r"(?<=\.) (?=[A-Z])", family.help)
    absences = [sentence.removeprefix("Absent ") for sentence in sentences if sentence.startswith("Absent ")]
    return " ".join(each for each in sentences if not each.startswith("Absent ")), " ".join(absences)


def uses(language: str = "en") -> Mapping[str, Uses]:
    """Return the users of each family of the catalogue."""
    alerts, recordings, dashboards = _rules("alert"), _rules("record"), _dashboards(language)
    return {
        name: Uses(_asking(name, alerts), _asking(name, recordings), _asking(name, dashboards)) for name in catalogue()
    }


def _asking(name: str, expressions: Mapping[str, str]) -> list[str]:
    """Return the users whose expressions name a family, or a part of its histogram."""
    series = re.compile(rf"(?<![\w:]){name}(?:_bucket|_sum|_count)?(?![\w:])")
    return [user for user, text in expressions.items() if series.search(text)]


@cache
def _rules(kind: str) -> dict[str, str]:
    groups: list[Any] = []
    for path in sorted(RULES.glob("*.yml")):
        groups += yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    return {rule[kind]: rule["expr"] for group in groups for rule in group["rules"] if kind in rule}


def _dashboards(language: str) -> dict[str, str]:
    boards = (in_language(dashboard(board, BOARDS), language) for board in BOARDS)
    return {re.sub(r"^HPC / \d ", "", board["title"]): " ".join(_expressions(board)) for board in boards}


def _expressions(board: Any) -> Iterable[str]:
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query")
