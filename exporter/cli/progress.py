"""A progress bar on standard error, for a person who waits."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from exporter.cli.table import can_move, has_colours


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how much of `total` is done, until the end of the block; yields what to call when one more is.

    Only on a terminal that can move its cursor: elsewhere nothing is shown.
    """
    if not can_move(sys.stderr):
        yield lambda: None
        return
    console = Console(stderr=True, force_terminal=True, no_color=not has_colours(sys.stderr))
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True)
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
