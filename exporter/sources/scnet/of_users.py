"""Polls of declared collectors whose path names a user that only the token may tell, or each scheduler of the region."""

from dataclasses import replace
from typing import TypeVar

import msgspec

from exporter.sources.collector import Collector, Found, Generate, RowPolling, Subject
from exporter.sources.scnet.owner import Owner
from exporter.sources.scnet.region import Region

R = TypeVar("R", bound=msgspec.Struct)


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
        return Found(samples, sum(rows.rejected for _, rows in answers))

    async def _schedulers(self) -> list[dict[str, str]]:
        """Return the parameters of each request."""
        if "{scheduler_id}" not in self._collector.path:
            return [{}]
        return [{"scheduler_id": scheduler_id} for scheduler_id in await self._region.scheduler_ids.get()]
