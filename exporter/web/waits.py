"""The part of the status page that says when the first job submitted now starts, and what is not promised."""

from collections.abc import Mapping
from typing import Any, Final

from exporter.web.html import Markup, element
from exporter.web.texts import Texts

# Queues shown: a region may have hundreds. `hpc-exporter waits` and the status as JSON have all.
SHOWN: Final = 30


def promises(status: Mapping[str, Any], texts: Texts) -> Markup | None:
    """Return the section, None where nothing is known of waits. Queues with bounds come first."""
    known = [
        waits
        for waits in status["waits"]
        if any(bound["checked"] or bound["seconds"] is not None for bound in waits["bounds"])
    ]
    known.sort(key=lambda waits: all(bound["seconds"] is None for bound in waits["bounds"]))
    if not known:
        return None
    items = [element("li", _name(waits, texts), *_facts(waits, texts)) for waits in known[:SHOWN]]
    if len(known) > SHOWN:
        items.append(element("li", texts("and_more", len(known) - SHOWN)))
    return element(
        "section",
        element("h2", texts("first_job")),
        element("p", texts("first_job_only")),
        element("ul", *items),
        id="waits",
        class_="notice",
    )


def _name(waits: Mapping[str, Any], texts: Texts) -> Markup:
    words = [waits["source"], waits["queue"] or waits["group"], texts("accelerated") if waits["accelerated"] else ""]
    return element("bdi", " · ".join(filter(None, words)))


def _facts(waits: Mapping[str, Any], texts: Texts) -> list[Markup]:
    bounds = waits["bounds"]
    told = [
        texts(f"within_{round(100 * bound['quantile'])}", time=texts.span(bound["seconds"]))
        for bound in bounds
        if bound["seconds"] is not None
    ]
    told += [
        texts("withheld", bound["recent_held"], checked=bound["recent_checked"], percent=f"{100 * bound['quantile']:g}")
        for bound in bounds
        if bound["withheld"]
    ]
    last = next((bound for bound in reversed(bounds) if bound["seconds"] is not None and bound["recent_checked"]), None)
    if last is not None:
        told.append(texts("right_in", last["recent_held"], checked=last["recent_checked"]))
    return [element("span", f" · {text}") for text in told]
