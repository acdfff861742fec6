"""Chinese texts, boards and pages use one term for one thing: those of docs/terms.zh.md."""

import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT

TERMS = (ROOT / "docs" / "terms.zh.md").read_text(encoding="utf-8")
# Quoted from pages of the APIs, or a word of another tool.
KEPT = re.compile(r"核心节点|获取访问凭证|更新凭证")


def rows() -> Iterator[tuple[str, str]]:
    """Yield each term with the words that it replaces."""
    for row in re.findall(r"^\| (\S+) \| (.+?) \| [a-z]+ \|$", TERMS, re.MULTILINE):
        term, avoided = row
        for word in re.sub(r"（.*?）", "", avoided).split("、"):
            yield term, word


def chinese() -> Iterator[tuple[str, str]]:
    """Yield the lines with Chinese text and their places."""
    globs = (
        "exporter/**/*.py",
        "exporter/**/*.json",
        "grafana/*.py",
        "reference/*.py",
        "reference/*.zh.*",
        "config/**/*.yml",
        "docs/**/*.zh*.md",
        "README.zh-CN.md",
    )
    for path in sorted(path for each in globs for path in ROOT.glob(each)):
        if path.name == "terms.zh.md" or "simulator" in path.parts:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"[\u4e00-\u9fff]", line):
                yield f"{path.relative_to(ROOT)}:{number}", KEPT.sub("", line)


def wrong_in(line: str, word: str) -> bool:
    if word.isascii():
        return re.search(rf"[\u4e00-\u9fff] ?{word} ?[\u4e00-\u9fff]", line) is not None
    return re.search(word + ("(?!项)" if word == "采集" else ""), line) is not None


@pytest.mark.parametrize(("term", "word"), list(rows()))
def test_one_term_for_one_thing(term: str, word: str) -> None:
    found = [f"{place}: {word} -> {term}: {line.strip()}" for place, line in chinese() if wrong_in(line, word)]
    assert found == []


def test_another_word_would_be_found() -> None:
    assert wrong_in("每次采集之后", "采集")
    assert not wrong_in("启用的采集项", "采集")
    assert len(list(rows())) > 10
