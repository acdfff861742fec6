"""An account's tokens against a simulated platform: obtained, renewed, replaced, rejected.

Requests travel over real sockets; time passes only when a test says so. The rules for tokens of any vendor are in
tests/http/test_tokens.py.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.config import InlineSecret
from exporter.errors import AuthenticationError, PollError
from exporter.http import Issued, TokenCache, TokenSource
from exporter.simulator import Fault, Quirks
from exporter.simulator.tokens import fingerprint
from exporter.sources.scnet.login import PasswordLogin
from tests.support.clock import FakeClock
from tests.support.platform import DAY, AtWork, at_work

HOUR, MINUTE = 3600.0, 60.0


@pytest.fixture
async def lab() -> AsyncIterator[AtWork]:
    async with at_work() as started:
        yield started


@pytest.fixture
async def pair() -> AsyncIterator[AtWork]:
    """Yield an account with two regions."""
    async with at_work(2) as started:
        yield started


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


async def test_a_login_with_a_password_gives_the_same(pair: AtWork) -> None:
    known = pair.simulator.accounts[0]
    login = PasswordLogin(known.user, InlineSecret(known.password), known.org_id, pair.first.ac_url)
    pair.account = TokenCache(login, pair.clock)
    await asyncio.gather(*(pair.token(region).current() for region in pair.regions))
    assert pair.count("login") == 1
    [record] = pair.first.requests.of("login")
    assert record.path == "/ac/openapi/v2/tokens"


@pytest.mark.parametrize("unknown", ["0", "11113"])
async def test_an_unknown_region_is_named_with_those_that_exist(pair: AtWork, unknown: str) -> None:
    """The platform's own token is none of them."""
    with pytest.raises(AuthenticationError, match=f"no region with cluster_id {unknown}; it has: 11112, 11136"):
        await pair.token(pair.first, cluster_id=unknown).current()


async def test_the_claim_may_differ_from_the_rows_id() -> None:
    async with at_work(quirks=Quirks(token_cluster_id="98765")) as lab:
        token = lab.token(lab.first)
        await lab.client(lab.first).schedulers(token)
        assert claimed_region(await token.current()) == "98765"


async def test_a_disabled_region_is_said_and_the_others_go_on(pair: AtWork) -> None:
    kunshan, xian = pair.regions
    pair.simulator.disable("lab", "kunshan")
    disabled, other = pair.token(kunshan), pair.token(xian)
    polls = [disabled.current() for _ in range(50)]
    *failures, token = await asyncio.gather(*polls, other.current(), return_exceptions=True)
    assert {type(failure) for failure in failures} == {AuthenticationError}
    assert token == await other.current()
    assert pair.count("login") == 1
    assert pair.refreshes.counts == {("kunshan", False): 1, ("xian", True): 1}
    with pytest.raises(
        AuthenticationError, match=r"account lab is disabled in region 11112: .* no token there; settle"
    ):
        await disabled.current()


async def test_reading_what_a_token_says_changes_nothing(pair: AtWork) -> None:
    """The status page reads it in a thread, while the event loop goes through the same tokens."""
    tokens = [pair.token(region) for region in pair.regions]
    before = dict(pair.account._slots)
    assert [(token.issued, token.origin) for token in tokens] == [(Issued(""), "account lab")] * 2
    assert pair.account._slots == before
    assert pair.count("login") == 0


# Renewing


async def test_a_token_is_renewed_between_60_and_80_percent_of_its_life(lab: AtWork) -> None:
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


# Clocks


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


# Permission


@pytest.mark.parametrize("denied", [1, 5])
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
