"""The dashboards keep the rules that make them work, and be understood, anywhere."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics.family import Text
from exporter.sources.collector import catalogue
from grafana import problems
from grafana.__main__ import differing
from grafana.boards import BOARDS as SOURCES
from grafana.boards import in_language
from grafana.colours import STATE_COLOURS
from grafana.duplicates import counted_once
from tests.dashboards.boards import BOARDS, ENGLISH, PROVISIONED, ROOT, expressions, panels, targets, variables
from tests.rules.test_rules import ALERTS, THRESHOLDS
from tests.rules.test_rules import RECORDINGS as RECORDED
from tests.support.promql import families_in, metrics_in, strangers_in

CATALOGUE = catalogue()

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
DRAWN = {"timeseries", "stat", "bargauge", "table", "text", "row"}
COUNTERS = {name for name, family in CATALOGUE.items() if family.type == "counter"}
HISTOGRAMS = {
    f"{name}{part}" for name, f in CATALOGUE.items() if f.type == "histogram" for part in ("_bucket", "_count", "_sum")
}
# Families that no panel and no rule has to show, each with its reason.
NOT_SHOWN: dict[str, str] = {}


def test_what_is_committed_is_what_the_source_makes() -> None:
    """If this fails: make dashboards."""
    assert differing() == []


def test_a_change_of_what_is_committed_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "forgotten.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("grafana.__main__.OUTPUT", tmp_path)
    assert tmp_path / "en" / "forgotten.json" in differing()
    assert tmp_path / "zh" / "hpc-overview.json" in differing()


def test_every_dashboard_is_there_in_both_languages() -> None:
    assert {path.relative_to(PROVISIONED).as_posix() for path in PROVISIONED.glob("*/*.json")} == {
        f"{language}/{board.uid}.json" for board in SOURCES for language in ("en", "zh")
    }


def test_every_text_is_written_in_both_languages() -> None:
    """Chinese texts hold Chinese, except addresses, and names that are the same in both."""
    same = {"Exporter", "GPUs", "DCUs", "GPU", "DCU", "Python", "CPU", "-", "HPC / 5 Octopus", "HPC / 6 Exporter"}
    for text in texts([(board.title, board.description, board.panels, board.variables) for board in SOURCES]):
        assert text.en.strip()
        assert text.zh.strip()
        assert not re.search("[一-鿿]", text.en), text
        if text.en not in same and not text.en.startswith("https://"):
            assert re.search("[一-鿿]", text.zh), text


def texts(value: Any) -> list[Text]:
    if isinstance(value, Text):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in texts(each)]
    return texts(list(vars(value).values())) if hasattr(value, "__dataclass_fields__") else []


def test_a_text_becomes_the_string_of_its_language() -> None:
    assert in_language({Text("a", "甲"): [Text("b", "乙"), 1, "c"]}, "zh") == {"甲": ["乙", 1, "c"]}


@every_board
def test_panels_are_of_kinds_that_are_drawn_in_review(board: dict[str, Any]) -> None:
    assert {panel["type"] for panel in board["panels"]} <= DRAWN


@every_board
def test_there_is_one_variable_for_the_data_source_and_everything_uses_it(board: dict[str, Any]) -> None:
    sources = [each["name"] for each in board["templating"]["list"] if each["type"] == "datasource"]
    assert sources == ["datasource"]
    used = [
        each["datasource"] for each in [*panels(board), *variables(board), *(target for _, target in targets(board))]
    ]
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in used)


@every_board
def test_every_panel_says_what_it_is_what_to_do_and_in_which_unit(board: dict[str, Any]) -> None:
    for panel in panels(board):
        assert panel["title"]
        assert len(panel["description"]) > (20 if "hpc-" in board["uid"] and board["uid"].endswith("zh") else 40), (
            panel["title"]
        )
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        if panel["type"] == "timeseries":
            counted = panel["fieldConfig"]["defaults"]
            assert counted["custom"]["axisLabel"] or counted["unit"] != "short", panel["title"]


@every_board
def test_stats_bars_and_tables_have_words_for_no_data(board: dict[str, Any]) -> None:
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        never_empty = any(
            re.search(r" or (on \(\) )?(label_replace\()?vector\(0\)", target["expr"]) for target in panel["targets"]
        )
        always_there = any(metrics_in(target["expr"]) <= always() for target in panel["targets"])
        if panel["type"] in ("stat", "bargauge", "table"):
            assert never_empty or always_there or defaults.get("noValue"), panel["title"]


@every_board
def test_an_empty_name_in_a_row_does_not_read_as_an_empty_table(board: dict[str, Any]) -> None:
    """Grafana shows the same words for both, unless the column has its own."""
    for panel in panels(board):
        if panel["type"] == "table" and panel["fieldConfig"]["defaults"]["noValue"] != "-":
            renamed = panel["transformations"][-1]["options"]["renameByName"]
            own = {
                override["matcher"]["options"]
                for override in panel["fieldConfig"]["overrides"]
                if "noValue" in {each["id"] for each in override["properties"]}
            }
            assert {title for name, title in renamed.items() if not name.startswith("Value")} <= own, panel["title"]


def always() -> set[str]:
    """Series that every exporter has from its start."""
    return {
        "hpc_exporter_target_stale",
        "hpc_exporter_build_info",
        "hpc_exporter_shard_ordinal",
        "hpc_exporter_total_shards",
        "hpc_exporter_config_last_reload_successful",
        "hpc_scheduler_info",
    }


@every_board
def test_a_number_that_is_gone_does_not_stay_on_screen(board: dict[str, Any]) -> None:
    """A range that ended has a last value, too: the present one is asked for, and NaN is said in words."""
    for panel in panels(board):
        for target in panel["targets"] if panel["type"] == "stat" else ():
            if not target["instant"]:
                assert target["expr"].endswith(" or vector(NaN)"), panel["title"]
                assert panel["options"]["reduceOptions"]["calcs"] == ["last"]
                (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
                assert mapping["options"]["match"] == "nan"


@every_board
def test_panels_lie_inside_the_grid_and_beside_each_other(board: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@every_board
def test_ids_are_unique(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_uids_are_unique() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@every_board
def test_rates_are_taken_over_what_grafana_works_out(board: dict[str, Any]) -> None:
    for title, target in targets(board):
        for window in re.findall(r"\brate\([^\[]*\[([^\]]*)\]", target["expr"]):
            assert window == "$__rate_interval", title


@every_board
def test_counters_are_never_shown_as_they_are(board: dict[str, Any]) -> None:
    """Only what they gained, and of histograms too."""
    for title, target in targets(board):
        bare = re.sub(r"\b(?:rate|increase|resets|changes)\([^()]*?\[[^\]]*\]", "()", target["expr"])
        assert not metrics_in(bare) & (COUNTERS | HISTOGRAMS), title


@every_board
def test_variables_follow_the_time_range_and_allow_all(board: dict[str, Any]) -> None:
    for each in variables(board):
        assert each["refresh"] == 2
        assert each["includeAll"]
        assert each["multi"]


@every_board
def test_every_variable_is_used_and_every_use_is_of_a_variable(board: dict[str, Any]) -> None:
    queries = [target["expr"] for _, target in targets(board)] + [each["query"]["query"] for each in variables(board)]
    used = set(re.findall(r"\$([a-zA-Z_]\w*)", " ".join(queries))) - {"__range", "__rate_interval", "__interval"}
    assert used == {each["name"] for each in variables(board)}


@every_board
def test_every_dashboard_leads_to_all_others_of_its_language(board: dict[str, Any]) -> None:
    language = board["uid"][-2:]
    urls = {link["url"] for link in board["links"]}
    assert urls == {f"/d/{source.uid}-{language}" for source in SOURCES} - {f"/d/{board['uid']}"}
    assert all(link["includeVars"] and link["keepTime"] for link in board["links"])


def test_dashboards_ask_only_for_what_is_exported() -> None:
    for name, board in ENGLISH.items():
        assert not strangers_in(expressions(board), THRESHOLDS), name


def test_whatever_is_exported_is_on_a_dashboard_or_in_a_rule() -> None:
    rules = [rule["expr"] for rule in [*ALERTS.values(), *RECORDED.values()]]
    shown = families_in([*rules, *(expression for board in ENGLISH.values() for expression in expressions(board))])
    assert CATALOGUE.keys() - shown == NOT_SHOWN.keys(), "add a panel in grafana/, then run `make dashboards`"


def test_the_list_of_problems_knows_every_alert_that_a_user_can_do_something_about() -> None:
    """Left out: what the page cannot show without an exporter, what has to last for hours, and what drops nothing."""
    assert set(ALERTS) - problems.NAMES.keys() == {
        "HPCExporterDown",
        "HPCJobsHeld",
        "HPCSeriesDropped",
        "HPCWaitBoundFailing",
    }


def test_a_click_on_a_line_of_the_list_of_problems_opens_a_page_that_exists_in_the_language_of_the_board() -> None:
    for name in ("en/hpc-overview", "zh/hpc-overview"):
        (of,) = (
            {each["id"]: each["value"] for each in override["properties"]}
            for panel in panels(BOARDS[name])
            for override in panel["fieldConfig"]["overrides"]
            if "links" in {each["id"] for each in override["properties"]}
        )
        (link,) = of["links"]
        opened = {link["url"].replace("${__data.fields.problem}", shown) for shown in of["mappings"][0]["options"]}
        assert len(opened) == len(problems.NAMES) + 1
        for page in opened:
            assert page.endswith(".zh.md") == name.startswith("zh"), page
            assert (ROOT / page.removeprefix("https://github.com/hpc-exporter/hpc-exporter/blob/main/")).is_file(), page


def test_every_state_has_its_colour() -> None:
    states = {"running", "queued", "held", "suspended", "waiting", "exiting", "other", "unknown"}
    assert set(STATE_COLOURS) == states
    assert len(set(STATE_COLOURS.values())) == len(states)


@every_board
def test_colours_are_told_apart_by_people_of_any_colour_vision(board: dict[str, Any]) -> None:
    """None of Grafana's named colours (its red and green are not): only those of the palette in grafana/colours.py."""
    found = re.findall(r'"(?:color|fixedColor)": "([^"]+)"', json_text(board))
    allowed = {
        "#0072B2",
        "#56B4E9",
        "#009E73",
        "#E69F00",
        "#D55E00",
        "#CC79A7",
        "#F0E442",
        "#999999",
        "#882255",
        "#44AA99",
    }
    assert set(found) <= allowed


