"""The documentation taken apart: headings, links, blocks of code and words in code, each with its line."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).parents[2]
# Made by builds and test runs; hidden folders are left out as well.
_NOT_OURS: Final = {"build", "dist", "ci-artifacts", "node_modules"}
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table")
_HTML_NAME: Final = re.compile(r"""<a\s[^>]*\b(?:id|name)=["']([^"']+)["']""")
_HTML_LINK: Final = re.compile(r"""<(?:a|img)\s[^>]*\b(?:href|src)=["']([^"']+)["']""")


@dataclass(frozen=True)
class Heading:
    """`anchor` is what GitHub makes of it."""

    level: int
    text: str
    anchor: str
    line: int


@dataclass(frozen=True)
class Link:
    """A link or an image, wherever it goes."""

    target: str
    line: int


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line of code."""

    language: str
    text: str
    line: int

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Its lines with their numbers in the page."""
        return enumerate(self.text.splitlines(), self.line)


@dataclass(frozen=True)
class Term:
    """A `word` in code."""

    text: str
    line: int


@dataclass(repr=False)
class Page:
    """One Markdown file."""

    path: Path
    text: str
    headings: list[Heading] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    # Anchors written in HTML, and all of them.
    ids: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    rows: int = 0

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    def at(self, line: int) -> str:
        """A place that editors and people find."""
        return f"{self.name}:{line}"

    def blocks_of(self, *languages: str) -> list[Block]:
        return [block for block in self.blocks if block.language in languages]


def paths() -> list[Path]:
    """Every Markdown file that people may read."""
    found = (path for path in ROOT.rglob("*.md") if _is_ours(path.relative_to(ROOT)))
    return sorted(found, key=lambda path: path.relative_to(ROOT).as_posix())


def _is_ours(path: Path) -> bool:
    return not any(part.startswith(".") or part in _NOT_OURS for part in path.parts[:-1])


@cache
def read(path: Path) -> Page:
    """Take a file apart."""
    return taken_apart(path.read_text(encoding="utf-8"), path)


def taken_apart(text: str, path: Path = ROOT / "page.md") -> Page:
    """Take a text apart; `path` is where it lies."""
    page = Page(path, text)
    level = 0
    for token in _MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "heading_close":
            level = 0
        elif token.type == "tr_open":
            page.rows += 1
        elif token.type == "fence":
            page.blocks.append(Block(token.info.strip(), token.content, line + 1))
        elif token.type == "html_block":
            _take_html(page, token.content, line)
        elif token.type == "inline":
            _take_inline(page, token, line)
            if level:
                _take_heading(page, token, level, line)
    return page


def _take_inline(page: Page, inline: Token, line: int) -> None:
    for token in inline.children or ():
        if token.type in ("softbreak", "hardbreak"):
            line += 1
        elif token.type == "code_inline":
            page.terms.append(Term(token.content.strip(), line))
        elif token.type == "link_open":
            page.links.append(Link(unquote(str(token.attrs["href"])), line))
        elif token.type == "image":
            page.links.append(Link(unquote(str(token.attrs["src"])), line))
        elif token.type == "html_inline":
            _take_html(page, token.content, line)


def _take_html(page: Page, html: str, line: int) -> None:
    page.ids += _HTML_NAME.findall(html)
    page.anchors.update(page.ids)
    page.links += [Link(unquote(target), line) for target in _HTML_LINK.findall(html)]


def _take_heading(page: Page, inline: Token, level: int, line: int) -> None:
    text = "".join(token.content for token in inline.children or ())
    anchor = slug(text)
    # GitHub numbers those that are there already.
    earlier = Counter(slug(heading.text) for heading in page.headings)[anchor]
    anchor = f"{anchor}-{earlier}" if earlier else anchor
    page.headings.append(Heading(level, text, anchor, line))
    page.anchors.add(anchor)


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading: letters of any script stay, punctuation goes."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def none(problems: Iterable[str]) -> None:
    """Fail with all of them, one a line."""
    found = list(problems)
    assert not found, "\n" + "\n".join(found)


PAGES: Final = {page.name: page for page in map(read, paths())}
