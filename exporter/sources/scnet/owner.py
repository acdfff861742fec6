"""Requests about the user that a token belongs to, who may turn out to be another one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from exporter.errors import PermanentError, RejectedError
from exporter.sources.collector import Subject
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.subjects import OWNER
from exporter.text import Text

T = TypeVar("T")


class Owner:
    """The user that the token of a subject belongs to."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._user = subject.user
        self.token = region.tokens.of_user(subject.user)
        self.named = subject.configured != OWNER

    async def asked(self, request: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to a request, unless the subject is the token's own user and that is another by now.

        Raises PollError.
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
                    f"the token from {self.token.origin} is {owner}'s and lists only their jobs: give {self._user} a token of "
                    "their own under users, or list them as a member of a group",
                    f"{self.token.origin} 中的令牌属于 {owner}，只能列出其本人的作业：请在 users 中为 {self._user} 配置自己的令牌，"
                    "或将其列为用户组成员",
                )
            )
        users = self._region.cluster.users or ()
        return bool(owner) or any(user.name == self._user and (user.token or user.account) for user in users)

    async def _rebind_owner(self, owner: str) -> None:
        """Let a target of the right name take over from that of the user, if the token is no longer theirs."""
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
                    f"the token from {self.token.origin} does not say whose it is: list the users of {self._region.name} in "
                    "the configuration",
                    f"{self.token.origin} 中的令牌没有写明属于哪个用户：请在配置中列出 {self._region.name} 的 users",
                )
            )
        return owner
