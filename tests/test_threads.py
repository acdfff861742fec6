"""Calls that may never return cost one thread and do not delay the exit."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from exporter.threads import BlockingCalls, exit_process


async def test_results_and_errors_come_back() -> None:
    calls = BlockingCalls()
    assert await calls.run("sum", lambda: 1 + 1, timeout=100) == 2
    with pytest.raises(KeyError):
        await calls.run("sum", lambda: dict[str, int]()["nothing"], timeout=100)
    assert await calls.run("sum", lambda: 3, timeout=100) == 3


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
    assert await calls.run("alive", lambda: "quick", timeout=100) == "quick"
    release.set()
    assert await calls.run("dead", hang, timeout=100) == "at last"


async def test_a_result_that_arrives_while_the_event_loop_is_busy_is_in_time() -> None:
    running = asyncio.create_task(BlockingCalls().run("quick", lambda: "here", timeout=0.02))
    await asyncio.sleep(0)
    for thread in threading.enumerate():
        if thread.name == "quick":
            thread.join()
    time.sleep(0.03)  # noqa: ASYNC251 - it is the event loop that is busy
    assert await running == "here"


async def test_calls_with_one_key_follow_one_another() -> None:
    calls, running, most = BlockingCalls(), list[int](), list[int]()

    def work() -> None:
        running.append(1)
        most.append(len(running))
        running.pop()

    await asyncio.gather(*(calls.run("same", work, timeout=100) for _ in range(20)))
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
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert ended.stdout == "gave up\n"


def test_the_process_ends_well_while_a_call_works_inside_an_extension() -> None:
    """The interpreter's own end aborts such a thread, and the process with it."""
    program = """
import asyncio, threading, time
from typing import Annotated
from pydantic import BaseModel, BeforeValidator
from exporter.threads import BlockingCalls, exit_process
started = threading.Event()
def slow(value):
    started.set()
    while True:
        time.sleep(0.001)
class Model(BaseModel):
    field: Annotated[int, BeforeValidator(slow)]
async def main():
    try:
        await BlockingCalls().run("slow", lambda: Model.model_validate({"field": 1}), timeout=0.1)
    except TimeoutError:
        started.wait()
        print("gave up")
asyncio.run(main())
exit_process(3)
"""
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "gave up\n", "")


def test_a_process_without_such_calls_ends_as_usual() -> None:
    with pytest.raises(SystemExit) as raised:
        exit_process(2)
    assert raised.value.code == 2
