"""`hpc-exporter top`: a live view of regions, queues and members in a terminal, from a running exporter."""

import argparse
import asyncio
import errno
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from exporter import __version__
from exporter.cli import options
from exporter.cli.commands import Command, Flag, Value
from exporter.cli.http_client import EXPORTER, Server, load_access, status_of, unanswered
from exporter.cli.options import UsageError
from exporter.cli.terminal import ELLIPSIS, Footer, fitted, text_of
from exporter.errors import PollError
from exporter.sources.once import Column
from exporter.web.html import moment
from exporter.web.lists import chosen_rows, missing_text
from exporter.web.page import StatusPage
from exporter.web.query import PageQuery, page_query
from exporter.web.rows import FIRST_SORT, NUMBERS, OF_TARGETS, Row, sizes, totals, unlisted, value_texts
from exporter.web.texts import Texts, number

# Columns that a terminal has no room for.
LEFT_OUT: Final = frozenset({"next_poll"})
COLOURS: Final = {"up": "green", "failing": "yellow", "stale": "red", "pending": "magenta"}
HELP: Final = ("Tab list", "/ filter", "p problems", "s sort", "r reverse", "↑↓ scroll", "q quit")
PLACES: Final = tuple("123456789")
# Escape sequences of terminals.
NAMED: Final = {"\x1b[A": "up", "\x1b[B": "down", "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[Z": "back"}

EXAMPLE = """examples:
  hpc-exporter top
  hpc-exporter top --url=https://hpc.example.com/exporter/ \\
    --http.config.file=exporter-access.yml

keys:
  Tab, 1 to 6  the list: members, people, groups, regions, queues, targets
  s, S         sort by the next column, by the previous one
  r            reverse the order
  /            filter by words in a row's names; Enter keeps them, Escape
               clears them
  p            only rows with a problem
  j, k         scroll, like the arrows, PageUp and PageDown
  q            quit

Sums stand below the rows; "≥" marks a sum of which a part is unknown.
"""


COMMAND = Command(
    "watch regions, queues and members live in a terminal",
    "Show a live view of a running exporter: the lists of its status page.",
    EXAMPLE,
    Flag("--interval", "refresh interval", options.SOME_TIME, "5s"),
    Flag("--view", "list to show first (default: the first with rows)", options.one_of(*OF_TARGETS)),
    Flag("--filter", "only rows with these words in their names", Value("WORDS"), ""),
    *EXPORTER,
)


def run(args: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("top needs a terminal; hpc-exporter once prints the same once")
    return asyncio.run(_top(args))


async def _top(args: argparse.Namespace) -> int:
    exporter = Server(args.url, load_access(args.http_config_file))
    try:
        status = await status_of(exporter)
        with keyboard() as keys, Live(screen=True, auto_refresh=False, console=Console()) as live:
            screen = Screen(status, View(args.view or "", filter=args.filter))
            async with asyncio.TaskGroup() as group:
                refreshing = group.create_task(_refresh(exporter, screen, args.interval, keys))
                await _follow(screen, keys, live)
                refreshing.cancel()
    except PollError as error:
        raise unanswered(args.url, error) from None
    except OSError as error:
        # The terminal is gone: its window was closed.
        if error.errno != errno.EIO:
            raise
    finally:
        await exporter.close()
    return 0


async def _refresh(exporter: Server, screen: "Screen", interval: float, keys: "asyncio.Queue[str]") -> None:
    """Request the status periodically. If the exporter does not answer, the last status stays, with a message."""
    while True:
        await asyncio.sleep(interval)
        try:
            screen.status, screen.problem = await status_of(exporter), ""
        except PollError as error:
            screen.problem = str(error)
        keys.put_nowait("")


async def _follow(screen: "Screen", keys: "asyncio.Queue[str]", live: Live) -> None:
    """Draw, and wait for a key or a new status, until the user quits."""
    key = ""
    while screen.view.press(key, screen.height):
        screen.height = max(1, live.console.height)
        live.update(screen.drawn(live.console.width), refresh=True)
        key = await keys.get()


@contextmanager
def keyboard() -> Iterator["asyncio.Queue[str]"]:
    """Yield the keys as they are pressed.

    An empty text stands for a new status or size, "quit" for signals and a terminal that is gone.
    """
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    keys: asyncio.Queue[str] = asyncio.Queue()
    before = termios.tcgetattr(descriptor)

    def pressed() -> None:
        data = b""
        with suppress(OSError):
            data = os.read(descriptor, 1024)
        if not data:
            # A terminal that is gone stays readable.
            loop.remove_reader(descriptor)
        for key in keys_in(data.decode(errors="ignore")) if data else ("quit",):
            keys.put_nowait(key)

    signals = {signal.SIGTERM: "quit", signal.SIGHUP: "quit", signal.SIGWINCH: ""}
    for each, key in signals.items():
        loop.add_signal_handler(each, keys.put_nowait, key)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, pressed)
    try:
        yield keys
    finally:
        loop.remove_reader(descriptor)
        # The terminal may be gone.
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def keys_in(text: str) -> Iterator[str]:
    """Yield the keys in what was read from a terminal; an escape sequence is one key."""
    while text:
        name = next((sequence for sequence in NAMED if text.startswith(sequence)), None)
        key = name or text[0]
        yield NAMED.get(key, key)
        text = text[len(key) :]


