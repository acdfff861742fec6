"""The statements of CONTRIBUTING.md about the code hold."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import PAGES, ROOT

PACKAGE = ROOT / "exporter"
ROW = re.compile(r"^\| (`[\w/]+`(?:, `[\w/]+`)*) \| [^|]+ \|$", re.MULTILINE)


def parts() -> dict[str, int]:
    """Return the parts in CONTRIBUTING.md's list, and their rows."""
    rows = ROW.findall(PAGES["CONTRIBUTING.md"].text.partition("| part | holds |")[2].partition("\n\n")[0])
    return {part: row for row, cell in enumerate(rows) for part in re.findall(r"`([\w/]+)`", cell)}


def modules_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def row_of(name: str, known: dict[str, int]) -> int | None:
    """Return the row of a module, as parts of its path; None for the package itself."""
    steps = name.split(".")
    return next((known[part] for n in (2, 1) if (part := "/".join(steps[:n])) in known), None)


def test_parts_import_only_what_stands_above_them() -> None:
    known = parts()
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))}
    assert {name for name in there if not name.startswith("_")} <= known.keys()
    for path in PACKAGE.rglob("*.py"):
        mine = row_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts), known)
        for module in modules_imported(path):
            row = row_of(module.removeprefix("exporter."), known) if module.startswith("exporter.") else None
            wrong = row is not None and mine is not None and (row > mine or (mine == known["simulator"] != row))
            assert not wrong, f"{path.relative_to(ROOT)} imports {module}, which stands below it in CONTRIBUTING.md"


def test_every_folder_of_the_repository_is_on_the_map() -> None:
    text = PAGES["CONTRIBUTING.md"].text
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    ours = {name for name in folders if not name.startswith((".", "_")) and name not in {"build", "dist"}}
    assert ours - {"requirements"} <= set(re.findall(r"`(\w+)/", text))
