"""`python -m bench [NAME...]`: measures the exporter against baselines that it starts itself.

All of it without a name.
"""

import importlib
import sys

from bench.report import print_machine, print_table

# Modules with a function `tables`. Together they take about six minutes on a machine with nothing else to do.
BENCHMARKS = (
    "polls",
    "requests",
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
        for title, rows in importlib.import_module(f"bench.{name}").tables():
            print_table(title, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
