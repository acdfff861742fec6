"""Metric families, with help in two languages, and samples of them."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from exporter.text import Text

__all__ = ("NOTHING_RECENT", "Family", "FamilyType", "Sample", "Text", "counter", "gauge", "histogram")

FamilyType = Literal["gauge", "counter", "histogram"]


class Sample(NamedTuple):
    """One value of a family; `values` are those of its labels, in their order. None is unknown: no sample is shown."""

    family: "Family"
    values: tuple[str, ...]
    value: float | None


# The Chinese of the most frequent "Absent while there is no recent data."
NOTHING_RECENT: Final = Text("", "没有近期数据。")


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family. Compared and hashed by identity: each exists once, and is a key in hot dictionaries.

    `name` is the name in the text format: a counter's ends in ``_total``. `labels` is the order of rendered labels.
    `help` and `zh` explain it in English and Chinese. A sentence of `help` that begins with "Absent" says when there is
    no sample; `absent` adds to it in English, and says all of it in Chinese.
    """

    name: str
    type: FamilyType
    help: str
    labels: tuple[str, ...] = ()
    zh: str = ""
    absent: Text = NOTHING_RECENT

    def __call__(self, *values: object, value: float | None) -> Sample:
        """Return a sample with these label values. Raises ValueError where their number is not that of the labels."""
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {', '.join(self.labels)}, not {len(values)} of them")
        # + turns an instance of a subclass of int or float into a plain number.
        return Sample(self, tuple(map(str, values)), None if value is None else +value)


def gauge(name: str, labels: tuple[str, ...], text: str, *, zh: str, absent: Text = NOTHING_RECENT) -> Family:
    """Declare a gauge. `text` is the HELP text, in English."""
    return Family(name, "gauge", text, labels, zh, absent)


def counter(name: str, labels: tuple[str, ...], text: str, *, zh: str, absent: Text = NOTHING_RECENT) -> Family:
    """Declare a counter. `text` is the HELP text, in English."""
    return Family(name, "counter", text, labels, zh, absent)


def histogram(name: str, labels: tuple[str, ...], text: str, *, zh: str, absent: Text = NOTHING_RECENT) -> Family:
    """Declare a histogram. `text` is the HELP text, in English."""
    return Family(name, "histogram", text, labels, zh, absent)
