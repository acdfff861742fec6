"""Words in the documentation that name something name something that exists."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest
import yaml

from exporter.cli.options import TAKEN_PATHS
from exporter.config import Config
from exporter.config.jsonschema import json_schema
from exporter.sources.collector import catalogue, registry
from exporter.web.settings import WebDocument
from tests.docs.pages import PAGES, ROOT, Page, none, taken_apart
from tests.docs.test_commands import fields_of
from tests.support.promql import FOREIGN, family_of, strangers_in

CATALOGUE = catalogue()

SCHEMA: Final = json_schema()
RECORDINGS: Final = {
    rule["record"]
    for group in yaml.safe_load((ROOT / "config" / "rules" / "recording.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
# Series as programs print and ask for them; "..._member_" is followed by what is left open. Names of files go on.
_OF_COLLECTORS: Final = "|".join(name for name in catalogue() if re.match("hpc_(?!exporter_)", name))
SERIES: Final = re.compile(
    rf"(?<![\w:])(?:(?:scnet|octopus|hpc_exporter)_[a-z0-9_]++|(?:{_OF_COLLECTORS})\b)(?!-|\.[a-z])"
)
PATH: Final = re.compile(
    r"(?:exporter|config|docs|tests|tools|bench|grafana|deploy|reference|requirements|\.ci)/[\w./*<>-]*"
)
SNAKE: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
PAGE_PATHS: Final = {*TAKEN_PATHS, "/metrics", "/static/", "/-/", "/api/"}

# Names of other programs and of the two APIs, each with whose it is.
FOREIGN_WORDS: Final = {
    "node_exporter": "a program",
    "blackbox_exporter": "a program",
    "prometheus_client": "a library",
    "job_name": "Prometheus' configuration",
    "scrape_configs": "Prometheus' configuration",
    "scrape_interval": "Prometheus' configuration",
    "scrape_timeout": "Prometheus' configuration",
    "static_configs": "Prometheus' configuration",
    "honor_labels": "Prometheus' configuration",
    "honor_timestamps": "Prometheus' configuration",
    "metric_relabel_configs": "Prometheus' configuration",
    "relabel_configs": "Prometheus' configuration",
    "rule_files": "Prometheus' configuration",
    "sample_limit": "Prometheus' configuration",
    "body_size_limit": "Prometheus' configuration",
    "basic_auth": "Prometheus' configuration",
    "tls_config": "Prometheus' configuration",
    "scrape_duration_seconds": "a metric of Prometheus' own",
    "scrape_samples_scraped": "a metric of Prometheus' own",
    "prometheus_replica": "a label that people choose",
    "label_values": "Grafana",
    "group_by": "Alertmanager's configuration",
    "group_wait": "Alertmanager's configuration",
    "group_interval": "Alertmanager's configuration",
    "repeat_interval": "Alertmanager's configuration",
    "inhibit_rules": "Alertmanager's configuration",
    "histogram_quantile": "PromQL",
    "min_over_time": "PromQL",
    "max_over_time": "PromQL",
    "avg_over_time": "PromQL",
    "page_info": "Octopus' API",
    "rank_stamp": "Octopus' API",
    "resource_spec": "Octopus' API",
}
# Files that readers are told to make.
THEIRS: Final = {"config/rules/rehearsal.yml"}


def families_called(name: str) -> bool:
    """Whether a name, or the beginning of one that ends in "_", is that of something exported."""
    if name.endswith("_"):
        return any(known.startswith(name) for known in CATALOGUE)
    return family_of(name) is not None or name in RECORDINGS


def strange_series(page: Page) -> Iterator[str]:
    """Names of series anywhere in a page, in code or out of it, that nothing exports."""
    for number, line in enumerate(page.text.splitlines(), 1):
        for match in SERIES.finditer(line):
            # `scnet_(queue|member)_jobs`, `scnet_job_*` and `hpc_exporter_{up,stale}` leave the rest open.
            open_ended = line[match.end() : match.end() + 1] in ("*", "(", "{", "…") and match[0].endswith("_")
            searched = "grep" in line and any(name.startswith(match[0]) for name in CATALOGUE)
            if not searched and (not families_called(match[0]) or (match[0].endswith("_") and not open_ended)):
                yield f"{page.at(number)}: {match[0]} is not in exporter/metrics/catalogue.py, nor recorded by a rule"


@pytest.mark.parametrize("name", PAGES)
def test_every_metric_that_is_named_is_exported(name: str) -> None:
    none(strange_series(PAGES[name]))


@pytest.mark.parametrize("name", PAGES)
def test_every_query_asks_for_what_is_exported(name: str) -> None:
    page = PAGES[name]
    known = RECORDINGS | FOREIGN_WORDS.keys()
    strange = [(block, strangers_in([without_comments(block.text)], known)) for block in page.blocks_of("promql")]
    none(f"{page.at(block.line)}: nothing exports {', '.join(sorted(names))}" for block, names in strange if names)


def without_comments(query: str) -> str:
    return re.sub(r"^\s*#.*$", "", query, flags=re.MULTILINE)


@cache
def names_in_code() -> frozenset[str]:
    """For the pages that speak of the code."""
    return frozenset(_identifiers())


def _identifiers() -> Iterator[str]:
    for folder in ("exporter", "tests", "bench", "tools", "grafana", "reference"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield from _names_of(node)
            yield path.stem


def _names_of(node: ast.AST) -> Iterator[str]:
    for attribute in ("id", "attr", "name", "arg"):
        value = getattr(node, attribute, None)
        if isinstance(value, str):
            yield value


def schemas() -> Iterator[Any]:
    yield SCHEMA
    yield WebDocument.model_json_schema()
    for path in [*(ROOT / "config").glob("*.schema.json"), *(ROOT / "docs").glob("*.schema.json")]:
        yield json.loads(path.read_text(encoding="utf-8"))


KEYS: Final = {word for schema in schemas() for word in fields_of(schema)}
LABELS: Final = {label for family in CATALOGUE.values() for label in family.labels}
# Words that stand in the help of a metric are the values of its labels.
VALUES: Final = {word for family in CATALOGUE.values() for word in SNAKE.findall(family.help)} | registry().keys()
STATES: Final = {"node_failure", "vanished_running", "vanished_queued", "queue_jobs", "member_jobs", "queuing_jobs"}
WORDS: Final = KEYS | LABELS | VALUES | STATES | RECORDINGS | FOREIGN | FOREIGN_WORDS.keys()
# These speak of the code.
FOR_CONTRIBUTORS: Final = {"CONTRIBUTING.md", "docs/adding-a-collector.md", "docs/performance.md", "CHANGELOG.md"}


def wrong_with_key(path: str) -> str | None:
    """What is wrong with the path of a configuration key, like ``clusters[].poll.interval``."""
    section: Any = SCHEMA
    definitions = section["$defs"]
    for key in re.sub(r"\[\w*\]", "", path).split("."):
        known = _section(section, definitions).get("properties", {})
        if key not in known:
            return f"there is no {key}; it can be {', '.join(known) or 'nothing'}"
        section = known[key]
    return None


def _section(schema: Any, definitions: Any) -> Any:
    """The section that a key holds, one or a list of them."""
    if "$ref" in schema:
        return definitions[schema["$ref"].rpartition("/")[2]]
    for inner in [*schema.get("anyOf", ()), schema.get("items")]:
        found = _section(inner, definitions) if inner else {}
        if found.get("properties"):
            return found
    return schema


KEY_PATH: Final = re.compile(rf"(?:{'|'.join(Config.model_fields)})(?:\[\w*\])?(?:\.[a-z_]+(?:\[\w*\])?)+")
FILE: Final = re.compile(r"\.(?:py|md|yml|yaml|json|db|pem|prom)$")


def wrong_with(text: str, names: frozenset[str]) -> str | None:
    """What is wrong with a `term`; commands and flags are looked at elsewhere."""
    if KEY_PATH.fullmatch(text) and not FILE.search(text):
        return wrong_with_key(text)
    if PATH.fullmatch(text) and text not in THEIRS:
        return wrong_with_path(text)
    if SNAKE.fullmatch(text) and not SERIES.match(text) and text not in WORDS | names:
        return "is no key, label, field or value of ours: correct it, or say whose it is in FOREIGN_WORDS"
    address = re.fullmatch(
        r"(?:(?:GET|POST|PUT|POST\|PUT) )?(/(?:-/|api/|metrics|config|static/)[^?\s]*)(?:\?.*)?", text
    )
    if address and address[1] not in PAGE_PATHS:
        return f"the exporter does not serve {address[1]}"
    return None


def wrong_with_path(text: str) -> str | None:
    if re.search(r"[*<>]", text):
        return None if any(ROOT.glob(re.sub(r"<\w+>", "*", text))) else "matches no file"
    return None if (ROOT / text).exists() else "there is no such file"


@pytest.mark.parametrize("name", PAGES)
def test_every_word_in_code_names_something_that_exists(name: str) -> None:
    """Keys of the configuration, labels, fields, files, addresses; in pages about the code, also what stands there."""
    page = PAGES[name]
    names = names_in_code() if name in FOR_CONTRIBUTORS else frozenset()
    found = ((term, wrong_with(term.text, names)) for term in page.terms)
    none(f"{page.at(term.line)}: `{term.text}`: {wrong}" for term, wrong in found if wrong)


@pytest.mark.parametrize(
    "text",
    [
        "poll.intervall",
        "clusters[].members[].groups",
        "docs/nowhere.md",
        "exporter/*/nothing.py",
        "stail_after",
        "/-/reloaded",
        "GET /api/v2/status",
    ],
)
def test_a_word_that_names_nothing_would_be_found(text: str) -> None:
    assert wrong_with(text, frozenset())


@pytest.mark.parametrize(
    "text",
    ["poll.interval", "clusters[0].members[].group_id", "octopus[].iam.password_file", "stale_after", "/-/ready"],
)
def test_a_word_that_names_something_is_not_found_wrong(text: str) -> None:
    assert wrong_with(text, frozenset()) is None


@pytest.mark.parametrize("text", ["scnet_queue_job", "octopus_nothing_total", "hpc_exporter_targets_*"])
def test_a_metric_that_nobody_exports_would_be_found(text: str) -> None:
    assert list(strange_series(taken_apart(f"Look at `{text}`.\n")))


def test_metrics_can_be_named_in_many_ways() -> None:
    text = "`scnet_job_observed_wait_seconds_bucket`, `scnet_member_*`, grep '^scnet_(queue|member)_jobs', `octopus_{a,b}`\n"
    assert not list(strange_series(taken_apart(text)))
