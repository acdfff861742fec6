"""Tables: aligned in any script, complete in a pipe, never wider than the terminal, harmless whatever they hold."""

import io
import os
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from exporter.cli.output import indented
from exporter.cli.terminal import Footer, fitted, progress, rendered, shortened, text_of
from exporter.sources.once import Cell, Column, count, number

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
def test_on_a_terminal_names_are_shortened_and_numbers_are_not(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    lines = rendered(COLUMNS, ROWS, terminal).splitlines()
    assert len(lines) == 4
    assert max(map(cell_len, lines)) <= width
    for whole in ("1466591", "1024"):
        assert whole in "".join(lines)
    assert "…" in lines[-1]
    assert "a" * 60 in rendered(COLUMNS, ROWS, terminal, wide=True)


def test_columns_that_say_nothing_go_first_and_are_named_below(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    columns = [Column("cluster"), Column("user"), count("running"), count("held", minor=True), count("cores")]
    rows: list[list[Cell]] = [["kunshan", "user-000001", 3, 0, 96], ["kunshan", "user-000002", 4, 0, None]]
    total = [Footer("total", ["", "", 7, 0, None])]
    monkeypatch.setenv("COLUMNS", "80")
    assert rendered(columns, rows, terminal, total).splitlines()[0] == "cluster  user         running  held  cores"
    monkeypatch.setenv("COLUMNS", "30")
    assert rendered(columns, rows, terminal, total) == (
        "user         running  cores\n"
        "user-000001        3     96\n"
        "user-000002        4      ?\n"
        "total              7      ?\n"
        "In every row shown: cluster\nkunshan, held 0.\n"
    )
    rows[1][3] = 5
    total = [Footer("total", ["", "", 7, 5, None])]
    monkeypatch.setenv("COLUMNS", "26")
    assert rendered(columns, rows, terminal, total).splitlines()[1:] == [
        "user-0…001        3     96",
        "user-0…002        4      ?",
        "total             7      ?",
        "In every row shown:",
        "cluster kunshan. Left out:",
        "held; --wide shows them.",
    ]


def test_a_shortened_name_keeps_its_end() -> None:
    assert shortened("simulation-user-000123", 12) == "simulati…123"
    assert shortened("王伟的分子动力学模拟", 9) == "王伟的…拟"
    assert shortened("short", 5) == "short"


def test_a_line_is_folded_between_words_on_a_terminal_alone(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    text = "FAILED  kunshan: the name cannot be resolved: 名称无法解析"
    assert indented(text, io.StringIO(), " " * 8) == f"{text}\n"
    lines = indented(text, terminal, " " * 8).splitlines()
    assert all(cell_len(line) <= 30 for line in lines)
    assert all(line.startswith(" " * 8) for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == text


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


def test_the_cursor_is_visible_during_progress(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM may end the command at any time."""
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("polling", 3) as advance:
        advance()
        shown = terminal.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


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


ROW = st.tuples(CELLS, CELLS, st.text("0123456789", min_size=1, max_size=9))


@given(st.lists(ROW, max_size=5), st.integers(40, 100))
def test_whatever_is_in_it_a_table_fits(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = [Column("name"), Column("queue"), number("n")]
    text = fitted(columns, rows, [Footer("total", ["", "", "1"])], width, colours=False)
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert all(number in text for *_, number in rows)


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
    assert cell_len(text.splitlines()[1]) == 30
