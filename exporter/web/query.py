"""What is asked of `/api/v1/status` and of the status page in the part after '?'."""

from collections.abc import Mapping
from typing import Final

from exporter.app.status import DEFAULT_LIMIT, MAX_LIMIT, STATES, Selection
from exporter.errors import ExporterError

LONGEST_TEXT: Final = 200


class QueryError(ExporterError):
    """A parameter is wrong; the text says which and why."""


def selection_of(query: Mapping[str, str], default_limit: int = DEFAULT_LIMIT) -> Selection:
    """The targets asked for by ``filter``, ``state``, ``source``, ``endpoint``, ``offset`` and ``limit``.

    Raises QueryError.
    """
    states = frozenset(state for state in query.get("state", "").split(",") if state)
    unknown = sorted(states - frozenset(STATES))
    if unknown:
        raise QueryError(f"state: {unknown[0][:LONGEST_TEXT]!r} is none of {', '.join(STATES)}")
    return Selection(
        text=query.get("filter", "")[:LONGEST_TEXT],
        states=states,
        source=query.get("source", ""),
        endpoint=query.get("endpoint", ""),
        offset=number(query, "offset", 0, 0, 10**9),
        limit=number(query, "limit", default_limit, 1, MAX_LIMIT),
    )


def number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise QueryError(f"{name}: must be a whole number from {low} to {high}")
    return int(text)
