"""What contributors are told about the code is so."""

import ast
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Page, none
from tests.docs.test_words import names_in_code

PACKAGE = ROOT / "exporter"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\|$", re.MULTILINE)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "exporter":
            yield from (f"exporter.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def rooms_imported() -> dict[str, set[str]]:
    """Rooms of the package by the room that imports them."""
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for path in PACKAGE.rglob("*.py"):
        imported = (module.split(".") for module in modules_imported(path))
        found[room_of(path)] |= {parts[1] for parts in imported if parts[0] == "exporter" and len(parts) > 1}
    return {room: (others & rooms) - {room} for room, others in found.items() if not room.startswith("__")}


def allowed() -> dict[str, set[str]]:
    """What CONTRIBUTING.md says of each room; "anything" stands for all."""
    rows = ROW.findall(PAGES["CONTRIBUTING.md"].text)
    rooms = {room for room, _ in rows}
    return {room: rooms if text.strip() == "anything" else set(re.findall(r"`(\w+)`", text)) for room, text in rows}


def test_rooms_import_what_the_map_says_and_no_more() -> None:
    """Also the other way round: what no room imports any more leaves the map."""
    actual, told = rooms_imported(), allowed()
    assert actual.keys() == told.keys()
    none(
        f"exporter/{room}: imports {', '.join(sorted(actual[room] - told[room]))}, which CONTRIBUTING.md does not allow"
        for room in actual
        if actual[room] - told[room]
    )
    none(
        f"CONTRIBUTING.md: {room} no longer imports {', '.join(sorted(told[room] - actual[room]))}"
        for room in actual
        if told[room] - actual[room] and room != "cli"
    )


def test_every_folder_of_the_repository_is_on_the_map() -> None:
    text = PAGES["CONTRIBUTING.md"].text
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    ours = {name for name in folders if not name.startswith((".", "_")) and name not in {"build", "dist"}}
    assert ours - {"requirements"} <= set(re.findall(r"`(\w+)/", text))


def wrong_names(page: Page, known: frozenset[str]) -> Iterator[str]:
    """Names of classes, functions and modules in code that do not exist."""
    for term in page.terms:
        if re.fullmatch(r"(?:exporter|grafana|reference)(?:\.\w+)+", term.text):
            try:
                pkgutil.resolve_name(term.text)
            except (ImportError, AttributeError) as error:
                yield f"{page.at(term.line)}: `{term.text}`: {error}"
        elif re.fullmatch(r"_*[A-Z]\w*[a-z]\w*(?:\.\w+)?", term.text) and not set(term.text.split(".")) <= known:
            yield f"{page.at(term.line)}: `{term.text}` is no class or function of ours"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md"])
def test_classes_and_modules_that_are_named_exist(name: str) -> None:
    none(wrong_names(PAGES[name], names_in_code() | {"None"}))
