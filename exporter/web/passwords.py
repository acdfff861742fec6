"""Passwords of HTTP basic authentication: checked with bcrypt, off the event loop, and remembered."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import bcrypt
import structlog

from exporter.threads import BlockingCalls

log = structlog.get_logger()

T = TypeVar("T")

# bcrypt ignores the rest of a longer password.
LONGEST_PASSWORD: Final = 72
# Limits of the passwords remembered, the checks that wait, and the addresses remembered for a wrong password.
REMEMBERED: Final = 256
WAITING: Final = 32
SUSPICIOUS_ADDRESSES: Final = 1000
# Simultaneous checks. bcrypt is slow on purpose: more would only take the processor from the polls.
WORKERS: Final = 2
# Seconds that a check may take, and that a request waits for one; the cost in a hash decides how long it takes.
CHECK_TIMEOUT: Final = 30.0


class TooManyChecksError(Exception):
    """A password is not checked, because too many others wait or the check does not end."""


class PasswordChecks:
    """Checks passwords against bcrypt hashes by user name.

    Only right passwords are remembered, as a keyed digest: neither a password nor its plain hash stays in memory, and
    wrong ones cannot push out right ones. Checks wait in three queues, so that clients that guess do not delay others:
    first those of clients that were never wrong, then those of addresses and at last those of connections that were.
    """

    def __init__(self, waiting: int = WAITING) -> None:
        """At most `waiting` checks wait; beyond that, the last one of the last queue is rejected."""
        self._most_waiting = waiting
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, None] = OrderedDict()
        self._suspicious: OrderedDict[str, None] = OrderedDict()
        self._checks: dict[bytes, asyncio.Task[bool | None]] = {}
        # The checks that wait for one of the idle workers.
        self._queues: tuple[deque[asyncio.Future[int]], ...] = (deque(), deque(), deque())
        self._idle_workers = list(range(WORKERS))
        # In daemon threads: a check under way does not delay the end of the process.
        self._calls = BlockingCalls()
        self._stopped = False

    async def check(
        self, authorization: str | None, users: Mapping[str, bytes], *, address: str = "", suspicious: bool = False
    ) -> bool:
        """Return whether an Authorization header is that of one of `users`.

        `address` is the client's; `suspicious` says that the connection's last password was wrong. Raises
        TooManyChecksError.
        """
        credentials = parse_basic(authorization)
        if credentials is None:
            return False
        name, password = credentials
        # Unknown names are checked as well: the time until the answer must not tell which names exist.
        hashed = users[name] if name in users else self._dummy_hash(name, users)
        digest = self._digest(name.encode(), hashed, password)
        if digest in self._remembered:
            self._remembered.move_to_end(digest)
            return True
        check = self._checks.get(digest)
        if check is None:
            turn = self._enqueue(2 if suspicious else 1 if address in self._suspicious else 0)
            check = asyncio.create_task(self._run(turn, partial(matches, hashed, password), known=name in users))
            self._checks[digest] = check
            check.add_done_callback(partial(self._conclude, digest, address))
        # A client that hangs up does not take the result from others with the same password.
        await asyncio.wait({check}, timeout=CHECK_TIMEOUT)
        right = check.result() if check.done() and not check.cancelled() else None
        if right is None:
            raise TooManyChecksError
        return right

    async def stop(self, _app: object = None) -> None:
        """Reject all checks that are waiting or under way; also as a handler of an application's ``on_shutdown``."""
        self._stopped = True
        for check in self._checks.values():
            check.cancel()

    def _enqueue(self, queue: int) -> asyncio.Future[int]:
        """Return the future of the worker that a check may use. Raises TooManyChecksError."""
        if self._stopped:
            raise TooManyChecksError
        if sum(map(len, self._queues)) >= self._most_waiting:
            worse = next(filter(None, self._queues[:queue:-1]), None)
            if worse is None:
                raise TooManyChecksError
            worse.pop().cancel()
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queues[queue].append(turn)
        self._assign_workers()
        return turn

    def _assign_workers(self) -> None:
        while self._idle_workers and (queue := next(filter(None, self._queues), None)):
            queue.popleft().set_result(self._idle_workers.pop())

    async def _run(self, turn: asyncio.Future[int], check: Callable[[], bool], *, known: bool) -> bool | None:
        """Return the result of a check, None where it has none."""
        worker = await turn
        try:
            # By worker: the next check of this one waits for a thread that takes too long, so that threads stay few.
            return await self._calls.run(("bcrypt", worker), check, timeout=CHECK_TIMEOUT) and known
        except TimeoutError:
            return None
        except Exception:
            # For example, the process may not start another thread.
            log.exception("a password could not be checked")
            return None
        finally:
            self._idle_workers.append(worker)
            if not self._stopped:
                self._assign_workers()

    def _conclude(self, digest: bytes, address: str, check: asyncio.Task[bool | None]) -> None:
        del self._checks[digest]
        right = None if check.cancelled() else check.result()
        if right:
            _remember(self._remembered, digest, REMEMBERED)
            self._suspicious.pop(address, None)
        elif right is not None:
            _remember(self._suspicious, address, SUSPICIOUS_ADDRESSES)

    def _dummy_hash(self, name: str, users: Mapping[str, bytes]) -> bytes:
        """Return a hash for an unknown name: always the same user's, so that a check costs what that user's does."""
        hashes = list(users.values())
        return hashes[int.from_bytes(self._digest(name.encode())[:8]) % len(hashes)]

    def _digest(self, *parts: bytes) -> bytes:
        message = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)


def parse_basic(authorization: str | None) -> tuple[str, bytes] | None:
    """Return name and password of a Basic Authorization header, or None where there is none that could be right."""
    scheme, _, encoded = (authorization or "").partition(" ")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        possible = (
            bool(colon) and scheme.lower() == "basic" and len(password) <= LONGEST_PASSWORD and b"\0" not in password
        )
        return (name.decode(), password) if possible else None
    except ValueError:
        return None


def matches(hashed: bytes, password: bytes) -> bool:
    """Return whether `hashed` is of `password`. Blocks for as long as the cost in the hash says."""
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False


def _remember(items: OrderedDict[T, None], item: T, most: int) -> None:
    """Put an item at the end, and drop the oldest beyond `most`."""
    items[item] = None
    items.move_to_end(item)
    if len(items) > most:
        items.popitem(last=False)
