"""The life of an account's tokens against a simulated platform: obtained, renewed, replaced, rejected.

Requests travel over real sockets; time passes only when a test says so.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from exporter.config import InlineSecret
from exporter.errors import AuthenticationError, PollError, ServerError, ThrottledError
from exporter.http import Issued, TokenCache, TokenSource
from exporter.simulator import Fault, Quirks
from exporter.simulator.tokens import fingerprint
from exporter.sources.scnet.login import AccessKeyLogin, PasswordLogin, renewal
from tests.e2e.process import eventually
from tests.support.clock import FakeClock
from tests.support.http import Network
from tests.support.platform import DAY, AtWork, Refreshes, at_work, rows_answer

HOUR, MINUTE = 3600.0, 60.0
# From the page 查询队列作业统计信息: it ends at 1685600225615 ms.
SAMPLE_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjb21wdXRlVXNlciI6InNsdXJtdGVzdCIsImFjY291bnRTdGF0dXMiOiJUcmlhbCIsImNyZWF0"
    "b3IiOiJhYyIsInJvbGUiOiIxIiwiZXhwaXJlVGltZSI6IjE2ODU2MDAyMjU2MTUiLCJjbHVzdGVySWQiOiIxMTExMiIsImludm9rZXIiOiI2MDQ4Y2"
    "U3YmExNWMyYWYyZThjZWMxMjk5MWVjMTNjZiIsInVzZXIiOiJzbHVybXRlc3QiLCJ1c2VySWQiOiIxMTY1NTA0ODU0MSJ9."
    "iLCKJ8PnDDK0_SA2NPYm1WozUG8D5ojwFqFhwaJCDc8"
)


@pytest.fixture
async def lab() -> AsyncIterator[AtWork]:
    async with at_work() as started:
        yield started


@pytest.fixture
async def pair() -> AsyncIterator[AtWork]:
    """Yield an account with two regions."""
    async with at_work(2) as started:
        yield started


async def outcome(asked: Awaitable[str]) -> str:
    """Return the token, or the reason of the failure."""
    try:
        return await asked
    except PollError as error:
        return error.reason


def claimed_region(token: str) -> str:
    """Return the clusterId that a token claims."""
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["clusterId"])


# Obtaining


async def test_one_login_serves_all_regions(pair: AtWork) -> None:
    tokens = [pair.token(region) for region in pair.regions]
    values = await asyncio.gather(*(token.current() for token in tokens for _ in range(25)))
    assert pair.count("login") == 1
    assert len(set(values)) == 2
    assert [claimed_region(await token.current()) for token in tokens] == ["11112", "11136"]
    assert pair.refreshes.counts == {("kunshan", True): 1, ("xian", True): 1}
    ends = pair.clock.now() + DAY
    assert pair.refreshes.expiries == {("kunshan", ""): ends, ("xian", ""): ends}


async def test_the_users_of_a_region_with_one_account_share_its_token(lab: AtWork) -> None:
    own, bobs = lab.token(lab.first), lab.token(lab.first, user="bob")
    assert await own.current() == await bobs.current()
    assert lab.count("login") == 1
    assert set(lab.refreshes.expiries) == {("kunshan", ""), ("kunshan", "bob")}


async def test_a_login_with_a_password_gives_the_same(pair: AtWork) -> None:
    known = pair.simulator.accounts[0]
    login = PasswordLogin(known.user, InlineSecret(known.password), known.org_id, pair.first.ac_url)
    pair.account = TokenCache(login, pair.clock)
    await asyncio.gather(*(pair.token(region).current() for region in pair.regions))
    assert pair.count("login") == 1
    [record] = pair.first.requests.of("login")
    assert record.path == "/ac/openapi/v2/tokens"


async def test_the_platforms_own_token_is_never_a_regions(lab: AtWork) -> None:
    with pytest.raises(AuthenticationError, match="no region with cluster_id 0; it has: 11112"):
        await lab.token(lab.first, cluster_id="0").current()


async def test_an_unknown_region_is_named_with_those_that_exist(pair: AtWork) -> None:
    with pytest.raises(AuthenticationError, match="no region with cluster_id 11113; it has: 11112, 11136"):
        await pair.token(pair.first, cluster_id="11113").current()


async def test_the_claim_may_differ_from_the_rows_id() -> None:
    async with at_work(quirks=Quirks(token_cluster_id="98765")) as lab:
        token = lab.token(lab.first)
        await lab.client(lab.first).schedulers(token)
        assert claimed_region(await token.current()) == "98765"


async def test_a_disabled_region_is_said_and_the_others_go_on(pair: AtWork) -> None:
    kunshan, xian = pair.regions
    pair.simulator.disable("lab", "kunshan")
    disabled, other = pair.token(kunshan), pair.token(xian)
    outcomes = await asyncio.gather(*(outcome(disabled.current()) for _ in range(50)), other.current())
    assert set(outcomes[:50]) == {"auth"}
    assert outcomes[50] == await other.current()
    assert pair.count("login") == 1
    assert pair.refreshes.counts == {("kunshan", False): 1, ("xian", True): 1}
    with pytest.raises(
        AuthenticationError, match=r"account lab is disabled in region 11112: .* no token there; settle"
    ):
        await disabled.current()


async def test_a_disabled_region_is_asked_for_ever_more_slowly_until_it_heals(pair: AtWork) -> None:
    kunshan, _ = pair.regions
    pair.simulator.disable("lab", "kunshan")
    token = pair.token(kunshan)
    moments = await moments_of_logins(pair, token, seconds=HOUR)
    assert pauses(moments) == [5, 10, 20, 40, 80, 160, 320, *[600] * 4]
    kunshan.disabled.clear()
    await pair.clock.advance(10 * MINUTE)
    assert (await token.current()).count(".") == 2
    assert pair.refreshes.expiries == {("kunshan", ""): pair.clock.now() + DAY}
    # The next time begins anew, and the end of a token that is gone is not shown.
    pair.simulator.disable("lab", "kunshan")
    await pair.clock.advance(DAY)
    assert pauses(await moments_of_logins(pair, token, seconds=40)) == [5, 10, 20]
    assert pair.refreshes.expiries == {}


async def test_a_region_asked_for_later_gets_the_login_of_before_and_no_new_one(pair: AtWork) -> None:
    kunshan, xian = pair.regions
    await pair.token(kunshan).current()
    await pair.clock.advance(HOUR)
    await pair.token(xian).current()
    with pytest.raises(AuthenticationError):
        await pair.token(xian, cluster_id="7").current()
    assert pair.count("login") == 1


async def test_a_token_that_lay_unused_past_its_end_is_not_used(pair: AtWork) -> None:
    kunshan, xian = pair.regions
    first = pair.token(xian)
    await pair.token(kunshan).current()
    await pair.clock.advance(DAY + 1)
    await pair.client(xian).schedulers(first)
    assert (pair.count("login"), pair.count("schedulers")) == (2, 1)


async def test_reading_what_a_token_says_changes_nothing(pair: AtWork) -> None:
    """The status page reads it in a thread, while the event loop goes through the same tokens."""
    tokens = [pair.token(region) for region in pair.regions]
    before = dict(pair.account._slots)
    assert [(token.issued, token.origin) for token in tokens] == [(Issued(""), "account lab")] * 2
    assert pair.account._slots == before
    assert pair.count("login") == 0


# Renewing


@pytest.mark.parametrize("form", ["text", "object", "list"])
async def test_a_token_is_renewed_between_60_and_80_percent_of_its_life(form: Any) -> None:
    async with at_work(quirks=Quirks(renewal_form=form)) as lab:
        token = lab.token(lab.first)
        before = await token.current()
        renewals = []
        for _ in range(3):
            obtained = lab.clock.now()
            await lab.clock.advance(0.599 * DAY)
            while await token.current() == before:
                await lab.clock.advance(MINUTE)
            renewals.append((lab.clock.now() - obtained) / DAY)
            before = await token.current()
        assert all(0.6 <= share <= 0.81 for share in renewals)
        assert len(set(renewals)) > 1, "not all at the same moment"
        assert (lab.count("login"), lab.count("next")) == (1, 3)
        assert lab.refreshes.counts == {("kunshan", True): 4}
        await lab.client(lab.first).schedulers(token)
        assert lab.refreshes.expiries["kunshan", ""] == token.issued.expires


async def test_a_renewal_is_asked_for_once_while_the_others_go_on_with_the_old_token(lab: AtWork) -> None:
    token = lab.token(lab.first)
    old = await token.current()
    await lab.clock.advance(0.81 * DAY)
    lab.first.faults.add(Fault(kind="delay", endpoint="next", seconds=0.2))
    values = await asyncio.gather(*(token.current() for _ in range(50)))
    assert lab.count("next") == 1
    assert values.count(old) == 49
    assert await token.current() not in (old, None)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="refused", endpoint="next"),
        Fault(kind="status", endpoint="next", status=500),
        Fault(kind="status", endpoint="next", status=404),
        Fault(kind="code", endpoint="next", code="10001"),
        Fault(kind="code", endpoint="next", code="4711"),
        Fault(kind="wrong_shape", endpoint="next"),
        Fault(kind="disconnect", endpoint="next"),
        Fault(kind="empty", endpoint="next"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.code}",
)
async def test_a_login_is_the_fallback_of_a_renewal(pair: AtWork, fault: Fault) -> None:
    """And one for all regions, each of which wanted to renew."""
    tokens = [pair.token(region) for region in pair.regions]
    old = [await token.current() for token in tokens]
    for region in pair.regions:
        region.faults.add(fault)
    await pair.clock.advance(0.81 * DAY)
    new = await asyncio.gather(*(token.current() for token in tokens))
    assert not set(old) & set(new)
    assert pair.count("login") == 2
    assert pair.refreshes.counts == {("kunshan", True): 2, ("xian", True): 2}


async def test_a_renewal_that_fails_after_anothers_login_needs_none_of_its_own(pair: AtWork) -> None:
    kunshan, xian = pair.regions
    tokens = [pair.token(region) for region in pair.regions]
    old = [await token.current() for token in tokens]
    for region in (kunshan, xian):
        region.faults.add(Fault(kind="refused", endpoint="next"))
    xian.faults.add(Fault(kind="delay", endpoint="next", seconds=0.2))
    await pair.clock.advance(0.81 * DAY)
    new = await asyncio.gather(*(token.current() for token in tokens))
    assert not set(old) & set(new)
    assert pair.count("login") == 2


async def test_the_whole_seconds_of_a_date_header_are_no_skew(lab: AtWork) -> None:
    """A token that lives for a second is not taken for one that lives for two."""
    await lab.clock.advance(0.99)
    await lab.token(lab.first).current()
    held = lab.account.register("11112").held
    assert held is not None
    assert held.expires_at - lab.clock.monotonic() == pytest.approx(DAY, abs=0.01)


async def test_while_nothing_renews_it_the_old_token_goes_on_without_a_flood_of_requests(lab: AtWork) -> None:
    token = lab.token(lab.first)
    old = await token.current()
    for api in (lab.first, lab.platform):
        api.faults.add(Fault(kind="status", status=502))
    for _ in range(int(DAY / MINUTE) - 1):
        await lab.clock.advance(MINUTE)
        assert await token.current() == old
    # From 60 % of the life on, every quarter of what is left; asked at every poll it would be hundreds.
    assert 3 <= lab.count("next") <= 25
    assert lab.count("login") <= lab.count("next") + 1
    assert lab.refreshes.counts["kunshan", False] == lab.count("login") - 1
    assert lab.refreshes.expiries["kunshan", ""] == token.issued.expires
    await lab.clock.advance(2 * MINUTE)
    assert await outcome(token.current()) == "http"
    lab.first.faults.clear()
    lab.platform.faults.clear()
    await lab.clock.advance(MINUTE)
    assert await token.current() != old


async def test_a_token_renewed_by_one_region_survives_its_settings(lab: AtWork) -> None:
    """As after a reload: a new client of the same account, which goes on with the renewed token and counts nothing."""
    token = lab.token(lab.first)
    await token.current()
    await lab.clock.advance(0.81 * DAY)
    renewed = await token.current()
    await lab.clock.advance(0.3 * DAY)
    after = lab.token(lab.first)
    after.show_expiry()
    assert after.issued == token.issued
    assert await after.current() == renewed
    assert lab.count("login") == 1
    assert lab.refreshes.counts == {("kunshan", True): 2}


async def test_a_renewed_token_of_which_nothing_is_known_takes_the_series_away(
    lab: AtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = lab.token(lab.first)
    await token.current()
    await lab.clock.advance(0.81 * DAY)
    lab.first.faults.add(Fault(kind="code", endpoint="next", code="0", data="opaque"))
    assert await token.current() == "opaque"
    assert lab.refreshes.expiries == {}
    assert lab.refreshes.counts == {("kunshan", True): 2}


# Tokens that say nothing, or what is not so


class Scripted:
    """A platform that issues given `tokens` of region 1, repeating the last one, on a clock of its own."""

    def __init__(self, network: Network, clock: FakeClock, *tokens: str) -> None:
        self.network = network
        self.clock = clock
        self.ahead = 0.0
        self.tokens = list(tokens)
        self.failure: web.Response | None = None
        self.asked: list[str] = []
        self.refreshes = Refreshes()

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path.rpartition("/")[2])
        if self.failure is not None:
            return web.Response(status=self.failure.status, headers=self.failure.headers, body=self.failure.body)
        value = self.tokens[0] if len(self.tokens) == 1 else self.tokens.pop(0)
        data = value if request.path.endswith("/next") else [{"clusterId": 1, "clusterName": "one", "token": value}]
        return rows_answer(data, lambda: self.clock.now() + self.ahead, code=0)

    async def token(self) -> TokenSource:
        url = await self.network.serve(self.handle)
        upstream = self.network.upstream(clock=self.clock)
        login = AccessKeyLogin("a", InlineSecret("ak"), InlineSecret("sk"), f"{url}/tokens", "lab")
        return TokenSource(
            TokenCache(login, self.clock),
            "1",
            source="one",
            upstream=upstream,
            observer=self.refreshes,
            renewal=renewal(upstream, url),
        )


async def test_a_token_that_does_not_decode_is_used_until_it_is_rejected(network: Network) -> None:
    platform = Scripted(network, FakeClock(), "opaque-1", "opaque-2", "opaque-3")
    token = await platform.token()
    assert await token.current() == "opaque-1"
    await platform.clock.advance(400 * DAY)
    assert await token.current() == "opaque-1"
    assert await token.replace("opaque-1") == "opaque-2"
    assert platform.asked == ["tokens", "tokens"]
    assert platform.refreshes.expiries == {}
    assert platform.refreshes.counts == {("one", True): 2}


async def test_a_token_given_as_expired_is_used_all_the_same(network: Network) -> None:
    """The pages' sample token: its end, in 2023, is shown as it is; it is not requested again and again."""
    platform = Scripted(network, FakeClock(now=1_800_000_000.0), SAMPLE_TOKEN)
    token = await platform.token()
    for _ in range(10):
        assert await token.current() == SAMPLE_TOKEN
        await platform.clock.advance(HOUR)
    assert platform.asked == ["tokens"]
    assert platform.refreshes.expiries == {("one", ""): 1685600225.615}


