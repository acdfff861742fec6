"""Tokens of one login: how they are shared, renewed ahead of their end and replaced, and the pauses after failures."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import formatdate

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from exporter.errors import (
    AuthenticationError,
    PollError,
    ServerError,
    ThrottledError,
    TransientError,
    UpstreamConnectionError,
)
from exporter.http import Backoff, Issued, Renewal, Request, Response, TokenCache, TokenSource, sendable
from exporter.http.client import NEGATIVE_CACHE_TTL
from exporter.http.tokens import Slot
from exporter.redaction import redact
from exporter.text import Text
from tests.support.clock import FakeClock
from tests.support.http import Network

HOUR = 3600.0
NEVER = Text("the account is disabled", "账号已停用")


class Middle(random.Random):
    """Takes the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class Office:
    """A Login, and the server that answers it: with `answer`, or the tokens one-N and two-N of an hour.

    Its clock is `ahead` of ours. Renewals give renewed-N.
    """

    origin = "account lab"

    def __init__(self, network: Network) -> None:
        self.network, self.clock = network, FakeClock()
        self.logins = self.renewals = 0
        self.answer: Mapping[str, Issued | Text] | PollError | None = None
        self.renewal: PollError | None = None
        self.ahead = 0.0
        self.date = True
        self.renewed: list[str] = []
        self.open, self.renewal_open = asyncio.Event(), asyncio.Event()
        self.open.set()
        self.renewal_open.set()
        self.cache = TokenCache(self, self.clock, Middle())
        self.shown: list[tuple[str, bool] | tuple[str, str, float | None]] = []

    async def start(self) -> "Office":
        self.url = await self.network.serve(self.handle)
        return self

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/renewal":
            self.renewals += 1
            self.renewed.append(request.headers["token"])
            await self.renewal_open.wait()
        else:
            self.logins += 1
            await self.open.wait()
        date = formatdate(self.clock.now() + self.ahead, usegmt=True) if self.date else "today"
        return web.Response(headers={"Date": date})

    def request(self, now: float) -> Request:
        assert now == self.clock.now()
        return Request("token", f"{self.url}/login")

    def read(self, response: Response) -> Mapping[str, Issued | Text]:
        assert response.status == 200
        if isinstance(self.answer, PollError):
            raise type(self.answer)(self.answer.text)
        end = self.clock.now() + self.ahead + HOUR
        return self.answer or {name: Issued(f"{name}-{self.logins}", end) for name in ("one", "two")}

    def missing(self, scope: str, known: Mapping[str, Issued | Text]) -> Text:
        return Text(f"no {scope} among {sorted(known)}", f"没有 {scope}")

    # It observes as well.

    def token_refresh(self, source: str, ok: bool) -> None:
        self.shown.append((source, ok))

    def token_expiry(self, source: str, user: str, seconds: float | None) -> None:
        self.shown.append((source, user, seconds))

    def seen(self) -> list[object]:
        shown, self.shown = self.shown, []
        return list(shown)

    def read_renewal(self, response: Response) -> Issued:
        assert response.status == 200
        if self.renewal is not None:
            raise type(self.renewal)(self.renewal.text)
        return Issued(f"renewed-{self.renewals}", self.clock.now() + self.ahead + HOUR)

    def source(self, scope: str = "one", *, user: str | None = "me", renewable: bool = False) -> TokenSource:
        upstream = self.network.upstream(clock=self.clock)
        renewal = Renewal(
            upstream, lambda token: Request("token", f"{self.url}/renewal", headers={"token": token}), self.read_renewal
        )
        return TokenSource(
            self.cache,
            scope,
            source=f"region {scope}",
            user=user,
            upstream=upstream,
            observer=self,
            renewal=renewal if renewable else None,
        )


@pytest.fixture
async def office(network: Network) -> AsyncIterator[Office]:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    yield await Office(network).start()
    assert not unhandled


# Pauses after failures

REJECTED = AuthenticationError(Text("no such user", "没有该用户"), culprit="account lab")
AWAY = ServerError("away")


