"""Passwords of HTTP basic authentication: checked with bcrypt, off the event loop, and remembered."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import bcrypt
import structlog

from exporter.threads import BlockingCalls

log = structlog.get_logger()

T = TypeVar("T")

# bcrypt looks at no more of a password.
LONGEST_PASSWORD: Final = 72
# Passwords remembered, checks that may wait, and addresses whose passwords were wrong, at most.
REMEMBERED: Final = 256
WAITING: Final = 32
SUSPICIOUS_ADDRESSES: Final = 1000
# Checks at a time. bcrypt is slow on purpose: more would only take the processor from the polls.
WORKERS: Final = 2
# Seconds that a check may take, and that a request waits for one; the cost in a hash decides how long it takes.
CHECK_TIMEOUT: Final = 30.0


class TooManyChecksError(Exception):
    """So many passwords are waiting to be checked that this one is not."""


@dataclass(frozen=True, slots=True, eq=False)
class _Check:
    digest: bytes
    hashed: bytes
    password: bytes
    known: bool
    address: str
    result: asyncio.Future[bool]


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
        self._queues: tuple[deque[_Check], ...] = (deque(), deque(), deque())
        self._by_digest: dict[bytes, _Check] = {}
        # In daemon threads, one for each worker: a check under way does not keep the process from its end.
        self._calls = BlockingCalls()
        self._idle_workers = list(range(WORKERS))
        self._running: set[asyncio.Task[None]] = set()
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
        known = users.get(name)
        hashed = known if known is not None else self._decoy(name, users)
        digest = self._digest(name.encode(), hashed, password)
        if digest in self._remembered:
            self._remembered.move_to_end(digest)
            return True
        check = self._by_digest.get(digest)
        if check is None:
            # Unknown names are checked as well: the time until the answer must not tell which names exist.
            result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            check = _Check(digest, hashed, password, known is not None, address, result)
            self._enqueue(check, 2 if suspicious else 1 if address in self._suspicious else 0)
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                # Shielded: a client that hangs up must not take the result from others with the same password.
                return await asyncio.shield(check.result)
        except TimeoutError:
            raise TooManyChecksError from None

    async def stop(self, _app: object = None) -> None:
        """Reject all checks that are waiting or under way; also as a handler of an application's ``on_shutdown``."""
        self._stopped = True
        for check in list(self._by_digest.values()):
            self._reject(check)
        for task in self._running:
            task.cancel()

    def _enqueue(self, check: _Check, queue: int) -> None:
        if self._stopped:
            raise TooManyChecksError
        if sum(map(len, self._queues)) >= self._most_waiting:
            others = next((waiting for waiting in self._queues[:queue:-1] if waiting), None)
            if others is None:
                raise TooManyChecksError
            self._reject(others.pop())
        self._by_digest[check.digest] = check
        self._queues[queue].append(check)
        self._start_workers()

    def _start_workers(self) -> None:
        while self._idle_workers and (waiting := next((queue for queue in self._queues if queue), None)):
            task = asyncio.create_task(self._work(self._idle_workers.pop(), waiting.popleft()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self, worker: int, check: _Check) -> None:
        try:
            # By worker: the next check of this one waits for a thread that takes too long, so that threads stay few.
            call = partial(matches, check.hashed, check.password)
            right = await self._calls.run(("bcrypt", worker), call, timeout=CHECK_TIMEOUT)
        except TimeoutError:
            self._reject(check)
        except Exception:
            # Such as a process that may have no further thread.
            log.exception("a password could not be checked")
            self._reject(check)
        else:
            self._conclude(check, right=right and check.known)
        finally:
            self._idle_workers.append(worker)
            if not self._stopped:
                self._start_workers()

    def _conclude(self, check: _Check, *, right: bool) -> None:
        self._by_digest.pop(check.digest, None)
        if right:
            _remember(self._remembered, check.digest, REMEMBERED)
            self._suspicious.pop(check.address, None)
        else:
            _remember(self._suspicious, check.address, SUSPICIOUS_ADDRESSES)
        if not check.result.done():
            check.result.set_result(right)

    def _reject(self, check: _Check) -> None:
        self._by_digest.pop(check.digest, None)
        if not check.result.done():
            check.result.set_exception(TooManyChecksError())
            # Retrieved here, since all clients that wait for it may be gone.
            check.result.exception()

    def _decoy(self, name: str, users: Mapping[str, bytes]) -> bytes:
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