def json_text(board: dict[str, Any]) -> str:

    return json.dumps(board)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (
            'sum(hpc_queue_jobs{state="queued"})',
            'sum(max by (hpc_cluster, user, queue, state) (hpc_queue_jobs{state="queued"}))',
        ),
        (
            "increase(hpc_exporter_polls_total[5m])",
            "max by (source, collector) (sum by (job, source, collector) (increase(hpc_exporter_polls_total[5m])))",
        ),
        (
            "rate(hpc_job_observed_wait_seconds_bucket[5m])",
            (
                "max by (hpc_cluster, group, queue, le) (sum by (job, hpc_cluster, group, queue, le) "
                "(rate(hpc_job_observed_wait_seconds_bucket[5m])))"
            ),
        ),
        (
            "max_over_time(octopus_queued_unread_resource_specs[1h] offset 2h)",
            (
                "max by (project, queue_type, cluster_type, cluster_id) "
                "(max_over_time(octopus_queued_unread_resource_specs[1h] offset 2h))"
            ),
        ),
        # Each shard has a part of these, and its own of those.
        ("sum(hpc_exporter_tracked_jobs)", "sum(max by (source) (sum by (job, source) (hpc_exporter_tracked_jobs)))"),
        ("hpc_exporter_series", "max by (instance) (hpc_exporter_series)"),
        ("hpc_exporter_targets", "max by (source) (sum by (job, source) (hpc_exporter_targets))"),
        ("hpc_up == 0", "max by (hpc_cluster) (hpc_up) == 0"),
        (
            "hpc_exporter_token_expiry_timestamp_seconds < 1",
            "min by (source, user) (hpc_exporter_token_expiry_timestamp_seconds) < 1",
        ),
        # Jobs that want cards have bounds of their own, by a further label.
        (
            "min(hpc_wait_bound_seconds)",
            "min(max by (hpc_cluster, group, queue, quantile, accelerated) (hpc_wait_bound_seconds))",
        ),
        # Not ours, or needed with job and instance.
        ("up and on (job, instance) hpc_exporter_build_info", "up and on (job, instance) hpc_exporter_build_info"),
        ("my_hpc_up + hpc_up_total", "my_hpc_up + hpc_up_total"),
    ],
)
def test_queries_count_an_exporter_once_however_many_jobs_scrape_it(written: str, sent: str) -> None:
    assert counted_once(written) == sent
