"""Tables: aligned whatever the script, complete in a pipe, never wider than the terminal, harmless whatever is in them."""

import io
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from exporter.cli.terminal import blocks, folded, least_width, rendered, text_of, widths
from exporter.sources.once import Column, number

COLUMNS = [Column("user"), Column("id", whole=True), number("cores"), Column("name")]
ROWS = [["王伟", "1466591", "32", "化学反应模拟"], ["zhang-san", "19", "1024", "x"], ["bob", "7", "?", "a" * 60]]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def columns_begin(line: str) -> list[int]:
    """Return the cells at which something begins after two blanks or more."""
    found, blanks, cells = [], 2, 0
    for char in line:
        if char != " " and blanks >= 2:
            found.append(cells)
        blanks = blanks + 1 if char == " " else 0
        cells += cell_len(char)
    return found


def test_chinese_lines_up() -> None:
    titles, *lines = rendered(COLUMNS, ROWS, io.StringIO()).splitlines()
    assert columns_begin(titles)[0:2] == [0, 11]
    for line in lines:
        begins = columns_begin(line)
        assert begins[0:2] == [0, 11]
        assert begins[-1] == columns_begin(titles)[-1]


def test_in_a_pipe_nothing_is_cut_and_nothing_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = rendered(COLUMNS, ROWS, io.StringIO())
    assert len(text.splitlines()) == 4
    assert "a" * 60 in text
    assert "\x1b" not in text
    assert not any(line.endswith(" ") for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 60, 80])
def test_on_a_terminal_names_are_folded_and_numbers_are_not(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    text = rendered(COLUMNS, ROWS, terminal)
    assert max(map(cell_len, text.splitlines())) <= width
    for whole in ("1466591", "1024"):
        assert whole in text
    assert "".join(text.split()).count("a") >= 60


def test_a_terminal_too_narrow_for_rows_gets_blocks(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert rendered(COLUMNS, ROWS[:2], terminal) == (
        "user   王伟\nid     1466591\ncores  32\nname   化学反应模拟\n\n"
        "user   zhang-san\nid     19\ncores  1024\nname   x\n"
    )


def test_colours_are_for_terminals_that_want_them(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column("state", styled=True)]
    assert "\x1b[32mrunning" in rendered(columns, [["running"]], terminal)
    assert "\x1b[32m" not in rendered([Column("name")], [["running"]], terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in rendered(columns, [["running"]], terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in rendered(columns, [["running"]], terminal)


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "a\nb", "a\r", "\x07", "\N{RIGHT-TO-LEFT OVERRIDE}x", "\x9b31m", "\ud800", "\x00"]
)
def test_a_name_cannot_steer_the_terminal(hostile: str) -> None:
    text = rendered([Column("name")], [[hostile]], io.StringIO())
    assert len(text.splitlines()) == 2
    assert all(char.isprintable() for line in text.splitlines() for char in line)


@pytest.mark.parametrize("markup", ["[red]x[/red]", ":smile:", "[link=http://x]y", "\\[bold]", "[/]"])
def test_a_name_is_no_markup(markup: str) -> None:
    assert markup in rendered([Column("name")], [[markup]], io.StringIO())


def test_unknown_is_not_zero() -> None:
    assert text_of(None) == "?"
    assert text_of(0) == "0"


CELLS = st.text(st.sampled_from("ab王é ,[]/:\t\x1b"), max_size=30)


@given(st.lists(st.tuples(CELLS, st.text("0123456789", min_size=1, max_size=9)), max_size=5), st.integers(20, 100))
def test_whatever_is_in_it_a_table_fits_where_it_can(rows: list[tuple[str, str]], width: int) -> None:
    columns = [Column("name"), number("n")]
    texts: list[list[str]] = [[text_of(cell) for cell in row] for row in rows]
    if least_width(columns, widths(columns, texts)) <= width:
        text = folded(columns, texts, width, colours=False)
        assert all(cell_len(line) <= width for line in text.splitlines())
        assert all(number in text for _, number in texts)
    else:
        assert len(blocks(columns, texts).splitlines()) == max(0, 3 * len(rows) - 1)


def test_a_table_that_fits_looks_the_same_folded_or_not() -> None:
    """Two ways to one look: the fast one for whatever fits, rich's for what does not."""
    assert folded(COLUMNS, ROWS, 200, colours=False) == rendered(COLUMNS, ROWS, io.StringIO())


def test_a_large_table_takes_no_time() -> None:
    columns = [Column("user"), Column("queue"), *(number(str(each)) for each in range(5))]
    began = time.process_time()
    rendered(columns, [(f"user{each}", "debug", 1, 2, 3, 4, 5) for each in range(20_000)], io.StringIO())
    assert time.process_time() - began < 20


def test_the_width_is_that_of_the_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)

    def size(_: Any) -> os.terminal_size:
        return os.terminal_size((30, 10))

    monkeypatch.setattr(os, "get_terminal_size", size)
    monkeypatch.setattr(terminal, "fileno", lambda: 1)
    text = rendered([Column("name")], [["b" * 70]], terminal)
    assert text.count("b" * 30 + "\n") == 2
