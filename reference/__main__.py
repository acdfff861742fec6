"""``python -m reference`` writes the references into docs/; ``--check`` reports files that differ."""

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Final

from reference import cli, configuration, metrics
from reference.configuration import Language

LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")
OUTPUT = Path(__file__).parent.parent / "docs"


@cache
def documents() -> dict[Path, str]:
    """Return the contents of each file."""
    return {
        OUTPUT / f"{module.__name__.partition('.')[2]}{'.zh' * (language == 'zh')}.md": module.document(language)
        for module in (cli, configuration, metrics)
        for language in LANGUAGES
    }


def differing() -> list[Path]:
    """Files that differ from what they have to hold, or are missing."""
    return [
        path for path, text in documents().items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a file differs")
    if parser.parse_args().check:
        for path in differing():
            sys.stderr.write(f"{path}: is not what reference/ makes of the code; run: make docs\n")
        return 1 if differing() else 0
    for path in differing():
        path.write_text(documents()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
