"""Configurations with a mistake, and what is said about it: the cases of testdata/invalid.

A case begins with a line ``--- # NAME``, followed by its messages as comments ``# expect: LINE:COLUMN: MESSAGE``. Lines
are counted from the one after these.
"""

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "testdata" / "invalid"
CASE = re.compile(
    r"^--- # (?P<name>\S+)\n(?P<expected>(?:# expect: .*\n)+)(?P<text>(?s:.*?))(?=\n--- # |\Z)", re.MULTILINE
)


class Case(NamedTuple):
    name: str
    text: str
    expected: list[str]


def read_cases(path: Path) -> list[Case]:
    """Return the cases of one file, each of which has a name, a text and at least one message."""
    source = path.read_text(encoding="utf-8")
    cases = [
        Case(found["name"], found["text"], [line.removeprefix("# expect: ") for line in found["expected"].splitlines()])
        for found in CASE.finditer(source)
    ]
    assert len(cases) == source.count("\n--- # "), f"{path}: a case lacks its messages"
    return cases


CASES = {case.name: case for path in sorted(FOLDER.glob("*.yml")) for case in read_cases(path)}
