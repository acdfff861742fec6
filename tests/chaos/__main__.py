"""``python -m tests.chaos``: whether the exporter bears all that a seed makes happen to it."""

import argparse
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

from tests.chaos.bugs import BUGS, put_back
from tests.chaos.scenario import simulate

T = TypeVar("T")
# Seeds that one process simulates; then the first of them again, which has to be the same as before the others.
TOGETHER: Final = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="only this one, with the traceback of what fails")
    parser.add_argument(
        "--bugs", action="store_true", help="of each bug that is put back, the first seed that finds it"
    )
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is a part of what is simulated.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "tests.chaos", *sys.argv[1:]], environment)  # noqa: S606 - itself
    seeds = range(args.first, args.first + args.seeds) if args.seed is None else range(args.seed, args.seed + 1)
    return find_bugs(seeds) if args.bugs else run(seeds, in_full=args.seed is not None)


def run(seeds: Sequence[int], *, in_full: bool) -> int:
    found = [trace for some in batches(seeds) for trace in forked(partial(traces_of, some, in_full=in_full))]
    took = os.times()
    sys.stderr.write(f"{took.children_user + took.children_system:.0f} s of processor time\n")
    print(f"{len(found)} seeds, {found.count(None)} failed, trace {hash(tuple(found))}")
    return 1 if None in found else 0


def find_bugs(seeds: Sequence[int]) -> int:
    """Print the first seed that finds each bug. Exit status 1 where none does."""
    missed = False
    for name in BUGS:
        finding = (forked(partial(first_with, name, some)) for some in batches(seeds))
        first = next((seed for seed in finding if seed is not None), None)
        print(f"{name}: none of {len(seeds)} seeds" if first is None else f"{name}: seed {first}", flush=True)
        missed |= first is None
    return int(missed)


def batches(seeds: Sequence[int]) -> Iterator[Sequence[int]]:
    return (seeds[first : first + TOGETHER] for first in range(0, len(seeds), TOGETHER))


def forked(call: Callable[[], T]) -> T:
    """Return the result of a call in a process that has simulated nothing before."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(call()))
    process.start()
    sender.close()
    result: T = receiver.recv()
    process.join()
    return result


def traces_of(seeds: Sequence[int], *, in_full: bool) -> list[int | None]:
    """Return checksums of all that happened in each simulation; None where something failed."""
    traces = [trace_of(seed, in_full=in_full) for seed in seeds]
    if traces[0] is not None and trace_of(seeds[0]) != traces[0]:
        print(f"seed {seeds[0]}: not the same again after {seeds[-1]}", flush=True)
        traces[0] = None
    return traces


def trace_of(seed: int, *, in_full: bool = False) -> int | None:
    try:
        return simulate(seed).trace
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the seed
        print(f"seed {seed}: {error!r}\n  again: make chaos SEED={seed}", flush=True)
        if in_full:
            traceback.print_exc()
        return None


def first_with(bug: str, seeds: Sequence[int]) -> int | None:
    """Return the first seed that fails with a bug."""
    put_back(bug)
    for seed in seeds:
        try:
            simulate(seed)
        except Exception:  # noqa: BLE001 - it is found
            return seed
    return None


if __name__ == "__main__":
    sys.exit(main())
