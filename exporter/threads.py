"""Long computations beside the event loop, and calls that may never return (a name server, a file on a dead mount).

The latter get daemon threads of their own. The event loop's default executor is the wrong place for them: it has few
threads, so a handful of hanging calls stops all others, and both ``asyncio.run`` and the interpreter wait for its
threads before they exit.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


async def off_loop(size: int, limit: int, call: Callable[[], T]) -> T:
    """Return the result of `call`, run in a thread if its work is of a `size` above `limit`.

    For computations on the default executor: what can hang belongs into `BlockingCalls`. Below some milliseconds of
    work the change of threads would take longer than it saves.
    """
    return await asyncio.to_thread(call) if size > limit else call()


class BlockingCalls:
    """Runs blocking calls, at most one at a time for each key, so that a hanging one costs one thread only."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[Any]] = {}

    async def run(self, key: Hashable, call: Callable[[], T], *, timeout: float) -> T:  # noqa: ASYNC109 - see below
        """Return the result of `call`, or raise its exception.

        Raises TimeoutError if no result is there within `timeout` seconds, which include the wait for an earlier call
        with the same `key`. A thread cannot be stopped: a call that hangs keeps its thread, and its key, until it ends.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while (earlier := self._running.get(key)) is not None:
            await _end_of(earlier, deadline)
        running = in_daemon_thread(call, name=str(key))
        self._running[key] = running
        running.add_done_callback(lambda _: self._running.pop(key))
        await _end_of(running, deadline)
        return running.result()

    def finally_run(self, key: Hashable, call: Callable[[], object]) -> None:
        """Make the last call with `key` once an earlier one has ended, however long that takes, without waiting for it."""
        earlier = self._running.get(key)
        if earlier is None:
            in_daemon_thread(call, name=str(key))
        else:
            earlier.add_done_callback(lambda _: in_daemon_thread(call, name=str(key)))


async def _end_of(call: asyncio.Future[Any], deadline: float) -> None:
    """Wait for the end of a call. Raises TimeoutError at the `deadline`, on the event loop's clock.

    A result that arrived while the event loop could not run is there in time, however late that is noticed.
    """
    done, _ = await asyncio.wait({call}, timeout=deadline - asyncio.get_running_loop().time())
    if not done:
        raise TimeoutError


def in_daemon_thread(call: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Start `call` in a thread that no exit waits for. Await it by `asyncio.wait`: the thread cannot be cancelled."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    # Its caller may have given up: mark an exception as retrieved.
    result.add_done_callback(lambda done: done.cancelled() or done.exception())

    def finish(ended: Future[T]) -> None:
        if result.done():
            return
        if (error := ended.exception()) is not None:
            result.set_exception(error)
        else:
            result.set_result(ended.result())

    def hand_over(ended: Future[T]) -> None:
        # The loop may be closed by the time a hanging call ends.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, ended)

    daemon_call(call, name=name).add_done_callback(hand_over)
    return result


def daemon_call(call: Callable[[], T], *, name: str) -> Future[T]:
    """Start `call` in a thread that no exit waits for."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            result.set_exception(error)
        else:
            result.set_result(value)

    CallThread(target=run, name=name, daemon=True).start()
    return result


class CallThread(threading.Thread):
    """A thread of one call, recognizable by its type."""


def exit_process(status: int) -> NoReturn:
    """End the process with `status`, also while calls hang.

    The usual end of the interpreter stops a daemon thread as soon as it wants to go on, and that aborts the process
    where the thread is inside an extension written in Rust or C++, as most of those that load a configuration are.
    """
    if any(isinstance(thread, CallThread) for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            # The reader may be gone.
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
