"""The collector of docs/adding-a-collector.md works as soon as its file is there, and everything knows it."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.docs.pages import ROOT
from tests.e2e.process import serving

TEXT = (ROOT / "docs" / "adding-a-collector.md").read_text(encoding="utf-8")
FILE, CODE = re.findall(r"```python\n# (\S+)\n(.*?)```", TEXT, re.DOTALL)[0]
[ANSWER] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
[SAMPLES] = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
PATH = re.search(r'path="([^"]+)"', CODE)[1]  # type: ignore[index]
NAME = Path(FILE).stem
FAMILY = "hpc_center_urls"
# Copied for the exporter, and for what writes the references.
PARTS = ("exporter", "reference", "grafana", "config", "docs")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with one file more."""
    tree = tmp_path_factory.mktemp("tree")
    for part in PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("runbooks", "images"))
    assert not (tree / FILE).exists()
    (tree / FILE).write_text(CODE, encoding="utf-8")
    return tree


@asynccontextmanager
async def region(status: int = 200) -> AsyncIterator[str]:
    """Yield a region with the endpoint; `status` is what it answers with there."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(json.loads(ANSWER) if status == 200 else {"error": "no such path"}, status=status)

    application = web.Application()
    application.router.add_get(PATH, answer)
    server = TestServer(application)
    await server.start_server()
    try:
        yield str(server.make_url("/")).rstrip("/")
    finally:
        await server.close()


def configuration(url: str) -> str:
    cluster = f"{{name: kunshan, cluster_id: 11112, hpc_url: '{url}', token: made-up-token, collect: [{NAME}]}}"
    return f"poll: {{interval: 200ms}}\nclusters:\n  - {cluster}\n"


async def run(tree: Path, folder: Path, *arguments: str) -> tuple[int | None, str]:
    """Run a module of the copy in `folder`; its status and all that it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_commands_know_it(tree: Path, tmp_path: Path) -> None:
    async with region() as url:
        (tmp_path / "exporter.yml").write_text(configuration(url), encoding="utf-8")
        status, said = await run(tree, tmp_path, "exporter", "check", "--online", "--verbose")
        assert (status, f"ok      kunshan {NAME}:" in said) == (0, True), said
        status, said = await run(tree, tmp_path, "exporter", "once")
        assert status == 0
        assert said.startswith("Published addresses\n")
        assert re.search(r"^kunshan +hpc +2$", said, re.MULTILINE), said
        (tmp_path / "exporter.yml").write_text(configuration(url).replace(NAME, "nothing"), encoding="utf-8")
        status, said = await run(tree, tmp_path, "exporter", "check")
        assert (status, NAME in said) == (1, True)


async def test_the_service_shows_it(tree: Path, tmp_path: Path) -> None:
    async with (
        region() as url,
        serving(tmp_path, configuration(url), env={"PYTHONPATH": str(tree)}) as exporter,
    ):
        await exporter.shows(lambda samples: any(name.startswith(FAMILY) for name in samples), "the collector's series")
        shown = (await exporter.ask("/metrics")).text.splitlines()
        assert {*SAMPLES.splitlines()} <= {*shown}
        assert f'hpc_exporter_target_up{{source="kunshan",collector="{NAME}",target=""}} 1' in shown
        for language, title in (("en", "published addresses"), ("zh", "公布的地址")):
            assert title in (await exporter.ask(f"/?lang={language}")).text
        [target] = (await exporter.status())["targets"]
        assert [each["value"] for each in target["values"]] == [0, 1, 2]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_region_without_it_is_no_failure(tree: Path, tmp_path: Path, status: int) -> None:
    async with region(status) as url:
        (tmp_path / "exporter.yml").write_text(configuration(url), encoding="utf-8")
        ended, said = await run(tree, tmp_path, "exporter", "check", "--online", "--verbose")
        assert (ended, f"absent  kunshan {NAME}:" in said) == (0, True), said


async def test_the_references_list_it(tree: Path) -> None:
    status, said = await run(tree, tree, "reference")
    assert status == 0, said
    for page in ("metrics.md", "metrics.zh.md"):
        assert f"### `{FAMILY}`" in (tree / "docs" / page).read_text(encoding="utf-8")
    for page in ("configuration.md", "configuration.zh.md"):
        assert f"| `{NAME}` |" in (tree / "docs" / page).read_text(encoding="utf-8")
    status, schema = await run(tree, tree, "exporter.config.jsonschema")
    assert (status, f'"{NAME}"' in schema) == (0, True)
