"""Passwords."""

import asyncio
import base64
import contextlib
import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web import passwords as module
from exporter.web.passwords import REMEMBERED, PasswordChecks, TooManyChecksError, matches, parse_basic
from tests.support.face import Served, eventually, guarded
from tests.support.web_config import hashed, write

PATHS = ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/config", "/static/page.css", "/nothing")
USERS = {"alice": hashed("wonderland").encode(), "böb": hashed("pässwörd: with colon").encode()}


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Counted:
    """Stands in for bcrypt: counts, and waits until it may go on."""

    def __init__(self) -> None:
        self.checks: list[bytes] = []
        self.running = self.most = 0
        self.daemons: set[bool] = set()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, hashed: bytes, password: bytes) -> bool:
        self.checks.append(hashed)
        self.daemons.add(threading.current_thread().daemon)
        self.running += 1
        self.most = max(self.most, self.running)
        self.may_answer.wait(300)
        right = matches(hashed, password)
        self.running -= 1
        return right


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
async def test_only_a_users_own_password_is_right(authorization: str | None, ok: bool) -> None:
    assert await PasswordChecks().check(authorization, USERS) is ok


async def test_a_password_is_not_cut_at_72_bytes() -> None:
    """Bcrypt ignores the rest: a longer one that begins like the right one must not pass."""
    users = {"alice": hashed("x" * 72).encode()}
    assert await PasswordChecks().check(basic("alice", "x" * 72), users)
    assert not await PasswordChecks().check(basic("alice", "x" * 73), users)


@given(st.text())
def test_no_header_raises(header: str) -> None:
    assert parse_basic(header) is None or isinstance(parse_basic(header), tuple)


async def test_a_login_that_worked_is_remembered_and_a_wrong_one_is_not(counted: Counted) -> None:
    passwords = PasswordChecks()
    for _ in range(5):
        assert await passwords.check(basic("alice", "wonderland"), USERS)
    assert len(counted.checks) == 1
    for _ in range(3):
        assert not await passwords.check(basic("alice", "wrong"), USERS)
    assert len(counted.checks) == 4


async def test_a_remembered_password_is_forgotten_when_its_hash_changes() -> None:
    passwords = PasswordChecks()
    assert await passwords.check(basic("alice", "wonderland"), USERS)
    assert not await passwords.check(basic("alice", "wonderland"), {"alice": hashed("looking-glass").encode()})


async def test_no_more_is_remembered_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "matches", lambda _hashed, _password: True)
    passwords = PasswordChecks()
    for number in range(REMEMBERED + 50):
        assert await passwords.check(basic("alice", str(number)), USERS)
    assert len(passwords._remembered) == REMEMBERED


async def test_no_password_stays_in_memory() -> None:
    passwords = PasswordChecks()
    secret = "looking-" + "glass-7351"
    await passwords.check(basic("alice", secret), USERS)
    gc.collect()
    assert secret.encode() not in b"".join(passwords._remembered)
    assert not passwords._checks


async def test_an_unknown_name_costs_as_much_as_a_known_one(counted: Counted) -> None:
    """The time of the answer must not reveal which names exist: the hash is always the same one, of some user."""
    passwords = PasswordChecks()
    users = {f"user{cost}": hashed("pw", cost).encode() for cost in (4, 5, 6)}
    for name in ("mallory", "mallory", "eve"):
        assert not await passwords.check(basic(name, "pw"), users)
    assert len(counted.checks) == 3
    assert counted.checks[0] == counted.checks[1]
    assert {passwords._dummy_hash(f"name{number}", users) for number in range(200)} == set(users.values())
    assert set(counted.checks) <= set(users.values())


async def test_a_users_password_with_an_unknown_name_is_wrong() -> None:
    users = {"alice": hashed("wonderland").encode()}
    passwords = PasswordChecks()
    assert not await passwords.check(basic("mallory", "wonderland"), users)
    assert await passwords.check(basic("alice", "wonderland"), users)
    # Now it is remembered, but not for any name.
    assert not await passwords.check(basic("mallory", "wonderland"), users)


async def test_the_event_loop_goes_on_while_bcrypt_works() -> None:
    """A check on the loop, or one that holds the interpreter's lock, would leave it a turn or two."""
    users = {"alice": hashed("wonderland", 13).encode()}
    task = asyncio.create_task(PasswordChecks().check(basic("alice", "wonderland"), users))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 5


