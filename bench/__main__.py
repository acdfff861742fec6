"""`python -m bench [NAME...]`: measures the exporter against baselines that it starts itself; all of it without a name."""

import importlib
import sys

from bench.report import print_machine

# Modules with a function ``main() -> None``. Together they take about six minutes on a machine with nothing else to do.
BENCHMARKS = (
    "polls",
    "scrapes",
    "crowd",
    "loop",
    "upkeep",
    "memory",
    "visible",
    "start",
    "tracking",
    "octopus",
)


def main(wanted: list[str]) -> int:
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}\n")
        return 2
    print_machine()
    for name in wanted or BENCHMARKS:
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
