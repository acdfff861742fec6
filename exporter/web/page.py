"""The status page at `/`, in the state of the moment: complete without JavaScript, kept up to date by static/page.js.

What is here for one state, the script does for every later one: the two make the same elements and classes.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from exporter.web.html import Markup, element, together, void
from exporter.web.texts import LANGUAGES, Texts, number

# Rows of each list in a page without JavaScript.
ROWS: Final = 100
LANGUAGE_NAMES: Final = {"en": "English", "zh": "中文"}
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "targets": ("state", "source", "endpoint", "target", "last_success", "next_poll", "last_error"),
    "queues": ("source", "user", "queue", "running", "queued", "held", "suspended", "other"),
    "members": ("source", "member", "running", "queued", "cpus", "gpus", "dcus"),
}
NUMBERS: Final = frozenset({"running", "queued", "held", "suspended", "other", "cpus", "gpus", "dcus"})
STATES: Final = ("stale", "failing", "pending", "up", "absent")


class StatusPage:
    """One page for one reader: `status` is what the exporter says, `query` what was asked for after '?'."""

    def __init__(self, status: Mapping[str, Any], texts: Texts, telemetry_path: str, query: Mapping[str, str]) -> None:
        self._status = status
        self._t = texts
        self._telemetry_path = telemetry_path
        self._query = query
        self._now = moment(status["time"])

    def html(self) -> str:
        head = element(
            "head",
            void("meta", charset="utf-8"),
            element("title", f"{self._t('title')} – {self._verdict()[1]}"),
            void("meta", name="viewport", content="width=device-width, initial-scale=1"),
            void("meta", name="color-scheme", content="light dark"),
            void("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
            void("link", rel="stylesheet", href="/static/page.css"),
            element("script", type="module", src="/static/page.js"),
        )
        main = element(
            "main",
            self._verdict_section(),
            element("div", self._notices(), id="notices"),
            element("h2", self._t("sources"), class_="unseen"),
            element("div", *map(self._card, self._sources()), id="sources"),
            self._lists(),
        )
        body = element(
            "body", element("a", self._t("skip"), href="#lists", class_="skip"), self._header(), main, self._footer()
        )
        return f"<!doctype html>{element('html', head, body, lang=self._t.language)}\n"

    def _header(self) -> Markup:
        t = self._t
        links = [
            (self._telemetry_path, t("metrics")),
            ("/api/v1/status", t("json")),
            ("/config", t("configuration")),
        ]
        return element(
            "header",
            element("h1", void("img", src="/static/icon.svg", alt="", width=28, height=28), t("title")),
            element("nav", *(element("a", text, href=path) for path, text in links), aria_label=t("pages")),
            element(
                "nav",
                *(
                    element(
                        "a",
                        LANGUAGE_NAMES[language],
                        href="?" + urlencode({**self._query, "lang": language}),
                        lang=language,
                        hreflang=language,
                        aria_current="true" if language == t.language else None,
                    )
                    for language in LANGUAGES
                ),
                id="languages",
                aria_label=t("language"),
            ),
        )

    def _footer(self) -> Markup:
        started = self._time(self._status["started"], "never")
        before, _, after = self._t("running_since", when="\0").partition("\0")
        return element(
            "footer",
            element("span", self._t("version", version=self._status["version"])),
            *self._shard(),
            element("span", before, started, after),
            element("span", self._status["config"]["file"]),
        )

    def _shard(self) -> list[Markup]:
        """Why there are fewer targets here than in the configuration."""
        shard = self._status["shard"]
        return [element("span", self._t("shard", **shard))] if shard["total"] > 1 else []

    def _verdict(self) -> tuple[str, str, str]:
        """State, headline and the sentence below it."""
        t, summary = self._t, self._status["summary"]
        total, problems = summary["total"], summary["stale"] + summary["failing"]
        if problems:
            names = [source["name"] for source in self._status["sources"] if source["state"] in ("stale", "failing")]
            shown = ", ".join(names[:3]) + (f", {t('and_more', len(names) - 3)}" if len(names) > 3 else "")  # noqa: PLR2004 - three fit a line
            blind = any(look_of(source["targets"]) == "stale" for source in self._status["sources"])
            return (
                "stale" if blind else "failing",
                t("verdict_problem", problems, total=number(total)),
                t("where", names=shown),
            )
        if summary["pending"]:
            return "pending", t("verdict_pending", summary["pending"]), ""
        if not total:
            why = "verdict_none_shard" if self._status["shard"]["total"] > 1 else "verdict_none_detail"
            return "pending", t("verdict_none"), t(why)
        return "up", t("verdict_up", total), ""

    def _verdict_section(self) -> Markup:
        state, headline, detail = self._verdict()
        return element(
            "section",
            element("span", class_="mark", aria_hidden="true"),
            element(
                "div", element("p", headline, class_="headline"), element("p", element("bdi", detail), class_="detail")
            ),
            id="verdict",
            class_=state,
            role="status",
        )

    def _notices(self) -> Markup:
        config, t = self._status["config"], self._t
        parts = []
        if config["last_reload_successful"] is False:
            text = element("pre", config["last_reload_error"] or "")
            parts.append(element("section", element("h2", t("reload_failed")), text, class_="notice failing"))
        if config["warnings"]:
            items = element("ul", *(element("li", element("bdi", warning)) for warning in config["warnings"]))
            title = element("summary", t("warnings", len(config["warnings"])))
            parts.append(element("details", title, items, class_="notice"))
        return together(*parts)

    def _sources(self) -> list[Mapping[str, Any]]:
        """Trouble first, else in the order of the configuration."""
        return sorted(self._status["sources"], key=lambda source: STATES.index(source["state"]))

    def _card(self, source: Mapping[str, Any]) -> Markup:
        t, targets, error = self._t, source["targets"], source["last_error"]
        look, problems = look_of(targets), targets["stale"] + targets["failing"]
        figures = []
        if source["queues"]:
            figures.append(self._figures("jobs_in_queues", source["queues"], ("running", "queued")))
        if source["members"]:
            numbers = {**source["members"]["jobs"], **source["members"]["in_use"]}
            figures.append(self._figures("jobs_of_members", numbers, ("running", "queued", "cpus", "gpus", "dcus")))
        if source["tasks"]:
            figures.append(self._figures("data_jobs", {"queued": source["tasks"]["length"]}, ("queued",)))
        return element(
            "article",
            element(
                "header",
                element("h3", element("bdi", source["name"])),
                element("span", t(source["kind"]), class_="kind"),
                element("span", t("with_problem", problems), class_=f"chip {look}")
                if 0 < problems < targets["total"]
                else self._chip(source["state"]),
            ),
            *figures,
            element("p", element("bdi", self._reason(error)), class_="error") if error else None,
            element(
                "footer",
                element("span", t("targets_up", targets["up"], total=number(targets["total"]))),
                element("span", f"{t('last_success')}: ", self._time(source["last_success"], "never")),
                *(self._token(token) for token in source["tokens"][:1]),
            ),
            class_=f"card {look}",
        )

    def _figures(self, title: str, numbers: Mapping[str, int | None], names: Iterable[str]) -> Markup:
        pairs = (element("div", element("dt", self._t(name)), element("dd", number(numbers[name]))) for name in names)
        return element("div", element("h4", self._t(title)), element("dl", *pairs), class_="figures")

    def _token(self, token: Mapping[str, Any]) -> Markup:
        expired = moment(token["expires"]) <= self._now
        name = "token_expired" if expired else "token_expires_of" if token["user"] else "token_expires"
        return element(
            "span",
            element("bdi", f"{self._t(name, user=token['user'])}: "),
            self._time(token["expires"], "never"),
            class_="failing" if expired else None,
        )

    def _chip(self, state: str) -> Markup:
        return element("span", self._t(f"state_{state}"), class_=f"chip {state}", title=self._t(f"explain_{state}"))

    def _reason(self, error: Mapping[str, Any]) -> str:
        return f"{self._t('reason_' + error['reason'])}: {error['message']}"

    def _time(self, text: str | None, otherwise: str, *, future: bool = False) -> Markup | str:
        """How long ago it was, or how soon it will be. What is `future` and over is about to happen now."""
        if text is None:
            return self._t(otherwise)
        seconds = self._now - moment(text)
        shown = self._t.since(min(seconds, 0.0) if future else seconds)
        return element("time", shown, datetime=text, title=text, data_future=future)

    def _lists(self) -> Markup:
        views = [self._list(view, rows) for view, rows in self._rows().items()]
        return element(
            "section", element("h2", self._t("lists"), class_="unseen"), self._form(), *views, self._pager(), id="lists"
        )

    def _rows(self) -> dict[str, list[tuple[str, list[Markup | str]]]]:
        """Of each list: the state of a row, and its cells."""
        rows: dict[str, list[tuple[str, list[Markup | str]]]] = {view: [] for view in COLUMNS}
        for target in self._status["targets"]:
            state, source, name = target["state"], target["source"], target["target"]
            rows["targets"].append((state, self._target_cells(target)))
            for queue in target["queues"] or ():
                cells = [source, name, *(cell(queue[key]) for key in COLUMNS["queues"][2:])]
                rows["queues"].append((state, cells))
            if target["tasks"]:
                length = number(target["tasks"]["length"])
                rows["queues"].append((state, [source, "", name, "–", length, "–", "–", "–"]))
            if target["member"]:
                numbers = {**target["member"]["jobs"], **target["member"]["in_use"]}
                rows["members"].append((state, [source, name, *(cell(numbers[key]) for key in COLUMNS["members"][2:])]))
        return rows

    def _target_cells(self, target: Mapping[str, Any]) -> list[Markup | str]:
        error = target["last_error"]
        return [
            self._chip(target["state"]),
            target["source"],
            self._t(f"endpoint_{target['endpoint']}"),
            target["target"],
            self._time(target["last_success"], "never"),
            self._time(target["next_poll"], "now", future=True),
            self._reason(error) if error else "",
        ]

    def _list(self, view: str, rows: list[tuple[str, list[Markup | str]]]) -> Markup:
        names = COLUMNS[view]
        head = element(
            "tr",
            *(
                element("th", self._t.head(name), scope="col", role="columnheader", class_=f"{name}{numeric(name)}")
                for name in names
            ),
            role="row",
        )
        body = [
            element(
                "tr",
                *(
                    element(
                        "td",
                        content if isinstance(content, Markup) else element("bdi", content),
                        role="cell",
                        class_=f"{name}{numeric(name)}",
                        data_label=self._t(name),
                    )
                    for name, content in zip(names, cells, strict=True)
                ),
                role="row",
                class_=state,
            )
            for state, cells in rows
        ]
        table = element(
            "table",
            element("thead", head, role="rowgroup"),
            element("tbody", *body, role="rowgroup"),
            role="table",
            class_=view,
            aria_labelledby=f"heading-{view}",
        )
        empty = None if rows else element("p", self._t("nothing_here"), class_="empty")
        return element(
            "section",
            element("h3", self._t(view), id=f"heading-{view}"),
            table,
            empty,
            id=f"view-{view}",
            class_="view",
        )

    def _form(self) -> Markup:
        t, query = self._t, self._query

        def options(choices: Iterable[tuple[str, str]], chosen: str) -> list[Markup]:
            return [element("option", text, value=value, selected=value == chosen) for value, text in choices]

        states = [("", t("all_states")), ("stale,failing", t("problems")), *((s, t(f"state_{s}")) for s in STATES)]
        sources = [("", t("all_sources")), *((s["name"], s["name"]) for s in self._status["sources"])]
        text = void(
            "input",
            type="search",
            name="filter",
            id="filter",
            value=query.get("filter", ""),
            placeholder=t("filter_hint"),
            autocomplete="off",
            spellcheck="false",
        )
        return element(
            "form",
            element("label", t("filter"), for_="filter", class_="unseen"),
            text,
            element("label", t("state"), for_="state", class_="unseen"),
            element("select", *options(states, query.get("state", "")), name="state", id="state"),
            element("label", t("source"), for_="source", class_="unseen"),
            element("select", *options(sources, query.get("source", "")), name="source", id="source"),
            void("input", type="hidden", name="lang", value=t.language),
            element("button", t("apply")),
            method="get",
            role="search",
        )

    def _pager(self) -> Markup | None:
        page, limit = self._status["page"], self._status["page"]["limit"]
        offsets = [
            ("previous", max(0, page["offset"] - limit) if page["offset"] else None),
            ("next", page["next_offset"]),
        ]
        links = [
            element(
                "a",
                self._t(name),
                href="?" + urlencode({**self._query, "offset": offset}),
                rel="next" if name == "next" else "prev",
            )
            for name, offset in offsets
            if offset is not None
        ]
        return element("nav", *links, class_="pager", aria_label=self._t("lists")) if links else None


def look_of(targets: Mapping[str, int]) -> str:
    """How loud a region has to be: one whose data is all gone most, one with some trouble less."""
    if targets["stale"] + targets["failing"]:
        return "stale" if targets["stale"] == targets["total"] else "failing"
    return "pending" if targets["pending"] else "up"


def cell(value: object) -> str:
    """A text as it is; a number, or one that is unknown, as people read it."""
    return value if isinstance(value, str) else number(value if isinstance(value, int) else None)


def numeric(name: str) -> str:
    return " number" if name in NUMBERS else ""


def moment(text: str) -> float:
    """Unix time of an RFC 3339 text."""
    return datetime.fromisoformat(text).timestamp()
