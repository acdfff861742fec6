"""Fuzzing of one target: ``python -m tests.fuzz TARGET MINUTES``, with atheris; without arguments the names of all.

What reached new code stays in build/fuzz/TARGET, and an input that found a mistake as build/fuzz/TARGET-crash-...
"""

import copy
import json
import random
import sys
from pathlib import Path
from typing import Any, Final

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["exporter"], enable_loader_override=False):
    from tests.fuzz.targets import CORPUS, TARGETS

FOLDER: Final = Path("build/fuzz")
# Values that are not expected where they come to stand.
ODD: Final[tuple[Any, ...]] = (
    *(None, True, "", " ", "-", "N/A", "王", "\ud800", "\0", -1, 0, -0.5, 1e308, 2**53 + 1, 2**64, 10**400, "1e999"),
    *(
        "0",
        "007",
        " 12 ",
        "1638523853.0",
        "2026-11-29 10:00:00",
        1_796_000_000_000,
        [],
        {},
        [[]],
        [None],
        {"id": 1},
        [1, "a"],
    ),
)


def odd(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(ODD))


def mutated(document: Any, chance: random.Random) -> Any:
    """Return a document in which one value is gone, doubled, moved or odd."""
    while isinstance(document, dict | list) and document:
        parent = document
        key = chance.choice([*parent]) if isinstance(parent, dict) else chance.randrange(len(parent))
        document = parent[key]
        if not isinstance(document, dict | list) or not document or chance.random() < 0.15:
            break
    else:
        return odd(chance)
    match chance.randrange(6):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, list):
            parent.append(document)
        case 2 if isinstance(parent, dict):
            parent[chance.choice([*parent])] = document
        case _:
            parent[key] = odd(chance)
    return None


def json_mutator(data: bytes, most: int, seed: int) -> bytes:
    """Mutate the JSON behind the first line; other bytes, and sometimes these, as libFuzzer does."""
    chance = random.Random(seed)  # noqa: S311 - libFuzzer's own seed
    head, _, body = data.partition(b"\n")
    try:
        document = None if chance.random() < 0.1 else json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if document is None:
        return bytes(atheris.Mutate(data, most))
    for _ in range(chance.randrange(1, 4)):
        mutated(document, chance)
    return (head + b"\n" + json.dumps(document).encode())[:most]


def main() -> None:
    if len(sys.argv) < 3:
        sys.stdout.write(f"{' '.join(TARGETS)}\n")
        return
    name, minutes = sys.argv[1], float(sys.argv[2])
    target, kept = TARGETS[name], FOLDER / name
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (kept / f"seed-{number}").write_bytes(seed)
    folders = [str(folder) for folder in (kept, CORPUS / name) if folder.exists()]
    limits = [f"-max_total_time={minutes * 60:.0f}", "-timeout=120", "-rss_limit_mb=2048", "-max_len=65536"]
    arguments = [sys.argv[0], *limits, f"-artifact_prefix={kept}-", "-print_final_stats=1", *folders]
    mutator = {"custom_mutator": json_mutator} if target.json else {}
    atheris.Setup(arguments, target.run, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