async def test_the_same_token_again_is_not_asked_for_again_and_again(network: Network) -> None:
    """A platform that repeats a token which the region rejects: one login in ten minutes for all targets together."""
    platform = Scripted(network, FakeClock(), "dead")
    token = await platform.token()
    await token.current()
    for minute in range(60):
        replaced = await asyncio.gather(*(token.replace("dead") for _ in range(50)))
        assert set(replaced) == {None}
        assert platform.asked.count("tokens") == 2 + minute // 10
        await platform.clock.advance(MINUTE)


async def test_programs_that_end_each_other_s_tokens_do_not_log_in_at_every_poll(lab: AtWork) -> None:
    """Two with one account, at a platform where a login ends the tokens of the one before, polling every second."""
    ours = lab.token(lab.first)
    lab.account = TokenCache(lab.login(), lab.clock)
    theirs = lab.token(lab.first)
    valid, logins, errors, hours = "", 0, [], 2

    async def poll(token: TokenSource) -> None:
        nonlocal valid, logins
        try:
            value = await token.current()
            if lab.count("login") > logins:
                valid, logins = value, lab.count("login")
            if value != valid:
                fresh = await token.replace(value)
                assert fresh is not None
                valid, logins = fresh, lab.count("login")
        except AuthenticationError as error:
            errors.append(str(error))

    for _ in range(int(hours * HOUR)):
        await poll(ours)
        await poll(theirs)
        await lab.clock.advance(1.0)
    # Each waits 5 seconds after the first few, then twice as long, at last ten minutes.
    assert logins <= 2 * (12 + 6 * hours)
    [told] = set(errors)
    assert "tokens of account lab are rejected soon after its logins" in told
    assert "give each an account of its own" in told


