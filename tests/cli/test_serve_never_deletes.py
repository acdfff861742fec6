"""A process that serves holds no code that deletes: neither loaded, nor reachable from what it runs."""

import ast
import asyncio
import sys
from pathlib import Path

import exporter

PACKAGE = Path(exporter.__file__).parent
DELETES = {"exporter.sources.scnet._deletion", "exporter.cli.jobs_delete"}
# All that leads there: the one function that `jobs delete` runs.
ALLOWED = {
    ("exporter.cli.jobs", "exporter.cli.jobs_delete"),
    ("exporter.cli.jobs_delete", "exporter.sources.scnet._deletion"),
}

# Prints the modules that a serving process has loaded when it stops.
SERVE = """
import sys
from exporter.cli.main import main
status = main(["serve", "--config.file=exporter.yml", "--web.listen-address=127.0.0.1:0"])
print(status, *sorted(name for name in sys.modules if name.startswith("exporter.")))
"""
CONFIGURATION = "clusters: [{name: k, cluster_id: 1, hpc_url: 'http://127.0.0.1:1', token: t, users: [test]}]"


def imports_of(file: Path) -> set[str]:
    """Every module that a file imports, at the top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def modules() -> dict[str, Path]:
    files = PACKAGE.rglob("*.py")
    return {".".join(["exporter", *file.relative_to(PACKAGE).with_suffix("").parts]): file for file in files}


def test_only_jobs_delete_imports_the_deleting_code() -> None:
    edges = {(name, target) for name, file in modules().items() for target in imports_of(file) & DELETES}
    assert edges == ALLOWED


def test_nothing_else_sends_a_delete() -> None:
    senders = {name for name, file in modules().items() if '"DELETE"' in file.read_text(encoding="utf-8")}
    assert senders == {"exporter.sources.scnet._deletion"}


async def test_a_process_that_serves_never_loads_it(tmp_path: Path) -> None:
    (tmp_path / "exporter.yml").write_text(CONFIGURATION)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"Listening on" not in (line := await asyncio.wait_for(process.stderr.readline(), 100)):
        assert line
    process.terminate()
    stdout, _ = await asyncio.wait_for(process.communicate(), 100)
    status, *loaded = stdout.decode().split()
    assert status == "0"
    assert "exporter.cli.serve" in loaded
    assert not DELETES & set(loaded)
