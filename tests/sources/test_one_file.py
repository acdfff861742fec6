"""A collector is one file: no other part of the exporter knows its name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import exporter
from exporter.sources.collector import registry

PACKAGE = Path(exporter.__file__).parent


def texts(path: Path) -> Iterator[str]:
    """Yield the string literals of a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_the_name_of_a_collector_stands_in_its_own_file_only() -> None:
    # A single word can mean other things as well: `cluster` is a flag and a column of tables.
    names = {name for name in registry() if "_" in name}
    found = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        if "simulator" not in path.relative_to(PACKAGE).parts:
            for name in names.intersection(texts(path)):
                found[name].add(path.relative_to(PACKAGE).as_posix())
    assert {name: len(files) for name, files in found.items()} == dict.fromkeys(names, 1), dict(found)
    assert all(files.pop().startswith("sources/") for files in found.values())