async def test_a_token_that_lived_for_long_is_replaced_at_once_however_many_were_before_it(network: Network) -> None:
    platform = Scripted(network, FakeClock(), *(f"opaque-{n}" for n in range(100)))
    token = await platform.token()
    for _ in range(50):
        value = await token.current()
        await platform.clock.advance(MINUTE)
        assert await token.replace(value) not in (None, value)


async def test_a_new_credential_ends_the_wait_of_those_who_contend(network: Network) -> None:
    platform = Scripted(network, FakeClock(), *(f"opaque-{n}" for n in range(100)))
    token = await platform.token()
    while await outcome(replaced(token)) != "auth":
        pass
    dead = await token.current()
    token._cache.credential_changed()
    assert await token.replace(dead) not in (None, dead)


async def replaced(token: TokenSource) -> str:
    """Return a replacement of the token in use that is rejected as soon as it was obtained."""
    return await token.replace(await token.current()) or ""


# Clocks


@pytest.mark.parametrize("ahead", [-5 * HOUR, -10 * MINUTE, 10 * MINUTE, 5 * HOUR])
async def test_with_a_wrong_clock_of_ours_tokens_are_renewed_in_time_and_it_is_said_once(ahead: float) -> None:
    """`ahead`: how far the server's clock is ahead of ours. Five hours are far more than what the token lives."""
    async with at_work(2, lifetime=HOUR) as lab:
        server = lab.clock.now
        for api in (*lab.regions, lab.platform):
            api.wall_clock = lambda: server() + ahead
        lab.simulator._office._now = lambda: server() + ahead
        lab.account = TokenCache(Forgiven(lab, ahead), lab.clock)
        token = lab.token(lab.first)
        with capture_logs() as lines:
            for _ in range(5 * 60):
                await lab.client(lab.first).schedulers(token)
                await lab.clock.advance(MINUTE)
        assert {record.status for record in lab.first.requests} == {200}
        assert [line["log_level"] for line in lines if "clock is" in line["event"]] == ["warning"]
        assert lab.count("login") == 1
        assert 6 <= lab.count("next") <= 9
        assert lab.first.requests.counts["schedulers"] == 5 * 60


