"""``python -m tests.chaos``: whether the exporter bears all that a seed makes happen to it."""

import argparse
import os
import sys
import time
import traceback

from tests.chaos.scenario import simulate

# One seed in this many is run twice: it has to be the same again.
TWICE = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="only this one, with the traceback of what fails")
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is a part of what is simulated.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "tests.chaos", *sys.argv[1:]], environment)  # noqa: S606 - itself
    seeds = range(args.first, args.first + args.seeds) if args.seed is None else range(args.seed, args.seed + 1)
    failed = sum(not holds(seed, in_full=args.seed is not None) for seed in seeds)
    print(f"{len(seeds)} seeds in {time.process_time():.0f} s of processor time, {failed} failed")
    return 1 if failed else 0


def holds(seed: int, *, in_full: bool) -> bool:
    """Whether a seed finds nothing."""
    try:
        trace = simulate(seed).trace
        assert seed % TWICE or simulate(seed).trace == trace, "it is not the same at each run"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the seed
        print(f"seed {seed}: {error!r}\n  again: make chaos SEED={seed}", flush=True)
        if in_full:
            traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
