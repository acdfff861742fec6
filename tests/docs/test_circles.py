"""Modules of the exporter can be read one after the other: none needs another that needs it in turn."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.docs.pages import ROOT

PACKAGE = ROOT / "exporter"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, modules: frozenset[str]) -> Iterator[str]:
    """Yield the modules of the exporter that a file imports anywhere in it: in functions and for type checkers, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & modules
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (members & modules) or {node.module}


def test_there_are_no_import_circles() -> None:
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    modules = frozenset(paths)
    graph = {module: set(imported(path, modules)) - {module} for module, path in paths.items()}
    assert len(graph) > 50, "the files are found"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError("import circle: " + " <- ".join(error.args[1])) from None
