"""Requests for the user that a token belongs to, which can change when the token is replaced."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import msgspec

from exporter.errors import PermanentError, RejectedError
from exporter.sources.collector import Collector, Found, Generate, RowPolling, Subject
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.subjects import OWNER
from exporter.text import Text

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")


class Owner:
    """The user that the token of a subject belongs to."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._user = subject.user
        self.token = region.tokens.of_user(subject.user)
        self.named = subject.configured != OWNER

    @property
    def _token(self) -> Text:
        """The token in words: one that stands in the configuration itself, or from elsewhere."""
        origin = self.token.origin
        if origin == "token":
            return Text("the token in the configuration", "配置中的令牌")
        return Text(f"the token from {origin}", f"{origin} 中的令牌")

    async def asked(self, request: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to a request. Raises PollError, also where the token now belongs to another user than expected.

        That can happen where the configuration names no users, and the subject is the owner of the token.
        """
        if self.named:
            return await request()
        await self._rebind_owner(await self.name())
        try:
            found = await request()
        except PermanentError:
            await self._rebind_owner(self.token.issued.owner)
            raise
        # A token that replaced a rejected one may be another user's: its answer says nothing about this one.
        await self._rebind_owner(self.token.issued.owner)
        return found

    async def mine(self) -> bool:
        """Whether the token is known to be the subject's; False where its owner is not known.

        Raises PollError for another's.
        """
        await self.token.current()
        owner = self.token.issued.owner
        if owner and owner != self._user:
            raise RejectedError(
                Text(
                    f"{self._token.en} is {owner}'s and lists only their jobs: give {self._user} a token of their own under "
                    "users, or list them as a member of a group",
                    f"{self._token.zh}属于 {owner}，只能列出其本人的作业：请在 users 中为 {self._user} 配置自己的令牌，"
                    "或将其列为用户组成员",
                )
            )
        users = self._region.cluster.users or ()
        return bool(owner) or any(user.name == self._user and (user.token or user.account) for user in users)

    async def _rebind_owner(self, owner: str) -> None:
        """Replace the target by one for the new `owner`, if the token is no longer the user's."""
        if owner in ("", self._user):
            return
        self._region.context.targets_changed()
        # The poll is cancelled here, unless a reload was faster.
        await asyncio.sleep(0)
        raise RejectedError(
            Text(
                f"the token is no longer that of {self._user} but of {owner}",
                f"令牌的用户已由 {self._user} 变为 {owner}",
            )
        )

    async def name(self) -> str:
        """Return the scheduler user that the token belongs to.

        Where it does not say, the first user that is listed without a token of their own. Raises PollError where there
        is none.
        """
        await self.token.current()
        users = (user.name for user in self._region.cluster.users or ())
        without_own = (user for user in users if self._region.tokens.of_user(user) is self.token)
        owner = self.token.issued.owner or next(without_own, "")
        if not owner:
            raise RejectedError(
                Text(
                    f"{self._token.en} does not say whose it is: list the users of {self._region.name} in the configuration",
                    f"{self._token.zh}没有写明属于哪个用户：请在配置中列出 {self._region.name} 的 users",
                )
            )
        return owner


class OfUser(RowPolling[R]):
    """Polls with the owner of the token as ``{user}`` in the path where the subject is no user.

    With ``{scheduler_id}`` in the path there is a request for each scheduler of the region, and a subject with this
    parameter. All of them make one poll: of an amount that two schedulers tell differently nothing says which is right.
    """

    def __init__(
        self, region: Region, declared: Collector, subject: Subject, row: type[R], generate: Generate[R]
    ) -> None:
        super().__init__(region, declared, subject, row, generate)
        self._region = region
        self._owner = Owner(region, subject)
        self._of_region = subject.configured is None and not subject.user

    async def poll(self) -> Found:
        if self._of_region:
            return await self._ask(await self._owner.name())
        return await self._owner.asked(lambda: self._ask(self._subject.user))

    async def _ask(self, user: str) -> Found:
        answers = []
        for scheduler in await self._schedulers():
            params = {**self._subject.params, "user": user, **scheduler}
            subject = replace(self._subject, params=params)
            rows = await self._region.endpoint(self._collector, subject).get(self._rows)
            answers.append((subject, rows))
        samples = self._samples(answers)
        return Found(samples, sum(rows.unreadable for _, rows in answers))

    async def _schedulers(self) -> list[dict[str, str]]:
        """Return the parameters of each request."""
        if "{scheduler_id}" not in self._collector.path:
            return [{}]
        return [{"scheduler_id": scheduler_id} for scheduler_id in await self._region.scheduler_ids.get()]
