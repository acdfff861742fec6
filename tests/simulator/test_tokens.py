"""Who is let in: tokens, logins, renewals."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from exporter.simulator import BatchSystem, Quirks, Region, Simulator, default_regions
from exporter.simulator.scnet import signature
from exporter.simulator.tokens import fingerprint, sign, verify

DAY = 24 * 3600


@pytest.fixture
async def pair(hands: Any) -> AsyncIterator[Simulator]:
    """Two regions of one platform."""
    async with Simulator(default_regions(2), clock=hands, wall_clock=hands) as running:
        yield running


def claims_of(token: str) -> dict[str, str]:
    """What any client can read of a token."""
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


def test_signed_tokens_verify_and_changed_ones_do_not() -> None:
    token = sign({"computeUser": "王伟"}, b"key")
    assert verify(token, b"key") == {"computeUser": "王伟"}
    assert verify(token, b"other") is None
    head, body, tail = token.split(".")
    assert verify(f"{head}.{body[:-2]}AA.{tail}", b"key") is None
    for text in ("", ".", "..", "a.b.c", "令牌", token + "x", "\udcff"):
        assert verify(text, b"key") is None


async def test_a_good_token_is_let_in_and_others_are_refused(pair: Simulator, session: aiohttp.ClientSession) -> None:
    kunshan, xian = pair.regions.values()
    assert await code(session, kunshan, kunshan.token("test")) == "0"
    for token in ("", "nonsense", xian.token("test"), kunshan.token("test")[:-1]):
        assert await code(session, kunshan, token) == "911406"


@pytest.mark.parametrize(
    ("style", "status", "refusal"),
    [
        ("401", 401, "911406"),
        ("403", 403, "911406"),
        ("10008", 200, "10008"),
        ("10009", 200, "10009"),
        ("911406", 200, "911406"),
    ],
)
async def test_the_form_of_a_refusal_is_configurable(
    region: Region, session: aiohttp.ClientSession, style: str, status: int, refusal: str
) -> None:
    region.set_quirks(refusal_style=style)
    got, body = await ask(session, region, "nonsense")
    assert (got, body["code"]) == (status, refusal)


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


async def test_tokens_expire_at_command_over_http_too(region: Region, session: aiohttp.ClientSession) -> None:
    token = region.token("test")
    async with session.post(f"{region.hpc_url}/simulator/tokens/expire") as response:
        assert response.status == 204
    assert await code(session, region, token) == "911406"


async def test_a_revoked_token_is_refused_and_cannot_be_renewed(region: Region, session: aiohttp.ClientSession) -> None:
    token, other = region.token("test"), region.token("test")
    region.revoke(token)
    assert await code(session, region, token) == "911406"
    assert await code(session, region, other) == "0"
    assert (await renew(session, region, token))["code"] == "911406"


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


async def test_tokens_of_an_earlier_start_with_the_same_seed_still_work(
    session: aiohttp.ClientSession, hands: Any
) -> None:
    earlier = Simulator(seed=5, wall_clock=hands).regions["kunshan"].token("test")
    async with Simulator(seed=5, wall_clock=hands) as simulator:
        assert await code(session, simulator.regions["kunshan"], earlier) == "0"


async def test_the_claim_in_a_token_can_differ_from_the_regions_number(
    session: aiohttp.ClientSession, hands: Any
) -> None:
    async with Simulator(wall_clock=hands, quirks=Quirks(token_cluster_id="98765")) as simulator:
        region = simulator.regions["kunshan"]
        row = (await access_key_login(session, simulator, hands.time))["data"][1]
        assert (row["clusterId"], claims_of(row["token"])["clusterId"]) == ("11112", "98765")
        assert await code(session, region, row["token"]) == "0"


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


@pytest.mark.parametrize("stamp", ["1699999700", "1700000300"])
async def test_a_timestamp_may_be_five_minutes_off(
    simulator: Simulator, session: aiohttp.ClientSession, hands: Any, stamp: str
) -> None:
    assert (await access_key_login(session, simulator, hands.time, timestamp=stamp))["code"] == "0"


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


@pytest.mark.parametrize("form", ["text", "object", "list"])
async def test_renewal_answers_in_each_of_the_three_forms(
    region: Region, session: aiohttp.ClientSession, form: str
) -> None:
    region.set_quirks(renewal_form=form)
    data = (await renew(session, region, region.token("alice")))["data"]
    token = {"text": lambda: data, "object": lambda: data["token"], "list": lambda: data[0]["token"]}[form]()
    assert claims_of(token)["computeUser"] == "alice"
    assert await code(session, region, token) == "0"


async def test_renewal_is_possible_until_a_day_after_the_expiry(
    region: Region, session: aiohttp.ClientSession, hands: Any
) -> None:
    token = region.token("alice")
    region.batch = BatchSystem(replace(region.spec, users=()), 1, hands.time)  # two days of it are not the point
    hands.time += 2 * DAY
    assert (await renew(session, region, token))["code"] == "0"
    hands.time += 1
    assert (await renew(session, region, token))["code"] == "911406"


async def test_the_platforms_ac_address_serves_the_regions_that_the_tokens_belong_to(
    pair: Simulator, session: aiohttp.ClientSession
) -> None:
    """Renewals, member lists and the state, asked at the first region's address with the other one's token."""
    kunshan, xian = pair.regions.values()
    token = xian.token("test")
    renewed = (await renew(session, kunshan, token))["data"]
    assert claims_of(renewed)["clusterId"] == "11136"
    assert await code(session, xian, renewed) == "0"
    assert await code(session, kunshan, renewed) == "911406"
    assert await code(session, kunshan, token, "/ac/openapi/v2/tokens/state") == "0"
    members = "/ac/openapi/v2/clusters/{}/groups/533686286955839488/clusterUserNames/alice/jobs"
    assert await code(session, kunshan, token, members.format(11136)) == "0"
    assert await code(session, kunshan, token, members.format(11112)) == "10004"
    xian.expire_tokens()
    assert await code(session, kunshan, token, members.format(11136)) == "911406"
    assert claims_of((await renew(session, kunshan, token))["data"])["clusterId"] == "11136"


async def test_the_state_of_a_token(region: Region, session: aiohttp.ClientSession) -> None:
    path = "/ac/openapi/v2/tokens/state"
    assert (await ask(session, region, region.token("alice"), path))[1]["data"] == "token is valid"
    assert await code(session, region, "nonsense", path) == "911406"


async def test_the_centre_names_the_addresses_enabled_and_disabled(
    simulator: Simulator, region: Region, session: aiohttp.ClientSession, hands: Any
) -> None:
    path = "/ac/openapi/v2/center"
    data = (await ask(session, region, region.token("alice"), path))[1]["data"]
    assert (data["id"], data["clusterUserInfo"]) == (11112, {"userName": "alice", "homePath": "/public/home/alice"})
    assert set(data) >= {"name", "hpcUrls", "efileUrls", "aiUrls", "ingressUrls", "eshellUrls"}
    enabled = [url["url"] for url in data["hpcUrls"] if url["enable"] in ("true", True)]
    assert enabled[0] == f"{region.hpc_url}/hpc"
    assert {type(url["enable"]) for url in data["hpcUrls"]} == {str, bool}
    platform = (await access_key_login(session, simulator, hands.time))["data"][0]["token"]
    assert await code(session, region, platform, path) == "10001"
    assert await code(session, region, "nonsense", path) == "911406"


async def test_the_log_of_requests_gives_no_token_away(region: Region, session: aiohttp.ClientSession) -> None:
    token = region.token("alice")
    await ask(session, region, token)
    async with session.get(f"{region.hpc_url}/simulator/requests") as response:
        text = await response.text()
    assert fingerprint(token) in text
    assert token not in text
    assert token.split(".")[2] not in text
