"""``python -m bench._upkeep_ours URL USERS INTERVAL``: the longest block of the event loop while somebody keeps house.

The exporter polls all users in their rhythm; meanwhile its configuration is reloaded, a token changes, pages are asked for.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import aiohttp

from bench._exporter import configuration, running, serving
from bench._plan import Plan
from bench._watch import Watch
from exporter.app import Application
from exporter.cli.serve import collector_paused

# A token file is looked at every two seconds.
UNTIL_SEEN = 3.0


class Housekeeper:
    def __init__(self, app: Application, plan: Plan, url: str) -> None:
        self._app = app
        self._plan = plan
        self._url = url.removesuffix("/metrics")

    async def reload_of_the_same(self) -> None:
        await self._app.reload()

    async def reload_with_one_user_more(self) -> None:
        await self._reload(Plan(self._plan.url, self._plan.users + 1, self._plan.interval))

    async def reload_with_another_interval(self) -> None:
        await self._reload(Plan(self._plan.url, self._plan.users, self._plan.interval + 1))

    async def reload_without_the_region(self) -> None:
        await self._reload(Plan(self._plan.url, 1, self._plan.interval, source="other"))

    async def reload_with_the_region_again(self) -> None:
        await self._reload(self._plan)

    async def token_file_changed(self) -> None:
        (self._app.options.config_file.parent / "token").write_text("another", encoding="utf-8")
        await asyncio.sleep(UNTIL_SEEN)

    async def status_page(self) -> None:
        await self._get("/")

    async def status_of_1000_targets(self) -> None:
        await self._get("/api/v1/status")

    async def status_of_10000_targets(self) -> None:
        await self._get("/api/v1/status?limit=10000")

    async def _reload(self, plan: Plan) -> None:
        await asyncio.to_thread(self._app.options.config_file.write_text, configuration(plan), encoding="utf-8")
        await self._app.reload()

    async def _get(self, path: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(self._url + path) as answer:
            assert answer.status == 200
            await answer.read()


async def measure(plan: Plan) -> dict[str, float]:
    """The longest block by what happened, in milliseconds of processor time without a break."""
    results = {}
    async with running(plan) as app, serving(app) as url:
        app.around_reload = collector_paused
        keeper, watch = Housekeeper(app, plan, url), Watch()
        watching = asyncio.create_task(watch.run())
        happenings: list[Callable[[], Awaitable[None]]] = [
            keeper.reload_of_the_same,
            keeper.reload_with_one_user_more,
            keeper.reload_with_another_interval,
            keeper.token_file_changed,
            keeper.status_page,
            keeper.status_of_1000_targets,
            keeper.status_of_10000_targets,
            keeper.reload_without_the_region,
            keeper.reload_with_the_region_again,
        ]
        for happening in happenings:
            await asyncio.sleep(0.5)
            watch.reset()
            await happening()
            await asyncio.sleep(0.5)
            results[happening.__name__.replace("_", " ")] = watch.cpu * 1000
        watching.cancel()
    return results


if __name__ == "__main__":
    url, users, interval = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(Plan(url, int(users), float(interval))))))
