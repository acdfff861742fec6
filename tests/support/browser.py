"""A real Chromium without a window, driven by Playwright."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, async_playwright, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tests.e2e.real import real_part

# Milliseconds that a page may take until it is as expected: the machine may be busy.
PATIENCE = 100_000
expect.set_options(timeout=PATIENCE)

# Pictures of the tests' pages, to be looked at; not kept in the repository.
ARTIFACTS = Path(__file__).parents[2] / "ci-artifacts"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """Yield a browser with a profile of its own.

    Where none is installed the test is skipped, or fails if it must not be.
    """
    program = real_part("chromium", "chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=list(FLAGS), env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        )
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A page in a context of its own, and everything that went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._said)
        page.on("pageerror", self._failed)
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _failed(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _asked(self, request: Request) -> None:
        self.hosts.add(request.url.partition("//")[2].partition("/")[0])

    async def open(self, path: str = "/") -> None:
        """Load the page and wait until its script has taken over."""
        answer = await self.page.goto(self.url + path)
        assert answer is not None
        assert answer.ok, (answer.status, await answer.text())
        try:
            await self.page.wait_for_selector("html.alive")
        except PlaywrightTimeoutError as error:
            raise AssertionError(self.complaints, await self.page.content()) from error

    async def text(self, selector: str) -> str:
        return (await self.page.inner_text(selector)).strip()

    async def column(self, name: str) -> list[str]:
        """Return the texts of a column in the list."""
        found: list[str] = await self.page.eval_on_selector_all(
            f"tbody td.{name}", "cells => cells.map(cell => (cell.querySelector('summary') ?? cell).textContent)"
        )
        return found

    async def violations(self) -> list[str]:
        """Rules of accessibility that the page breaks, and where."""
        await self.page.evaluate(AXE)
        result: dict[str, Any] = await self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {violation['help']}: {[node['html'][:200] for node in violation['nodes']][:3]}"
            for violation in result["violations"]
        ]

    async def sticks_out(self) -> int:
        """Pixels by which something is wider than the window."""
        pixels: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return pixels

    async def broken(self) -> list[str]:
        """Names and numbers that take more than one line, or are wider than their place."""
        found: list[str] = await self.page.evaluate(
            """() => [...document.querySelectorAll('h3, dd, td.number, td.user, td.group, td.queue, .chip')]
              .filter(e => !e.closest('details') && e.textContent.trim() && e.getClientRects().length)
              .filter(e => {
                const range = document.createRange();
                const texts = document.createTreeWalker(e, NodeFilter.SHOW_TEXT);
                while (texts.nextNode()) {
                  range.selectNodeContents(texts.currentNode);
                  if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) return true;
                }
                return e.matches('.number, dd') && e.scrollWidth > e.clientWidth + 1;
              })
              .map(e => e.textContent)"""
        )
        return found

    async def screenshot(self, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"{name}.png")


@asynccontextmanager
async def tab(browser: Browser, url: str, **options: Any) -> AsyncIterator[Tab]:
    """Yield a tab; at its end nothing may have gone wrong in it, and nothing but the exporter may have been asked."""
    context = await browser.new_context(**{"viewport": DESKTOP, **options})
    try:
        context.set_default_timeout(PATIENCE)
        opened = Tab(await context.new_page(), url)
        yield opened
        assert opened.complaints == []
        assert opened.hosts <= {url.partition("//")[2]}
    finally:
        await context.close()