class Forgiven:
    """A login at a platform that does not mind the timestamp: the signature's time is the server's."""

    def __init__(self, lab: AtWork, ahead: float) -> None:
        self._login = lab.login()
        self._ahead = ahead
        self.origin = self._login.origin
        self.read, self.missing = self._login.read, self._login.missing

    def request(self, now: float) -> Any:
        return self._login.request(now + self._ahead)


async def test_a_jumping_clock_breaks_nothing(lab: AtWork) -> None:
    """Set by days in both directions, at any moment; the server's own goes on."""
    server = FakeClock(lab.clock.now())
    token = lab.token(lab.first)
    lab.first.wall_clock = lab.platform.wall_clock = lab.simulator._office._now = server.now
    client = lab.client(lab.first)
    with capture_logs() as lines:
        for hour in range(24 * 5):
            await client.schedulers(token)
            await lab.clock.advance(HOUR)
            await server.advance(HOUR)
            if hour in (5, 30, 60, 61, 90):
                lab.clock.jump(2 * DAY if hour in (5, 60, 90) else -3 * DAY)
    assert {record.status for record in lab.first.requests} == {200}
    assert lab.count("login") == 1, "renewals go on"
    assert 5 <= lab.count("next") <= 9
    assert len([line for line in lines if "clock is" in line["event"]]) <= 5


