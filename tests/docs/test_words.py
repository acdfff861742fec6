"""Words in the documentation that name something name something that exists.

Metrics, keys, labels, fields, files, addresses.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from exporter.cli.serve import TAKEN_PATHS
from exporter.config.jsonschema import json_schema
from exporter.simulator.control import FIELDS
from exporter.simulator.faults import KINDS
from exporter.sources.collector import catalogue, registry
from exporter.web.server import CSV_PATHS
from exporter.web.settings import WebDocument
from tests.docs.pages import PAGES, ROOT, Page, none
from tests.docs.test_commands import fields_of
from tests.support.promql import FOREIGN, family_of, strangers_in

SCHEMA: Final = json_schema()
FAMILIES: Final = catalogue()
RULES: Final = yaml.load((ROOT / "config" / "rules" / "recording.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)
RECORDINGS: Final = {rule["record"] for group in RULES["groups"] for rule in group["rules"]}
# Series as programs print and ask for them; "..._member_" is followed by what is left open. Names of files go on.
SERIES: Final = re.compile(
    r"(?<![\w:])(?!hpc_(?:cluster|urls?|center_urls)\b|hpc_[a-z_]+:)(?:octopus|hpc)_[a-z0-9_]++(?!-|\.[a-z])"
)
SNAKE: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
PATH: Final = re.compile(
    r"(?:exporter|config|docs|tests|tools|bench|grafana|deploy|reference|requirements|\.ci)/[\w./*<>-]*"
)
KEY_PATH: Final = re.compile(rf"(?:{'|'.join(SCHEMA['properties'])})(?:\[\w*\])?(?:\.[a-z_]+(?:\[\w*\])?)+")
FILE: Final = re.compile(r"\.(?:py|md|yml|yaml|json|db|pem|prom)$")
ADDRESS: Final = re.compile(r"(?:(?:GET|POST|PUT|POST\|PUT) )?(/(?:-/|api/|metrics|config|static/)[^?\s]*)(?:\?.*)?")
ADDRESSES: Final = {*TAKEN_PATHS, *CSV_PATHS, "/metrics", "/static/", "/-/", "/api/"}
# Files that readers are told to make.
THEIRS: Final = {"config/rules/rehearsal.yml"}
FOREIGN_WORDS: Final = {
    # Programs, libraries, Grafana, labels that people choose.
    *("node_exporter", "blackbox_exporter", "prometheus_client", "label_values", "prometheus_replica"),
    # Prometheus' configuration and its own metrics, PromQL.
    *(
        "job_name",
        "scrape_configs",
        "scrape_interval",
        "scrape_timeout",
        "static_configs",
        "honor_labels",
        "rule_files",
    ),
    # A label that Prometheus renames.
    "exported_endpoint",
    *("honor_timestamps", "metric_relabel_configs", "relabel_configs", "sample_limit", "body_size_limit", "basic_auth"),
    *("tls_config", "scrape_duration_seconds", "scrape_samples_scraped", "histogram_quantile"),
    *("min_over_time", "max_over_time", "avg_over_time"),
    # Alertmanager's configuration.
    *("group_by", "group_wait", "group_interval", "repeat_interval", "inhibit_rules"),
    # Annotations of our alerts.
    *("summary_zh", "description_zh"),
    # Octopus' API.
    *("page_info", "rank_stamp", "resource_spec"),
}


def known_words() -> Iterator[str]:
    for schema in (SCHEMA, WebDocument.model_json_schema()):
        yield from fields_of(schema)
    for path in (*(ROOT / "config").glob("*.schema.json"), *(ROOT / "docs").glob("*.schema.json")):
        yield from fields_of(json.loads(path.read_text(encoding="utf-8")))
    for family in FAMILIES.values():
        # Words in the help are the values of labels.
        yield from (*family.labels, *SNAKE.findall(family.help))
    yield from (
        *registry(),
        *RECORDINGS,
        *FOREIGN,
        *FOREIGN_WORDS,
        *KINDS,
        *FIELDS,
        "node_failure",
        "vanished_running",
        "vanished_queued",
    )


def names_in_code() -> Iterator[str]:
    """For the pages that speak of the code."""
    for folder in ("exporter", "tests", "bench", "tools", "grafana", "reference"):
        for path in (ROOT / folder).rglob("*.py"):
            yield path.stem
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                values = (getattr(node, attribute, None) for attribute in ("id", "attr", "name", "arg"))
                yield from (value for value in values if isinstance(value, str))


WORDS: Final = set(known_words())
FOR_CONTRIBUTORS: Final = {"CONTRIBUTING.md", "docs/adding-a-collector.md", "CHANGELOG.md"} | {
    "docs/performance.md",
    "docs/performance.zh.md",
}


def exists(name: str) -> bool:
    """Whether a name, or the beginning of one that ends in "_", is that of something exported or recorded."""
    if name.endswith("_"):
        return any(known.startswith(name) for known in FAMILIES)
    return family_of(name) is not None or name in RECORDINGS


def strange_series(text: str) -> Iterator[str]:
    """Names of series that nothing exports, each with its line."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in SERIES.finditer(line):
            # `hpc_(queue|member)_jobs`, `hpc_job_*` and `hpc_exporter_{up,stale}` leave the rest open, as grep does.
            left_open = "grep" in line or line[match.end() :].startswith(("*", "(", "{", "…")) or match[0][-1] != "_"
            if not (exists(match[0]) and left_open) and not ("grep" in line and exists(f"{match[0]}_")):
                yield f"{number}: nothing exports or records {match[0]}"


