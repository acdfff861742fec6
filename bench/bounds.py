"""`python -m bench.bounds FILE.swf ... [--json]`: how often wait bounds would have held for the jobs of real logs.

Replays logs in the Standard Workload Format (https://www.cs.huji.ac.il/labs/parallel/workload/swf.html): at each
submission only what had happened by then is known. Counted are heads of bursts, for which alone a bound is meant, and
every bound that was computed, as the exporter's own counters do: also those withheld because earlier ones failed.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from exporter.tracking.bounds import BURST_SECONDS, QUANTILES, Bounds, WaitClass

WEEK: Final = 7 * 86400
FEWEST_OF_A_WEEK: Final = 20
_CANCELLED: Final = 5
_PARTS: Final = (2, 3, 4)  # records of parts of jobs, which repeat what the job's own says
_SUBMIT, _WAIT, _RUN, _STATUS, _USER, _QUEUE = 1, 2, 3, 10, 11, 14
_FEWEST_FIELDS: Final = 4


class Entry(NamedTuple):
    """One job of a log, in seconds. Without `started`, it was cancelled after waiting for `wait`."""

    submit: float
    wait: float
    user: str
    queue: str
    started: bool = True


class Checked(NamedTuple):
    """A head, the bounds computed for it, and whether they would have been withheld."""

    entry: Entry
    bounds: Bounds
    withheld: tuple[bool, ...]


class Result(NamedTuple):
    """The heads of a log at one quantile. Shares are of 1, None where there is nothing to share.

    `held` and `worst_week` are of the heads whose bound could be checked, `unbounded` and `withheld` of all.
    """

    heads: int
    held: float | None
    worst_week: float | None
    unbounded: float | None
    withheld: float | None


def read(path: Path) -> list[Entry]:
    """Return the usable jobs of a log. OSError where it cannot be read; lines that are no jobs are left out."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return [entry for line in lines if (entry := read_line(line)) is not None]


def read_line(line: str) -> Entry | None:
    if line.lstrip().startswith(";"):
        return None
    fields = line.split()
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    if len(numbers) < _FEWEST_FIELDS or not (
        0 <= numbers[_SUBMIT] < float("inf") and 0 <= numbers[_WAIT] < float("inf")
    ):
        return None
    status = numbers[_STATUS] if len(numbers) > _STATUS else -1
    if status in _PARTS:
        return None
    user = fields[_USER] if len(fields) > _USER and numbers[_USER] >= 0 else f"of job {fields[0]}"
    queue = fields[_QUEUE] if len(fields) > _QUEUE else fields[-1]
    return Entry(numbers[_SUBMIT], numbers[_WAIT], user, queue, started=status != _CANCELLED or numbers[_RUN] > 0)


def replay(entries: Iterable[Entry]) -> list[Checked]:
    """Return the heads of all queues, in the order of submission, with the bounds computed for them."""
    by_queue = defaultdict[str, list[Entry]](list)
    for entry in entries:
        by_queue[entry.queue].append(entry)
    heads = [head for of_queue in by_queue.values() for head in replay_queue(of_queue)]
    return sorted(heads, key=lambda head: head.entry.submit)


def replay_queue(entries: list[Entry]) -> Iterator[Checked]:
    waits = WaitClass()
    submitted = sorted(entries, key=lambda entry: (entry.submit, entry.user))
    ends = sorted(((entry.submit + entry.wait, number) for number, entry in enumerate(submitted)), reverse=True)
    waiting = defaultdict[str, dict[int, float]](dict)  # by user: jobs with their times of submission

    def end_until(now: float) -> None:
        while ends and ends[-1][0] <= now and ends[-1][1] < first:
            at, number = ends.pop()
            waits.look(at)
            (waits.started if submitted[number].started else waits.left)(str(number), at)
            waiting[submitted[number].user].pop(number, None)

    first = 0  # of the jobs not submitted yet
    for (now, user), together in groupby(submitted, key=lambda entry: (entry.submit, entry.user)):
        end_until(now)
        number, jobs = first, list(together)
        first += len(jobs)
        if all(now - since > BURST_SECONDS for since in waiting[user].values()):
            waits.look(now)
            yield Checked(jobs[0], waits.computed(now), waits.withheld())
            waits.submitted(str(number), now)
        waiting[user].update(dict.fromkeys(range(number, first), now))


def results(heads: list[Checked]) -> dict[float, Result]:
    return {quantile: result(heads, number) for number, quantile in enumerate(QUANTILES)}


def result(heads: list[Checked], number: int) -> Result:
    """Judge the bounds of one quantile. A head cancelled within its bound says nothing about it."""
    held, unbounded, withheld = [], 0, 0
    weeks = defaultdict[int, list[bool]](list)
    begin = heads[0].entry.submit if heads else 0.0
    for entry, bounds, is_withheld in heads:
        bound = bounds[number]
        if bound is None:
            unbounded += 1
            continue
        withheld += is_withheld[number]
        if entry.started or entry.wait > bound:
            held.append(entry.wait <= bound)
            weeks[int((entry.submit - begin) // WEEK)].append(held[-1])
    shares = [sum(week) / len(week) for week in weeks.values() if len(week) >= FEWEST_OF_A_WEEK]
    return Result(
        heads=len(heads),
        held=share(sum(held), len(held)),
        worst_week=min(shares, default=None),
        unbounded=share(unbounded, len(heads)),
        withheld=share(withheld, len(heads)),
    )


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bounds", description="Replay logs against wait bounds.")
    parser.add_argument("files", nargs="+", metavar="FILE.swf", help="a log in the Standard Workload Format")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    found = {}
    for file in options.files:
        try:
            entries = read(Path(file))
        except OSError as error:
            sys.stderr.write(f"{file}: cannot be read: {error.strerror or error}\n")
            return 1
        if not entries:
            sys.stderr.write(f"{file}: no usable job; is it a log in the Standard Workload Format?\n")
            return 1
        found[file] = results(replay(entries))
    sys.stdout.write(as_json(found) if options.json else as_table(found))
    return 0


def as_json(found: dict[str, dict[float, Result]]) -> str:
    plain = {
        file: {f"{quantile:g}": of_one._asdict() for quantile, of_one in of_file.items()}
        for file, of_file in found.items()
    }
    return json.dumps(plain, indent=2) + "\n"


def as_table(found: dict[str, dict[float, Result]]) -> str:
    lines = []
    for file, of_file in found.items():
        lines += [
            file,
            f"{'quantile':>10}{'heads':>8}{'held':>9}{'worst week':>12}{'without bound':>15}{'withheld':>10}",
        ]
        lines += [
            f"{quantile:>10g}{of_one.heads:>8}{percent(of_one.held):>9}{percent(of_one.worst_week):>12}"
            f"{percent(of_one.unbounded):>15}{percent(of_one.withheld):>10}"
            for quantile, of_one in of_file.items()
        ]
    return "\n".join(lines) + "\n"


def percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f} %"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
