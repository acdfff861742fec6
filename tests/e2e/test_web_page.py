"""The status page in a real browser."""

import re
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from exporter.cli import simulate
from exporter.simulator import Simulator, default_projects, default_regions
from tests.e2e.process import eventually, serving
from tests.e2e.region import cluster, configuration, envelope, job, queue, scripted_region
from tests.support.browser import DESKTOP, PHONE, chromium, tab
from tests.support.face import guarded
from tests.support.installations import StagedFace, empty, half_broken, healthy, huge

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;\u202eevil"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exporter_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A real exporter that polls a simulated region in which an hour passes every few seconds."""
    folder = tmp_path_factory.mktemp("exporter")
    async with Simulator(default_regions(2), projects=default_projects(1), seed=1, speed_up=600) as simulator:
        text = simulate.configuration(simulator).replace("interval: 5s", "interval: 1s")
        async with serving(folder, text) as exporter:
            await exporter.ready()
            yield exporter.url


async def test_numbers_change_by_themselves(browser: Browser, exporter_url: str) -> None:
    async with tab(browser, exporter_url) as shown:
        await shown.page.clock.install()
        await shown.open()
        assert await shown.text(".headline") == "All 30 targets work"
        assert "Jobs in queues" in await shown.text("#sources")
        figures = "[...document.querySelectorAll('dd')].map(e => e.textContent).join()"
        known = await shown.page.evaluate(figures)

        async def changed() -> bool:
            await shown.page.clock.fast_forward(6000)
            return bool(await shown.page.evaluate(figures) != known)

        await eventually(changed, "another number")


async def test_filters_sorts_and_looks_closer(browser: Browser, exporter_url: str) -> None:
    async with tab(browser, exporter_url) as shown:
        await shown.open()
        page = shown.page
        await page.fill("#filter", "ALICE chemistry")
        assert await shown.column("target") == ["chemistry/alice"] * 2
        assert await shown.text(".shown") == "2 of 30 rows"
        await page.fill("#filter", "no such thing")
        assert await shown.text("#view-targets .empty") == "Nothing matches the filter."
        await page.fill("#filter", "")
        await page.click("#view-targets th.target button")
        assert await page.get_attribute("#view-targets th.target", "aria-sort") == "ascending"
        ascending = await shown.column("target")
        await page.click("#view-targets th.target button")
        assert await shown.column("target") != ascending
        await page.click("#tab-queues")
        # What is not known is at the end of a descending order.
        running = [-1 if text == "–" else int(text) for text in await shown.column("running")]
        assert running == sorted(running, reverse=True)
        await page.select_option("#source", "driving")
        assert sorted(await shown.column("queue")) == ["INTERNAL", "PROCESSOR"]
        await page.click("#tab-targets")
        await page.click("#view-targets td.target button >> nth=0")
        await expect(page.locator("dialog")).to_contain_text("The last poll worked.")
        await page.keyboard.press("Escape")
        await expect(page.locator("dialog")).to_be_hidden()


async def test_what_was_chosen_is_in_the_address_and_survives_the_other_language(
    browser: Browser, exporter_url: str
) -> None:
    async with tab(browser, exporter_url) as shown:
        await shown.open()
        page = shown.page
        await page.click("#tab-queues")
        await page.click("#view-queues th.queued button")
        await page.fill("#filter", "alice")
        await page.wait_for_url(re.compile(r"\?filter=alice#view=queues&sort=-queued$"))
        rows = len(await shown.column("queue"))
        assert rows
        await page.click("#languages a[lang=zh]")
        await page.wait_for_selector("html.alive[lang=zh]")
        await expect(page.locator("#tab-queues")).to_have_attribute("aria-selected", "true")
        await expect(page.locator("#tab-queues")).to_contain_text("队列")
        await expect(page.locator("#view-queues th.queued")).to_have_attribute("aria-sort", "descending")
        # A queue in which there was no job before may have come meanwhile.
        await expect(page.locator("#view-queues td.queue").nth(rows - 1)).to_be_visible()
        assert set(await shown.column("user")) == {"alice"}
        assert set(await shown.column("user")) == {"alice"}
        assert await page.input_value("#filter") == "alice"
        assert "个目标正常" in await shown.text(".headline")


async def test_a_chinese_browser_is_answered_in_chinese(browser: Browser, exporter_url: str) -> None:
    async with tab(browser, exporter_url, locale="zh-CN") as shown:
        await shown.open()
        assert await shown.text(".headline") == "全部 30 个目标正常"
        assert await shown.page.get_attribute("html", "lang") == "zh"


