"""HTML elements, in which text is escaped, and the parts that recur on the page."""

from datetime import datetime
from html import escape

from exporter.web.texts import Texts


class Markup(str):
    """Text that is HTML already and is not escaped."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element with its children, which are `Markup`, text, or None for nothing.

    An attribute is written with underscores for hyphens, ``class_`` for class; True is one without a value, None and
    False are left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{written}>{together(*children)}</{name}>")


def void(name: str, /, **attributes: object) -> Markup:
    """Return an element without children and end tag, like meta."""
    return Markup(element(name, **attributes).removesuffix(f"</{name}>"))


def together(*children: object) -> Markup:
    """Children one after the other, as in `element`."""
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(str(child)) for child in children if child is not None)
    )


def moment(text: str) -> float:
    """Unix time of an RFC 3339 text."""
    return datetime.fromisoformat(text).timestamp()


class Parts:
    """Parts of the page that recur, in the language of `texts`, as seen at `now`."""

    def __init__(self, texts: Texts, now: float) -> None:
        self._t = texts
        self._now = now

    def chip(self, state: str, look: str = "") -> Markup:
        """Return a label for a state, which looks like that of another one where the whole is worse than its parts."""
        return element(
            "span", self._t(f"state_{state}"), class_=f"chip {look or state}", title=self._t(f"explain_{state}")
        )

    def seconds_since(self, text: str) -> float:
        """Seconds since a moment."""
        return self._now - moment(text)

    def time(self, text: str | None, otherwise: str = "never", *, future: bool = False) -> Markup | str:
        """Return the time since a moment or until it. A moment of the `future` that has passed is shown as now."""
        if text is None:
            return self._t(otherwise)
        seconds = self._now - moment(text)
        shown = self._t.since(min(seconds, 0.0) if future else seconds)
        return element("time", shown, datetime=text, title=text)