# Rejected


async def test_fifty_targets_with_the_same_dead_token_cause_one_login(pair: AtWork) -> None:
    kunshan, xian = pair.regions
    token, client = pair.token(kunshan), pair.client(kunshan)
    other = pair.token(xian)
    dead = await token.current()
    await other.current()
    kunshan.expire_tokens()
    await asyncio.gather(*(client.schedulers(token) for _ in range(50)))
    rejected = [record for record in kunshan.requests.of("schedulers") if record.token == fingerprint(dead)]
    assert pair.count("login") == 2
    assert kunshan.requests.counts["schedulers"] == 50 + len(rejected)
    assert 1 <= len(rejected) <= 16, "at most as many as are in flight at once"
    await other.current()
    assert pair.refreshes.counts == {("kunshan", True): 2, ("xian", True): 2}


@pytest.mark.parametrize("style", ["401", "403", "10008", "10009", "911406"])
async def test_a_token_rejected_in_any_form_is_replaced_once_and_the_call_repeated_once(
    lab: AtWork, style: Any
) -> None:
    lab.first.set_quirks(refusal_style=style)
    token, client = lab.token(lab.first), lab.client(lab.first)
    await token.current()
    lab.first.revoke(await token.current())
    assert await client.schedulers(token)
    assert (lab.count("login"), lab.count("schedulers")) == (2, 2)


