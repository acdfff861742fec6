"""Bugs that the project had, or might have: put back on purpose, to see that simulations find them."""

import inspect
import textwrap
from typing import Any, Final, NamedTuple

from exporter.app.reload import SharedReload
from exporter.http import TokenCache
from exporter.polling import Scheduler, poll_target
from exporter.sources.collector import get_unless_shown
from exporter.sources.display import Display
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.live_jobs import LivePolling
from exporter.tracking.history import note_end
from exporter.tracking.service import TrackingService


class Change(NamedTuple):
    """A function, what it says, and what it says with the bug."""

    function: Any
    right: str
    wrong: str


BUGS: Final = {
    "a second login at a time": [Change(TokenCache.log_in, "if self._under_way is None:", "if True:")],
    "a login joined that nothing waits for": [
        Change(TokenCache.log_in, "one has ended.\n                self._under_way = None", "one has ended.")
    ],
    "a source closed while it is polled": [Change(Scheduler.replaced_polls, "if polls:", "if False:")],
    "an expired answer taken for unchanged": [
        Change(get_unless_shown, "if found is None and shown() != known:", "if False:")
    ],
    "an expired answer remembered": [Change(Display.expired, "self._answers.pop(key, None)", "pass")],
    "a poll that goes on after its member was removed": [
        Change(Scheduler._remove, "status.task.cancel()", "pass"),
        Change(poll_target, "if is_wanted():", "if True:"),
    ],
    "an error taken for an empty list": [Change(open_envelope, "if code == SUCCESS:", "if True:")],
    "an end that is counted twice": [
        Change(note_end, "update.ends[job_id] = (*known, KnownEnd(", "_ = (*known, KnownEnd(")
    ],
    "counters shown before they are on disk": [
        Change(TrackingService._stage, "if self._writer is None or self._told:", "if True:")
    ],
    "a reload joined that has read the file before": [
        Change(
            SharedReload.request,
            "if self._next is None:",
            "if self._running is not None and not self._running.done():\n"
            "        return self._running\n"
            "    if self._next is None:",
        ),
    ],
    "no jobs of members that the platform leaves out": [
        Change(LivePolling._of_region, "if not refused or followed.member.user in here", "if True"),
    ],
}


def with_bug(change: Change) -> str:
    """Return the text of a function with the bug. Raises AssertionError where it reads otherwise by now."""
    text = textwrap.dedent(inspect.getsource(change.function))
    assert change.right in text, f"{change.function.__qualname__} has no {change.right!r} any more"
    return text.replace(change.right, change.wrong)


def put_back(bug: str) -> None:
    """Put a bug back for the rest of this process. Raises AssertionError as `with_bug` does."""
    for change in BUGS[bug]:
        function, made = change.function, dict[str, Any]()
        exec(with_bug(change), function.__globals__, made)  # noqa: S102 - our own
        function.__code__ = made[function.__name__].__code__