def throttled(seconds: float) -> ThrottledError:
    return ThrottledError("slow down", retry_after=seconds)


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (REJECTED, [5, 10, 20, 40, 80, 160, 320, 600, 600]),
        (AWAY, [5, 10, 20, 40, 60, 60]),
        (throttled(30), [30, 30, 30, 40, 60]),
        (throttled(1000), [600, 600]),
    ],
    ids=["rejected", "passing", "told to wait", "told to wait for long"],
)
async def test_a_pause_grows_with_every_failure_up_to_a_limit(error: PollError, pauses: list[float]) -> None:
    clock = FakeClock()
    backoff = Backoff(clock)
    backoff.raise_if_active()
    for _ in range(2):
        for pause in pauses:
            backoff.record_failure(error)
            await clock.advance(pause - 0.01)
            with pytest.raises(type(error)) as raised:
                backoff.raise_if_active()
            assert (raised.value.text, raised.value.culprit) == (error.text, error.culprit)
            assert raised.value is not error, "a traceback of its own"
            await clock.advance(0.01)
            backoff.raise_if_active()
        backoff.record_failure(error)
        backoff.reset()
        backoff.raise_if_active()


def test_a_pause_stays_finite_after_any_number_of_failures() -> None:
    backoff = Backoff(FakeClock())
    for _ in range(1100):
        backoff.record_failure(REJECTED)


# One login for all


async def test_tokens_of_one_login_are_kept_and_shown_by_each_source(office: Office) -> None:
    one, two, hidden = office.source("one"), office.source("two"), office.source("two", user=None)
    assert (one.issued, one.origin) == (Issued(""), "account lab")
    one.show_expiry()
    assert office.seen() == [("region one", "me", None)]
    end = office.clock.now() + HOUR
    for _ in range(3):
        assert (await one.current(), await two.current(), await hidden.current()) == ("one-1", "two-1", "two-1")
        await office.clock.advance(10)
    assert office.logins == office.cache.logins == 1
    assert one.issued == Issued("one-1", end)
    assert office.seen() == [
        *(("region one", True), ("region one", "me", end)),
        *(("region two", True), ("region two", "me", end), ("region two", True)),
    ]
    office.answer = {"one": Issued("open-sesame")}
    await one.replace("one-1")
    assert redact("it is open-sesame") == "it is <secret>"


async def test_a_source_that_comes_later_takes_what_there_is(office: Office) -> None:
    await office.source("one").current()
    office.seen()
    later = office.source("two")
    later.show_expiry()
    assert office.seen() == [("region two", "me", office.clock.now() + HOUR)], "which is no refresh"
    assert (await later.current(), office.seen(), office.logins) == ("two-1", [], 1)
    missing = office.source("three")
    missing.show_expiry()
    assert office.seen() == [("region three", "me", None)]
    with pytest.raises(AuthenticationError, match=r"^no three among \['one', 'two'\]$") as raised:
        await missing.current()
    assert (raised.value.culprit, office.logins, office.seen()) == ("account lab", 1, [])


async def test_callers_share_a_login_that_ends_with_the_last_of_them(office: Office) -> None:
    office.open.clear()
    one, two = office.source("one"), office.source("two")
    callers = [asyncio.create_task(source.current()) for source in (one, two, one)]
    await wait_until(lambda: office.logins == 1)
    assert "login" in {task.get_name() for task in asyncio.all_tasks()}
    callers[0].cancel()
    await office.clock.settle()
    office.open.set()
    assert await asyncio.gather(*callers[1:]) == ["two-1", "one-1"]
    office.open.clear()
    await office.clock.advance(2 * HOUR)
    alone = asyncio.create_task(one.current())
    await wait_until(lambda: office.logins == 2)
    alone.cancel()
    next_one = asyncio.create_task(one.current())
    await wait_until(lambda: office.logins == 3)
    office.open.set()
    assert await next_one == "one-3"


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.001)