async def test_a_cancelled_poll_does_not_cancel_the_login_that_others_wait_for(lab: AtWork) -> None:
    """As when its target is removed by a reload while the login is under way."""
    lab.platform.faults.add(Fault(kind="delay", endpoint="login", seconds=0.2, times=1))
    token = lab.token(lab.first)
    polls = [asyncio.create_task(token.current()) for _ in range(3)]
    await eventually(lambda: lab.count("login"), "a login under way")
    polls[0].cancel()
    values = await asyncio.gather(*polls, return_exceptions=True)
    assert isinstance(values[0], asyncio.CancelledError)
    assert values[1] == values[2]
    assert lab.count("login") == 1


async def test_a_login_that_nothing_waits_for_ends_and_the_next_caller_makes_its_own(lab: AtWork) -> None:
    lab.platform.faults.add(Fault(kind="hang", endpoint="login", times=1))
    token = lab.token(lab.first)
    polls = [asyncio.create_task(token.current()) for _ in range(3)]
    await eventually(lambda: lab.count("login"), "a login under way")
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    async with asyncio.timeout(100):
        assert (await token.current()).count(".") == 2
    assert lab.count("login") == 2


async def test_a_login_of_a_source_that_a_reload_takes_away_is_made_anew_by_who_waits_for_it(lab: AtWork) -> None:
    lab.platform.faults.add(Fault(kind="status", status=503, endpoint="login", times=1))
    old, new = lab.token(lab.first, retries=1), lab.token(lab.first, retries=1)
    polls = [asyncio.create_task(outcome(old.current())), asyncio.create_task(outcome(new.current()))]
    await eventually(lambda: lab.clock.pending, "a pause before the second attempt")
    old._upstream._closed = True
    await lab.clock.advance(10)
    first, second = await asyncio.gather(*polls)
    assert first == "connection"
    assert second.count(".") == 2


# Logins that fail


async def moments_of_logins(lab: AtWork, token: TokenSource, *, seconds: float) -> list[float]:
    """Ask for the token every second; the times at which there was a login."""
    moments = []
    for _ in range(int(seconds)):
        before = lab.count("login")
        await outcome(token.current())
        if lab.count("login") > before:
            moments.append(lab.clock.now())
        await lab.clock.advance(1)
    return moments


def pauses(moments: list[float]) -> list[int]:
    return [round(later - earlier) for earlier, later in pairwise(moments)]


async def test_a_rejected_login_is_tried_ever_more_slowly_up_to_ten_minutes(lab: AtWork) -> None:
    lab.account = TokenCache(lab.login(secret_key="wrong"), lab.clock)
    token = lab.token(lab.first)
    moments = await moments_of_logins(lab, token, seconds=HOUR)
    assert pauses(moments) == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600]
    assert lab.count("schedulers") == 0
    assert lab.refreshes.counts == {("kunshan", False): len(moments)}
    with pytest.raises(
        AuthenticationError, match=r"the login of account lab failed: the credential was rejected.*10008"
    ):
        await token.current()
    assert lab.refreshes.expiries == {}


async def test_a_new_credential_is_tried_at_once(lab: AtWork) -> None:
    lab.account = TokenCache(lab.login(secret_key="wrong"), lab.clock)
    token = lab.token(lab.first)
    await moments_of_logins(lab, token, seconds=1000)
    lab.account.login = lab.login()
    assert await outcome(token.current()) == "auth"
    lab.account.credential_changed()
    assert (await token.current()).count(".") == 2