async def test_300_simultaneous_logins_are_one_check(tmp_path: Path, counted: Counted) -> None:
    counted.may_answer.clear()
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with guarded(path) as served:
        header = basic("alice", "wonderland")
        requests = [asyncio.create_task(served.status("/metrics", Authorization=header)) for _ in range(300)]
        await eventually(lambda: len(connections_of(served)) == 300)
        counted.may_answer.set()
        statuses = await asyncio.gather(*requests)
    # Beyond max_requests a scrape is rejected, but not the login.
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 40
    assert len(counted.checks) == 1


def connections_of(served: Served) -> list[Any]:
    assert served.runner.server is not None
    return served.runner.server.connections


async def test_different_wrong_passwords_are_bounded(tmp_path: Path, counted: Counted) -> None:
    """All are answered, those that would wait too long with 503. Few threads check."""
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with guarded(path) as served:
        headers = [basic("alice", str(number)) for number in range(300)]
        statuses = await asyncio.gather(*(served.status(Authorization=header) for header in headers))
    assert set(statuses) <= {401, 503}
    assert statuses.count(401) >= module.WAITING
    assert counted.most <= module.WORKERS
    assert counted.daemons == {True}


async def test_a_password_that_is_not_checked_is_not_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_many(*_args: Any, **_more: Any) -> bool:
        raise TooManyChecksError

    monkeypatch.setattr(PasswordChecks, "check", too_many)
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with guarded(path) as served:
        status, headers, _ = await served.ask(Authorization=basic("alice", "wonderland"))
    assert (status, headers["Retry-After"], "WWW-Authenticate" in headers) == (503, "5", False)


async def test_checks_beyond_those_that_may_wait_are_rejected(counted: Counted) -> None:
    counted.may_answer.clear()
    passwords = PasswordChecks(waiting=2)
    in_queue = [guess(passwords, number) for number in range(module.WORKERS + 2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyChecksError):
        await passwords.check(basic("alice", "next"), USERS)
    counted.may_answer.set()
    assert await asyncio.gather(*in_queue) == [False] * len(in_queue)


def guess(passwords: PasswordChecks, number: int, *, suspicious: bool = False) -> "asyncio.Task[bool]":
    return asyncio.create_task(passwords.check(basic("alice", f"guess {number}"), USERS, suspicious=suspicious))


async def test_a_client_that_was_never_wrong_is_checked_before_those_that_guess(counted: Counted) -> None:
    counted.may_answer.clear()
    passwords = PasswordChecks(waiting=50)
    guesses = [guess(passwords, number, suspicious=True) for number in range(module.WORKERS + 50)]
    await asyncio.sleep(0)
    right = asyncio.create_task(passwords.check(basic("alice", "wonderland"), USERS))
    await asyncio.sleep(0)
    counted.may_answer.set()
    assert await right
    assert sum(each.done() for each in guesses) < 10
    # The queue was full: the last guess made room.
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert [isinstance(result, TooManyChecksError) for result in results] == [False] * (len(results) - 1) + [True]


async def test_an_address_that_was_wrong_waits_behind_others_until_it_is_right(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORKERS", 1)
    passwords = PasswordChecks()
    assert not await passwords.check(basic("alice", "wrong"), USERS, address="10.0.0.1")
    order: list[str] = []

    async def check(address: str, user: str, password: str) -> None:
        assert await passwords.check(basic(user, password), USERS, address=address)
        order.append(address)

    for expected in (["10.0.0.2", "10.0.0.1"], ["10.0.0.1", "10.0.0.3"]):
        counted.may_answer.clear()
        busy = guess(passwords, len(order))
        await asyncio.sleep(0)
        # A connection that was wrong itself waits behind both.
        last = guess(passwords, 50, suspicious=True)
        await asyncio.sleep(0)
        order.clear()
        users = ("alice", "wonderland"), ("böb", "pässwörd: with colon")
        waiting = [
            asyncio.create_task(check(address, *user)) for address, user in zip(sorted(expected), users, strict=True)
        ]
        await asyncio.sleep(0)
        counted.may_answer.set()
        await asyncio.gather(*waiting, busy)
        assert order == expected
        assert not last.done()
        await last
        passwords._remembered.clear()


async def test_a_connection_without_a_password_is_not_one_that_was_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers try without one first."""
    suspicious: list[bool] = []
    check = PasswordChecks.check

    async def watched(*args: Any, **more: Any) -> bool:
        suspicious.append(more["suspicious"])
        return await check(*args, **more)

    monkeypatch.setattr(PasswordChecks, "check", watched)
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with guarded(path) as served, served.kept() as client:
        for header in ("", basic("alice", "wrong"), "", basic("alice", "wonderland"), ""):
            await client.status(header)
    assert suspicious == [False, False, True, False, False]


async def test_a_check_that_never_ends_is_answered_and_costs_no_further_thread(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost in a hash may mean days."""
    monkeypatch.setattr(module, "CHECK_TIMEOUT", 0.1)
    counted.may_answer.clear()
    passwords = PasswordChecks()
    for number in range(3 * module.WORKERS):
        with pytest.raises(TooManyChecksError):
            await passwords.check(basic("alice", str(number)), USERS)
    assert len(counted.checks) == module.WORKERS
    counted.may_answer.set()


async def test_stopping_rejects_checks_that_wait_or_run(counted: Counted) -> None:
    counted.may_answer.clear()
    passwords = PasswordChecks()
    checks = [guess(passwords, number) for number in range(5)]
    await asyncio.sleep(0)
    await passwords.stop()
    results = await asyncio.gather(*checks, return_exceptions=True)
    assert all(isinstance(result, TooManyChecksError) for result in results)
    counted.may_answer.set()


async def test_a_server_that_stops_does_not_wait_for_a_check(
    tmp_path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_TIMEOUT", 300)
    counted.may_answer.clear()
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with guarded(path, shutdown_timeout=100) as served:
        request = asyncio.create_task(served.status(Authorization=basic("alice", "wonderland")))
        await eventually(lambda: counted.checks)
    assert await request == 503
    counted.may_answer.set()


async def test_a_failure_of_the_check_itself_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_hashed: bytes, _password: bytes) -> bool:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "matches", fails)
    passwords = PasswordChecks()
    for _ in range(2 * module.WORKERS):
        with pytest.raises(TooManyChecksError):
            await passwords.check(basic("alice", "wonderland"), USERS)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("clients", "connections", "most"), [(200, "kept", 210), (500, "new", 400)])
