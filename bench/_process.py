"""Runs contenders, each in a process of its own, so that their processor time and memory are theirs alone."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

# None of them takes a minute; a hanging one must not hang the whole run.
TIMEOUT = 120


def result_of(module: str, *args: object) -> dict[str, float]:
    """Run ``python -m bench.MODULE ARGS...`` to its end; what it printed, as JSON."""
    result: dict[str, float] = json.loads(run(module, *args))
    return result


def run(module: str, *args: object) -> bytes:
    """Run ``python -m bench.MODULE ARGS...`` to its end; what it printed."""
    done = subprocess.run(_command(module, args), stdout=subprocess.PIPE, check=True, timeout=TIMEOUT)  # noqa: S603 - ourselves
    return done.stdout


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


class Standby:
    """A contender that is started once, sleeps, and wakes to measure for a moment whenever it is told to."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def sleep(self) -> None:
        """Until it is its turn; first of all it gets ready."""
        self._line()
        self._process.send_signal(signal.SIGSTOP)

    def measure(self) -> dict[str, float]:
        """What it measured, while every other contender sleeps."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        result: dict[str, float] = json.loads(self._line())
        self._process.send_signal(signal.SIGSTOP)
        return result

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._process.args!r} ended early"
        return line


@contextmanager
def standby(module: str, *args: object) -> Iterator[Standby]:
    """``python -m bench.MODULE ARGS...``, which measures once for every line of its standard input (`_turns.take_turns`)."""
    with subprocess.Popen(_command(module, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - ourselves
        try:
            yield Standby(process)
        finally:
            process.kill()


def pairs(rounds: int, *contenders: tuple[Any, ...]) -> list[list[dict[str, float]]]:
    """Wake contenders by turns, A, B, A, B, ...; for each round what each measured, a second or two apart.

    A machine that is shared is faster now and slower then: ratios within a round hold although the figures wander.
    """
    with ExitStack() as stack:
        waiting = [stack.enter_context(standby(*contender)) for contender in contenders]
        for contender in waiting:
            contender.sleep()
        return [[contender.measure() for contender in waiting] for _ in range(rounds)]


def _command(module: str, args: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", f"bench.{module}", *map(str, args)]