async def test_it_can_be_used_from_the_keyboard(browser: Browser, exporter_url: str) -> None:
    async with tab(browser, exporter_url) as shown:
        await shown.open()
        page, pressed = shown.page, ["Tab"] * 40
        focused = "[document.activeElement.id, document.activeElement.className, document.activeElement.closest('td') !== null].join()"
        seen = []
        for key in pressed:
            await page.keyboard.press(key)
            seen.append(await page.evaluate(focused))
        assert seen[0].startswith(",skip")
        for stop in ("tab-targets", "filter", "state", "source"):
            assert any(where.startswith(stop) for where in seen), stop
        assert any(where.endswith("link,true") for where in seen)
        await page.focus("#tab-targets")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#view-queues")).to_be_visible()
        await expect(page.locator("#tab-queues")).to_be_focused()
        await page.keyboard.press("ArrowLeft")
        await page.focus("#view-targets td.target button >> nth=1")
        await page.keyboard.press("Enter")
        await expect(page.locator("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        assert await page.evaluate("document.activeElement.closest('td')?.className") == "target"


async def test_the_focus_stays_where_it_is_when_numbers_change(browser: Browser, exporter_url: str) -> None:
    async with tab(browser, exporter_url) as shown:
        await shown.page.clock.install()
        await shown.open()
        for selector in ("#view-targets td.target button >> nth=2", "#sources .card button >> nth=0"):
            await shown.page.focus(selector)
            known = await shown.page.evaluate("document.activeElement.textContent")
            async with shown.page.expect_response(re.compile("api/v1/status")):
                await shown.page.clock.fast_forward(6000)
            await shown.page.clock.fast_forward(1000)
            assert await shown.page.evaluate("document.activeElement.textContent") == known


async def test_without_javascript_the_first_state_is_there(browser: Browser, exporter_url: str) -> None:
    async with tab(browser, exporter_url, java_script_enabled=False) as shown:
        await shown.page.goto(exporter_url)
        assert await shown.text(".headline") == "All 30 targets work"
        for view in ("targets", "queues", "members"):
            assert await shown.page.locator(f"#view-{view} tbody tr").count() > 10
        await shown.page.fill("#filter", "alice")
        await shown.page.click("form button")
        assert await shown.page.locator("#view-targets tbody tr").count() == 4
        await shown.page.click("#languages a[lang=zh]")
        assert "个目标正常" in await shown.text(".headline")
        assert await shown.page.locator("#view-targets tbody tr").count() == 4


async def test_names_from_upstream_are_text(browser: Browser, tmp_path: Path) -> None:
    answers: dict[Any, Any] = {
        "queue_jobs": envelope([queue(HOSTILE, R=1)]),
        "member_jobs": envelope([job("1", HOSTILE)]),
        "cluster": envelope(f"refused {HOSTILE}", "10003", f"wrong {HOSTILE}"),
    }
    async with scripted_region(answers) as region:
        members = [{"group_id": "1", "group": HOSTILE.replace("\u202e", ""), "users": ["test"]}]
        text = configuration(cluster(region.url, members=members))
        async with serving(tmp_path, text) as exporter, tab(browser, exporter.url) as shown:
            await exporter.ready()
            await shown.open("/#view=queues")
            assert await shown.column("queue") == [HOSTILE]
            await shown.page.click("#tab-members")
            assert [text.startswith("<img") for text in await shown.column("member")] == [True]
            await shown.page.click("#tab-targets")
            assert await shown.page.locator("img").count() == 1
            await shown.page.click("#view-targets tr.stale button")
            assert "<img src=x" in await shown.text("dialog")


@pytest.mark.parametrize("make", [empty, healthy, half_broken, huge])
async def test_every_installation_looks_right(browser: Browser, make: Any) -> None:
    """Light and dark, at a desk and on a phone: no complaint, nothing that sticks out, no barrier; and a picture."""
    name = make.__name__.replace("_", "-")
    async with guarded(face=StagedFace(make())) as served:
        url = f"http://127.0.0.1:{served.port}"
        for scheme, (device, viewport) in product(("light", "dark"), (("desktop", DESKTOP), ("phone", PHONE))):
            locale = "zh-CN" if scheme == "dark" else "en-US"
            async with tab(browser, url, color_scheme=scheme, viewport=viewport, locale=locale) as shown:
                await shown.open()
                await shown.screenshot(f"{name}-{scheme}-{device}")
                assert await shown.sticks_out() <= 0
                # Every colour and every layout, but not each with each: it takes its time.
                if (scheme, device) in (("light", "desktop"), ("dark", "phone")):
                    assert await shown.violations() == []


@pytest.mark.parametrize("device", ["desktop", "phone"])
async def test_every_list_looks_right(browser: Browser, device: str) -> None:
    viewport = DESKTOP if device == "desktop" else PHONE
    async with (
        guarded(face=StagedFace(half_broken())) as served,
        tab(browser, f"http://127.0.0.1:{served.port}", viewport=viewport) as shown,
    ):
        await shown.open()
        for view in ("targets", "queues", "members"):
            await shown.page.click(f"#tab-{view}")
            await shown.page.evaluate("document.querySelector('#lists').scrollIntoView()")
            await shown.screenshot(f"list-{device}-{view}")
            assert await shown.violations() == []
            assert await shown.sticks_out() <= 0


async def test_a_closer_look_has_no_barrier_either(browser: Browser) -> None:
    async with (
        guarded(face=StagedFace(half_broken())) as served,
        tab(browser, f"http://127.0.0.1:{served.port}") as shown,
    ):
        await shown.open()
        await shown.page.click("#view-targets td.target button >> nth=0")
        await shown.screenshot("half-broken-details")
        assert await shown.violations() == []
        assert "login refused: the token from token_file" in await shown.text("dialog")


async def test_of_ten_thousand_targets_only_those_in_sight_are_drawn(browser: Browser) -> None:
    async with guarded(face=StagedFace(huge())) as served, tab(browser, f"http://127.0.0.1:{served.port}") as shown:
        await shown.open()
        page = shown.page
        await expect(page.locator("#tab-targets .count")).to_have_text("10,000")
        assert await shown.text(".headline") == "9 of 10,000 targets have a problem"
        rows = page.locator("#view-targets tbody tr:not(.spacer)")
        assert await page.get_attribute("#view-targets table", "aria-rowcount") == "10001"
        await page.evaluate("scrollTo(0, 200000)")
        await expect(rows.first).to_have_attribute("aria-rowindex", re.compile(r"^[45]\d\d\d$"))
        assert await rows.count() < 80
        assert await rows.first.evaluate("row => row.getBoundingClientRect().top") < 0
        assert await rows.last.evaluate("row => row.getBoundingClientRect().bottom") > DESKTOP["height"]
        await page.evaluate("scrollTo(0, document.body.scrollHeight)")
        await expect(rows.last).to_have_attribute("aria-rowindex", "10001")
        await page.fill("#filter", "user04321")
        assert await shown.column("target") == ["user04321"]
        await page.fill("#filter", "")
        await page.select_option("#state", "stale,failing")
        assert await rows.count() == 9
        await page.click("#tab-queues")
        await page.select_option("#state", "")
        await expect(page.locator("#tab-queues .count")).to_have_text("15,998")


async def test_an_exporter_that_does_not_answer_is_told_and_so_is_its_return(browser: Browser) -> None:
    async with guarded(face=StagedFace(healthy())) as served, tab(browser, f"http://127.0.0.1:{served.port}") as shown:
        await shown.page.clock.install()
        await shown.open()
        await shown.page.route("**/api/v1/status*", lambda route: route.abort())
        await shown.page.clock.fast_forward(6000)
        await expect(shown.page.locator(".headline")).to_have_text("The exporter does not answer")
        await shown.screenshot("lost")
        # The browser itself says that the request failed.
        assert {"ERR_FAILED" in complaint for complaint in shown.complaints} == {True}
        shown.complaints.clear()
        await shown.page.unroute("**/api/v1/status*")
        await shown.page.clock.fast_forward(6000)
        await expect(shown.page.locator(".headline")).to_have_text("All 35 targets work")


async def test_targets_that_come_and_go_are_followed(browser: Browser) -> None:
    installation = healthy()
    async with (
        guarded(face=StagedFace(installation)) as served,
        tab(browser, f"http://127.0.0.1:{served.port}") as shown,
    ):
        await shown.page.clock.install()
        await shown.open()
        installation.add_user("shenzhen", "dave", "failing")
        await shown.page.clock.fast_forward(6000)
        await expect(shown.page.locator(".headline")).to_have_text("1 of 36 targets has a problem")
        await expect(shown.page.locator(".card h3").first).to_have_text("shenzhen")
        await expect(shown.page.locator("#source option")).to_have_count(6)
        installation.statuses = [status for status in installation.statuses if status.key.source == "xian"]
        installation.sources = {"xian": "scnet"}
        await shown.page.clock.fast_forward(6000)
        await expect(shown.page.locator(".headline")).to_have_text("All 11 targets work")
        await expect(shown.page.locator(".card")).to_have_count(1)
        await expect(shown.page.locator("#tab-targets .count")).to_have_text("11")
