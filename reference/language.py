"""What a language has to bring for the reference of the configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exporter.metrics.family import Text
from reference.keys import Key, Part


@dataclass(frozen=True)
class Language:
    """Texts in Markdown. Those with braces are filled in; names of keys, labels and values become code by themselves.

    `introduction` is all that comes before the sections, `kinds` are the words for `Key.kind`.
    """

    introduction: str
    columns: Sequence[str]
    kinds: Mapping[str, str]
    clause: str
    comma: str
    and_: str
    bounds: str
    list_of: str
    required: str
    section: str
    name_or_section: str
    also: str
    exactly_one: str
    at_most_one: str
    either: str
    collectors: str
    collectors_text: str
    collector_columns: Sequence[str]
    yes: str
    no: str
    say: Callable[[Text], str]
    of_section: Callable[[Part], str]
    of_key: Callable[[Key], str]

    def listed(self, texts: Sequence[str]) -> str:
        """A, B and C."""
        return self.and_.join([self.comma.join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
