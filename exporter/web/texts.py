"""The texts of the status page, by language."""

import json
import math
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

from exporter.sources.collector import registry
from exporter.web.negotiation import parse_accept


def _read() -> Mapping[str, Mapping[str, str]]:
    """Texts by key and language: those of the file, and the titles of the collectors."""
    words = json.loads(resources.files("exporter.web").joinpath("texts.json").read_text(encoding="utf-8"))
    return {
        language: of_language
        | {f"collector_{each.name}": getattr(each.title, language) for each in registry().values()}
        for language, of_language in words.items()
    }


class AtLeast(int):
    """A sum of which a part is unknown."""


_ALL: Final = _read()
LANGUAGES: Final = tuple(_ALL)
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60))


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = _ALL[language]

    def __call__(self, key: str, n: int | None = None, **values: object) -> str:
        """Return the text of `key`, its ``{n}`` and other placeholders filled.

        With `n` 1 its singular, if there is one.
        """
        text = self._texts.get(f"{key}_one") if n == 1 else None
        text = text or self._texts[key]
        places = {"n": number(n), **values}
        # In one pass: a value that looks like a placeholder is left as it is.
        return re.sub(r"\{(\w+)\}", lambda place: str(places[place[1]]), text)

    def around(self, key: str, **place: object) -> tuple[str, object, str]:
        """Return the text of `key` before and after its only placeholder, and what goes between: an element of the page."""
        (name, content) = next(iter(place.items()))
        before, _, after = self(key, None, **{name: "\0"}).partition("\0")
        return before, content, after

    def reason(self, error: Mapping[str, str] | None) -> str:
        """Return the message of an error of the status in this language; empty where there is none."""
        return error["message_zh" if self.language == "zh" else "message"] if error else ""

    def head(self, column: str) -> str:
        """Return the head of a column, which has a text of its own where its name is too short."""
        return self(f"head_{column}") if f"head_{column}" in self._texts else self(column)

    def since(self, seconds: float) -> str:
        """Return the time since an event, or until it where `seconds` is negative."""
        if abs(seconds) < 1:
            return self("now")
        return self._amount("ago", seconds) if seconds >= 0 else self._amount("in", -seconds)

    def lasting(self, seconds: float) -> str:
        """Return a duration, to its unit."""
        return self._amount("for", max(seconds, 0.0))

    def _amount(self, kind: str, amount: float) -> str:
        unit, size = next(((unit, size) for unit, size in _UNITS if amount >= 2 * size), ("s", 1))
        return self(f"{kind}_{unit}", round(amount // size))

    def span(self, seconds: float) -> str:
        """Return a length of time in its two largest units, rounded up."""
        step = _sizes(seconds)[-1][1]
        left, parts = math.ceil(seconds / step) * step, list[str]()
        for unit, size in _sizes(left):
            n, left = divmod(left, size)
            if n or (unit == "s" and not parts):
                parts.append(self(f"span_{unit}", n))
        return " ".join(parts)


def _sizes(seconds: float) -> list[tuple[str, int]]:
    """Return the two largest units of a length of time, with their seconds."""
    return [(unit, size) for unit, size in (*_UNITS, ("s", 1)) if size <= max(seconds, 1)][:2]


def number(value: float | None) -> str:
    """Return a number as people read it.

    A dash where it is unknown, and a sign before one of which only a part is known.
    """
    if value is None or math.isnan(value):
        return "–"
    sign = "≥ " if isinstance(value, AtLeast) else ""
    return f"{sign}{int(value):,}" if float(value).is_integer() else f"{value:,.6g}"


def chosen_language(requested: str | None, accept_language: str | None) -> str:
    """Return the language of a page.

    `requested` by its switch, else the first known one of Accept-Language, else English.
    """
    if requested is not None and requested in _ALL:
        return requested
    wanted = sorted(parse_accept(accept_language), key=lambda each: -each.q)
    primary = (each.name.partition("-")[0] for each in wanted if each.q)
    return next((language for language in primary if language in _ALL), LANGUAGES[0])
