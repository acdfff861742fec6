"""``python -m tests.chaos``: simulations by seed; see docs/testing.md."""

import argparse
import os
import sys
import time
import traceback

from tests.chaos.scenario import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--start", type=int,default=0)
    args = parser.parse_args()
    failed = 0
    t=time.process_time()
    seeds = range(args.start, args.start+args.seeds) if args.seed is None else [args.seed]
    for seed in seeds:
        try:
            s=simulate(seed)
            if args.seed is not None: print(s.trace, s.steps)
        except Exception as e:
            failed += 1
            print(seed, repr(e)[:600])
            if args.seed is not None: traceback.print_exc()
    print(failed, time.process_time()-t)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
