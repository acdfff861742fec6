"""The documentation taken apart: headings, links, blocks of code and words in code, each with its line."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).parents[2]
# Made by builds and test runs; hidden folders are left out as well.
_NOT_OURS: Final = {"build", "dist", "ci-artifacts", "node_modules"}
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table")
_HTML_NAME: Final = re.compile(r"""<a\s[^>]*\b(?:id|name)=["']([^"']+)["']""")
_HTML_LINK: Final = re.compile(r"""<(?:a|img)\s[^>]*\b(?:href|src)=["']([^"']+)["']""")


class Block(NamedTuple):
    """A fenced block; `line` is that of its first line of code."""

    language: str
    text: str
    line: int


@dataclass(repr=False)
class Page:
    """One Markdown file. Headings are level and line; links (also of images) and words in code, text and line."""

    path: Path
    text: str
    headings: list[tuple[int, int]] = field(default_factory=list)
    links: list[tuple[str, int]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    terms: list[tuple[str, int]] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    def at(self, line: int) -> str:
        """Return a place that editors and people find."""
        return f"{self.name}:{line}"

    def blocks_of(self, *languages: str) -> Iterator[Block]:
        return (block for block in self.blocks if block.language in languages)


@cache
def read(path: Path) -> Page:
    """Take a file apart."""
    page = Page(path, path.read_text(encoding="utf-8"))
    slugs: list[str] = []
    level = 0
    for token in _MARKDOWN.parse(page.text):
        line = token.map[0] + 1 if token.map else 0
        if token.type in ("heading_open", "heading_close"):
            level = int(token.tag[1:]) if token.type == "heading_open" else 0
        elif token.type == "fence":
            page.blocks.append(Block(token.info.strip(), token.content, line + 1))
        elif token.type == "html_block":
            _take_html(page, token.content, line)
        elif token.type == "inline":
            _take_inline(page, token, line)
            if level:
                anchor = slug("".join(child.content for child in token.children or ()))
                page.headings.append((level, line))
                # GitHub numbers those that are there already.
                page.anchors.append(f"{anchor}-{slugs.count(anchor)}" if anchor in slugs else anchor)
                slugs.append(anchor)
    return page


def _take_inline(page: Page, inline: Token, line: int) -> None:
    for token in inline.children or ():
        if token.type in ("softbreak", "hardbreak"):
            line += 1
        elif token.type == "code_inline":
            page.terms.append((token.content.strip(), line))
        elif token.type in ("link_open", "image"):
            page.links.append((unquote(str(token.attrs["href" if token.type == "link_open" else "src"])), line))
        elif token.type == "html_inline":
            _take_html(page, token.content, line)


def _take_html(page: Page, html: str, line: int) -> None:
    page.anchors += _HTML_NAME.findall(html)
    page.links += [(unquote(target), line) for target in _HTML_LINK.findall(html)]


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading: letters of any script stay, punctuation goes."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def none(problems: Iterable[str]) -> None:
    """Fail with all of them, one a line."""
    found = list(problems)
    assert not found, "\n" + "\n".join(found)


PAGES: Final = {
    page.name: page
    for page in map(read, sorted(ROOT.rglob("*.md")))
    if not any(part.startswith(".") or part in _NOT_OURS for part in page.path.relative_to(ROOT).parts[:-1])
}
