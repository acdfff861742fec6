"""Who may log in: passwords checked with bcrypt, off the event loop, and remembered for a while."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import bcrypt

# bcrypt looks at no more of a password.
LONGEST_PASSWORD: Final = 72
# Logins remembered, and passwords waiting to be checked, at most.
REMEMBERED: Final = 256
WAITING: Final = 1000
# bcrypt is slow on purpose: more threads would only take the processor from the polls.
THREADS: Final = 2


class TooManyLoginsError(Exception):
    """So many passwords wait to be checked that this one will not be."""


class Logins:
    """Checks passwords against bcrypt hashes by user name.

    Only logins that worked are remembered, and by a keyed digest: neither a password nor its plain hash stays in
    memory, and wrong passwords cannot push right ones out.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bcrypt")

    async def check(self, authorization: str | None, users: Mapping[str, bytes]) -> bool:
        """Whether an Authorization header is that of one of `users`. Raises TooManyLoginsError."""
        credentials = parsed(authorization)
        if credentials is None:
            return False
        name, password = credentials
        known = users.get(name)
        hashed = known if known is not None else self._decoy(name, users)
        digest = self._digest(name.encode(), hashed, password)
        if digest in self._good:
            self._good.move_to_end(digest)
            return True
        # Checked for a stranger as well: how long the answer takes must not tell which names there are.
        return await self._checked_once(digest, hashed, password, stranger=known is None)

    async def stop(self, _app: object = None) -> None:
        """Check no more; also as an application's cleanup."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _checked_once(self, digest: bytes, hashed: bytes, password: bytes, *, stranger: bool) -> bool:
        """One check for all that ask the same at the same time."""
        check = self._under_way.get(digest)
        if check is None:
            if len(self._under_way) >= WAITING:
                raise TooManyLoginsError
            check = asyncio.get_running_loop().run_in_executor(self._threads, matches, hashed, password)
            self._under_way[digest] = check
            check.add_done_callback(lambda done: self._conclude(digest, done, stranger=stranger))
        # Shielded: who hangs up must not take the answer from the others.
        return await asyncio.shield(check) and not stranger

    def _conclude(self, digest: bytes, check: asyncio.Future[bool], *, stranger: bool) -> None:
        del self._under_way[digest]
        if not check.cancelled() and check.result() and not stranger:
            self._good[digest] = None
            if len(self._good) > REMEMBERED:
                self._good.popitem(last=False)

    def _decoy(self, name: str, users: Mapping[str, bytes]) -> bytes:
        """A hash for a name that is not there: that of some user, always the same one, so that it costs what his does."""
        hashes = list(users.values())
        return hashes[int.from_bytes(self._digest(name.encode())[:8]) % len(hashes)]

    def _digest(self, *parts: bytes) -> bytes:
        message = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)


def parsed(authorization: str | None) -> tuple[str, bytes] | None:
    """Name and password of a Basic Authorization header, or None where there is none that could be right."""
    scheme, _, encoded = (authorization or "").partition(" ")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        known = (
            bool(colon) and scheme.lower() == "basic" and len(password) <= LONGEST_PASSWORD and b"\0" not in password
        )
        return (name.decode(), password) if known else None
    except ValueError:
        return None


def matches(hashed: bytes, password: bytes) -> bool:
    """Whether `hashed` is of `password`. Takes as long as the hash says; to be called in a thread."""
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False