async def test_clients_that_guess_do_not_lock_out_others(
    tmp_path: Path, clients: int, connections: str, most: int
) -> None:
    """Neither a client whose password is remembered, nor a kept connection, nor, for long, a client that is new."""
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    done = asyncio.Event()
    async with guarded(path, max_connections=most) as served, served.kept() as client:
        good = basic("alice", "wonderland")
        assert await client.status(good) == 200
        guesses = [asyncio.create_task(keep_guessing(served, n, done, connections)) for n in range(clients)]
        async with asyncio.timeout(150):
            for _ in range(5):
                assert await client.status(good) == 200
                assert await answered(served, good) == 200
                await asyncio.sleep(0.02)
            if connections == "kept":
                # A password that is not remembered; the others' connections have been wrong before.
                write(path, basic_auth_users={"alice": hashed("looking-glass")})
                new = basic("alice", "looking-glass")
                while await answered(served, new) != 200:  # noqa: ASYNC110 - the server sets no event
                    await asyncio.sleep(0.1)
        done.set()
        await asyncio.gather(*guesses)
        # All that were waiting to be accepted before this one are accepted, and then closed: asyncio leaks the transport of
        # a connection whose server is closed meanwhile.
        await answered(served, good)
        await eventually(lambda: len(served.limiter.open_connections) <= 1)


async def answered(served: Served, header: str) -> int:
    """Return the status of an answer; a new connection that is closed in the flood is made again."""
    while True:
        with contextlib.suppress(ConnectionError):
            return await served.status(Authorization=header)


async def keep_guessing(served: Served, number: int, done: asyncio.Event, connections: str) -> None:
    """Guess until `done`; a client that is disconnected comes again."""
    guess = 0
    while not done.is_set():
        try:
            reader, writer = await served.connect()
            try:
                while not done.is_set():
                    guess += 1
                    header = basic("alice", f"{number} {guess}")
                    writer.write(f"GET /-/healthy HTTP/1.1\r\nHost: a\r\nAuthorization: {header}\r\n\r\n".encode())
                    await reader.readuntil(b"\r\n\r\n")
                    if connections == "new":
                        break
            finally:
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.01)


async def test_a_client_that_hangs_up_does_not_take_the_answer_from_others(counted: Counted) -> None:
    counted.may_answer.clear()
    passwords = PasswordChecks()
    first, second = (asyncio.create_task(passwords.check(basic("alice", "wonderland"), USERS)) for _ in range(2))
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
