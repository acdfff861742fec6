"""`python -m bench [NAME...]`: measures the exporter against baselines that it starts itself.

A benchmark is a module of this folder with a function ``main() -> None``; what starts with an underscore helps them.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

from bench._report import print_machine


def names() -> list[str]:
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(names())
    if unknown:
        sys.stderr.write(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(names())}\n")
        return 2
    print_machine()
    for name in wanted or names():
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
