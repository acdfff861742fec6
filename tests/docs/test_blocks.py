"""Examples in the documentation are accepted by whatever reads them."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
import yaml

from exporter.app import validate
from exporter.config import Config
from exporter.errors import ConfigurationError
from exporter.web.settings import WebDocument, load_settings
from tests.docs.pages import PAGES, ROOT, Block, Page, none, taken_apart
from tests.e2e.real import real_part

LANGUAGES = {"console", "sh", "bash", "yaml", "json", "promql", "text", "ini", "toml", "python", "dockerfile"}
OURS = set(Config.model_fields)
WEB = set(WebDocument.model_fields)
PROMETHEUS = {"global", "scrape_configs", "rule_files", "alerting", "remote_write", "remote_read", "storage"}
ALERTMANAGER = {"route", "receivers", "inhibit_rules"}
# What an example of a few keys leaves out.
A_REGION = "clusters: [{name: a-region, cluster_id: 1, hpc_url: https://hpc.example.com, token: a-token}]"
# Of every variable: a folder too, where a path begins with one.
A_VALUE = "a-value"
A_RECEIVER = {"route": {"receiver": "x"}, "receivers": [{"name": "x"}]}


def chart_values() -> dict[str, Any]:
    """The values of the Helm chart with their defaults."""
    path = next((ROOT / "deploy" / "helm").rglob("values.yaml"), None)
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
    return values


CHART = chart_values()


class Example(NamedTuple):
    """A block of YAML with what it is."""

    page: Page
    block: Block
    kind: str

    def at(self) -> str:
        return self.page.at(self.block.line)


def kind_of(block: Block) -> str:
    """What a block of YAML is, by its content; "unknown" where nothing tells.

    Not read by anything here, so only parsed: manifests of Kubernetes (apiVersion and kind), Compose files (services),
    values of the Helm chart, of which only the names are held against the chart's (its keys, or a first line
    "# values.yaml").
    """
    if re.match(r"# \S*values\S*\.ya?ml\b", block.text):
        return "helm"
    content = next(iter(yaml.safe_load_all(block.text)), None)
    if isinstance(content, list):
        return "scrapes" if all(isinstance(item, dict) and "job_name" in item for item in content) else "unknown"
    keys = set(content) if isinstance(content, dict) else set()
    if {"apiVersion", "kind"} <= keys:
        return "kubernetes"
    kinds = {"ours": OURS, "web": WEB, "prometheus": PROMETHEUS, "alertmanager": ALERTMANAGER}
    kinds |= {"rules": {"groups"}, "compose": {"services"}, "helm": set(CHART)}
    return next((kind for kind, known in kinds.items() if keys & known), "unknown")


def yaml_of(page: Page) -> Iterator[Example]:
    for block in page.blocks_of("yaml"):
        try:
            yield Example(page, block, kind_of(block))
        except yaml.YAMLError as error:
            yield Example(page, block, f"broken: {' '.join(str(error).split())}")


EXAMPLES = [example for page in PAGES.values() for example in yaml_of(page)]


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is(name: str) -> None:
    page = PAGES[name]
    blocks = [(block, block.language.partition(" ")[0]) for block in page.blocks]
    none(
        f"{page.at(block.line)}: the block's language {language or '(none)'} is none of {', '.join(sorted(LANGUAGES))}"
        for block, language in blocks
        if language not in LANGUAGES
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_yaml_is_something_that_can_be_checked(name: str) -> None:
    hint = "begin with one of its top-level keys, or, for values of the Helm chart, with the line # values.yaml"
    none(
        f"{example.at()}: {example.kind}: {hint}"
        for example in yaml_of(PAGES[name])
        if example.kind.startswith(("unknown", "broken"))
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_json_can_be_parsed(name: str) -> None:
    page = PAGES[name]
    none(f"{page.at(block.line)}: {wrong}" for block in page.blocks_of("json") if (wrong := wrong_with_json(block)))


def wrong_with_json(block: Block) -> str | None:
    try:
        json.loads(block.text)
    except ValueError as error:
        return str(error)
    return None


class Folder:
    """A folder in which every file that an example names is there."""

    def __init__(self, path: Path, files: Mapping[str, bytes]) -> None:
        self.path = path
        self._files = files

    def written(self, text: str) -> Path:
        """The example as a file, with paths from the root led into this folder."""
        text = re.sub(r"(\w_file: *[\"']?)/", rf"\1{self.path}/", text)
        for key, written in _files_in(yaml.safe_load(text)):
            name = re.sub(r"\$\{\w+\}", A_VALUE, written)
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = next((kind for kind in self._files if key.endswith(kind)), "")
            path.write_bytes(self._files[kind])
        document = self.path / "example.yml"
        document.write_text(text, encoding="utf-8")
        return document


def _files_in(value: Any) -> Iterator[tuple[str, str]]:
    """Keys that end in _file, with the files that they name."""
    if isinstance(value, list):
        for item in value:
            yield from _files_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and str(key).endswith("_file"):
                yield (str(key), item)
            else:
                yield from _files_in(item)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Contents by the end of the key that names the file; the longest first."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    return {
        "ca_file": authority.cert_pem.bytes(),
        "cert_file": b"".join(blob.bytes() for blob in server.cert_chain_pems),
        "key_file": server.private_key_pem.bytes(),
        "": b"a-secret",
    } | {"access_key_file": b"an-access-key", "secret_key_file": b"a-secret-key"}


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Folder:
    return Folder(tmp_path, dict(sorted(files.items(), key=lambda item: -len(item[0]))))


def completed(text: str) -> str:
    """A configuration that shows only some sections, with as little more as makes it whole. Lines stay where they are."""
    content = yaml.safe_load(text)
    more = [] if content.keys() & {"clusters", "octopus", "accounts"} else [A_REGION]
    accounts = sorted(set(re.findall(r"\baccount: *([\w-]+)", text)))
    if accounts and "accounts" not in content:
        made = ", ".join(f"{{name: {name}, user: a, access_key: a, secret_key: a}}" for name in accounts)
        more.append(f"accounts: [{made}]")
    return "\n".join([text.rstrip("\n"), *more, ""])


def refusal(example: Example, folder: Folder, environment: pytest.MonkeyPatch) -> list[str]:
    """What the loader says, with the example's lines as those of its page."""
    for name in re.findall(r"\$\{(\w+)\}", example.block.text):
        environment.setenv(name, A_VALUE)
    load = validate if example.kind == "ours" else load_settings
    text = completed(example.block.text) if example.kind == "ours" else example.block.text
    path = folder.written(text)
    try:
        load(path)
    except ConfigurationError as error:
        return [_placed(mistake, example, path) for mistake in str(error).splitlines()]
    return []