@pytest.mark.parametrize("old", ["wrong", "right"])
async def test_a_new_credential_does_not_wait_for_a_login_with_the_old_one(lab: AtWork, old: str) -> None:
    """Nor does the failure of that login, which comes later, count against the new one."""
    lab.account.login = lab.login(secret_key="wrong") if old == "wrong" else lab.login()
    lab.platform.faults.add(Fault(kind="delay", endpoint="login", seconds=0.3, times=1))
    token = lab.token(lab.first)
    polls = [asyncio.create_task(outcome(token.current())) for _ in range(3)]
    await eventually(lambda: lab.count("login"), "a login under way")
    lab.account.login = lab.login()
    lab.account.credential_changed()
    fresh = await token.current()
    assert fresh.count(".") == 2
    assert set(await asyncio.gather(*polls)) == {fresh}
    assert lab.count("login") == 2
    assert await token.current() == fresh, "the answer to the old login does not replace it"
    assert lab.refreshes.counts == {("kunshan", True): 1}


async def test_a_new_credential_ends_the_pause_of_a_disabled_region_too(lab: AtWork) -> None:
    lab.simulator.disable("lab", "kunshan")
    token = lab.token(lab.first)
    await moments_of_logins(lab, token, seconds=1000)
    lab.first.disabled.clear()
    assert await outcome(token.current()) == "auth"
    lab.account.credential_changed()
    assert (await token.current()).count(".") == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(kind="status", endpoint="login", status=500), "http"),
        (Fault(kind="code", endpoint="login", code="911404"), "upstream"),
        (Fault(kind="disconnect", endpoint="login"), "connection"),
    ],
    ids=["500", "911404", "hung up"],
)
async def test_a_login_that_fails_in_passing_is_tried_again_within_a_minute(
    lab: AtWork, fault: Fault, reason: str
) -> None:
    lab.platform.faults.add(fault)
    token = lab.token(lab.first)
    moments = await moments_of_logins(lab, token, seconds=400)
    assert pauses(moments) == [5, 10, 20, 40, 60, 60, 60, 60, 60]
    assert await outcome(token.current()) == reason
    lab.platform.faults.clear()
    await lab.clock.advance(60)
    assert (await token.current()).count(".") == 2


async def test_a_login_told_to_wait_waits_so_long(lab: AtWork) -> None:
    lab.platform.faults.add(Fault(kind="status", endpoint="login", status=429, retry_after=300))
    token = lab.token(lab.first)
    with pytest.raises(ThrottledError):
        await token.current()
    lab.platform.faults.clear()
    # Another region has another connection to the platform, but it is the same account.
    other = lab.token(replace_name(lab, "elsewhere"))
    for _ in range(29):
        await lab.clock.advance(10)
        assert await outcome(other.current()) == "throttled"
    await lab.clock.advance(11)
    assert (await other.current()).count(".") == 2
    assert lab.count("login") == 2


def replace_name(lab: AtWork, name: str) -> Any:
    """Return the first region under another name, as a second section of a configuration may call it."""

    class Alias:
        def __getattr__(self, attribute: str) -> Any:
            return getattr(lab.first, attribute)

    alias = Alias()
    alias.__dict__["name"] = name
    return alias


async def test_fifty_targets_of_a_dead_account_cause_one_login(lab: AtWork) -> None:
    lab.account = TokenCache(lab.login(access_key="wrong"), lab.clock)
    token = lab.token(lab.first)
    assert set(await asyncio.gather(*(outcome(token.current()) for _ in range(50)))) == {"auth"}
    assert lab.count("login") == 1
    assert lab.refreshes.counts == {("kunshan", False): 1}


async def test_the_accounts_name_is_the_culprit_of_all_that_fails_with_it(lab: AtWork) -> None:
    lab.account = TokenCache(lab.login(access_key="wrong"), lab.clock)
    token, client = lab.token(lab.first), lab.client(lab.first)
    for _ in range(2):
        with pytest.raises(AuthenticationError) as caught:
            await client.schedulers(token)
        assert caught.value.culprit == "account lab"


async def test_a_hung_login_ends_with_the_time_allowed_for_a_request(lab: AtWork) -> None:
    lab.platform.faults.add(Fault(kind="hang", endpoint="login"))
    upstream = lab.network.upstream(timeout=0.05, clock=lab.clock)
    token = lab.token(lab.first)
    token._upstream = upstream
    async with asyncio.timeout(100):
        assert await asyncio.gather(*(outcome(token.current()) for _ in range(20))) == ["timeout"] * 20
    assert lab.count("login") == 1


