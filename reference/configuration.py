"""The reference of the configuration in Markdown, in any language."""

import json
import re
from collections.abc import Iterator
from typing import Final

from exporter.sources.collector import Collector, registry
from reference.examples import EXAMPLES
from reference.keys import Key, Part, parts
from reference.language import Language

# What is code already; YAML, paths of addresses, names of keys and metrics, of labels, and words of the APIs.
_CODE: Final = re.compile(
    r"`[^`]*`|\{[^}]*\}|(?<![\w:/])/(?:metrics|hpc|ac)\b|\b(?:[a-z]+(?:_[a-z]+)+|url)\b"
    r"|(?<=[Ll]abel )\w+|(?<=标签 )\w+|\b(?:PROCESSOR|INTERNAL|RESIM|CCE|MODELARTS)\b"
)


def document(language: Language) -> str:
    """The whole page."""
    sections = (_section(part, language) for part in parts())
    return "\n\n".join([language.introduction.strip(), *sections, *_collectors(language)]) + "\n"


def _collectors(language: Language) -> Iterator[str]:
    """What `collect` can name, from the registry."""
    yield f"## {language.collectors}"
    yield language.collectors_text
    head = [f"| {' | '.join(language.collector_columns)} |", "|---|---|---|---|---|---|"]
    yield "\n".join([*head, *(_collector_row(collector, language) for collector in registry().values())])


def _collector_row(collector: Collector, language: Language) -> str:
    families = language.comma.join(f"`{family.name}`" for family in collector.families)
    default = language.yes if collector.default else language.no
    per, gives = language.say(collector.per.text), language.say(collector.gives)
    return f"| `{collector.per.section}` | `{collector.name}` | {default} | {per} | {gives} | {families} |"


def coded(text: str) -> str:
    """`text` with names as code."""
    return _CODE.sub(lambda match: match[0] if match[0][0] == "`" else f"`{match[0]}`", text)


def anchor(path: str) -> str:
    """The anchor of a section's heading, which is its path as code."""
    return re.sub(r"[^\w-]", "", path)


def _section(part: Part, language: Language) -> str:
    return "\n\n".join(_paragraphs(part, language))


def _paragraphs(part: Part, language: Language) -> Iterator[str]:
    if part.path:
        yield f"{'##' if part.path.count('.') == 0 else '###'} `{part.path}`"
        yield coded(language.of_section(part))
    if part.also:
        yield language.also.format(language.listed([f"`{path}`" for path in part.also]))
    head = [f"| {' | '.join(language.columns)} |", "|---|---|---|---|"]
    yield "\n".join([*head, *(_row(key, language) for key in part.keys)])
    rules = list(_rules(part, language))
    if rules:
        yield "\n".join(f"- {rule}" for rule in rules)
    if part.path:
        yield f"```yaml\n{EXAMPLES[part.path].strip()}\n```"


def _rules(part: Part, language: Language) -> Iterator[str]:
    for text, sets in ((language.exactly_one, part.exactly_one), (language.at_most_one, part.at_most_one)):
        for names in sets:
            yield text.format(language.listed([f"`{name}`" for name in names]))
    if part.either:
        yield language.either.format(*(language.listed([f"`{name}`" for name in names]) for names in part.either))


def _row(key: Key, language: Language) -> str:
    default = language.required if key.is_required else "" if key.default is None else f"`{_written(key)}`"
    # Keys of the top level have a heading of their own.
    place = f'<a id="{key.path.replace("[]", "")}"></a>' if "." in key.path else ""
    return f"| {place}`{key.name}` | {_value(key, language)} | {default} | {coded(language.of_key(key))} |"


def _written(key: Key) -> str:
    """A default as it would be written."""
    if isinstance(key.default, list):
        return f"[{', '.join(key.default)}]"
    return key.default if isinstance(key.default, str) else json.dumps(key.default)


def _value(key: Key, language: Language) -> str:
    """What a key takes."""
    if key.section is not None:
        link = f"[`{key.section}`](#{anchor(key.section)})"
        return (language.name_or_section if key.kind == "name_or_section" else language.section).format(link)
    kind = coded(language.kinds[key.kind])
    if key.bounds:
        bounds = language.bounds.format(f"`{key.bounds.low_text}`", f"`{key.bounds.high_text}`")
        kind = f"{kind}{language.clause}{bounds}"
    return language.list_of.format(kind) if key.is_list else kind
