"""Targets of fuzzing, and mutations that leave a document well-formed, so that they reach what lies behind the parser."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent.parent
NOW: Final = 1_796_000_000.0

# Returns a mutation of the input; None, or a RecursionError, leaves it to libFuzzer.
Mutate = Callable[[bytes, Random], bytes | None]


@dataclass(frozen=True)
class FuzzTarget:
    """`run` raises for a mistake of the exporter's. `tokens` are words that inputs, of `longest` bytes at most, are made of."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    mutate: Mutate | None = None
    tokens: tuple[str, ...] = ()
    longest: int = 4096


def texts(*seeds: str) -> Callable[[], Iterator[bytes]]:
    return lambda: (seed.encode() for seed in seeds)


def split(data: bytes) -> tuple[list[str], bytes]:
    """Return the words of the first line, and the rest."""
    head, _, rest = data.partition(b"\n")
    return head.decode(errors="replace").split(" "), rest


# Values that are not expected where they come to stand.
ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, -1, 0, 1, -0.5, 0.5, 1e308, float("nan"), float("inf"), 2**53 + 1, 2**63, 2**64, 10**400),
    *(
        "",
        " ",
        "-",
        "--",
        "N/A",
        "null",
        "-1",
        "0",
        "007",
        " 12 ",
        "1e999",
        "12x",
        "1638523853.0",
        "1,000",
        "王",
        "\ud800",
    ),
    *("\0", "a\nb", 'a"b\\c', "\u202e\u200b", "\ufeff", "=1+1", "{x}", "${TOKEN}", "statR", "R", "x" * 300),
    *("2026-11-29 10:00:00", "2026-11-29T10:00:00+08:00", "9999-12-31 23:59:59", 1_796_000_000, 1_796_000_000_000),
    *([], {}, [[]], [None], [1, "a"], {"id": 1}, {"number": 5, "set": True, "infinite": False}),
)
# Bytes that JSON's own writer does not write, in place of a text of this name.
WRITTEN: Final = {
    b'"\\u0000deep"': b"[" * 2000 + b"]" * 2000,
    b'"\\u0000gbk"': '"王"'.encode("gbk"),
    b'"\\u0000half"': b'"\\ud83d"',
    b'"\\u0000long"': b"1" * 5000,
    # A key with this end is there twice.
    b'\\u0000twice"': b'"',
}
UNWRITABLE: Final = ("\0deep", "\0gbk", "\0half", "\0long")


def odd(chance: Random) -> Any:
    return chance.choice(UNWRITABLE) if chance.random() < 0.05 else copy.deepcopy(chance.choice(ODD))


def changed(document: Any, chance: Random, keys: Sequence[str] = ()) -> None:
    """Remove, repeat, move or replace one value of a document; or add one of `keys`."""
    parent, key = place_in(document, chance)
    child, kind = parent[key], chance.randrange(10)
    if kind == 0:
        del parent[key]
    elif kind < 4 and isinstance(parent, list):
        parent.append(copy.deepcopy(child))
        if isinstance(child, dict | list) and child:
            changed(parent[-1], chance, keys)
    elif kind == 1:
        parent[f"{key}\0twice"] = odd(chance)
    elif kind == 2:
        parent[chance.choice([*parent])] = child
    elif kind == 3 and keys:
        parent[chance.choice(keys)] = odd(chance)
    elif kind == 4 and isinstance(child, int):
        parent[key] = child + chance.choice((-1, 1, 1000))
    else:
        parent[key] = odd(chance)


def place_in(document: Any, chance: Random) -> tuple[Any, Any]:
    """Return a place in a document, as its parent and its key there; most often that of a leaf."""
    while True:
        key = chance.choice([*document]) if isinstance(document, dict) else chance.randrange(len(document))
        child = document[key]
        if not isinstance(child, dict | list) or not child or chance.random() < 0.15:
            return document, key
        document = child


def mutated(document: Any, chance: Random, keys: Sequence[str] = ()) -> bytes:
    """Return a document with some changes as JSON, or nearly so."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if isinstance(document, dict | list) and document:
            changed(document, chance, keys)
        else:
            document = odd(chance)
    written = json.dumps(document).encode()
    for name, instead in WRITTEN.items():
        if name in written:
            written = written.replace(name, instead)
    return written


def of_json(*words: Sequence[str], keys: Sequence[str] = ()) -> Mutate:
    """Mutate inputs of a line of words and then JSON; `words` are those that may stand at each place."""

    def mutate(data: bytes, chance: Random) -> bytes | None:
        if chance.random() < 0.1:
            return None
        head, line, body = data.partition(b"\n") if words else (b"", b"", data)
        if words and chance.random() < 0.2:
            given = head.decode(errors="replace").split(" ")
            place = chance.randrange(len(words))
            given += [""] * (place + 1 - len(given))
            given[place] = chance.choice(words[place])
            return " ".join(given).encode() + line + body
        try:
            document = json.loads(body)
        except ValueError:
            return None
        return head + line + mutated(document, chance, keys)

    return mutate


def of_yaml(keys: Sequence[str]) -> Mutate:
    """Mutate a YAML file, and write it as JSON, which is YAML, or in lines."""

    def mutate(data: bytes, chance: Random) -> bytes | None:
        if chance.random() < 0.4:
            return None
        try:
            document = yaml.load(data, yaml.CBaseLoader)  # noqa: S506 - makes texts, lists and dicts only
        except (yaml.YAMLError, ValueError):
            return None
        written = mutated(document, chance, keys)
        if chance.random() < 0.5:
            return written
        try:
            return yaml.dump(json.loads(written), None, yaml.CSafeDumper, sort_keys=False, encoding="utf-8")
        except (yaml.YAMLError, ValueError):
            return written

    return mutate
