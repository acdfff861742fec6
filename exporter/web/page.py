"""The status page at `/`. static/page.js requests it periodically, and shows the changes."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from exporter.polling import STATES
from exporter.web.html import Markup, Parts, element, moment, together, void
from exporter.web.lists import Lists
from exporter.web.query import PageQuery
from exporter.web.texts import LANGUAGES, Texts, number

LANGUAGE_NAMES: Final = {"en": "English", "zh": "中文"}
# Regions named in the sentence below the headline at most.
NAMED: Final = 3


class StatusPage:
    """One page for one reader: `status` is that of all targets. Addresses are relative: the page may be below a path."""

    def __init__(self, status: Mapping[str, Any], texts: Texts, telemetry_path: str, query: PageQuery) -> None:
        self._status = status
        self._t = texts
        self._telemetry_path = telemetry_path
        self._query = query
        self._now = moment(status["time"])
        self._parts = Parts(texts, self._now)

    def html(self) -> str:
        head = element(
            "head",
            void("meta", charset="utf-8"),
            element("title", f"{self._t('title')} – {self._verdict()[1]}"),
            void("meta", name="viewport", content="width=device-width, initial-scale=1"),
            void("meta", name="color-scheme", content="light dark"),
            void("link", rel="icon", href="./static/icon.svg", type="image/svg+xml"),
            void("link", rel="stylesheet", href="./static/page.css"),
            element("script", type="module", src="./static/page.js"),
        )
        main = element(
            "main",
            self._verdict_section(),
            self._lost(),
            element("div", self._notices(), id="notices"),
            element("h2", self._t("sources"), class_="unseen"),
            element("div", *map(self._card, self._sources()), id="sources"),
            Lists(self._status, self._t, self._parts, self._query).html(),
        )
        body = element(
            "body", element("a", self._t("skip"), href="#lists", class_="skip"), self._header(), main, self._footer()
        )
        return f"<!doctype html>{element('html', head, body, lang=self._t.language)}\n"

    def _header(self) -> Markup:
        t = self._t
        links = [
            (f".{self._telemetry_path}", t("metrics")),
            ("./api/v1/status", t("json")),
            ("./config", t("configuration")),
        ]
        return element(
            "header",
            element("h1", void("img", src="./static/icon.svg", alt="", width=28, height=28), t("title")),
            element("nav", *(element("a", text, href=path) for path, text in links), aria_label=t("pages")),
            element(
                "nav",
                *(
                    element(
                        "a",
                        LANGUAGE_NAMES[language],
                        href=self._query.address(lang=language),
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
        started = self._parts.time(self._status["started"])
        before, _, after = self._t("running_since", when="\0").partition("\0")
        return element(
            "footer",
            element("span", self._t("version", version=self._status["version"])),
            *self._shard(),
            element("span", before, started, after),
            element("span", self._status["config"]["file"]),
        )

    def _shard(self) -> list[Markup]:
        """Return the shard, the reason for fewer targets than in the configuration."""
        shard = self._status["shard"]
        return [element("span", self._t("shard", **shard))] if shard["total"] > 1 else []

    def _verdict(self) -> tuple[str, str, str]:
        """State, headline and the sentence below it."""
        t, summary = self._t, self._status["summary"]
        total, problems = summary["total"], summary["stale"] + summary["failing"]
        if problems:
            names = [source["name"] for source in self._status["sources"] if source["state"] in ("stale", "failing")]
            more = [t("and_more", len(names) - NAMED)] if len(names) > NAMED else []
            blind = any(severity(source["targets"]) == "stale" for source in self._status["sources"])
            return (
                "stale" if blind else "failing",
                t("verdict_problem", problems, total=number(total)),
                t("where", names=", ".join(names[:NAMED] + more)),
            )
        if summary["pending"]:
            return "pending", t("verdict_pending", summary["pending"]), ""
        if not total:
            why = "verdict_none_shard" if self._status["shard"]["total"] > 1 else "verdict_none_detail"
            return "pending", t("verdict_none"), t(why)
        return "up", t("verdict_up", total), ""

    def _verdict_section(self) -> Markup:
        state, headline, detail = self._verdict()
        return banner(headline, element("bdi", detail) if detail else "", id="verdict", class_=state, role="status")

    def _lost(self) -> Markup:
        """Shown by the script in the place of the verdict, while there is no answer."""
        before, _, after = self._t("lost_detail", when="\0").partition("\0")
        since = self._status["time"]
        when = element("time", f"{since[:10]} {since[11:19]} UTC", datetime=since)
        return banner(
            self._t("lost"), together(before, when, after), id="lost", class_="stale", role="alert", hidden=True
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
        """Return the sources by urgency, else in the order of the configuration."""
        return sorted(self._status["sources"], key=lambda source: STATES.index(source["state"]))

    def _card(self, source: Mapping[str, Any]) -> Markup:
        t, targets, error = self._t, source["targets"], source["last_error"]
        level, problems = severity(targets), targets["stale"] + targets["failing"]
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
                element("h3", self._only(source["name"])),
                element("span", t(source["kind"]), class_="kind"),
                element("span", t("with_problem", problems), class_=f"chip {level}")
                if 0 < problems < targets["total"]
                else self._parts.chip(source["state"]),
            ),
            *figures,
            element("p", element("bdi", self._parts.reason(error)), class_="error") if error else None,
            element(
                "footer",
                element("span", t("targets_up", targets["up"], total=number(targets["total"]))),
                element(
                    "span", t("labelled", name=t("last_success"), value=""), self._parts.time(source["last_success"])
                ),
                *(self._token(token) for token in source["tokens"][:1]),
            ),
            class_=f"card {level}",
            data_key=source["name"],
        )

    def _only(self, source: str) -> Markup:
        """Return a link that shows the targets of this source alone, or again those of all."""
        wanted = "" if self._query.selection.source == source else source
        href = f"{self._query.address(source=wanted)}#lists"
        return element("a", element("bdi", source), href=href, title=self._t("only", name=source) if wanted else None)

    def _figures(self, title: str, numbers: Mapping[str, int | None], names: Iterable[str]) -> Markup:
        pairs = (element("div", element("dt", self._t(name)), element("dd", number(numbers[name]))) for name in names)
        return element("div", element("h4", self._t(title)), element("dl", *pairs), class_="figures")

    def _token(self, token: Mapping[str, Any]) -> Markup:
        expired = moment(token["expires"]) <= self._now
        name = "token_expired" if expired else "token_expires_of" if token["user"] else "token_expires"
        return element(
            "span",
            element("bdi", self._t("labelled", name=self._t(name, user=token["user"]), value="")),
            self._parts.time(token["expires"]),
            class_="failing" if expired else None,
        )


def banner(headline: str, detail: str, **attributes: object) -> Markup:
    text = element("div", element("p", headline, class_="headline"), element("p", detail, class_="detail"))
    return element("section", element("span", class_="mark", aria_hidden="true"), text, **attributes)


def severity(targets: Mapping[str, int]) -> str:
    """Return the severity of a region: stale where all of its data is gone, failing where some targets have a problem."""
    if targets["stale"] + targets["failing"]:
        return "stale" if targets["stale"] == targets["total"] else "failing"
    return "pending" if targets["pending"] else "up"