@dataclass
class View:
    """Which list is shown, and how. An empty `name` is the first list with rows."""

    name: str = ""
    sort: str = ""
    filter: str = ""
    problems: bool = False
    typing: bool = False
    offset: int = 0

    def press(self, key: str, height: int) -> bool:
        """Handle a key; return False to quit. `height` is that of the screen."""
        if key == "quit" or (key == "q" and not self.typing):
            return False
        if self.typing:
            self._type(key)
        else:
            self._command(key, max(1, height - 6))
        return True

    def _type(self, key: str) -> None:
        if key in ("\n", "\r", "\x1b", ""):
            self.typing = self.typing and not key
            self.filter = "" if key == "\x1b" else self.filter
        elif key in ("\x7f", "\b"):
            self.filter = self.filter[:-1]
        elif key.isprintable() and len(key) == 1:
            self.filter += key
        self.offset = 0

    def _command(self, key: str, page: int) -> None:
        names = list(OF_TARGETS)
        at = names.index(self.name) if self.name else 0
        columns = OF_TARGETS[names[at]]
        by = columns.index((self.sort or FIRST_SORT[names[at]]).removeprefix("-"))
        moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, " ": page}
        if key in ("\t", "back"):
            self._show(names[(at + (1 if key == "\t" else -1)) % len(names)])
        elif key in PLACES[: len(names)]:
            self._show(names[PLACES.index(key)])
        elif key in ("s", "S"):
            column = columns[(by + (1 if key == "s" else -1)) % len(columns)]
            self.sort = f"-{column}" if column in NUMBERS else column
        elif key == "r":
            sort = self.sort or FIRST_SORT[names[at]]
            self.sort = sort.removeprefix("-") if sort.startswith("-") else f"-{sort}"
        elif key == "p":
            self.problems = not self.problems
        elif key == "/":
            self.typing = True
        elif key == "\x1b":
            self.filter = ""
        elif key in moves:
            self.offset = max(0, self.offset + moves[key])

    def _show(self, name: str) -> None:
        self.name, self.sort, self.offset = name, "", 0

    @property
    def query(self) -> PageQuery:
        """The same as a query of the status page."""
        return page_query(
            {
                "view": self.name,
                "sort": self.sort,
                "filter": self.filter,
                "state": "stale,failing" if self.problems else "",
            }
        )