async def test_a_login_that_fails_is_not_repeated_before_its_pause_is_over(office: Office) -> None:
    office.answer = AuthenticationError(Text("no such user", "没有该用户"))
    one, two = office.source("one"), office.source("two")
    for source in (one, two):
        with pytest.raises(AuthenticationError) as raised:
            await source.current()
        assert raised.value.text == Text(
            "the login of account lab failed: no such user", "account lab 登录失败：没有该用户"
        )
        assert raised.value.culprit == "account lab"
    assert (office.logins, office.cache.logins, office.seen()) == (1, 0, [("region one", False)])
    await office.clock.advance(4.9)
    with pytest.raises(AuthenticationError):
        await one.current()
    assert office.logins == 1
    await office.clock.advance(0.1)
    office.answer = None
    assert await one.current() == "one-2"
    office.answer = AWAY
    await office.clock.advance(HOUR)
    with pytest.raises(ServerError):
        await one.current()
    await office.clock.advance(5)
    assert office.logins == 3, "it begins with the short pause again"
    office.answer = None
    assert await one.current() == "one-4"


@pytest.mark.parametrize(("given", "text"), [({"one": NEVER}, NEVER), ({}, Text("no one among ['two']", "没有 one"))])
async def test_a_scope_without_a_token_has_a_pause_of_its_own(
    office: Office, given: Mapping[str, Text], text: Text
) -> None:
    office.answer = {**given, "two": Issued("two-1")}
    one, two = office.source("one"), office.source("two")
    for pause in (5, 10, 20):
        for _ in range(2):
            with pytest.raises(AuthenticationError) as raised:
                await one.current()
            assert (raised.value.text, raised.value.culprit) == (text, "account lab")
        await office.clock.advance(pause)
    assert await two.current() == "two-1"
    assert office.logins == 3
    assert office.seen() == [
        *[("region one", False), ("region one", "me", None)] * 3,
        *(("region two", True), ("region two", "me", None)),
    ]
    office.answer = None
    assert await one.current() == "one-4"


async def test_a_new_credential_ends_every_pause_and_is_waited_for_alone(office: Office) -> None:
    one, two = office.source("one"), office.source("two")
    office.answer = REJECTED
    with pytest.raises(AuthenticationError):
        await one.current()
    office.cache.credential_changed()
    office.answer = {"one": NEVER, "two": Issued("two-2")}
    with pytest.raises(AuthenticationError):
        await one.current()
    office.cache.credential_changed()
    office.answer = None
    assert await one.current() == "one-3"
    # The answer that the old credential gets, with a login under way, does not count.
    office.open.clear()
    await office.clock.advance(HOUR)
    old = asyncio.create_task(two.current())
    await wait_until(lambda: office.logins == 4)
    office.cache.credential_changed()
    new = asyncio.create_task(one.current())
    await wait_until(lambda: office.logins == 5)
    office.open.set()
    assert (await old, await new) == ("two-5", "one-5")
    assert office.cache.logins == 3, "those whose answers counted"


@pytest.mark.parametrize("failure", [None, REJECTED])
async def test_a_login_that_a_reload_took_away_is_done_again_by_those_who_remain(
    office: Office, failure: PollError | None
) -> None:
    leaving, staying = office.source("one"), office.source("two")
    await leaving._upstream.close()
    office.answer = failure
    results = await asyncio.gather(*(source.current() for source in (leaving, staying)), return_exceptions=True)
    assert isinstance(results[0], UpstreamConnectionError)
    if failure is None:
        assert results[1] == "two-1"
        assert office.seen() == [("region two", True), ("region two", "me", office.clock.now() + HOUR)]
    else:
        assert isinstance(results[1], AuthenticationError)
        assert office.seen() == [("region two", False)]


# Renewal


