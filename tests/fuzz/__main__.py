"""Fuzzing of one target: ``python -m tests.fuzz TARGET MINUTES [OPTION...]``, with atheris; without arguments the names of all.

Options are those of libFuzzer.

What reached new code stays in build/fuzz/TARGET, and an input that found a mistake as build/fuzz/TARGET-crash-...
"""

import importlib
import logging
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import atheris  # type: ignore[import-untyped]
import structlog

FOLDER: Final = Path("build/fuzz")
ANSWERS: Final = ("exporter.sources", "exporter.http.message")
# The modules in which new code counts. To follow any others takes most of the time.
CODE: Final[Mapping[str, tuple[str, ...]]] = {
    "envelopes": ANSWERS,
    "rows": (*ANSWERS, "exporter.metrics.format", "exporter.tracking"),
    "retry_after": ("exporter.http.message",),
    "accept": ("exporter.web.negotiation",),
    "configuration": ("exporter.config",),
    "web": ("exporter.config", "exporter.web.settings", "exporter.web.tls"),
    "state_file": ("exporter.tracking",),
    "report": ("exporter.cli.report", "exporter.cli.report_sources", "exporter.cli.terminal", "exporter.web.csv"),
    "redaction": ("exporter.redaction",),
}


def others(wanted: tuple[str, ...]) -> list[str]:
    """Return the exporter's modules that are not among the wanted ones."""
    paths = (path.with_suffix("") for path in Path("exporter").rglob("*.py"))
    names = (".".join(path.parts).removesuffix(".__init__") for path in paths)
    return [name for name in names if not f"{name}.".startswith(tuple(f"{each}." for each in wanted))]


def main() -> None:
    if len(sys.argv) < 3:
        sys.stdout.write(f"{' '.join(CODE)}\n")
        return
    name, minutes, options = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with atheris.instrument_imports(include=["exporter"], exclude=others(CODE[name]), enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets")
    target, kept = targets.TARGETS[name], FOLDER / name
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (kept / f"seed-{number}").write_bytes(seed)
    words = FOLDER / f"{name}.words"
    words.write_text("".join(f'"{quoted(word)}"\n' for word in target.tokens))
    folders = [str(folder) for folder in (kept, targets.CORPUS / name) if folder.exists()]
    limits = [f"-max_total_time={minutes * 60:.0f}", "-timeout=120", "-rss_limit_mb=2048", f"-max_len={target.longest}"]
    output = [f"-artifact_prefix={kept}-", "-print_final_stats=1", *([f"-dict={words}"] if target.tokens else [])]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        try:
            found = target.mutate(data, random.Random(seed))  # noqa: S311 - libFuzzer's own seed
        except RecursionError:
            found = None
        return (bytes(atheris.Mutate(data, most)) if found is None else found)[:most]

    mutator = {} if target.mutate is None else {"custom_mutator": mutate}
    atheris.Setup([sys.argv[0], *limits, *output, *options, *folders], target.run, **mutator)
    atheris.Fuzz()


def quoted(word: str) -> str:
    """Return a word as a dictionary of libFuzzer has it."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main()