@dataclass
class Screen:
    """The picture of a status; `problem` says why it is old."""

    status: dict[str, Any]
    view: View
    problem: str = ""
    height: int = 24
    _texts: Texts = field(default_factory=lambda: Texts("en"))

    def drawn(self, width: int) -> Text:
        try:
            return self._picture(width)
        except (LookupError, TypeError, ValueError, AttributeError):
            version = self.status.get("version", "unknown")
            text = f"The exporter's status has another form than this version ({__version__}) knows; its version: {version}"
            return Text(line_of(text, width), style=COLOURS["stale"])

    def _picture(self, width: int) -> Text:
        page = StatusPage(self.status, self._texts, "/metrics", self.view.query)
        query = page.query
        self.view.name = query.view
        state, headline, detail = page.verdict()
        if self.problem:
            state, headline, detail = "stale", f"The exporter does not answer: {self.problem}", "This is old."
        lines = [
            Text(line_of(" – ".join(filter(None, (headline, detail))), width), style=f"bold {COLOURS[state]}"),
            Text(line_of(self._tabs(query), width)),
            *self._table(query, width, max(1, self.height - 4)),
        ]
        lines = lines[: self.height - 1]
        for line in lines:
            # A longer one would be wrapped, and push the last ones off the screen.
            line.truncate(width, overflow="ellipsis")
        lines += [Text()] * (self.height - 1 - len(lines))
        return Text("\n").join([*lines, Text(line_of(self._foot(width), width), style="reverse")])

    def _tabs(self, query: PageQuery) -> str:
        names = (f"{place} {self._texts(view)}" for place, view in enumerate(OF_TARGETS, 1))
        return " ".join(f"[{name}]" if name.endswith(self._texts(query.view)) else f" {name} " for name in names)

    def _foot(self, width: int) -> str:
        if self.view.typing:
            return f"filter: {self.view.filter}_   Enter keeps it, Escape takes it out"
        chosen = [f"filter: {self.view.filter}"] * bool(self.view.filter) + ["problems only"] * self.view.problems
        keys = list(HELP)
        while len(keys) > 1 and cell_len("  ".join([*chosen, *keys])) > width:
            del keys[-2]
        return "  ".join([*chosen, *keys])

    def _table(self, query: PageQuery, width: int, height: int) -> list[Text]:
        now = moment(self.status["time"])
        rows = chosen_rows(self.status, self._texts, query)
        missing = missing_text(self.status, query.view, self._texts)
        remark = [Text(line_of(missing, width), style=COLOURS["stale"])] if missing else []
        if not rows:
            nothing = "nothing_known" if missing else "nothing_here"
            text = "nothing_matches" if sizes(self.status["targets"])[query.view] else nothing
            return [Text(self._texts(text)), *remark]
        height -= len(remark)
        names = [name for name in OF_TARGETS[query.view] if name not in LEFT_OUT]
        columns = [self._column(name, query) for name in names]
        below = []
        if query.view != "targets" and len(rows) > 1:
            sums = totals([*rows, *unlisted(query.view, self.status["targets"])])
            cells = [number(sums[name]) if name in NUMBERS and name != "people" else "" for name in names]
            below.append(Footer(f"total of {len(rows):,}", cells))
        room = max(1, height - 1 - len(below))
        self.view.offset = max(0, min(self.view.offset, len(rows) - room))
        while True:
            shown = rows[self.view.offset : self.view.offset + room]
            cells_of = [[cell_of(name, row, now, self._texts) for name in names] for row in shown]
            lines = fitted(columns, cells_of, below, width, colours=False, hint="").splitlines()
            if len(lines) <= height or room == 1:
                break
            room = max(1, room - (len(lines) - height))
        looks = ["bold", *(_style(row) for row in shown)]
        return [Text(line, style=looks[at] if at < len(looks) else "bold") for at, line in enumerate(lines)] + remark

    def _column(self, name: str, query: PageQuery) -> Column:
        mark = (" ↓" if query.descending else " ↑") if name == query.sort else ""
        title = f"{self._texts(name)}{mark}"
        is_number = name in NUMBERS
        return Column(title, whole=is_number, right=is_number, minor=name in ("held", "suspended", "other"))


def _style(row: Row) -> str:
    return COLOURS.get(row["state"], "") if row["state"] in ("stale", "failing") else ""


def cell_of(name: str, row: Row, now: float, texts: Texts) -> str:
    """Return the text of a cell at the Unix time `now`."""
    value = row[name]
    if name in NUMBERS:
        return number(value)
    if name == "state":
        return texts(f"state_{value}")
    if name == "last_success":
        return texts.since(now - moment(value)) if value else texts("never")
    if name == "result":
        return texts.reason(value) if value else " ".join(value_texts(row))
    return str(value)


def line_of(text: str, width: int) -> str:
    """Return `text` in exactly one line of the terminal, without control sequences; a longer one ends at a word."""
    text = text_of(text)
    if cell_len(text) > width:
        kept = set_cell_size(text, width - 1)
        text = (kept.rpartition(" ")[0] or kept) + ELLIPSIS
    return set_cell_size(text, width)
