"""Everything that is read from outside, as functions of bytes: only documented errors, and what holds for any input.

`make fuzz` calls them with bytes that reach new code, the suite with those of tests/fuzz/corpus, where each input that
once found a mistake stays.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.fuzz import answers, files, headers, tables
from tests.fuzz.target import FuzzTarget

CORPUS: Final = Path(__file__).parent / "corpus"
TARGETS: Final[Mapping[str, FuzzTarget]] = {**answers.TARGETS, **headers.TARGETS, **files.TARGETS, **tables.TARGETS}
