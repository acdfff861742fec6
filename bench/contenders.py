"""Contenders of the benchmarks: each runs in a process of its own, so that its processor time and memory are its alone.

A contender is a coroutine function of a module that ends with `command`. ``python -m bench.polls bare ARGS...`` runs
one; the arguments are JSON, and so is the result.
"""

import asyncio
import inspect
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

Result = dict[str, float]
Contender = Callable[..., Coroutine[Any, Any, Result | None]]

# Seconds. None of them takes a minute on an idle machine; a hanging one must not hang the whole run.
TIMEOUT = 600
# Seconds until a contender that slept is in its rhythm again: first everything is due simultaneously.
SETTLE = 0.4


def command(*contenders: Contender) -> None:
    """Run the contender that the command line names, and print its result."""
    name, *args = sys.argv[1:]
    result = asyncio.run({each.__name__: each for each in contenders}[name](*map(json.loads, args)))
    if result is not None:
        print(json.dumps(result))


def result_of(contender: Contender, *args: object) -> Result:
    """Run a contender to its end."""
    result: Result = json.loads(run(contender, *args))
    return result


def run(contender: Contender, *args: object) -> bytes:
    """Run a contender to its end, and return its output."""
    done = subprocess.run(arguments(contender, *args), stdout=subprocess.PIPE, check=True, timeout=TIMEOUT)  # noqa: S603 - ourselves
    return done.stdout


async def result_beside(contender: Contender, *args: object) -> Result:
    """Run another contender to its end while the event loop of this one goes on."""
    process = await asyncio.create_subprocess_exec(*arguments(contender, *args), stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    result: Result = json.loads(output)
    return result


@contextmanager
def server(contender: Contender, *args: object) -> Iterator[str]:
    """Run a contender that prints its URL and serves until its standard input ends; yield the URL."""
    with _process(contender, args) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.stdin.close()  # which ends it, as our own death would
            process.wait(TIMEOUT)


def by_turns(rounds: int, *contenders: tuple[Any, ...]) -> list[Result]:
    """Run contenders (each with its arguments) A, B, A, B, ...; return the medians of each one's results."""
    results: list[list[Result]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, of_contender in zip(contenders, results, strict=True):
            of_contender.append(result_of(*contender))
    return [{key: median(result[key] for result in each) for key in each[0]} for each in results]


async def take_turns(measure: Callable[[], Awaitable[Result]]) -> None:
    """In a contender of `pairs`: say that all is ready, then measure and print for every line of standard input."""
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        await asyncio.sleep(SETTLE)
        print(json.dumps(await measure()), flush=True)


class Standby:
    """A contender that takes turns: started once, stopped until it measures."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._line()
        process.send_signal(signal.SIGSTOP)

    def measure(self) -> Result:
        """Wake it for one measurement, while every other contender is stopped."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        result: Result = json.loads(self._line())
        self._process.send_signal(signal.SIGSTOP)
        return result

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._process.args!r} ended early"
        return line


@contextmanager
def standby(contender: Contender, *args: object) -> Iterator[Standby]:
    """Start a contender that takes turns; it is ready when this yields."""
    with _process(contender, args) as process:
        try:
            yield Standby(process)
        finally:
            process.kill()


def pairs(rounds: int, *contenders: tuple[Any, ...]) -> list[list[Result]]:
    """Wake contenders alternately, A, B, A, B, ...; return each round's results, measured a second or two apart.

    A shared machine is faster now and slower then: ratios within a round hold although the figures wander.
    """
    with ExitStack() as stack:
        waiting = [stack.enter_context(standby(*contender)) for contender in contenders]
        return [[contender.measure() for contender in waiting] for _ in range(rounds)]


def _process(contender: Contender, args: tuple[object, ...]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(arguments(contender, *args), stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - ourselves


def arguments(contender: Contender, *args: object) -> list[str]:
    """Return the command line that runs a contender."""
    # By its file: in a contender that starts another one, its own module is called __main__.
    module = f"bench.{Path(inspect.getfile(contender)).stem}"
    return [sys.executable, "-m", module, contender.__name__, *map(json.dumps, args)]
