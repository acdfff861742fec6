"""Member lists take the region's token or the platform's: learnt by trying, at the cost of few requests."""

import asyncio
from collections import Counter

import pytest
from aiohttp import web

from exporter.config import InlineSecret
from exporter.errors import AuthenticationError, PollError
from exporter.http import EitherToken, TokenCache, TokenSource
from exporter.http.client import NEGATIVE_CACHE_TTL
from exporter.sources.scnet.login import PLATFORM, AccessKeyLogin, renewal
from tests.support.clock import FakeClock
from tests.support.collecting import assembled
from tests.support.http import Network
from tests.support.platform import Refreshes, RegionClient, rows_answer


class Platform:
    """Gives tokens called region-N and platform-N; its member lists take those of the kinds in `takes`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.clock = FakeClock()
        self.refreshes = Refreshes()
        self.takes = {"platform"}
        self.denied = ""
        self.valid = 0
        self.has_platform_row = True
        self.requests: Counter[str] = Counter()

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/tokens":
            self.requests["login"] += 1
            self.valid += 1
            rows = [{"clusterId": 1, "clusterName": "one", "token": f"region-{self.valid}"}]
            if self.has_platform_row:
                rows.insert(0, {"clusterId": "0", "clusterName": "ac", "token": f"platform-{self.valid}"})
            return rows_answer(rows, self.clock.now)
        kind, _, serial = request.headers["token"].partition("-")
        self.requests[kind] += 1
        if kind not in self.takes or int(serial) != self.valid or request.path.endswith(f"/{self.denied}/jobs"):
            return rows_answer(None, self.clock.now, code="10008")
        return rows_answer([], self.clock.now)

    async def start(self) -> "Platform":
        url = await self.network.serve(self.handle)
        login = AccessKeyLogin("a", InlineSecret("ak"), InlineSecret("sk"), f"{url}/tokens", "lab")
        upstream = self.network.upstream(clock=self.clock)
        cache = TokenCache(login, self.clock)
        region, platform = (
            TokenSource(
                cache,
                scope,
                source="one",
                user=user,
                upstream=upstream,
                observer=self.refreshes,
                renewal=renewal(upstream, url),
            )
            for scope, user in (("1", ""), (PLATFORM, None))
        )
        self.region = region
        self.tokens = EitherToken(region, platform, self.clock)
        self.client = RegionClient(upstream, cluster_id="1", hpc_url=url, ac_url=url)
        return self

    async def poll(self, user: str = "test") -> str:
        try:
            await self.client.member_jobs("7", user, self.tokens)
        except PollError as error:
            return error.reason
        return "ok"


@pytest.fixture
async def platform(network: Network) -> Platform:
    return await Platform(network).start()


async def test_many_members_learn_together(platform: Platform) -> None:
    assert set(await asyncio.gather(*(platform.poll(f"user{n}") for n in range(200)))) == {"ok"}
    assert platform.requests["login"] == 1
    assert platform.requests["platform"] == 200
    assert await platform.poll() == "ok"
    rejected = platform.requests["region"]
    await asyncio.gather(*(platform.poll(f"user{n}") for n in range(200)))
    assert platform.requests["region"] == rejected, "known by now"


async def test_tokens_that_expired_before_anything_was_learnt_are_replaced(platform: Platform) -> None:
    await platform.region.current()
    platform.valid += 1
    assert await platform.poll() == "ok"
    assert platform.requests["login"] == 2


async def test_a_member_that_no_token_opens_costs_few_requests_and_no_login_storm(platform: Platform) -> None:
    platform.denied = "eve"
    for _ in range(60):
        assert await platform.poll("eve") == "permission"
        assert await platform.poll("test") == "ok"
        await platform.clock.advance(60)
    rejected = platform.requests["region"] + platform.requests["platform"] - 60
    assert rejected <= 60 + 3 * 7, "one a poll, and both kinds every ten minutes"
    assert platform.requests["login"] <= 1 + 6 + 1


async def test_an_account_that_may_ask_nothing_costs_ever_fewer_logins(platform: Platform) -> None:
    platform.takes = set()
    for n in range(600):
        assert await platform.poll(f"user{n % 50}") in ("permission", "auth")
        await platform.clock.advance(6)
    assert platform.requests["login"] <= 2 + 5 + 6
    assert platform.requests.total() <= 600 + 50 * 4 * 7 + 20
    platform.takes = {"platform"}
    await platform.clock.advance(NEGATIVE_CACHE_TTL)
    assert await platform.poll() == "ok"


async def test_without_a_row_of_the_platform_the_regions_token_is_all_there_is(platform: Platform) -> None:
    platform.has_platform_row = False
    for _ in range(60):
        assert await platform.poll() == "permission"
        await platform.clock.advance(60)
    assert platform.requests["login"] <= 2 + 5 + 6
    assert platform.requests["platform"] == 0
    platform.takes = {"region"}
    await platform.clock.advance(NEGATIVE_CACHE_TTL)
    assert await platform.poll() == "ok"
    with pytest.raises(AuthenticationError, match="gives no token of the platform itself"):
        await platform.tokens._second.current()


async def test_the_platforms_token_is_counted_but_its_expiry_is_not_the_regions(platform: Platform) -> None:
    assert await platform.poll() == "ok"
    assert platform.refreshes.counts == {("one", True): 2}
    assert platform.refreshes.expiries == {}


ACCOUNT = """
accounts: [{name: lab, user: alice, access_key: a, secret_key: s}]
clusters: [{name: kunshan, cluster_id: 1, hpc_url: https://hpc.example.com, account: lab, users: [test]}]
"""


async def test_what_was_asked_in_vain_is_asked_again_with_another_credential() -> None:
    components = assembled(ACCOUNT)
    region, account = components.regions["kunshan"], components.config.accounts[0]
    assert account.secret_key is not None
    assert isinstance(region.tokens.members, EitherToken)
    region.tokens.members._in_vain["https://hpc.example.com"] = float("inf")
    assert not region.use_changed(frozenset({InlineSecret("of another account")}))
    assert region.tokens.members._in_vain
    assert region.use_changed(frozenset({account.secret_key}))
    assert not region.tokens.members._in_vain
    await components.close()
