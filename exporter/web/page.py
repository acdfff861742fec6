"""The status page at `/`. static/page.js requests it periodically, and shows the changes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from exporter.polling import STATES
from exporter.sources.collector import registry
from exporter.web.html import Markup, Parts, element, moment, together, void
from exporter.web.lists import Lists
from exporter.web.query import PageQuery
from exporter.web.rows import VIEWS, added, sizes
from exporter.web.texts import LANGUAGES, Texts, number

LANGUAGE_NAMES: Final = {"en": "English", "zh": "中文"}
# Regions named in the headline at most, and users of one.
NAMED: Final = 3
# Names in a line of a card at most.
WHOM: Final = 4
# Queues whose waits are shown: a region may have hundreds. `hpc-exporter waits` and the status as JSON have all.
MOST_WAITS: Final = 30
# States of an account in which its jobs no longer start.
NO_MORE_JOBS: Final = ("Owe", "Disable")
# Severities of regions, the most urgent first.
LEVELS: Final = ("stale", "failing", "pending", "up")


class StatusPage:
    """One page for one reader: `status` is that of all targets.

    Addresses are relative: the page may be below a path.
    """

    def __init__(self, status: Mapping[str, Any], texts: Texts, telemetry_path: str, query: PageQuery) -> None:
        self._status = status
        self._t = texts
        self._telemetry_path = telemetry_path
        self.query = query
        self._counts = sizes(status["targets"]) | {"jobs": status["jobs"]["total"] or 0}
        if "view" not in query.given:
            view = next((view for view in VIEWS if self._counts[view]), query.view)
            self.query = query if view == query.view else query.opening(view)
        self._now = moment(status["time"])
        self._parts = Parts(texts, self._now)

    def html(self) -> str:
        head = element(
            "head",
            void("meta", charset="utf-8"),
            element("title", f"{self._t('title')} – {self.verdict()[1]}"),
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
            self._first_steps(),
            element("div", self._notices(), id="notices"),
            element("h2", self._t("sources"), class_="unseen"),
            element("div", *map(self._card, self._sources()), id="sources"),
            promises(self._status, self._t),
            Lists(self._status, self._counts, self._t, self._parts, self.query).html()
            if self._status["targets"]
            else None,
        )
        body = element(
            "body",
            element("a", self._t("skip"), href="#lists", class_="skip") if self._status["targets"] else None,
            self._header(),
            main,
            self._footer(),
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
                        href=self.query.address(lang=language),
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
        return element(
            "footer",
            element("span", self._t("version", version=self._status["version"])),
            *self._shard(),
            element("span", *self._t.around("running_since", when=started)),
            element("span", self._status["config"]["file"]),
        )

    def _shard(self) -> list[Markup]:
        """Return the shard, the reason for fewer targets than in the configuration."""
        shard = self._status["shard"]
        return [element("span", self._t("shard", **shard))] if shard["total"] > 1 else []

    def verdict(self) -> tuple[str, str, str]:
        """State, headline and the sentence below it."""
        t, summary = self._t, self._status["summary"]
        total, problems = summary["total"], summary["stale"] + summary["failing"]
        if problems:
            count = t("verdict_problem", problems, total=number(total))
            whole = [source for source in self._sources() if severity(source) == "stale"]
            return "stale" if whole else "failing", t("semicolon").join(self._worst_first(whole)), count
        if summary["pending"]:
            return "pending", t("verdict_pending", summary["pending"]), ""
        if not total:
            why = "verdict_none_shard" if self._status["shard"]["total"] > 1 else ""
            return "pending", t("verdict_none"), t(why) if why else ""
        return "up", t("verdict_up", total), self._in_all()

    def _worst_first(self, whole: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Yield the problems: first of regions as a whole, then of single users."""
        t = self._t
        for source in whole[:NAMED]:
            success = source["last_success"]
            since = t.lasting(self._parts.seconds_since(success)) if success else ""
            fact = "without_data" if source["state"] == "stale" else "without_answer"
            yield t("labelled", name=source["name"], value=t(fact, when=since) if success else t("never_data"))
        if len(whole) > NAMED:
            yield t("more_whole", len(whole) - NAMED)
        parts = [source["concerned"] for source in self._sources() if severity(source) == "failing"]
        if len(parts) == 1:
            (name,) = [source["name"] for source in self._sources() if severity(source) == "failing"]
            yield t("labelled", name=name, value=self._concerned(parts[0]))
        elif parts:
            most = max(part["total"] for part in parts)
            each = all(part["total"] == most for part in parts)
            names = t("users_each" if each else "users_at_most", most)
            yield t("labelled", name=t("regions_count", len(parts)), value=names)

    def _concerned(self, concerned: Mapping[str, Any]) -> str:
        """Return the names of the concerned users, or how many they are."""
        names, total = concerned["names"], concerned["total"]
        named = [self._name(name) for name in names[:NAMED]]
        if total > NAMED:
            return self._t("problems_of_many", total)
        return self._t("problems_of", names=self._named(named, total))

    def _named(self, names: Sequence[str], total: int) -> str:
        """Return the names, and how many more there are."""
        more = [self._t("and_more", total - len(names))] if total > len(names) else []
        return " ".join([self._t("comma").join(names), *more])

    def _name(self, name: str) -> str:
        """Return the name of a concerned user, or the title of a collector."""
        return self._t(f"collector_{name}") if name in registry() else name

    def _in_all(self) -> str:
        """Return the sums over all regions, as far as there are any."""
        found = [
            {**source["members"]["jobs"], **source["members"]["in_use"]} if source["members"] else source["queues"]
            for source in self._status["sources"]
            if source["members"] or source["queues"]
        ]
        if not found:
            return ""
        running, queued, cpus = (
            number(added(each.get(name) for each in found)) for name in ("running", "queued", "cpus")
        )
        text = "in_all" if any("cpus" in each for each in found) else "in_all_jobs"
        return self._t(text, running=running, queued=queued, cpus=cpus)

    def _verdict_section(self) -> Markup:
        state, headline, detail = self.verdict()
        return banner(headline, element("bdi", detail) if detail else "", id="verdict", class_=state, role="status")

    def _lost(self) -> Markup:
        """Shown by the script in the place of the verdict, while there is no answer."""
        since = self._status["time"]
        when = element("time", f"{since[:10]} {since[11:19]} UTC", datetime=since)
        return banner(
            self._t("lost"),
            together(*self._t.around("lost_detail", when=when)),
            id="lost",
            class_="stale",
            role="alert",
            hidden=True,
        )

    def _first_steps(self) -> Markup | None:
        """Return the steps out of a configuration that names nothing to poll."""
        if self._status["summary"]["total"] or self._status["targets"] or self._status["shard"]["total"] > 1:
            return None
        file = self._status["config"]["file"]
        commands = (f"hpc-exporter discover --config.file={file}", f"hpc-exporter check --online --config.file={file}")
        steps = zip(("step_discover", "step_check"), commands, strict=True)
        return element(
            "ol",
            *(element("li", element("p", self._t(text)), element("pre", command)) for text, command in steps),
            element("li", element("p", self._t("step_reload"))),
            class_="notice steps",
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
        return sorted(
            self._status["sources"], key=lambda source: (LEVELS.index(severity(source)), STATES.index(source["state"]))
        )

    def _card(self, source: Mapping[str, Any]) -> Markup:
        t, targets, error = self._t, source["targets"], source["last_error"]
        level, problems = severity(source), targets["stale"] + targets["failing"]
        figures = []
        if source["queues"]:
            figures.append(self._figures("jobs_in_queues", source["queues"], ("running", "queued")))
        if source["members"]:
            numbers = {**source["members"]["jobs"], **source["members"]["in_use"]}
            figures.append(self._figures("jobs_of_members", numbers, ("running", "queued", "cpus", "gpus", "dcus")))
        if source["tasks"]:
            figures.append(self._figures("queued_data_jobs", {"queued": source["tasks"]["length"]}, ("queued",)))
        if source["room"]:
            figures.append(self._room(source["room"], alone=source["kind"] == "account"))
        difference = self._difference(source)
        return element(
            "article",
            element(
                "header",
                element("h3", self._only(source["name"])),
                element("span", t(source["kind"]), class_="kind"),
                element("span", t("with_problem", problems), class_=f"chip {level}")
                if 0 < problems < targets["total"]
                else self._parts.chip(source["state"], level),
            ),
            *figures,
            element("p", difference, class_="why") if difference else None,
            element("p", self._whom(source), class_="whom") if problems else None,
            element("p", element("bdi", self._t.reason(error)), class_="error") if error else None,
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

    def _whom(self, source: Mapping[str, Any]) -> Markup:
        """Return the names of the concerned users, with a link to all their targets."""
        concerned = source["concerned"]
        names = self._named([self._name(name) for name in concerned["names"][:WHOM]], concerned["total"])
        if severity(source) == "stale":
            names = self._t("everyone")
        address = self.query.address(view="targets", sort="", source=source["name"], state="stale,failing", filter="")
        return together(
            self._t("labelled", name=self._t("concerned"), value=""),
            element("a", element("bdi", names), href=f"{address}#lists"),
        )

    def _difference(self, source: Mapping[str, Any]) -> str:
        """Return why the jobs in queues and those of members are not as many.

        Empty where they are, or nothing tells.
        """
        queues, members = source["queues"], source["members"]
        if not queues or not members or all(queues[each] == members["jobs"][each] for each in ("running", "queued")):
            return ""
        counted = {view: self._counted.get((source["name"], view), {}) for view in ("queues", "members")}
        for view, other in (("members", "queues"), ("queues", "members")):
            if lacking := [user for user in counted[other] if user not in counted[view]]:
                return self._t(f"without_{view}", names=self._named(lacking[:WHOM], len(lacking)))
        moments = [at for users in counted.values() for at in users.values()]
        return self._t("other_moment", round(max(moments) - min(moments))) if moments else ""

    @cached_property
    def _counted(self) -> Mapping[tuple[str, str], Mapping[str, float]]:
        """By region and list, the users who are counted there, each with the moment."""
        found: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for target in self._status["targets"]:
            view = "queues" if target["queues"] is not None else "members" if target["member"] else ""
            if view and target["last_success"]:
                user = target["target"].rpartition("/")[2]
                found[target["source"], view][user] = moment(target["last_success"])
        return found

    def _only(self, source: str) -> Markup:
        """Return a link that shows the targets of this source alone, or again those of all."""
        wanted = "" if self.query.selection.source == source else source
        href = f"{self.query.address(source=wanted)}#lists"
        return element("a", element("bdi", source), href=href, title=self._t("only", name=source) if wanted else None)

    def _figures(self, title: str, numbers: Mapping[str, int | None], names: Iterable[str]) -> Markup:
        pairs = (element("div", element("dt", self._t(name)), element("dd", number(numbers[name]))) for name in names)
        return element("div", element("h4", self._t(title)), element("dl", *pairs), class_="figures")

    def _room(self, room: Mapping[str, Any], *, alone: bool) -> Markup:
        """Return free cores, storage and money, those of them that are known.

        An account's card, on which money stands `alone`, has its status in any case, a region's card only an unusual one.
        """
        t, status = self._t, room["account_status"]
        facts: dict[str, str | None] = {}
        if room["free_cpus"] is not None:
            facts["free_cpus"] = t("of_all", part=number(room["free_cpus"]), total=number(room["cpus"]))
        if room["storage_quota_bytes"] is not None:
            used = byte_size(room["storage_used_bytes"])
            facts["storage"] = t("of_all", part=used, total=byte_size(room["storage_quota_bytes"]))
        if room["balance_cny"] is not None:
            facts["balance"] = f"¥ {room['balance_cny']:,.2f}"
        if status is not None and (alone or status != "Normal"):
            facts["account_status"] = t(f"account_{status}")
        bad = {"account_status"} if status in NO_MORE_JOBS else set[str]()
        pairs = (
            element("div", element("dt", t(name)), element("dd", fact, class_="failing" if name in bad else None))
            for name, fact in facts.items()
        )
        title = "account_money" if alone else "room" if facts.keys() & {"balance", "account_status"} else "room_alone"
        return element("div", element("h4", t(title)), element("dl", *pairs), class_="figures")

    def _token(self, token: Mapping[str, Any]) -> Markup:
        expired = moment(token["expires"]) <= self._now
        name = "token_expired" if expired else "token_expires_of" if token["user"] else "token_expires"
        return element(
            "span",
            element("bdi", self._t("labelled", name=self._t(name, user=token["user"]), value="")),
            self._parts.time(token["expires"]),
            class_="failing" if expired else None,
        )


def byte_size(value: float) -> str:
    """Return an amount of storage with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000:  # noqa: PLR2004 - the next unit
            return f"{value:,.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} PB"


def banner(headline: str, detail: str, **attributes: object) -> Markup:
    text = element("div", element("p", headline, class_="headline"), element("p", detail, class_="detail"))
    return element("section", element("span", class_="mark", aria_hidden="true"), text, **attributes)


def severity(source: Mapping[str, Any]) -> str:
    """Return the severity of a region: stale where it fails as a whole, failing where some targets have a problem."""
    targets = source["targets"]
    problems = targets["stale"] + targets["failing"]
    if problems:
        return "stale" if source["answers"] is False or problems == targets["total"] else "failing"
    return "pending" if targets["pending"] else "up"


def promises(status: Mapping[str, Any], texts: Texts) -> Markup | None:
    """Return the section that says when the first job submitted now starts, and what is not promised.

    None where nothing is known of waits. Queues with bounds come first.
    """
    known = [
        waits
        for waits in status["waits"]
        if any(bound["checked"] or bound["seconds"] is not None for bound in waits["bounds"])
    ]
    known.sort(key=lambda waits: all(bound["seconds"] is None for bound in waits["bounds"]))
    if not known:
        return None
    items = [element("li", wait_name(waits, texts), *wait_facts(waits, texts)) for waits in known[:MOST_WAITS]]
    if len(known) > MOST_WAITS:
        items.append(element("li", texts("and_more", len(known) - MOST_WAITS)))
    return element(
        "section",
        element("h2", texts("first_job")),
        element("p", texts("first_job_only")),
        element("ul", *items),
        id="waits",
        class_="notice",
    )


def wait_name(waits: Mapping[str, Any], texts: Texts) -> Markup:
    words = [waits["source"], waits["queue"] or waits["group"], texts("accelerated") if waits["accelerated"] else ""]
    return element("bdi", " · ".join(filter(None, words)))


def wait_facts(waits: Mapping[str, Any], texts: Texts) -> list[Markup]:
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
