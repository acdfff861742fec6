"""The status page in a real browser."""

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from exporter.cli import simulate
from exporter.simulator import Simulator, default_projects, default_regions
from tests.e2e.process import eventually, serving
from tests.e2e.region import cluster, configuration, envelope, job, queue, scripted_region
from tests.support.browser import DESKTOP, PHONE, Tab, chromium, tab
from tests.support.face import guarded
from tests.support.installations import (
    DENIED,
    REFUSED,
    Installation,
    StagedFace,
    empty,
    half_broken,
    healthy,
    huge,
    some_jobs,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;\u202eevil"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def large() -> Installation:
    """Two thousand members in six regions."""
    made = Installation()
    for number in range(2000):
        made.add_member(f"region-{number % 6 + 1}", f"group{number % 12:02}/user{number // 2:05}")
    return made


def with_jobs() -> Installation:
    """Single jobs, some of which have long names."""
    made = healthy()
    for region, user, name in (("kunshan", "alice", "relax"), ("hefei", "王伟", "a-job-with-a-name" * 9)):
        jobs = [
            msgspec.structs.replace(job, id=f"{job.id}{number}", name=name)
            for number in range(9)
            for job in some_jobs(made.now)
        ]
        made.add_jobs(region, f"physics/{user}", *jobs)
    return made


def one_dead() -> Installation:
    """One region without an answer, one user of another frozen."""
    made = healthy()
    for status in made.statuses:
        if status.key.source == "xian":
            status.up, status.stale, status.last_error, status.last_error_at = False, True, REFUSED, made.now - 20
            made.figures.hide(status.key)
    made.add_user("hefei", "dave", "stale", error=DENIED)
    return made


class Stage:
    """A web server, and the installation that it tells about."""

    def __init__(self, face: StagedFace, url: str) -> None:
        self._face = face
        self.url = url

    def show(self, installation: Installation) -> str:
        self._face.installation = installation
        return self.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    face = StagedFace(empty())
    async with guarded(face=face) as served:
        yield Stage(face, f"http://127.0.0.1:{served.port}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tabs(browser: Browser, stage: Stage) -> AsyncIterator[dict[str, Tab]]:
    """Yield a tab in light colours and English, and one in dark colours and Chinese: each new one costs half a second."""
    async with (
        tab(browser, stage.url, color_scheme="light", locale="en") as light,
        tab(browser, stage.url, color_scheme="dark", locale="zh-CN") as dark,
    ):
        yield {"light": light, "dark": dark}


async def test_numbers_of_a_real_exporter_change_by_themselves(browser: Browser, tmp_path: Path) -> None:
    """It polls a simulated region in which an hour passes every few seconds."""
    async with Simulator(default_regions(1), seed=1, speed_up=600, projects=default_projects(1)) as simulator:
        text = simulate.configuration(simulator).replace("interval: 5s", "interval: 1s")
        async with serving(tmp_path, text) as exporter, tab(browser, exporter.url) as shown:
            await exporter.ready()
            await shown.page.clock.install()
            await shown.open()
            await expect(shown.page.locator(".headline").first).to_have_text(re.compile(r"All \d+ targets work"))
            figures = "[...document.querySelectorAll('.card dd')].map(e => e.textContent).join()"
            known = await shown.page.evaluate(figures)

            async def changed() -> bool:
                await shown.page.clock.fast_forward(6000)
                return bool(await shown.page.evaluate(figures) != known)

            await eventually(changed, "another number")


async def test_it_filters_and_sorts_in_place(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(healthy())) as shown:
        await shown.open("/?view=targets")
        page, told = shown.page, shown.page.locator(".shown")
        await page.evaluate("document.body.dataset.loaded = 'once'; window.loaded = 'once'")
        await page.fill("#filter", "ALICE chemistry")
        await expect(told).to_have_text("3 of 35 rows")
        assert await shown.column("target") == ["chemistry/alice"] * 3
        await page.fill("#filter", "no such thing")
        await expect(page.locator(".empty")).to_have_text("Nothing matches the filter.")
        await page.fill("#filter", "")
        await expect(told).to_have_text("35 rows")
        head = page.locator("th.target")
        for order in ("ascending", "descending"):
            await page.click("th.target a")
            await expect(head).to_have_attribute("aria-sort", order)
        targets = await shown.column("target")
        assert (targets[0], targets[-1]) == ("王伟", "hefei")
        await page.click("#tabs a >> text=Queues")
        await expect(told).to_have_text("32 rows")
        running = [int(text.replace("–", "-1")) for text in await shown.column("running")]
        assert running == sorted(running, reverse=True)
        await page.select_option("#source", "driving")
        await expect(told).to_have_text("2 of 32 rows")
        assert sorted(await shown.column("queue")) == ["INTERNAL", "PROCESSOR"]
        await page.click(".card h3 a >> nth=0")
        await expect(page.locator("#source")).to_have_value("kunshan")
        await page.go_back()
        await expect(page.locator("#source")).to_have_value("driving")
        await expect(told).to_have_text("2 of 32 rows")
        assert await page.evaluate("window.loaded") == "once"


async def test_the_address_holds_what_was_chosen_for_the_other_language_too(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(healthy())) as shown:
        await shown.open()
        page = shown.page
        await page.click("#tabs a >> text=Queues")
        # The list before it has a column of this name, too.
        await page.wait_for_selector("table.queues")
        await page.click("th.queued a")
        await page.fill("#filter", "alice")
        await page.wait_for_url(re.compile(r"\?(?=.*view=queues)(?=.*sort=-queued)(?=.*filter=alice)"))
        await expect(page.locator("#languages a[lang=zh]")).to_have_attribute("href", re.compile("filter=alice"))
        await page.click("#languages a[lang=zh]")
        await page.wait_for_selector("html.alive[lang=zh]")
        await expect(page.locator("#tabs [aria-current]")).to_contain_text("队列")
        await expect(page.locator("th.queued")).to_have_attribute("aria-sort", "descending")
        assert await shown.column("user") == ["alice"] * 6
        assert await page.input_value("#filter") == "alice"
    async with tab(browser, stage.url, locale="zh-CN") as shown:
        await shown.open()
        assert await shown.text(".headline") == "全部 35 个目标正常"


async def test_what_is_typed_while_an_answer_is_on_its_way_is_kept(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(healthy())) as shown:
        await shown.open()
        page, let_go = shown.page, asyncio.Event()

        async def hold(route: Route) -> None:
            await let_go.wait()
            await route.continue_()

        await page.click("#tabs a >> text=Queues")
        await page.wait_for_selector("table.queues th.queued a")
        await page.route("**/*sort=-queued*", hold)
        await page.click("th.queued a")
        await page.fill("#filter", "alice")
        let_go.set()
        await page.wait_for_url(re.compile(r"\?(?=.*view=queues)(?=.*sort=-queued)(?=.*filter=alice)"))
        assert await page.input_value("#filter") == "alice"


async def test_it_can_be_used_from_the_keyboard(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(half_broken())) as shown:
        await shown.open("/?view=targets")
        page, seen = shown.page, []
        for _ in range(50):
            await page.keyboard.press("Tab")
            seen.append(
                await page.evaluate(
                    "(e => e.id || e.className || e.parentNode.id || e.localName)(document.activeElement)"
                )
            )
        assert seen[0] == "skip"
        assert {"tabs", "filter", "state", "source", "summary"} <= set(seen)
        await page.focus("td summary >> nth=1")
        await page.keyboard.press("Enter")
        await expect(page.locator("td dl >> nth=1")).to_contain_text("the token from token_file")
        await page.keyboard.press("Escape")
        await expect(page.locator("td dl >> nth=1")).to_be_hidden()
        assert await page.evaluate("document.activeElement.closest('td')?.className") == "target"


async def test_an_update_leaves_the_reader_alone(browser: Browser, stage: Stage) -> None:
    """Focus, scroll position, what is open, what is typed and what is selected stay, even where rows change places."""
    installation = half_broken()
    async with tab(browser, stage.show(installation)) as shown:
        page = shown.page
        await page.clock.install()
        await shown.open("/?view=targets")
        await page.click("details.notice summary")
        row = page.locator("tr", has_text="kunshan").filter(has_text="physics/bob")
        await row.locator("summary").click()
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('.error'))")
        selected = await page.evaluate("getSelection().toString()")
        assert await page.evaluate("scrollY") > 0
        installation.add("a", "schedulers", "", "stale")
        installation.statuses.insert(0, installation.statuses.pop())
        (changed,) = [s for s in installation.statuses if s.key == ("kunshan", "member_jobs", "physics/bob")]
        changed.up, changed.stale = False, True
        await page.clock.fast_forward(6000)
        await expect(page.locator("#verdict .detail")).to_have_text("19 of 30 targets have a problem")
        await expect(row).to_have_class("stale")
        await expect(row.locator("dl")).to_be_visible()
        await expect(page.locator("details.notice ul")).to_be_visible()
        focused = "document.activeElement.localName + ' ' + document.activeElement.textContent"
        assert await page.evaluate(focused) == "summary physics/bob"
        assert await page.evaluate("getSelection().toString()") == selected
        assert await page.evaluate("scrollY") > 0
        await page.focus(".card a")
        name = await page.evaluate(focused)
        async with page.expect_response(re.compile(r"\d/(\?.*)?$")):
            await page.clock.fast_forward(6000)
        assert await page.evaluate(focused) == name


async def test_everything_works_without_javascript(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(huge(1000)), java_script_enabled=False) as shown:
        page, rows = shown.page, shown.page.locator("tbody tr")

        async def follow(selector: str) -> None:
            async with page.expect_navigation():
                await page.click(selector)

        await page.goto(f"{stage.url}/?view=targets")
        assert await shown.text("#verdict .detail") == "1 of 1,000 targets has a problem"
        assert await rows.count() == 100
        await follow("a[rel=next]")
        assert "101–200 of 1,000" in await shown.text(".pager")
        await follow("#tabs a >> text=Members")
        await follow("th.user a")
        assert (await shown.column("user"))[0] == "user00000"
        await page.fill("#filter", "user0004")
        await page.select_option("#source", "region-1")
        await follow("form button")
        assert await shown.column("user") == ["user00040"]
        await follow("#languages a[lang=zh]")
        assert "个异常" in await shown.text("#verdict .detail")
        assert await shown.column("user") == ["user00040"]
        stage.show(half_broken())
        await page.goto(f"{stage.url}/?view=targets")
        await page.click("td summary >> nth=0")
        assert "was rejected" in await shown.text("td dl")


async def test_names_from_upstream_are_text(browser: Browser, tmp_path: Path) -> None:
    answers: dict[Any, Any] = {
        "queue_jobs": envelope([queue(HOSTILE, R=1)]),
        "member_jobs": envelope([job("1", HOSTILE)]),
        "schedulers": envelope(f"rejected {HOSTILE}", "10003", f"wrong {HOSTILE}"),
    }
    async with scripted_region(answers) as region:
        members = [{"group_id": "1", "group": HOSTILE.replace("\u202e", ""), "users": ["test"]}]
        text = configuration(cluster(region.url, members=members))
        async with serving(tmp_path, text) as exporter, tab(browser, exporter.url) as shown:
            await exporter.ready()
            await shown.open("/?view=queues")
            assert await shown.column("queue") == [HOSTILE]
            await shown.page.click("#tabs a >> text=Members")
            await expect(shown.page.locator("td.group")).to_contain_text("<img")
            await shown.page.click("#tabs a >> text=Targets")
            await shown.page.click("table.targets tr.stale summary")
            assert "<img src=x" in await shown.text("tr.stale dl")
            assert await shown.page.locator("img").count() == 1


@pytest.mark.parametrize(
    ("make", "view", "look"),
    [
        (empty, "", "light desktop"),
        (healthy, "", "light desktop"),
        (healthy, "people", "dark phone"),
        (one_dead, "", "light desktop phone"),
        (half_broken, "targets", "dark desktop phone"),
        (half_broken, "queues", "light phone"),
        (large, "", "dark desktop phone"),
        (with_jobs, "jobs", "light desktop"),
        (with_jobs, "jobs", "dark phone"),
    ],
)
async def test_it_looks_right(tabs: dict[str, Tab], stage: Stage, make: Any, view: str, look: str) -> None:
    """Nothing sticks out, nothing is a barrier, also with details open; and there is a picture."""
    colours, *sizes = look.split()
    shown = tabs[colours]
    stage.show(make())
    await shown.open(f"/?view={view}")
    if make is half_broken and view == "targets":
        await shown.page.click("td summary >> nth=0")
    for size in sizes:
        await shown.page.set_viewport_size(PHONE if size == "phone" else DESKTOP)  # type: ignore[arg-type]
        await shown.screenshot(f"{make.__name__}-{view or 'first'}-{colours} {size}")
        assert await shown.sticks_out() <= 0
        assert await shown.page.evaluate("document.documentElement.scrollHeight") < 15_000
        assert await shown.broken() == []
    assert await shown.violations() == []
    assert shown.complaints == []


async def test_ten_thousand_targets_are_shown_in_pages(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(huge())) as shown:
        await shown.open("/?view=targets")
        page, pager = shown.page, shown.page.locator(".pager span")
        assert "10,000" in await shown.text("#tabs a >> text=Targets")
        assert await shown.text("#verdict .detail") == "9 of 10,000 targets have a problem"
        await expect(pager).to_have_text("1–100 of 10,000")
        await page.click("a[rel=next]")
        await expect(pager).to_have_text("101–200 of 10,000")
        await page.fill("#filter", "user04321")
        await expect(pager).to_have_count(0)
        assert await shown.column("target") == ["user04321"]
        await page.fill("#filter", "")
        await page.select_option("#state", "stale,failing")
        await expect(page.locator("tbody tr")).to_have_count(9)
        assert "15,999" in await shown.text("#tabs a >> text=Queues")


async def instead(answer: dict[str, Any] | None, route: Route) -> None:
    if answer is not None:
        await route.fulfill(**answer)


async def test_an_exporter_that_does_not_answer_is_told_and_so_is_its_return(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(healthy())) as shown:
        page = shown.page
        await page.clock.install()
        await shown.open()
        answers: list[dict[str, Any] | None] = [
            {"status": 503},
            {"status": 200, "body": "<h1>a proxy's own page</h1>"},
            None,
        ]
        for answer in answers:
            await page.route("**/*", partial(instead, answer))
            async with page.expect_request("**/*"):
                await page.clock.fast_forward(6000)
            if answer is None:
                await page.clock.fast_forward(16_000)
            await expect(page.locator("#lost")).to_contain_text("The exporter does not answer")
            await expect(page.locator("#lost")).to_contain_text("from 2026-09-21 14:13:20 UTC")
            await expect(page.locator("#verdict")).to_be_hidden()
            await shown.screenshot("lost")
            await page.unroute_all()
            await page.clock.fast_forward(6000)
            await expect(page.locator("#verdict .headline")).to_have_text("All 35 targets work")
            await expect(page.locator("#lost")).to_be_hidden()
        # The browser itself says that the request failed.
        assert {"503" in complaint for complaint in shown.complaints} == {True}
        shown.complaints.clear()


async def test_a_page_that_takes_long_is_waited_for_longer_each_time(browser: Browser, stage: Stage) -> None:
    async with tab(browser, stage.show(healthy())) as shown:
        page = shown.page
        await page.clock.install()
        await shown.open()
        begun: list[str] = []
        ended: list[str] = []
        await page.route("**/*", lambda _route: None)
        page.on("request", lambda request: begun.append(request.url))
        page.on("requestfailed", lambda request: ended.append(request.url))
        await page.clock.fast_forward(6000)
        for seconds in (15, 30, 60, 120, 120):
            await eventually(lambda: len(begun) == len(ended) + 1, "a request")
            await page.clock.fast_forward((seconds - 1) * 1000)
            assert len(begun) == len(ended) + 1
            await page.clock.fast_forward(1500)
            await eventually(lambda: len(begun) == len(ended), "the end of it")
            await expect(page.locator("#lost")).to_be_visible()
            await page.clock.fast_forward(6000)
        await page.unroute_all()
        shown.complaints.clear()


async def test_targets_that_come_and_go_are_followed(browser: Browser, stage: Stage) -> None:
    installation = healthy()
    async with tab(browser, stage.show(installation)) as shown:
        page, headline = shown.page, shown.page.locator("#verdict .headline")
        await page.clock.install()
        await shown.open("/?view=targets")
        installation.add_user("shenzhen", "dave", "failing")
        await page.clock.fast_forward(6000)
        await expect(headline).to_have_text("shenzhen: failing for 95 s")
        assert await page.title() == "HPC Exporter – shenzhen: failing for 95 s"
        await expect(page.locator(".card h3").first).to_have_text("shenzhen")
        await expect(page.locator("#source option")).to_have_count(6)
        installation.statuses = [status for status in installation.statuses if status.key.source == "xian"]
        installation.sources = {"xian": "scnet"}
        await page.clock.fast_forward(6000)
        await expect(headline).to_have_text("All 11 targets work")
        await expect(page.locator(".card")).to_have_count(1)
        await expect(page.locator("tbody tr")).to_have_count(11)


async def test_it_works_below_a_path_of_a_proxy(browser: Browser, stage: Stage) -> None:
    async def below(route: Route) -> None:
        await route.fulfill(response=await route.fetch(url=route.request.url.replace("/below/a/path/", "/")))

    async with tab(browser, stage.show(healthy())) as shown:
        asked = []
        shown.page.on("request", lambda request: asked.append(request.url))
        await shown.page.route("**/below/a/path/**", below)
        await shown.open("/below/a/path/")
        await shown.page.click("#tabs a >> text=Queues")
        await expect(shown.page.locator("tbody tr")).to_have_count(32)
        assert len(asked) >= 4
        assert not [url for url in asked if "/below/a/path/" not in url]
        hrefs = await shown.page.eval_on_selector_all("nav a, a.csv", "links => links.map(link => link.href)")
        assert not [href for href in hrefs if "/below/a/path/" not in href]
