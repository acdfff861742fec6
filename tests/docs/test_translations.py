"""A Chinese page says what its English one says: same headings, same examples, same links, same words in code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import PAGES, ROOT, Block, Page, none, read, taken_apart

# These have to be there in both languages; others are held together as soon as there are two.
DEMANDED = ("README.md", "docs/quickstart.md", "docs/configuration.md", "docs/metrics.md", "docs/troubleshooting.md")
COMMENT = re.compile(r"(?:^|\s+)#(?:\s.*)?$")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def chinese_of(name: str) -> str:
    """The name of the Chinese page."""
    return name.replace("README.md", "README.zh-CN.md") if name.endswith("README.md") else f"{name[:-3]}.zh.md"


class Pair(NamedTuple):
    english: Page
    chinese: Page


PAIRS = {name: Pair(PAGES[name], PAGES[chinese_of(name)]) for name in PAGES if chinese_of(name) in PAGES}
each_pair = pytest.mark.parametrize("name", PAIRS)


def first_difference(pair: Pair, english: list[tuple[str, int]], chinese: list[tuple[str, int]]) -> Iterator[str]:
    """Where two lists of (text, line) begin to differ."""
    for (left, left_line), (right, right_line) in zip(english, chinese, strict=False):
        if left != right:
            yield f"{pair.chinese.at(right_line)}: {right!r}; {pair.english.at(left_line)} has {left!r}"
            return
    for longer, shorter, page, other in (
        (english, chinese, pair.english, pair.chinese),
        (chinese, english, pair.chinese, pair.english),
    ):
        if len(longer) > len(shorter):
            text, line = longer[len(shorter)]
            yield f"{page.at(line)}: {text!r}: {other.name} ends before it"


def headings(page: Page) -> list[tuple[str, int]]:
    return [("#" * heading.level, heading.line) for heading in page.headings]


def examples(page: Page) -> list[tuple[str, int]]:
    """Blocks without their comments, which are translated, line by line."""
    return [line for block in page.blocks for line in _lines(block)]


def _lines(block: Block) -> Iterator[tuple[str, int]]:
    yield f"```{block.language}", block.line - 1
    for number, line in block.numbered():
        text = COMMENT.sub("", line).rstrip()
        if text:
            yield text, number


def targets(page: Page) -> dict[str, int]:
    """Where links lead, in words that are the same in both languages: pages by their English names."""
    return {_neutral(page, link.target): link.line for link in reversed(page.links)}


def _neutral(page: Page, target: str) -> str:
    path, _, anchor = target.partition("#")
    if re.match(r"\w+:", target):
        return target
    there = (page.path.parent / path).resolve() if path else page.path.resolve()
    english = _english(there)
    part = ""
    if anchor and there.suffix == ".md" and there.is_file():
        # Anchors are made of words: the number of the heading is the same.
        part = next((f"#{i}" for i, each in enumerate(read(there).headings) if each.anchor == anchor), f"#{anchor}")
    return (english.relative_to(ROOT.resolve()).as_posix() if english.is_relative_to(ROOT.resolve()) else target) + part


def _english(path: Path) -> Path:
    """README.zh-CN.md and x.zh.png stand for README.md and x.png."""
    name = path.name.replace("README.zh-CN.md", "README.md")
    english = path.with_name(re.sub(r"\.zh(\.\w+)$", r"\1", name))
    return english if english.exists() else path


def terms(page: Page) -> dict[str, int]:
    """Words in code, but for those that are translated: Chinese texts, and names of Chinese pages."""
    found = ((re.sub(r"\.zh(-CN)?\.", ".", term.text), term.line) for term in reversed(page.terms))
    return {text: line for text, line in found if not CHINESE.search(text)}


def missing(pair: Pair, english: dict[str, int], chinese: dict[str, int]) -> Iterator[str]:
    yield from (
        f"{pair.english.at(english[text])}: {text} is not in {pair.chinese.name}"
        for text in english
        if text not in chinese
    )
    yield from (
        f"{pair.chinese.at(chinese[text])}: {text} is not in {pair.english.name}"
        for text in chinese
        if text not in english
    )


@pytest.mark.parametrize("name", DEMANDED)
def test_the_pages_of_newcomers_are_there_in_chinese(name: str) -> None:
    assert name in PAGES
    assert chinese_of(name) in PAGES


@each_pair
def test_headings_have_the_same_structure(name: str) -> None:
    pair = PAIRS[name]
    none(first_difference(pair, headings(pair.english), headings(pair.chinese)))


@each_pair
def test_examples_are_the_same_but_for_their_comments(name: str) -> None:
    pair = PAIRS[name]
    none(first_difference(pair, examples(pair.english), examples(pair.chinese)))


@each_pair
def test_links_lead_to_the_same_pages(name: str) -> None:
    pair = PAIRS[name]
    none(missing(pair, targets(pair.english), targets(pair.chinese)))


@each_pair
def test_the_same_words_stand_in_code(name: str) -> None:
    pair = PAIRS[name]
    none(missing(pair, terms(pair.english), terms(pair.chinese)))


@each_pair
def test_tables_have_as_many_rows(name: str) -> None:
    pair = PAIRS[name]
    assert pair.english.rows == pair.chinese.rows


@each_pair
def test_each_page_leads_to_the_other_language(name: str) -> None:
    english, chinese = PAIRS[name]
    for page, other in ((english, chinese), (chinese, english)):
        led = {(page.path.parent / link.target).resolve() for link in page.links if ".md" in link.target}
        assert other.path.resolve() in led, f"{page.at(1)}: link to {other.name} below the title"


@pytest.mark.parametrize("name", [pair.chinese.name for pair in PAIRS.values()])
def test_a_chinese_page_leads_to_chinese_pages(name: str) -> None:
    """Where there are; but for its own English one."""
    page = PAGES[name]
    own = next(pair.english for pair in PAIRS.values() if pair.chinese is page)
    chinese = {pair.english.path.resolve(): pair.chinese.name for pair in PAIRS.values() if pair.english is not own}
    led = [(link, (page.path.parent / link.target.partition("#")[0]).resolve()) for link in page.links]
    none(f"{page.at(link.line)}: {link.target}: link to {chinese[path]}" for link, path in led if path in chinese)


LEFT = taken_apart("# A `b`\n\n[c](docs/cli.md)\n\n```yaml\na: 1  # one\n```\n")


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("# 甲 `b`\n\n## 乙\n\n[丙](docs/cli.md)\n\n```yaml\na: 1  # 一\n```\n", "headings"),
        ("# 甲 `b`\n\n[丙](docs/cli.md)\n\n```yaml\na: 2  # 一\n```\n", "examples"),
        ("# 甲 `b`\n\n[丙](docs/web.md)\n\n```yaml\na: 1  # 一\n```\n", "targets"),
        ("# 甲 `d`\n\n[丙](docs/cli.md)\n\n```yaml\na: 1  # 一\n```\n", "terms"),
        ("# 甲 `b`\n\n[丙](docs/cli.md)\n\n```yaml\na: 1  # 一\n```\n", ""),
    ],
)
def test_a_page_that_fell_behind_would_be_found(text: str, compared: str) -> None:
    pair = Pair(LEFT, taken_apart(text))
    found = {
        "headings": list(first_difference(pair, headings(pair.english), headings(pair.chinese))),
        "examples": list(first_difference(pair, examples(pair.english), examples(pair.chinese))),
        "targets": list(missing(pair, targets(pair.english), targets(pair.chinese))),
        "terms": list(missing(pair, terms(pair.english), terms(pair.chinese))),
    }
    assert [kind for kind, problems in found.items() if problems] == ([compared] if compared else [])
