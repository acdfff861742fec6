"""``python -m grafana`` writes the dashboards."""

import json
from pathlib import Path

from grafana.boards import BOARDS, LANGUAGES, dashboard, in_language

OUTPUT = Path(__file__).parent / "provisioned"


def documents() -> dict[Path, str]:
    """Return the contents of each file."""
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


def main() -> None:
    made = documents()
    for path in differing():
        if path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path], encoding="utf-8")
        else:
            path.unlink()


if __name__ == "__main__":
    main()
