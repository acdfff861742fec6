"""The platform of simulated SCNet regions: logins, accounts, groups, and all that its own token is for.

Every address of the platform and of its regions serves the AC interface, as clients use either;
`Quirks.strict_platform` leaves to the regions' addresses only the calls that belong to one region.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from aiohttp import web

from exporter.simulator import joblists
from exporter.simulator.api_base import Answer, RefusedError, SimulatedApi, World
from exporter.simulator.quirks import Quirks, Writer, refusal
from exporter.simulator.scnet import Region
from exporter.simulator.spec import RegionSpec
from exporter.simulator.tokens import (
    PLATFORM_CLUSTER_ID,
    Account,
    Directory,
    access_key_accepted,
    password_accepted,
    token_of,
)


def balance_of(account: Account, regions: Iterable[Region]) -> float:
    """Return the yuan that an account has left."""
    return account.balance - sum(region.charged(account) for region in regions)


class AcInterface:
    """The AC interface as one address serves it: the platform, or the region `home`."""

    def __init__(
        self,
        api: SimulatedApi,
        directory: Directory,
        regions: Sequence[Region],
        writer: Writer,
        home: Region | None = None,
    ) -> None:
        self._api = api
        self._directory = directory
        self._regions = regions
        self._writer = writer
        self._home = home

    def routes(self) -> list[web.RouteDef]:
        members = "/ac/openapi/v2/clusters/{cluster_id}/groups/{group_id}/clusterUserNames/{user}/jobs"
        return [
            web.post(
                "/api/user/v3/tokens", self._platforms("login", partial(self._login, accepted=access_key_accepted))
            ),
            web.post(
                "/ac/openapi/v2/tokens", self._platforms("login", partial(self._login, accepted=password_accepted))
            ),
            web.get("/ac/openapi/v2/user", self._platforms("account", self._user)),
            web.get("/ac/openapi/v2/groupmembers", self._platforms("groups", self._groups)),
            web.get(members, self._platforms("member_jobs", self._member_jobs)),
            web.post(
                "/ac/openapi/v2/jobs/monitor/page-list",
                self._platforms("live_jobs", partial(self._page, rows_of=joblists.live_rows)),
            ),
            web.post(
                "/ac/openapi/v2/jobs/history/page-list",
                self._platforms("platform_history", partial(self._page, rows_of=joblists.ended_rows)),
            ),
            web.get("/ac/openapi/v2/tokens/state", self._api.handler("state", self._token_state)),
            web.post("/ac/openapi/v2/tokens/next", self._api.handler("next", self._renew)),
            web.get("/ac/openapi/v2/center", self._api.handler("center", self._center)),
        ]

    def _platforms(self, endpoint: str, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap the handler of a call that strictly belongs to the platform's own address."""

        async def strictly(request: web.Request) -> web.Response:
            if self._writer.quirks.strict_platform and self._home is not None:
                return web.Response(status=404, text="404: Not Found")
            return await answer(request)

        return self._api.handler(endpoint, strictly)

    # Callers.

    def platform_caller(self, request: web.Request) -> Account:
        """Return the account whose platform token this is. Raises RefusedError."""
        verdict, claims = self._directory.office.check(token_of(request), PLATFORM_CLUSTER_ID)
        account = self._directory.account(claims.user) if claims else None
        if verdict != "valid" or account is None:
            raise RefusedError(self._api.refuse_token())
        return account

    def _has_platform_token(self, request: web.Request) -> bool:
        _, claims = self._directory.office.check(token_of(request), PLATFORM_CLUSTER_ID)
        return claims is not None and claims.cluster_id == PLATFORM_CLUSTER_ID

    def _region_of(self, request: web.Request) -> Region | None:
        """Return the region that a token is for, else that of this address, which is None for the platform."""
        _, claims = self._directory.office.check(token_of(request), PLATFORM_CLUSTER_ID)
        if claims is None or (self._home is not None and self._home.claimed_id == claims.cluster_id):
            return self._home
        meant = (region for region in self._regions if region.claimed_id == claims.cluster_id)
        return next(meant, self._home)

    def _region(self, request: web.Request) -> Region:
        region = self._region_of(request)
        if region is None:
            raise RefusedError(self._api.refuse_token())
        return region

    # Logins and tokens.

    async def _login(
        self, request: web.Request, accepted: Callable[[Account, Mapping[str, str], float], bool]
    ) -> web.Response:
        account = self._directory.account(request.headers.get("user", ""))
        if account is None or not accepted(account, request.headers, self._api.wall_clock()):
            raise self._api.error("10008")
        return self._api.answer(self._login_rows(account))

    def _login_rows(self, account: Account) -> list[dict[str, str | None]]:
        """One row a region behind the platform's own: a client that takes the first row takes the wrong one."""
        platform = self._directory.office.issue(compute_user="", user=account.user, cluster_id=PLATFORM_CLUSTER_ID)
        rows: list[dict[str, str | None]] = [{"clusterName": "ac", "clusterId": PLATFORM_CLUSTER_ID, "token": platform}]
        return rows + [row for region in self._regions if (row := region.login_row(account))]

    async def _token_state(self, request: web.Request) -> web.Response:
        if self._has_platform_token(request):
            self.platform_caller(request)
        else:
            self._region(request).caller(request)
        return self._api.answer("token is valid")

    async def _renew(self, request: web.Request) -> web.Response:
        region = None if self._has_platform_token(request) else self._region_of(request)
        scope = region.claimed_id if region else PLATFORM_CLUSTER_ID
        token = self._directory.office.renew(token_of(request), scope)
        if token is None:
            return self._api.refuse_token()
        form = self._writer.quirks.renewal_form
        return self._api.answer({"text": token, "object": {"token": token}, "list": [{"token": token}]}[form])

    # Regions, accounts and groups.

    async def _center(self, request: web.Request) -> web.Response:
        if self._has_platform_token(request):
            raise self._api.error("10001")
        region = self._region(request)
        return self._api.answer(region.center(region.caller(request)))

    async def _user(self, request: web.Request) -> web.Response:
        account = self.platform_caller(request)
        for region in self._regions:
            await region.advance()
        balance = balance_of(account, self._regions)
        return self._api.answer(
            {
                "accountName": account.user,
                "userName": account.user,
                "fullName": account.full_name,
                "accountStatus": "Normal" if balance >= 0 else "Owe",
                "accountBalance": f"{balance:.2f}",
                "computerCenter": ",".join(region.spec.title or region.name for region in self._regions),
            }
        )

    async def _groups(self, request: web.Request) -> web.Response:
        account = self.platform_caller(request)
        rows = [row for region in self._regions for row in region.group_rows(account)]
        return self._api.answer(rows or None)

    async def _member_jobs(self, request: web.Request) -> web.Response:
        region, user = self._asks_for_members(request)
        await region.advance()
        return region.members(request, user)

    def _asks_for_members(self, request: web.Request) -> tuple[Region, str]:
        """Return the region whose member is meant, and which of its users asks. Either token says so."""
        if not self._has_platform_token(request):
            if self._writer.quirks.strict_platform:
                raise RefusedError(self._api.refuse_token())
            region = self._region(request)
            return region, region.caller(request).compute_user
        account = self.platform_caller(request)
        wanted = request.match_info["cluster_id"]
        for region in self._regions:
            if str(region.cluster_id) == wanted:
                if region.name not in account.users:
                    raise self._api.error("10008")
                return region, account.users[region.name]
        raise self._api.error("10004")

    async def _page(self, request: web.Request, rows_of: "joblists.RowsOf") -> web.Response:
        """Answer with a page of the rows of all regions."""
        account, quirks = self.platform_caller(request), self._writer.quirks
        try:
            wanted = await request.json()
        except ValueError:
            wanted = None
        if not isinstance(wanted, dict):
            raise self._api.error("10003")
        of_group = bool(wanted.get("showGroupJobs"))
        if of_group and quirks.show_group_jobs == "refused":
            raise self._api.error("10009")
        rows: list[joblists.DatedRow] = []
        for region in self._regions:
            users = region.visible_to(account, of_group=of_group and quirks.show_group_jobs == "granted")
            if users and str(wanted.get("clusterId") or region.cluster_id) == str(region.cluster_id):
                await region.advance()
                rows += rows_of(region, users, wanted)
        return self._api.answer(joblists.page(rows, wanted, quirks))


