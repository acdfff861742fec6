"""Tokens, logins and renewals of the simulator."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from exporter.simulator import BatchSystem, Region, Simulator, default_regions
from exporter.simulator.tokens import fingerprint, signature

DAY = 24 * 3600


@pytest.fixture
async def pair(hands: Any) -> AsyncIterator[Simulator]:
    """Two regions of one platform."""
    async with Simulator(default_regions(2), clock=hands, wall_clock=hands) as running:
        yield running


def claims_of(token: str) -> dict[str, str]:
    """Return the claims that any client can read."""
    middle = token.split(".")[1]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return claims


async def ask(session: aiohttp.ClientSession, region: Region, token: str, path: str = "") -> tuple[int, Any]:
    url = region.hpc_url + (path or "/hpc/openapi/v2/cluster")
    async with session.get(url, headers={"token": token}) as response:
        return response.status, await response.json()


async def code(session: aiohttp.ClientSession, region: Region, token: str, path: str = "") -> str:
    status, body = await ask(session, region, token, path)
    assert status == 200
    return str(body["code"])


def test_claims_are_all_text_and_the_expiry_is_in_milliseconds(region: Region, hands: Any) -> None:
    token = region.token("alice")
    claims = claims_of(token)
    assert set(claims) == {
        "computeUser", "user", "userId", "clusterId", "accountStatus", "role", "creator", "invoker", "expireTime",
    }  # fmt: skip
    assert all(isinstance(value, str) for value in claims.values())
    assert (claims["computeUser"], claims["clusterId"]) == ("alice", "11112")
    assert int(claims["expireTime"]) == (hands.time + DAY) * 1000
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["alg"] == "HS256"


async def test_a_good_token_is_let_in_and_others_are_refused(pair: Simulator, session: aiohttp.ClientSession) -> None:
    kunshan, xian = pair.regions.values()
    assert await code(session, kunshan, kunshan.token("test")) == "0"
    for token in ("", "nonsense", xian.token("test"), kunshan.token("test")[:-1]):
        assert await code(session, kunshan, token) == "911406"


async def test_a_token_expires_by_the_clock_and_at_command(
    pair: Simulator, session: aiohttp.ClientSession, hands: Any
) -> None:
    kunshan, xian = pair.regions.values()
    token = kunshan.token("test")
    hands.time += DAY - 1
    assert await code(session, kunshan, token) == "0"
    hands.time += 1
    assert await code(session, kunshan, token) == "911406"
    fresh, elsewhere = kunshan.token("test"), xian.token("test")
    kunshan.expire_tokens()
    assert await code(session, kunshan, fresh) == "911406"
    assert await code(session, xian, elsewhere) == "0"
    assert await code(session, kunshan, kunshan.token("test")) == "0"


async def test_a_disabled_user_is_frozen_and_gets_no_token(
    pair: Simulator, session: aiohttp.ClientSession, hands: Any
) -> None:
    kunshan, xian = pair.regions.values()
    token = kunshan.token("test")
    pair.disable("lab", "kunshan")
    assert await code(session, kunshan, token) == "10007"
    rows = (await access_key_login(session, pair, hands.time))["data"]
    assert [row["token"] is None for row in rows] == [False, True, False]
    assert await code(session, xian, rows[2]["token"]) == "0"


async def access_key_login(session: aiohttp.ClientSession, simulator: Simulator, now: float, **changed: str) -> Any:
    account = simulator.accounts[0]
    stamp = changed.get("timestamp", str(int(now)))
    signed = signature(account.secret_key, access_key=account.access_key, timestamp=stamp, user=account.user)
    headers = {"user": account.user, "accessKey": account.access_key, "timestamp": stamp, "signature": signed}
    async with session.post(simulator.token_url, headers=headers | changed) as response:
        return await response.json()


def test_the_signature_is_the_documented_one() -> None:
    """Lowercase hex HMAC-SHA256 of compact JSON with exactly these keys in this order."""
    text = b'{"accessKey":"ak","timestamp":"1700000000","user":"alice"}'
    expected = hmac.new(b"sk", text, hashlib.sha256).hexdigest()
    assert signature("sk", access_key="ak", timestamp="1700000000", user="alice") == expected
    # From openssl dgst -sha256 -hmac sk.
    assert expected == "6ab594fbf69d2dea41aa3200727090b4356c0cfbe8ff6313ae96af67405bd3ca"


async def test_a_login_gives_one_token_a_region_behind_the_platforms(
    pair: Simulator, session: aiohttp.ClientSession, hands: Any
) -> None:
    rows = (await access_key_login(session, pair, hands.time))["data"]
    assert [(row["clusterName"], row["clusterId"]) for row in rows] == [
        ("ac", "0"),
        ("华东一区【昆山】", "11112"),
        ("西北一区【西安】", "11136"),
    ]
    for row, region in zip(rows[1:], pair.regions.values(), strict=True):
        assert await code(session, region, row["token"]) == "0"
        assert await code(session, region, rows[0]["token"]) == "911406"


@pytest.mark.parametrize(
    "changed",
    [
        {"user": "nobody"},
        {"accessKey": "other"},
        {"signature": "0" * 64},
        {"signature": ""},
        {"timestamp": "1699999699"},
        {"timestamp": "1700000301"},
        {"timestamp": "soon"},
        {"timestamp": "1700000000000"},
    ],
)
async def test_a_login_with_anything_wrong_is_refused(
    simulator: Simulator, session: aiohttp.ClientSession, hands: Any, changed: dict[str, str]
) -> None:
    answer = await access_key_login(session, simulator, hands.time, **changed)
    assert (answer["code"], answer["data"]) == ("10008", None)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({}, "0"), ({"password": "wrong"}, "10008"), ({"orgId": "wrong"}, "10008"), ({"user": "nobody"}, "10008")],
)
async def test_the_password_login_wants_user_password_and_organisation(
    simulator: Simulator, session: aiohttp.ClientSession, region: Region, changed: dict[str, str], expected: str
) -> None:
    account = simulator.accounts[0]
    headers = {"user": account.user, "password": account.password, "orgId": account.org_id} | changed
    async with session.post(f"{region.ac_url}/ac/openapi/v2/tokens", headers=headers) as response:
        answer = await response.json()
    assert answer["code"] == expected
    if expected == "0":
        assert [row["clusterId"] for row in answer["data"]] == ["0", "11112"]


async def renew(session: aiohttp.ClientSession, region: Region, token: str) -> Any:
    async with session.post(f"{region.ac_url}/ac/openapi/v2/tokens/next", headers={"token": token}) as response:
        return await response.json()


async def test_renewal_is_possible_until_a_day_after_the_expiry(
    region: Region, session: aiohttp.ClientSession, hands: Any
) -> None:
    token = region.token("alice")
    region.batch = BatchSystem(replace(region.spec, users=()), 1, hands.time)  # two days of it are not the point
    hands.time += 2 * DAY
    assert (await renew(session, region, token))["code"] == "0"
    hands.time += 1
    assert (await renew(session, region, token))["code"] == "911406"


async def test_the_log_of_requests_gives_no_token_away(region: Region, session: aiohttp.ClientSession) -> None:
    token = region.token("alice")
    await ask(session, region, token)
    async with session.get(f"{region.hpc_url}/simulator/requests") as response:
        text = await response.text()
    assert fingerprint(token) in text
    assert token not in text
    assert token.split(".")[2] not in text


async def test_tokens_can_be_expired_over_http(region: Region, session: aiohttp.ClientSession) -> None:
    """As the quickstart does for its alert."""
    token = region.token("test")
    async with session.post(f"{region.hpc_url}/simulator/tokens/expire") as response:
        assert response.status == 204
    assert await code(session, region, token) == "911406"


@pytest.mark.parametrize("stamp", ["1699999700", "1700000300"])
async def test_the_clock_of_a_login_may_be_five_minutes_off(
    simulator: Simulator, session: aiohttp.ClientSession, hands: Any, stamp: str
) -> None:
    assert (await access_key_login(session, simulator, hands.time, timestamp=stamp))["code"] == "0"


async def test_tokens_of_an_earlier_run_with_the_same_seed_are_accepted(
    session: aiohttp.ClientSession, hands: Any
) -> None:
    """A configuration that `simulate` wrote works again after a restart."""
    earlier = Simulator(seed=5, wall_clock=hands).regions["kunshan"].token("test")
    async with Simulator(seed=5, wall_clock=hands) as simulator:
        assert await code(session, simulator.regions["kunshan"], earlier) == "0"
