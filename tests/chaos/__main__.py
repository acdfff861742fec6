"""``python -m tests.chaos``: whether the exporter bears all that a seed makes happen to it."""

import argparse
import os
import sys
import time
import traceback

from tests.chaos.scenario import simulate


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
    traces = [trace_of(seed, in_full=args.seed is not None) for seed in seeds]
    sys.stderr.write(f"{time.process_time():.0f} s of processor time\n")
    print(f"{len(seeds)} seeds, {traces.count(None)} failed, trace {hash(tuple(traces))}")
    return 1 if None in traces else 0


def trace_of(seed: int, *, in_full: bool) -> int | None:
    """Return a checksum of all that happened; None where something failed."""
    try:
        return simulate(seed).trace
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the seed
        print(f"seed {seed}: {error!r}\n  again: make chaos SEED={seed}", flush=True)
        if in_full:
            traceback.print_exc()
        return None


if __name__ == "__main__":
    sys.exit(main())