class Platform(SimulatedApi):
    """The platform at its own address, `url`. It has no jobs itself."""

    token_header = "token"  # noqa: S105 - a header's name
    writer: Writer

    def __init__(self, directory: Directory, regions: Sequence[Region], world: World, *, quirks: Quirks) -> None:
        super().__init__("platform", RegionSpec("platform", 0, (), (), (), warm_up=0.0), world)
        self.url = ""
        self.writer = Writer(quirks)
        self._directory = directory
        self._regions = regions
        for region in regions:
            region.ac_routes = AcInterface(region, directory, regions, region.writer, region).routes()

    def set_quirks(self, **changes: Any) -> None:
        """Change some of the quirks."""
        self.writer.quirks = replace(self.writer.quirks, **changes)

    def set_login(self, account: Account) -> None:
        """Replace what is known of a login, by its user."""
        accounts = self._directory.accounts
        accounts[:] = [account if each.user == account.user else each for each in accounts]

    def pay(self, user: str, yuan: float) -> None:
        """Add to the balance of the login `user`."""
        account = self._directory.account(user)
        assert account is not None  # noqa: S101 - a mistake of the caller's
        self.set_login(replace(account, balance=account.balance + yuan))

    def balance(self, user: str) -> float:
        """Return the yuan that the login `user` has left."""
        account = self._directory.account(user)
        assert account is not None  # noqa: S101 - as above
        return balance_of(account, self._regions)

    def servers(self) -> list[list[web.RouteDef]]:
        return [AcInterface(self, self._directory, self._regions, self.writer).routes()]

    def listens_at(self, *urls: str) -> None:
        self.url = urls[0]

    def expire_tokens(self) -> None:
        """Every platform token issued so far is expired from now on."""
        self._directory.office.expire(PLATFORM_CLUSTER_ID)

    def refuse_token(self) -> web.Response:
        return refusal(self.writer)

    def concerned(self, request: web.Request) -> tuple[str, None]:
        return self._directory.caller(request), None