@pytest.mark.parametrize("renewable", [True, False])
async def test_a_token_is_renewed_ahead_of_its_end_and_once(office: Office, renewable: bool) -> None:
    one = office.source(renewable=renewable)
    await one.current()
    office.seen()
    await office.clock.advance(0.7 * HOUR - 0.01)
    assert await one.current() == "one-1"
    await office.clock.advance(0.01)
    fresh = "renewed-1" if renewable else "one-2"
    assert sorted(await asyncio.gather(*(one.current() for _ in range(3)))) == sorted([fresh, "one-1", "one-1"])
    assert await one.current() == fresh
    assert (office.logins, office.renewals) == ((1, 1) if renewable else (2, 0))
    assert office.renewed == ["one-1"] * renewable
    assert office.seen() == [("region one", True), ("region one", "me", office.clock.now() + HOUR)]
    await office.clock.advance(0.7 * HOUR)
    office.ahead = 100.0
    assert await one.current() == ("renewed-2" if renewable else "one-3")
    held = one._slot.held
    assert held is not None
    assert held.expires_at == office.clock.monotonic() + HOUR, "by the server's clock as it is now"


async def test_a_renewed_token_that_is_rejected_is_replaced(office: Office) -> None:
    one = office.source(renewable=True)
    office.answer = {"one": Issued("short", office.clock.now() + 100)}
    await one.current()
    await office.clock.advance(70)
    office.answer = None
    assert (await one.current(), await one.replace("renewed-1")) == ("renewed-1", "one-2")


async def test_a_renewal_that_fails_is_a_login(office: Office) -> None:
    one = office.source(renewable=True)
    await one.current()
    office.renewal = AWAY
    await office.clock.advance(0.7 * HOUR)
    assert await one.current() == "one-2"
    assert (office.logins, office.renewals) == (2, 1)


async def test_while_nothing_renews_it_a_token_serves_to_its_end(office: Office) -> None:
    """The rest of its life is divided by four each time."""
    one = office.source()
    await one.current()
    office.answer = AWAY
    tried = []
    await office.clock.advance(0.7 * HOUR)
    while office.clock.monotonic() < 5000 + HOUR - 1:
        before = office.logins
        assert await one.current() == "one-1"
        if office.logins > before:
            tried.append(office.clock.monotonic() - 5000)
        await office.clock.advance(1)
    assert tried[:4] == pytest.approx([2520, 2790, 2993, 3145], abs=2)
    assert office.seen().count(("region one", False)) == len(tried)
    await office.clock.advance(1)
    with pytest.raises(TransientError):
        await one.current()


async def test_a_scope_that_is_gone_at_a_renewal_is_gone(office: Office) -> None:
    one = office.source()
    await one.current()
    office.answer = {"one": NEVER}
    await office.clock.advance(0.7 * HOUR)
    with pytest.raises(AuthenticationError, match="the account is disabled"):
        await one.current()


@pytest.mark.parametrize("failure", [None, AWAY])
async def test_a_login_that_was_faster_than_a_renewal_counts(office: Office, failure: PollError | None) -> None:
    office.renewal = failure
    one, plain = office.source(renewable=True), office.source()
    await one.current()
    await office.clock.advance(0.7 * HOUR)
    office.renewal_open.clear()
    renewal = asyncio.create_task(one.current())
    await wait_until(lambda: office.renewals == 1)
    assert await plain.replace("one-1") == "one-2"
    office.renewal_open.set()
    assert (await renewal, await one.current(), office.logins) == ("one-2", "one-2", 2)


@pytest.mark.parametrize(("end", "life"), [(None, math.inf), (-1.0, math.inf), (0.0, math.inf), (1.0, 1.0)])
async def test_a_token_without_a_sensible_end_never_expires(office: Office, end: float | None, life: float) -> None:
    expires = None if end is None else office.clock.now() + end
    office.answer = {"one": Issued("forever", expires)}
    one = office.source()
    assert await one.current() == "forever"
    await office.clock.advance(min(life, 10_000 * HOUR) - 0.7)
    assert (await one.current(), office.logins) == ("forever", 1)
    assert office.seen() == [("region one", True), ("region one", "me", expires)]
    await office.clock.advance(0.7)
    await one.current()
    assert office.logins == (1 if life == math.inf else 2)


