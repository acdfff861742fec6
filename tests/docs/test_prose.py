"""Prose of the code and of the English pages: imperatives and noun phrases, and no persons where a program acts."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

FOLDERS = ("exporter", "grafana", "reference", "deploy", "tools", "bench", "tests")
# A sentence that begins so describes its subject from outside.
OPENINGS = re.compile(
    r"(?:^|(?<=[.!?]\s))(?:(?:Return|Yield) (?:what|who|whose|how)|What|Whatever|Who|Whoever|Whose|How|Nobody)\b"
)
WORDS = re.compile(
    r"\b(?:nobody|somebody|anybody|everybody|whoever|so many|by turns|for ever|at once|mend(?:s|ed|ing)?|in trouble)\b",
    re.IGNORECASE,
)


def mistake(text: str) -> str:
    """Return the words of a docstring or comment that do not belong there; "" where there are none."""
    found = OPENINGS.search(text) or WORDS.search(text)
    return found[0] if found else ""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings and comments of a file with their lines."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_comments(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {mistake(text)}: {text.splitlines()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != Path(__file__)
        for line, text in prose(path)
        if mistake(text)
    ]
    assert found == []


def test_pages() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in [*(page.path for page in PAGES.values()), *(ROOT / "config").rglob("*.yml")]
        if ".zh" not in path.name
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if WORDS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("What passes here.", "What"),
        ("Whatever polls saw.", "Whatever"),
        ("Whose token it is.", "Whose"),
        ("The token; nobody renews it.", "nobody"),
        ("Return so many rows.", "so many"),
        ("Return what was sent.", "Return what"),
        ("The jobs. What is listed.", "What"),
        ("Return the values that were sent.", ""),
        ("Whether it is there.", ""),
    ],
)
def test_a_mistake_would_be_found(text: str, wrong: str) -> None:
    assert mistake(text) == wrong
