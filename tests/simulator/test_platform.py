"""The platform of the simulator at its own address.

Who am I, groups, member lists with its own token, and the stricter mode.
"""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from exporter.simulator import Account, Simulator, default_regions
from exporter.simulator.tokens import PLATFORM_CLUSTER_ID

LAB = Account("lab", "ak", "sk", "pw", users={"kunshan": "test", "xian": "bob"}, full_name="李四", balance=-3.5)
ALONE = Account("alone", "ak2", "sk2", "pw2", users={"xian": "alice"})
NOBODY = Account("nobody", "ak3", "sk3", "pw3")
MEMBERS = "/ac/openapi/v2/clusters/{}/groups/533686286955839488/clusterUserNames/alice/jobs"
USER, GROUPS = "/ac/openapi/v2/user", "/ac/openapi/v2/groupmembers"


@pytest.fixture
async def pair(hands: Any) -> AsyncIterator[Simulator]:
    async with Simulator(default_regions(2), accounts=[LAB, ALONE, NOBODY], clock=hands, wall_clock=hands) as running:
        yield running


class Client:
    """One account's tokens, and the codes of what it asks."""

    def __init__(self, session: aiohttp.ClientSession, simulator: Simulator, account: Account) -> None:
        self._session = session
        self._simulator = simulator
        self._account = account
        self.tokens: dict[str, str] = {}

    async def login(self) -> "Client":
        headers = {"user": self._account.user, "password": self._account.password, "orgId": self._account.org_id}
        url = f"{self._simulator.platform.url}/ac/openapi/v2/tokens"
        async with self._session.post(url, headers=headers) as response:
            self.tokens = {row["clusterId"]: row["token"] for row in (await response.json())["data"]}
        return self

    async def ask(self, path: str, cluster_id: str = PLATFORM_CLUSTER_ID, at: str = "", method: str = "GET") -> Any:
        url = (at or self._simulator.platform.url) + path
        async with self._session.request(method, url, headers={"token": self.tokens[cluster_id]}) as response:
            return await response.json() if response.content_type == "application/json" else response.status

    async def code(self, *args: Any, **keywords: Any) -> str:
        answer = await self.ask(*args, **keywords)
        return str(answer["code"] if isinstance(answer, dict) else answer)


async def test_the_platform_says_who_asks(pair: Simulator, session: aiohttp.ClientSession) -> None:
    data = (await (await Client(session, pair, LAB).login()).ask(USER))["data"]
    assert data == {
        "accountName": "lab", "userName": "lab", "fullName": "李四", "accountStatus": "Owe",
        "accountBalance": "-3.50", "computerCenter": "华东一区【昆山】,西北一区【西安】",
    }  # fmt: skip


async def test_an_administrator_sees_groups_with_members_others_their_own_row(
    pair: Simulator, session: aiohttp.ClientSession
) -> None:
    rows = (await (await Client(session, pair, LAB).login()).ask(GROUPS))["data"]
    assert [(row["groupDisplayName"], row["clusterId"], row["clusterUserName"]) for row in rows] == [
        ("chemistry", 11112, "test"),
        ("physics", 11112, "test"),
        ("physics", 11136, "bob"),
    ]
    infos = rows[0]["groupUsersInfos"]
    assert [(info["userName"], info["clusterUserName"]) for info in infos] == [
        ("lab", "test"),
        ("alice", "alice"),
        ("王伟", "王伟"),
    ]
    assert "groupUsersInfos" not in rows[2]
    alone = await Client(session, pair, ALONE).login()
    assert [row["groupDisplayName"] for row in (await alone.ask(GROUPS))["data"]] == ["chemistry"]
    assert (await (await Client(session, pair, NOBODY).login()).ask(GROUPS))["data"] is None


async def test_members_stand_in_rows_of_their_own_and_without_the_regions_name_if_so_told(
    pair: Simulator, session: aiohttp.ClientSession
) -> None:
    client = await Client(session, pair, LAB).login()
    for region in pair.regions.values():
        region.set_quirks(members_of_groups="flat", members_named_by="platform")
    rows = (await client.ask(GROUPS))["data"]
    assert [row["userName"] for row in rows if row["groupDisplayName"] == "chemistry"] == ["lab", "alice", "王伟"]
    assert not [row for row in rows if "clusterUserName" in row or "groupUsersInfos" in row]


@pytest.mark.parametrize(
    ("path", "platform", "region"),
    [
        (USER, "0", "911406"),
        (GROUPS, "0", "911406"),
        ("/ac/openapi/v2/tokens/state", "0", "0"),
        ("/ac/openapi/v2/center", "10001", "0"),
        (MEMBERS.format(11112), "0", "0"),
        (MEMBERS.format(11136), "10008", "10004"),
        (MEMBERS.format(99), "10004", "10004"),
    ],
)
async def test_each_call_takes_its_token_at_any_address(
    pair: Simulator, session: aiohttp.ClientSession, path: str, platform: str, region: str
) -> None:
    client = await Client(session, pair, LAB).login()
    for at in ("", pair.regions["kunshan"].ac_url):
        assert await client.code(path, at=at) == platform
        assert await client.code(path, "11112", at=at) == region


async def test_each_kind_of_token_is_renewed(pair: Simulator, session: aiohttp.ClientSession) -> None:
    client = await Client(session, pair, LAB).login()
    for cluster_id, path in (("0", USER), ("11136", "/ac/openapi/v2/center")):
        old = client.tokens[cluster_id]
        for at in ("", pair.regions["kunshan"].ac_url):
            client.tokens[cluster_id] = (await client.ask("/ac/openapi/v2/tokens/next", cluster_id, at, "POST"))["data"]
            assert client.tokens[cluster_id] != old
            assert await client.code(path, cluster_id) == "0"
    pair.platform.expire_tokens()
    assert await client.code(USER) == "911406"


async def test_strictly_platform_calls_work_at_its_address_and_with_its_token_only(
    pair: Simulator, session: aiohttp.ClientSession
) -> None:
    pair.set_quirks(strict_platform=True)
    client = await Client(session, pair, LAB).login()
    kunshan = pair.regions["kunshan"].ac_url
    for path in (USER, GROUPS, MEMBERS.format(11112)):
        assert await client.code(path) == "0"
        assert await client.code(path, "11112") == "911406"
        assert await client.code(path, at=kunshan) == "404"
    assert await client.code("/ac/openapi/v2/tokens", at=kunshan, method="POST") == "404"
    assert await client.code("/ac/openapi/v2/center", "11112", kunshan) == "0"
