"""Each link leads somewhere, and each page is led to. Nothing is fetched."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, Page, none, read

OURS = re.compile(r"https://github\.com/hpc-exporter/hpc-exporter/(?:blob|tree)/main/(.+)")
ENTRANCES = ("README.md", "README.zh-CN.md", "docs/README.md", "CONTRIBUTING.md", "SECURITY.md")


def wrong_with(page: Page, target: str) -> str | None:
    """Return the reason why a link of a page leads nowhere; None for a good one."""
    if ours := OURS.fullmatch(target):
        return wrong_inside(ROOT, ours[1])
    try:
        parts = urlsplit(target)
        _ = parts.port
    except ValueError as error:
        return f"is no address: {error}"
    if parts.scheme == "mailto":
        return None
    if parts.scheme:
        return None if parts.scheme in ("http", "https") and parts.hostname and " " not in target else "is no address"
    if not target or target.startswith("/"):
        return "write a path relative to this page"
    return wrong_inside(page.path.parent, target if not target.startswith("#") else page.path.name + target)


def wrong_inside(folder: Path, target: str) -> str | None:
    path, _, anchor = target.partition("#")
    there = (folder / path).resolve()
    if not there.is_relative_to(ROOT.resolve()) or not there.exists():
        return f"there is no {path} in the repository"
    if anchor and (there.suffix != ".md" or anchor not in read(there).anchors):
        return f"{path} has no #{anchor}"
    return None


def led_to(page: Page) -> Iterator[Path]:
    """Yield the files that a page's links show; of a folder, hosts show the README."""
    for target, _ in page.links:
        path = (page.path.parent / target.partition("#")[0]).resolve()
        yield path / "README.md" if path.is_dir() else path


def test_every_link_leads_somewhere() -> None:
    none(
        f"{page.at(line)}: link {target}: {wrong}"
        for page in PAGES.values()
        for target, line in page.links
        if (wrong := wrong_with(page, target))
    )


@pytest.mark.parametrize(
    "target",
    [
        *(
            "nowhere.md",
            "cli.md#nothing",
            "#nothing",
            "../../etc/passwd",
            "/docs/cli.md",
            "https://",
            "https://host:port/",
        ),
        *("ftp://host/", "https://github.com/hpc-exporter/hpc-exporter/blob/main/docs/nowhere.md", ""),
    ],
)
def test_a_link_to_nowhere_would_be_found(target: str) -> None:
    assert wrong_with(PAGES["docs/web.md"], target)


def test_no_anchor_leads_to_two_places() -> None:
    none(f"{page.name}: {page.anchors}" for page in PAGES.values() if len(set(page.anchors)) < len(page.anchors))


def test_every_page_can_be_reached_from_those_where_people_begin() -> None:
    """A page that nothing links to is not found: docs/README.md is the index."""
    waiting = [PAGES[name].path.resolve() for name in ENTRANCES]
    reached = set(waiting)
    while waiting:
        new = {path for path in led_to(read(waiting.pop())) if path.suffix == ".md" and path.exists()} - reached
        reached |= new
        waiting += new
    none(page.name for page in PAGES.values() if page.path.resolve() not in reached)


def test_every_picture_is_small_and_shown() -> None:
    shown = {path for page in PAGES.values() for path in led_to(page)}
    images = sorted((ROOT / "docs" / "images").iterdir())
    none(path.name for path in images if path.resolve() not in shown or path.stat().st_size > 300_000)
    assert images
