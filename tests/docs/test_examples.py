"""Examples in the documentation are accepted by whatever reads them."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import trustme
import yaml

from exporter.app import validate
from exporter.cli.http_client import HttpDocument, load_access
from exporter.config import Config
from exporter.errors import ConfigurationError
from exporter.web.settings import WebDocument, load_settings
from tests.docs.pages import PAGES, ROOT, Block, Page, none
from tests.e2e.real import real_part

LANGUAGES: Final = {"console", "sh", "bash", "yaml", "json", "promql", "text", "ini", "toml", "python", "dockerfile"}
CHART: Final = yaml.load(
    next((ROOT / "deploy" / "helm").rglob("values.yaml")).read_text(encoding="utf-8"), yaml.CSafeLoader
)
# By the keys of which an example has one. Manifests and Compose files are only parsed.
KINDS: Final = {
    "kubernetes": {"apiVersion"},
    "ours": set(Config.model_fields),
    "web": set(WebDocument.model_fields),
    "access": set(HttpDocument.model_fields),
    "prometheus": {"global", "scrape_configs", "rule_files", "alerting", "remote_write", "remote_read", "storage"},
    "rules": {"groups"},
    "compose": {"services"},
    "helm": set(CHART),
}
READERS: Final[Mapping[str, Callable[[Path], object]]] = {"ours": validate, "web": load_settings, "access": load_access}
# As much as an example of a few keys leaves out.
A_REGION: Final = "clusters: [{name: a-region, cluster_id: 1, hpc_url: https://hpc.example.com, token: a-token}]"


class Example(NamedTuple):
    """A block of YAML and its kind."""

    page: Page
    block: Block
    kind: str
    content: Any

    def at(self) -> str:
        return self.page.at(self.block.line)


def kind_of(block: Block, content: Any) -> str:
    """One of KINDS, or "unknown"; a list is one of scrape jobs, and "# values.yaml" begins values of the Helm chart."""
    if re.match(r"# \S*values\S*\.ya?ml\b", block.text):
        return "helm"
    if isinstance(content, list):
        return "scrapes" if all("job_name" in item for item in content) else "unknown"
    keys = set(content) if isinstance(content, dict) else set()
    return next((kind for kind, known in KINDS.items() if keys & known), "unknown")


def examples() -> Iterator[Example]:
    for page in PAGES.values():
        for block in page.blocks_of("yaml"):
            content = next(iter(yaml.safe_load_all(block.text)), None)
            yield Example(page, block, kind_of(block, content), content)


EXAMPLES: Final = list(examples())


def of_kind(*kinds: str) -> list[Example]:
    return [example for example in EXAMPLES if example.kind in kinds]


def test_every_block_says_what_it_is_and_can_be_checked() -> None:
    none(
        f"{page.at(block.line)}: the block's language {block.language} is none of {', '.join(sorted(LANGUAGES))}"
        for page in PAGES.values()
        for block in page.blocks
        if block.language.partition(" ")[0] not in LANGUAGES
    )
    none(f"{example.at()}: begin with a top-level key, or with # values.yaml" for example in of_kind("unknown"))
    for page in PAGES.values():
        for block in page.blocks_of("json"):
            json.loads(block.text)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Contents of files by the end of the key that names one."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    key = server.private_key_pem.bytes()
    return {
        "access_key_file": b"an-access-key",
        "secret_key_file": b"a-secret-key",
        "ca_file": authority.cert_pem.bytes(),
        "cert_file": chain,
        "key_file": key,
        "_file": b"a-secret",
    }


def completed(text: str) -> str:
    """Return a configuration that shows only some sections, with as little more as makes it whole.

    Lines stay where they are.
    """
    content = yaml.load(text, yaml.CSafeLoader)
    more = [] if content.keys() & {"clusters", "octopus", "accounts"} else [A_REGION]
    accounts = sorted(set(re.findall(r"\baccount: *([\w-]+)", text)))
    if accounts and "accounts" not in content:
        made = ", ".join(f"{{name: {name}, user: a, access_key: a, secret_key: a}}" for name in accounts)
        more.append(f"accounts: [{made}]")
    return "\n".join([text.rstrip("\n"), *more, ""])


@pytest.mark.parametrize("example", of_kind("ours", "web", "access"), ids=Example.at)
def test_every_configuration_is_accepted(
    example: Example, files: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `hpc-exporter check` does, where the files and variables are there that it names."""
    for name in re.findall(r"\$\{(\w+)\}", example.block.text):
        monkeypatch.setenv(name, "a-value")
    text = re.sub(r"(\w_file: *[\"']?)/", rf"\1{tmp_path}/", example.block.text)
    for key, written in re.findall(r"(\w+_file): *[\"']?([^\s,}\"']+)", re.sub(r"\$\{\w+\}", "a-value", text)):
        path = tmp_path / written
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(next(content for end, content in files.items() if key.endswith(end)))
    document = tmp_path / "example.yml"
    document.write_text(completed(text) if example.kind == "ours" else text, encoding="utf-8")
    try:
        READERS[example.kind](document)
    except ConfigurationError as error:
        pytest.fail(f"of the block at {example.at()}: {error}")


def checked(tool: str, arguments: list[str], contents: Mapping[str, Any], folder: Path) -> None:
    """Fail with the words of a program about files, which are named by the places of the examples."""
    names = []
    for place, content in contents.items():
        names.append(re.sub(r"\W", "_", place) + ".yml")
        (folder / names[-1]).write_text(yaml.safe_dump(content), encoding="utf-8")
    assert names
    run = [real_part(tool), *arguments, *names]
    result = subprocess.run(run, check=False, capture_output=True, text=True, cwd=folder, timeout=120)  # noqa: S603 - on our own examples
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_its_configurations(tmp_path: Path) -> None:
    whole = {example.at(): example.content for example in of_kind("prometheus")}
    whole |= {example.at(): {"scrape_configs": example.content} for example in of_kind("scrapes")}
    checked("promtool", ["check", "config", "--syntax-only"], whole, tmp_path)


def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    rules = {example.at(): example.content for example in of_kind("rules")}
    checked("promtool", ["check", "rules", "--lint=all", "--lint-fatal"], rules, tmp_path)


def test_prometheus_accepts_every_query(tmp_path: Path) -> None:
    """An empty line ends a query; lines that begin with # are comments."""
    rules = [
        {"record": re.sub(r"\W", "_", f"{page.at(block.line)}_{number}"), "expr": query}
        for page in PAGES.values()
        for block in page.blocks_of("promql")
        for number, query in enumerate(re.split(r"\n[ \t]*\n", block.text))
        if re.sub(r"^\s*#.*$", "", query, flags=re.MULTILINE).strip()
    ]
    assert len(rules) > 10
    checked(
        "promtool",
        ["check", "rules", "--lint=none"],
        {"queries": {"groups": [{"name": "q", "rules": rules}]}},
        tmp_path,
    )


def strangers(example: Any, known: Any, path: str = "") -> Iterator[str]:
    """Keys of an example that the chart's own values do not have; below an empty mapping anything goes."""
    if isinstance(example, dict) and isinstance(known, dict) and known:
        for key, value in example.items():
            where = f"{path}.{key}".lstrip(".")
            yield from strangers(value, known[key], where) if key in known else (where,)


def test_values_of_the_chart_exist() -> None:
    assert list(strangers({"a": {"b": 1}, "c": 1}, {"a": {"d": 1}})) == ["a.b", "c"]
    none(f"{each.at()}: no value {name}" for each in of_kind("helm") for name in strangers(each.content, CHART))