def _placed(mistake: str, example: Example, path: Path) -> str:
    found = re.match(rf"{re.escape(str(path))}:(\d+):\d+: (.*)", mistake)
    return f"{example.page.at(example.block.line + int(found[1]) - 1)}: {found[2]}" if found else mistake


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if example.kind in ("ours", "web")], ids=lambda example: example.at()
)
def test_every_configuration_is_accepted(example: Example, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hpc-exporter check` would; the files and variables that it names are there. Sections may be left out."""
    none(refusal(example, folder, monkeypatch))


def checked(tool: str, arguments: list[str], texts: Mapping[str, str], folder: Path) -> list[str]:
    """What a program says against files, by their names; nothing where it is content with all."""
    if not texts:
        return []
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    result = subprocess.run(  # noqa: S603 - a program of Prometheus on our own examples
        [real_part(tool), *arguments, *texts], check=False, capture_output=True, text=True, cwd=folder, timeout=30
    )
    return [] if result.returncode == 0 else [result.stdout + result.stderr]


def as_files(kind: str, page: Page | None = None) -> dict[str, dict[str, Any]]:
    """Examples of a kind by names that say where they stand."""
    examples = [example for example in EXAMPLES if example.kind == kind] if page is None else list(yaml_of(page))
    found = {example.at().replace("/", "_").replace(":", "_line_") + ".yml": example for example in examples}
    return {name: yaml.safe_load(example.block.text) for name, example in found.items()}


def test_prometheus_accepts_its_configurations(tmp_path: Path) -> None:
    whole = as_files("prometheus") | {name: {"scrape_configs": jobs} for name, jobs in as_files("scrapes").items()}
    assert whole
    texts = {name: yaml.safe_dump(content) for name, content in whole.items()}
    none(checked("promtool", ["check", "config", "--syntax-only"], texts, tmp_path))


def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    texts = {name: yaml.safe_dump(content) for name, content in as_files("rules").items()}
    none(checked("promtool", ["check", "rules", "--lint=all", "--lint-fatal"], texts, tmp_path))


def test_alertmanager_accepts_its_configurations(tmp_path: Path) -> None:
    texts = {name: yaml.safe_dump(A_RECEIVER | content) for name, content in as_files("alertmanager").items()}
    none(checked("amtool", ["check-config"], texts, tmp_path))


def queries(pages: Mapping[str, Page]) -> dict[str, str]:
    """Every example of PromQL by its place. An empty line ends a query; lines that begin with # are comments."""
    found = {}
    for page in pages.values():
        for block in page.blocks_of("promql"):
            line = block.line
            for part in re.split(r"\n[ \t]*\n", block.text):
                if re.sub(r"^\s*#.*$", "", part, flags=re.MULTILINE).strip():
                    found[page.at(line)] = part
                line += part.count("\n") + 2
    return found


def refused_queries(found: Mapping[str, str], folder: Path) -> list[str]:
    """What promtool says against queries, which it takes as recording rules."""
    rules = [{"record": re.sub(r"\W", "_", place), "expr": query} for place, query in found.items()]
    text = yaml.safe_dump({"groups": [{"name": "documentation", "rules": rules}]})
    return checked("promtool", ["check", "rules", "--lint=none"], {"queries.yml": text}, folder)


def test_prometheus_accepts_every_query(tmp_path: Path) -> None:
    """Names in messages are those of the pages and lines."""
    found = queries(PAGES)
    assert len(found) > 10
    none(refused_queries(found, tmp_path))


def strangers(example: Any, known: Any, path: str = "") -> Iterator[str]:
    """Keys of an example that the chart's own values do not have; below an empty mapping anything goes."""
    if isinstance(example, dict) and isinstance(known, dict) and known:
        for key, value in example.items():
            where = f"{path}.{key}".lstrip(".")
            if key in known:
                yield from strangers(value, known[key], where)
            else:
                yield where


def test_values_of_the_chart_exist() -> None:
    found = [example for example in EXAMPLES if example.kind == "helm"]
    none(
        f"{example.at()}: the chart has no value {name}"
        for example in found
        for name in strangers(yaml.safe_load(example.block.text), CHART)
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("poll: {intervall: 30s}", "page.md:2: poll.intervall"),
        ("octopus:\n  - name: x\n", "page.md:3: octopus[0]"),
        ("tls_server_config: {cert_file: a.pem}", "key_file"),
        ("clusters:\n  - {name: a, cluster_id: 1, hpc_url: https://h, token_file: /run/t, account: b}", "page.md:3:"),
    ],
)
def test_a_wrong_configuration_would_be_found(
    text: str, complaint: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = next(yaml_of(taken_apart(f"```yaml\n{text}\n```\n")))
    assert complaint in "\n".join(refusal(example, folder, monkeypatch))


def test_what_is_wrong_would_be_found(tmp_path: Path) -> None:
    """In queries and JSON, and in YAML that is nothing."""
    page = taken_apart(
        "```promql\n# comment\nup\n\nsum by (up\n```\n\n```json\n{,}\n```\n\n```yaml\ncolour: red\n```\n"
    )
    assert list(queries({"page.md": page})) == ["page.md:2", "page.md:5"]
    assert "page_md_5" in "".join(refused_queries(queries({"page.md": page}), tmp_path))
    assert wrong_with_json(page.blocks[1])
    assert [example.kind for example in yaml_of(page)] == ["unknown"]
    assert list(strangers({"a": {"b": 1}, "c": 1}, {"a": {"d": 1}})) == ["a.b", "c"]