async def test_a_dead_token_and_a_failing_login_are_the_logins_failure(lab: AtWork) -> None:
    token, client = lab.token(lab.first), lab.client(lab.first)
    await token.current()
    lab.first.expire_tokens()
    lab.platform.faults.add(Fault(kind="status", endpoint="login", status=500))
    with pytest.raises(ServerError, match="the login of account lab failed: HTTP 500"):
        await client.schedulers(token)
    lab.platform.faults.clear()
    await lab.clock.advance(5)
    assert await client.schedulers(token)


# Permission


@pytest.mark.parametrize("denied", [1, 20])
async def test_a_target_rejected_with_every_token_costs_a_login_in_ten_minutes_at_most(denied: int) -> None:
    """However many such targets there are, and however often they are polled; and the others notice nothing."""
    async with at_work() as lab:
        token, client = lab.token(lab.first), lab.client(lab.first)
        await client.schedulers(token)
        reasons: set[str] = set()
        for _ in range(60):
            # Each at its own moment, as targets are.
            for n in range(denied):
                await denied_poll(lab, client, token, f"{n}", reasons)
                await lab.clock.advance(MINUTE / denied)
            await client.schedulers(token)
        assert reasons == {"permission"}
        assert lab.count("login") <= 1 + 6 + 1
        assert lab.refreshes.counts == {("kunshan", True): lab.count("login")}


async def test_an_account_that_may_ask_nothing_any_more_costs_ever_fewer_logins(lab: AtWork) -> None:
    """Two hundred targets, all of which were answered once, and then never again."""
    token, client = lab.token(lab.first), lab.client(lab.first)
    lab.first.faults.add(Fault(kind="wrong_shape", endpoint="member_jobs", data=[]))
    for n in range(200):
        await client.member_jobs(f"{n}", "test", token)
    reasons: set[str] = set()
    for n in range(600):
        await denied_poll(lab, client, token, f"{n % 200}", reasons)
        await lab.clock.advance(6)
    assert reasons == {"permission"}
    # Half a minute, one, two, four, eight, then every ten minutes.
    assert lab.count("login") <= 2 + 5 + 5


async def test_a_dead_token_among_denied_targets_comes_back_with_the_next_that_worked(lab: AtWork) -> None:
    """A renewed token that no region accepts, while another target is denied all the time.

    No quarter of an hour lost.
    """
    token, client = lab.token(lab.first), lab.client(lab.first)
    await client.schedulers(token)
    await lab.clock.advance(0.81 * DAY)
    await denied_poll(lab, client, token, "1", set())
    await client.schedulers(token)
    lab.first.faults.clear()
    lab.first.revoke(await token.current())
    lab.account.register("11112").held = lab.account.held(Issued("opaque"))
    await lab.clock.advance(MINUTE)
    assert await client.schedulers(token)


async def denied_poll(lab: AtWork, client: Any, token: TokenSource, group: str, reasons: set[str]) -> None:
    lab.first.faults.orders.clear()
    lab.first.faults.add(Fault(kind="refused", endpoint="member_jobs"))
    try:
        await client.member_jobs(group, "test", token)
    except PollError as error:
        reasons.add(error.reason)


async def test_a_denied_target_does_not_keep_a_dead_token_alive_for_the_others(lab: AtWork) -> None:
    """The login that a denied target must not cause is caused by the next one that is not denied."""
    token, client = lab.token(lab.first), lab.client(lab.first)
    for _ in range(5):
        reasons: set[str] = set()
        await denied_poll(lab, client, token, "1", reasons)
        assert reasons == {"permission"}
        assert await client.schedulers(token)
        logins = lab.count("login")
        lab.first.expire_tokens()
        await denied_poll(lab, client, token, "1", reasons)
        assert lab.count("login") == logins
        assert await client.schedulers(token)
        assert lab.count("login") == logins + 1
        await lab.clock.advance(2 * MINUTE)


async def test_a_target_that_is_allowed_again_works_at_its_next_poll(lab: AtWork) -> None:
    token, client = lab.token(lab.first), lab.client(lab.first)
    reasons: set[str] = set()
    await denied_poll(lab, client, token, str(lab.first.spec.groups[0].id), reasons)
    lab.first.faults.clear()
    await client.member_jobs(str(lab.first.spec.groups[0].id), "test", token)
    # And what was is forgotten: the next rejection is answered with a login again.
    logins = lab.count("login")
    lab.first.expire_tokens()
    await client.member_jobs(str(lab.first.spec.groups[0].id), "test", token)
    assert lab.count("login") == logins + 1
