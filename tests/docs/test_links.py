"""Every link leads somewhere, and every page is led to."""

import re
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, Link, Page, none, read

OURS = re.compile(r"https://github\.com/hpc-exporter/hpc-exporter/(?:blob|tree)/main/(.+)")
SCHEMES = ("http", "https", "mailto")
ENTRANCES = ("README.md", "README.zh-CN.md", "docs/README.md", "CONTRIBUTING.md", "SECURITY.md")


def wrong_with(page: Page, link: Link) -> str | None:
    """What is wrong with a link, and what to do about it."""
    ours = OURS.fullmatch(link.target)
    if ours:
        return wrong_inside(ROOT, ours[1])
    if urlsplit(link.target).scheme:
        return wrong_outside(link.target)
    if not link.target:
        return "the link has no target"
    if link.target.startswith("/"):
        return "a path from the root works on one host only: write it relative to this page"
    path, _, anchor = link.target.partition("#")
    return wrong_inside(page.path.parent, link.target) if path else wrong_anchor(page, anchor)


def wrong_outside(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        return f"is no address: {error}"
    if parts.scheme not in SCHEMES:
        return f"the scheme {parts.scheme} is none of {', '.join(SCHEMES)}"
    if parts.scheme != "mailto" and not parts.hostname:
        return "names no host"
    return "holds white space" if re.search(r"\s", address) else None


def wrong_inside(folder: Path, target: str) -> str | None:
    path, _, anchor = target.partition("#")
    there = (folder / path).resolve()
    if not there.is_relative_to(ROOT.resolve()):
        return "leads out of the repository"
    if not there.exists():
        return f"there is no {there.relative_to(ROOT.resolve())}: correct the path"
    if not anchor:
        return None
    return wrong_anchor(read(there), anchor) if there.suffix == ".md" else "only pages have anchors"


def wrong_anchor(page: Page, anchor: str) -> str | None:
    if anchor in page.anchors:
        return None
    known = ", ".join(f"#{each}" for each in sorted(page.anchors))
    return f"{page.name} has no #{anchor}; it has {known or 'no headings'}"


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    """Files and anchors are looked up, addresses elsewhere only have to be addresses: nothing is fetched."""
    page = PAGES[name]
    found = ((link, wrong_with(page, link)) for link in page.links)
    none(f"{page.at(link.line)}: link {link.target}: {wrong}" for link, wrong in found if wrong)


@pytest.mark.parametrize("name", PAGES)
def test_no_anchor_leads_to_two_places(name: str) -> None:
    page = PAGES[name]
    counts = Counter([*page.ids, *(heading.anchor for heading in page.headings)])
    none(f"{name}: #{anchor} is there {count} times" for anchor, count in counts.items() if count > 1)


def test_every_page_can_be_reached_from_those_where_people_begin() -> None:
    """A page that nothing links to is not found."""
    reached = {PAGES[name].path.resolve() for name in ENTRANCES if name in PAGES}
    waiting = list(reached)
    while waiting:
        page = read(waiting.pop())
        new = {path for path in (led_to(page, link) for link in page.links) if path.suffix == ".md"} - reached
        reached |= new
        waiting += new
    none(
        f"{page.name}: no page links to it; docs/README.md is the index"
        for page in PAGES.values()
        if page.path.resolve() not in reached
    )


def test_every_picture_is_small_and_shown() -> None:
    images = sorted((ROOT / "docs" / "images").iterdir())
    shown = {(page.path.parent / link.target).resolve() for page in PAGES.values() for link in page.links}
    none(f"{path.relative_to(ROOT)}: no page shows it: remove it" for path in images if path.resolve() not in shown)
    none(f"{path.relative_to(ROOT)}: is larger than 300 kB" for path in images if path.stat().st_size > 300_000)
    assert images


def led_to(page: Page, link: Link) -> Path:
    """The file that a link shows; of a folder, hosts show the README."""
    path = (page.path.parent / link.target.partition("#")[0]).resolve()
    readme = path / "README.md"
    return path if path.is_file() else readme if readme.is_file() else ROOT


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("nowhere.md", "there is no docs/nowhere.md"),
        ("cli.md#nothing", "docs/cli.md has no #nothing"),
        ("#nothing", "docs/web.md has no #nothing"),
        ("../../etc/passwd", "leads out of the repository"),
        ("/docs/cli.md", "relative to this page"),
        ("https://", "names no host"),
        ("https://host:port/", "is no address"),
        ("ftp://host/", "the scheme ftp"),
        ("https://github.com/hpc-exporter/hpc-exporter/blob/main/docs/nowhere.md", "there is no docs/nowhere.md"),
        ("", "has no target"),
    ],
)
def test_a_link_to_nowhere_would_be_found(target: str, complaint: str) -> None:
    assert complaint in (wrong_with(PAGES["docs/web.md"], Link(target, 1)) or "nothing is wrong")
