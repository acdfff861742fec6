"""Passwords."""

import asyncio
import base64
import gc
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.guard import logins as module
from exporter.web.guard.logins import REMEMBERED, Logins, TooManyLoginsError, matches, parsed
from tests.support.face import Served, guarded
from tests.web.guard.conftest import hashed, write

PATHS = ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/config", "/static/page.css", "/nothing")
USERS = {"alice": hashed("wonderland").encode(), "böb": hashed("pässwörd: with colon").encode()}


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Counted:
    """Stands in for bcrypt: counts, and waits until it may go on."""

    def __init__(self) -> None:
        self.checks: list[bytes] = []
        self.threads: set[int] = set()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, hashed: bytes, password: bytes) -> bool:
        self.checks.append(hashed)
        self.threads.add(threading.get_ident())
        self.may_answer.wait(10)
        return matches(hashed, password)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(module, "matches", counted)
    return counted


@pytest.mark.parametrize(
    ("authorization", "ok"),
    [
        (basic("alice", "wonderland"), True),
        (basic("böb", "pässwörd: with colon"), True),
        (basic("alice", "Wonderland"), False),
        (basic("alice", ""), False),
        (basic("alicia", "wonderland"), False),
        (basic("", ""), False),
        (basic("alice", "wonderland\0"), False),
        (basic("alice", "x" * 73), False),
        ("Basic !!!", False),
        ("Basic", False),
        ("Bearer wonderland", False),
        ("", False),
        (None, False),
    ],
)
async def test_who_is_let_in(authorization: str | None, ok: bool) -> None:
    assert await Logins().check(authorization, USERS) is ok


async def test_a_password_is_not_cut_at_72_bytes() -> None:
    """Bcrypt itself looks at no more: a longer one that begins like the right one must not pass."""
    users = {"alice": hashed("x" * 72).encode()}
    assert await Logins().check(basic("alice", "x" * 72), users)
    assert not await Logins().check(basic("alice", "x" * 73), users)


@given(st.text())
def test_no_header_is_too_odd(header: str) -> None:
    assert parsed(header) is None or isinstance(parsed(header), tuple)


async def test_a_login_that_worked_is_remembered_and_a_wrong_one_is_not(counted: Counted) -> None:
    logins = Logins()
    for _ in range(5):
        assert await logins.check(basic("alice", "wonderland"), USERS)
    assert len(counted.checks) == 1
    for _ in range(3):
        assert not await logins.check(basic("alice", "wrong"), USERS)
    assert len(counted.checks) == 4


async def test_a_new_hash_ends_what_was_remembered() -> None:
    logins = Logins()
    assert await logins.check(basic("alice", "wonderland"), USERS)
    assert not await logins.check(basic("alice", "wonderland"), {"alice": hashed("looking-glass").encode()})


async def test_no_more_is_remembered_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "matches", lambda _hashed, _password: True)
    logins = Logins()
    for number in range(REMEMBERED + 50):
        assert await logins.check(basic("alice", str(number)), USERS)
    assert len(logins._good) == REMEMBERED


async def test_no_password_stays_in_memory() -> None:
    logins = Logins()
    secret = "looking-" + "glass-7351"
    await logins.check(basic("alice", secret), USERS)
    gc.collect()
    assert secret.encode() not in b"".join(logins._good)
    assert not logins._under_way


async def test_a_stranger_costs_as_much_as_a_user(counted: Counted) -> None:
    """Or the time of the answer would tell which names there are: always the same hash, of some user."""
    logins = Logins()
    users = {f"user{cost}": hashed("pw", cost).encode() for cost in (4, 5, 6)}
    for name in ("mallory", "mallory", "eve"):
        assert not await logins.check(basic(name, "pw"), users)
    assert len(counted.checks) == 3
    assert counted.checks[0] == counted.checks[1]
    assert set(counted.checks) <= set(users.values())


async def test_a_stranger_with_a_users_password_is_still_a_stranger() -> None:
    users = {"alice": hashed("wonderland").encode()}
    logins = Logins()
    assert not await logins.check(basic("mallory", "wonderland"), users)
    assert not await logins.check(basic("mallory", "wonderland"), users)


async def test_the_event_loop_goes_on_while_bcrypt_works() -> None:
    users = {"alice": hashed("wonderland", 11).encode()}
    logins, longest = Logins(), 0.0
    task = asyncio.create_task(logins.check(basic("alice", "wonderland"), users))
    started = time.perf_counter()
    while not task.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before)
    assert longest < (time.perf_counter() - started) / 2


async def test_300_logins_at_once_are_one_check(tmp_path: Path, counted: Counted) -> None:
    counted.may_answer.clear()
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with guarded(path) as served:
        header = basic("alice", "wonderland")
        requests = [asyncio.create_task(served.status("/metrics", Authorization=header)) for _ in range(300)]
        async with asyncio.timeout(20):
            while len(connections_of(served)) < 300:  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.01)
        counted.may_answer.set()
        statuses = await asyncio.gather(*requests)
    # Beyond max_requests a scrape is refused, but not the login.
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 40
    assert len(counted.checks) == 1


def connections_of(served: Served) -> list[Any]:
    assert served.runner.server is not None
    return served.runner.server.connections


async def test_300_different_wrong_passwords_at_once_all_get_their_401(tmp_path: Path, counted: Counted) -> None:
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with guarded(path) as served:
        headers = [basic("alice", str(number)) for number in range(300)]
        statuses = await asyncio.gather(*(served.status(Authorization=header) for header in headers))
    assert statuses == [401] * 300
    assert len(counted.threads) <= module.THREADS


async def test_more_wait_than_there_is_room_for(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    counted.may_answer.clear()
    logins = Logins()
    waiting = [asyncio.create_task(logins.check(basic("alice", str(number)), USERS)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyLoginsError):
        await logins.check(basic("alice", "2"), USERS)
    counted.may_answer.set()
    assert await asyncio.gather(*waiting) == [False, False]


async def test_who_hangs_up_does_not_take_the_answer_from_others(counted: Counted) -> None:
    counted.may_answer.clear()
    logins = Logins()
    first, second = (asyncio.create_task(logins.check(basic("alice", "wonderland"), USERS)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    counted.may_answer.set()
    assert await second


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_is_behind_the_password(tmp_path: Path, path: str) -> None:
    settings: dict[str, Any] = {"basic_auth_users": {"alice": hashed("wonderland")}}
    async with guarded(write(tmp_path / "web.yml", **settings)) as served:
        status, headers, body = await served.ask(path)
        assert (status, body) == (401, b"Unauthorized\n")
        assert headers["WWW-Authenticate"].startswith("Basic ")
        assert served.face.scrapes == 0
        assert await served.status(path, Authorization=basic("alice", "wonderland")) in (200, 404)
        assert sum(count for (_, code), count in served.face.requests.items() if code == 401) == 1