@pytest.mark.parametrize(
    ("ahead", "life", "warnings"),
    [
        (-3600, HOUR, 1),
        (-60, HOUR, 1),
        (-59, HOUR, 0),
        (-2, HOUR, 0),
        (-1, HOUR - 1, 0),
        (1, HOUR + 1, 0),
        (2, HOUR, 0),
    ],
)
async def test_the_end_is_by_the_servers_clock(office: Office, ahead: float, life: float, warnings: int) -> None:
    office.ahead = ahead
    one = office.source()
    with capture_logs() as logged:
        await one.current()
        held = one._slot.held
        assert held is not None
        assert held.expires_at - office.clock.monotonic() == life
        assert held.renew_at - office.clock.monotonic() == pytest.approx(0.7 * life)
        # Without a date nothing new is known; what was told is told again only after it was right.
        for date, off in ((False, 0), (True, ahead), (True, 0), (True, ahead)):
            office.date, office.ahead = date, off
            await office.clock.advance(2 * HOUR)
            await one.current()
    told = [line for line in logged if line["log_level"] == "warning"]
    assert [line["login"] for line in told] == ["account lab"] * 2 * warnings
    assert all(line["event"].startswith("this machine's clock is ") for line in told)


# Rejections


async def test_a_rejected_token_is_replaced_by_one_login_for_all(office: Office) -> None:
    one, two = office.source("one"), office.source("two")
    await one.current()
    await office.clock.advance(100)
    assert await asyncio.gather(*(one.replace("one-1") for _ in range(4))) == ["one-2"] * 4
    assert (await one.replace("one-1"), await two.replace("two-1"), office.logins) == ("one-2", "two-2", 2)


async def test_a_login_that_gives_the_rejected_token_again_is_not_repeated_for_a_while(office: Office) -> None:
    office.answer = {"one": Issued("same")}
    one = office.source()
    await one.current()
    assert (await one.replace("same"), office.logins) == (None, 2)
    assert (await one.replace("same"), office.logins) == (None, 2)
    await office.clock.advance(NEGATIVE_CACHE_TTL - 1)
    assert (await one.replace("same"), office.logins) == (None, 2)
    await office.clock.advance(1)
    office.answer = None
    assert await one.replace("same") == "one-3"


async def test_two_who_end_each_others_tokens_log_in_ever_less(office: Office) -> None:
    one = office.source()
    rejected = await one.current()
    for new_credential in (False, True, False):
        # Four that live for less than a minute may be a coincidence.
        for _ in range(4):
            await office.clock.advance(59.9)
            rejected = str(await one.replace(rejected))
        for pause in (5.0, 10.0):
            before = office.logins
            await office.clock.advance(pause - 0.1)
            with pytest.raises(AuthenticationError) as raised:
                await one.replace(rejected)
            assert str(raised.value) == (
                "tokens of account lab are rejected soon after its logins: perhaps another program logs in with the "
                "same account and that ends the tokens of this one; give each an account of its own"
            )
            assert (raised.value.culprit, office.logins) == ("account lab", before)
            await office.clock.advance(0.1)
            rejected = str(await one.replace(rejected))
            assert (rejected, office.logins) == (f"one-{office.logins}", before + 1)
        # A token that lives longer ends it, and so does a new credential.
        if new_credential:
            office.cache.credential_changed()
        else:
            await office.clock.advance(60)
            rejected = str(await one.replace(rejected))


def test_a_rejection_is_early_by_when_it_was_first(network: Network) -> None:
    clock = FakeClock()
    slot = Slot(clock)
    assert not slot.rejected_early(0.0)
    cache = TokenCache(Office(network), clock, Middle())
    slot.held = cache.held(Issued("first"))
    began = clock.monotonic()
    assert slot.rejected_early(began + 59)
    assert slot.rejected_early(began + 1000), "it is the same rejection"
    slot.held = cache.held(Issued("second"))
    assert not slot.rejected_early(began + 60)
    assert not slot.rejected_early(began + 1)


@pytest.mark.parametrize(
    ("token", "arrives"),
    [("a.b-c_d==", True), ("", False), ("a\n", False), ("ä", False), ("\x7f", False), (" a", True)],
)
def test_a_token_is_sendable_if_it_is_printable_ascii(token: str, arrives: bool) -> None:
    assert sendable(token) is arrives
