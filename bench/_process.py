"""Runs contenders, each in a process of its own, so that their processor time and memory are theirs alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

# None of them takes a minute; a hanging one must not hang the whole run.
TIMEOUT = 120


def result_of(module: str, *args: object) -> dict[str, float]:
    """Run ``python -m bench.MODULE ARGS...`` to its end; what it printed, as JSON."""
    done = subprocess.run(_command(module, args), stdout=subprocess.PIPE, check=True, timeout=TIMEOUT)  # noqa: S603 - ourselves
    result: dict[str, float] = json.loads(done.stdout)
    return result


@contextmanager
def server(module: str, *args: object) -> Iterator[str]:
    """``python -m bench.MODULE ARGS...``, which prints its URL and serves until its standard input ends; the URL."""
    command = _command(module, args)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.stdin.close()  # which ends it, as our own death would
            process.wait(TIMEOUT)


@contextmanager
def region(users: int, queues: int = 5, *, changing: bool = False) -> Iterator[str]:
    """A static region in another process; its URL. With `changing`, no answer is the same as the one before."""
    with server("_region", users, queues, int(changing)) as url:
        yield url


def by_turns(rounds: int, *contenders: tuple[Any, ...]) -> list[dict[str, float]]:
    """Run contenders A, B, A, B, ...; the median of each of their results, in the order of the contenders."""
    results: list[list[dict[str, float]]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, of_contender in zip(contenders, results, strict=True):
            of_contender.append(result_of(*contender))
    return [{key: median(result[key] for result in each) for key in each[0]} for each in results]


def _command(module: str, args: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", f"bench.{module}", *map(str, args)]
