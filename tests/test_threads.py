"""Calls that may hang for ever cost one thread and no exit."""

import asyncio
import subprocess
import sys
import threading

import pytest

from exporter.threads import BlockingCalls


async def test_results_and_errors_come_back() -> None:
    calls = BlockingCalls()
    assert await calls.run("sum", lambda: 1 + 1, timeout=10) == 2
    with pytest.raises(KeyError):
        await calls.run("sum", lambda: dict[str, int]()["nothing"], timeout=10)
    assert await calls.run("sum", lambda: 3, timeout=10) == 3


async def test_a_call_that_hangs_holds_up_only_its_own_key_and_starts_no_second_thread() -> None:
    calls, release, started = BlockingCalls(), threading.Event(), list[int]()

    def hang() -> str:
        started.append(1)
        release.wait()
        return "at last"

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await calls.run("dead", hang, timeout=0.01)
    assert started == [1]
    assert await calls.run("alive", lambda: "quick", timeout=10) == "quick"
    release.set()
    assert await calls.run("dead", hang, timeout=10) == "at last"


async def test_calls_with_one_key_follow_one_another() -> None:
    calls, running, most = BlockingCalls(), list[int](), list[int]()

    def work() -> None:
        running.append(1)
        most.append(len(running))
        running.pop()

    await asyncio.gather(*(calls.run("same", work, timeout=10) for _ in range(20)))
    assert most == [1] * 20


def test_the_process_ends_while_a_call_hangs() -> None:
    program = """
import asyncio, threading
from exporter.threads import BlockingCalls
async def main():
    try:
        await BlockingCalls().run("dead", threading.Event().wait, timeout=0.01)
    except TimeoutError:
        print("gave up")
asyncio.run(main())
"""
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "gave up\n"