def is_key(path: str) -> bool:
    """Whether there is a key like ``clusters[].poll.interval`` in the configuration."""
    sections: list[Any] = [SCHEMA]
    for key in re.sub(r"\[\w*\]", "", path).split("."):
        sections = [inner for section in sections for inner in opened(section.get("properties", {}).get(key))]
    return bool(sections)


def opened(schema: Any) -> Iterator[Any]:
    """Yield a schema and all that it may be, without its references."""
    if schema:
        yield schema
        for inner in (*schema.get("anyOf", ()), schema.get("items")):
            yield from opened(inner)
        if "$ref" in schema:
            yield from opened(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])


def wrong_with(text: str, names: set[str]) -> str | None:
    """Return the mistake in a word in code, which may be one of `names`; commands and flags are checked elsewhere."""
    if KEY_PATH.fullmatch(text) and not FILE.search(text):
        return None if is_key(text) else "there is no such key"
    if PATH.fullmatch(text) and text not in THEIRS:
        return None if any(ROOT.glob(re.sub(r"<\w+>", "*", text).rstrip("/"))) else "there is no such file"
    if SNAKE.fullmatch(text) and not SERIES.match(text) and text not in WORDS | names:
        return "is no key, label, field or value of ours: correct it, or say whose it is in FOREIGN_WORDS"
    address = ADDRESS.fullmatch(text)
    return f"the exporter does not serve {address[1]}" if address and address[1] not in ADDRESSES else None


def test_every_metric_that_is_named_is_exported() -> None:
    none(f"{page.name}:{strange}" for page in PAGES.values() for strange in strange_series(page.text))


def test_every_query_asks_for_what_is_exported() -> None:
    none(
        f"{page.at(block.line)}: nothing exports {', '.join(strange)}"
        for page in PAGES.values()
        for block in page.blocks_of("promql")
        if (strange := strangers_in([re.sub(r"(?m)^\s*#.*$", "", block.text)], RECORDINGS | FOREIGN_WORDS))
    )


def test_every_word_in_code_names_something_that_exists() -> None:
    """In pages about the code, names that stand there do as well."""
    names = set(names_in_code())

    def wrong_in(page: Page) -> Iterator[str]:
        for text, line in page.terms:
            if wrong := wrong_with(text, names if page.name in FOR_CONTRIBUTORS else set()):
                yield f"{page.at(line)}: `{text}`: {wrong}"

    none(wrong for page in PAGES.values() for wrong in wrong_in(page))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *(
            (wrong, False)
            for wrong in ("poll.intervall", "clusters[].members[].groups", "docs/nowhere.md", "stail_after")
        ),
        *((wrong, False) for wrong in ("exporter/*/nothing.py", "/-/reloaded", "GET /api/v2/status")),
        *(
            (right, True)
            for right in ("poll.interval", "clusters[0].members[].group_id", "octopus[].iam.password_file")
        ),
        *((right, True) for right in ("stale_after", "/-/ready", "docs/", "exporter/<vendor>/")),
    ],
)
def test_a_word_that_names_nothing_would_be_found(text: str, right: bool) -> None:
    assert (wrong_with(text, set()) is None) == right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *((wrong, False) for wrong in ("hpc_queue_job", "octopus_nothing_total", "hpc_exporter_goals_*", "hpc_job_")),
        *((right, True) for right in ("hpc_job_observed_wait_seconds_bucket", "hpc_member_*", "octopus_{a,b}")),
        ("grep '^hpc_(queue|member)_jobs'", True),
    ],
)
def test_a_metric_that_is_not_exported_would_be_found(text: str, right: bool) -> None:
    assert (not list(strange_series(text))) == right
