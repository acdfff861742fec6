"""A Chinese page says what its English one says: same headings, same examples, same links, same words in code."""

import re
from itertools import zip_longest

import pytest

from tests.docs.pages import PAGES, Page, none

# These have to be there in both languages; others are held together as soon as there are two.
DEMANDED = ("README.md", "docs/quickstart.md", "docs/configuration.md", "docs/metrics.md", "docs/troubleshooting.md")


def chinese_of(name: str) -> str:
    """Return the name of the Chinese page. Entrances have the one that is known from other projects."""
    return f"{name[:-3]}.{'zh-CN' if name in ('README.md', 'docs/README.md') else 'zh'}.md"


PAIRS = {name: (PAGES[name], PAGES[chinese_of(name)]) for name in PAGES if chinese_of(name) in PAGES}
each_pair = pytest.mark.parametrize(("english", "chinese"), PAIRS.values(), ids=PAIRS)


def structure(page: Page) -> list[tuple[int, str]]:
    """Headings by their level, rows of tables, and blocks line by line without their comments, which are translated."""
    found = [(line, "#" * level) for level, line in page.headings]
    found += [(line, "| row") for line, text in enumerate(page.text.splitlines(), 1) if re.match(r"\|.*\|$", text)]
    for block in page.blocks:
        lines = enumerate(block.text.splitlines(), block.line)
        found += [(block.line - 1, f"```{block.language}")]
        found += [(number, re.sub(r"(^|\s+)#(\s.*)?$", "", line).rstrip()) for number, line in lines]
    return [(line, text) for line, text in sorted(found) if text]


def words(page: Page) -> set[str]:
    """Words in code and links, but for those that are translated: Chinese texts, and names of Chinese pages."""
    found = [text for text, _ in page.terms] + [target.partition("#")[0] for target, _ in page.links]
    return {re.sub(r"\.zh(-CN)?\.", ".", text) for text in found if not re.search(r"[\u4e00-\u9fff]", text)}


def test_the_pages_of_newcomers_are_there_in_chinese() -> None:
    assert set(DEMANDED) <= PAIRS.keys()


@each_pair
def test_headings_and_examples_are_the_same(english: Page, chinese: Page) -> None:
    for left, right in zip_longest(structure(english), structure(chinese), fillvalue=(1, "nothing more")):
        assert left[1] == right[1], f"{english.at(left[0])} is not as {chinese.at(right[0])}"


def figures(page: Page) -> list[tuple[str, list[str]]]:
    """Return the places of the rows of tables and the numbers in each, without those in code and in names."""
    lines = enumerate(page.text.splitlines(), 1)
    rows = [(line, re.sub(r"`[^`]*`", " ", text)) for line, text in lines if re.match(r"\|.*\|$", text)]
    return [(page.at(line), re.findall(r"(?<![\w.])\d[\d.,]*\d|(?<![\w.])\d", text)) for line, text in rows]


@each_pair
def test_the_figures_in_tables_are_the_same(english: Page, chinese: Page) -> None:
    """In particular those of measurements, of which a command writes the English ones."""
    pairs = zip(figures(english), figures(chinese), strict=True)
    none(f"{left} is not as {right}" for left, right in pairs if sorted(left[1]) != sorted(right[1]))


@each_pair
def test_links_and_words_in_code_are_the_same(english: Page, chinese: Page) -> None:
    none(f"{word} is not in both {english.name} and {chinese.name}" for word in words(english) ^ words(chinese))


@each_pair
def test_each_page_leads_to_the_other_language(english: Page, chinese: Page) -> None:
    for page, other in ((english, chinese), (chinese, english)):
        led = {(page.path.parent / target).resolve() for target, _ in page.links if ".md" in target}
        assert other.path.resolve() in led, f"{page.at(1)}: link to {other.name} below the title"


@each_pair
def test_a_chinese_page_leads_to_chinese_pages(english: Page, chinese: Page) -> None:
    """Where there are; but for its own English one."""
    translated = {left.path.resolve(): right.name for left, right in PAIRS.values() if left is not english}
    led = [(line, (chinese.path.parent / target.partition("#")[0]).resolve()) for target, line in chinese.links]
    none(f"{chinese.at(line)}: link to {translated[path]}" for line, path in led if path in translated)
