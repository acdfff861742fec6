"""``python -m grafana`` writes the dashboards; ``--check`` says whether what is there differs."""

import argparse
import json
import sys
from pathlib import Path

from grafana.boards import BOARDS, LANGUAGES, dashboard, in_language

OUTPUT = Path(__file__).parent / "provisioned"


def documents() -> dict[Path, str]:
    """What each file has to hold."""
    return {
        OUTPUT / language / f"{board.uid}.json": json.dumps(
            in_language(dashboard(board, BOARDS), language), ensure_ascii=False, indent=1
        )
        + "\n"
        for board in BOARDS
        for language in LANGUAGES
    }


def differing() -> list[Path]:
    """Files that differ from what they have to hold, are missing, or are there without being made here."""
    wanted = documents()
    there = {path: path.read_text(encoding="utf-8") for path in OUTPUT.glob("*/*.json")}
    return sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a file differs")
    if parser.parse_args().check:
        for path in differing():
            sys.stderr.write(f"{path}: is not what grafana/*.py makes; run: make dashboards\n")
        return 1 if differing() else 0
    wanted = documents()
    for path in differing():
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
