"""The recording and alerting rules: promtool accepts them, every alert is documented, and proved to fire and not to."""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.e2e.real import real_part
from tests.support.promql import families_in, metrics_in, strangers_in

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "config" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"
TESTS = Path(__file__).parent
CASES = TESTS / "alerts"
_ALERTING = [
    rule
    for group in yaml.load((RULES / "alerts.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in _ALERTING if "alert" in rule}
THRESHOLDS = {rule["record"]: rule for rule in _ALERTING if "record" in rule}
RECORDINGS = {
    rule["record"]: rule
    for group in yaml.load((RULES / "recording.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    for rule in group["rules"]
}
NAMED_IN_THE_DOCUMENTATION = {
    "HPCExporterDown",
    "HPCRegionDown",
    "HPCTargetFailing",
    "HPCDataStale",
    "HPCTokenExpiring",
    "HPCTokenRefreshFailing",
    "HPCApiThrottled",
    "HPCNoSchedulers",
    "HPCQueueStuck",
    "HPCJobWaitingTooLong",
    "HPCWaitBoundFailing",
    "HPCJobsHeld",
    "HPCJobsFailing",
    "HPCOctopusBacklogGrowing",
    "HPCUnknownStates",
    "HPCSeriesDropped",
    "HPCShardsIncomplete",
    "HPCBalanceRunsOut",
    "HPCAccountBlocked",
    "HPCStorageFillingUp",
    "HPCStorageFull",
    "HPCQueueDisabled",
    "HPCMemberAtLimit",
}
# Families that tell of regions and projects: their series leave when they are too old.
DATA = re.compile(r"^(hpc|octopus)_(?!up$|exporter_)")


@cache
def cases(alert: str) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.load(text_of_cases(alert), yaml.CSafeLoader)["tests"]
    return tests


@cache
def since_prometheus_3() -> bool:
    """Whether ranges leave out a sample at their beginning."""
    return not promtool("--version").stdout.startswith("promtool, version 2.")


@cache
def text_of_cases(alert: str) -> str:
    """Return the cases, with that of ``{A|B}`` which fits the installed promtool."""
    text = (CASES / f"{alert}.yml").read_text(encoding="utf-8")
    kept = r"\2" if "|" in text and since_prometheus_3() else r"\1"
    return re.sub(r"\{([^{}|]+)\|([^{}|]+)\}", kept, text)


def checks(case: dict[str, Any], alert: str) -> list[dict[str, Any]]:
    return [check for check in case["alert_rule_test"] if check["alertname"] == alert]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Both of its outputs in one, in their order."""
    command = [real_part("promtool"), *arguments]
    # Memory is there: its search for garbage would take a quarter of the time.
    environment = {**os.environ, "GOGC": "400"}
    return subprocess.run(  # noqa: S603 - on our own files
        command, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200
    )


@pytest.mark.parametrize("file", ["recording.yml", "alerts.yml"])
def test_promtool_accepts_the_rules(file: str) -> None:
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES / file)
    assert result.returncode == 0, result.stdout


def test_promtool_accepts_the_example_of_a_configuration() -> None:
    result = promtool("check", "config", ROOT / "config" / "prometheus.yml")
    assert result.returncode == 0, result.stdout


def test_alertmanager_accepts_the_example_of_its_configuration() -> None:
    result = subprocess.run(  # noqa: S603 - amtool on our own file
        [real_part("amtool"), "check-config", ROOT / "config" / "alertmanager.yml"],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr + result.stdout


class Variant(NamedTuple):
    """Differences from the repository: the expression of an alert, the value of all thresholds, the cases that are tried."""

    expression: str | None = None
    thresholds: str | None = None
    only: Sequence[dict[str, Any]] = ()


def outcome(alert: str, folder: Path, *variants: Variant) -> tuple[list[bool], str]:
    """Run the cases of an alert in each variant, by one promtool; whether all of them hold, and what it says.

    Rules that it has nothing to do with only cost time. Descriptions and Chinese texts are compared where the cases have any.
    """
    text = text_of_cases(alert)
    files = []
    for number, variant in enumerate(variants):
        rules = {name: brief(ALERTS[name], text if name == alert else "") for name in (alert, "HPCDataStale")}
        if variant.expression is not None:
            rules[alert] = {**rules[alert], "expr": variant.expression}
        used = {name for rule in rules.values() for name in metrics_in(rule["expr"])}
        constants = [
            {**rule, "expr": variant.thresholds or rule["expr"]} for name, rule in THRESHOLDS.items() if name in used
        ]
        group = {"name": "test", "rules": [*constants, *rules.values()]}
        case = yaml.load(text, yaml.CSafeLoader) | {"rule_files": [f"alerts{number}.yml"]}
        if variant.only:
            case["tests"] = list(variant.only)
        (folder / f"alerts{number}.yml").write_text(json.dumps({"groups": [group]}), encoding="utf-8")
        files.append(folder / f"test{number}.yml")
        files[-1].write_text(json.dumps(case), encoding="utf-8")
    done = promtool("test", "rules", *files)
    told = re.findall("^  (SUCCESS|FAILED:)$", done.stdout, re.MULTILINE)
    assert len(told) == len(files), done.stdout
    return [each == "SUCCESS" for each in told], done.stdout


def brief(rule: dict[str, Any], cases: str) -> dict[str, Any]:
    """Return a rule with the annotations that its cases name, in any case summary and runbook."""
    named = {"summary", "runbook_url", *re.findall(r"(\w+):", cases)}
    return {**rule, "annotations": {name: text for name, text in rule["annotations"].items() if name in named}}


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_the_alert_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    hold, said = outcome(alert, tmp_path, Variant())
    assert hold == [True], said


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_the_cases_of_an_alert_can_fail(alert: str, tmp_path: Path) -> None:
    """They notice an alert that never fires, and one that always does: even the shortest case of either kind."""
    fires, silent = shortest(alert)
    never, always = Variant("vector(0) > 1", only=[fires]), Variant("vector(1)", only=[silent])
    hold, said = outcome(alert, tmp_path, never, always)
    assert hold == [False, False], said


def shortest(alert: str) -> list[dict[str, Any]]:
    """Return the shortest case in which an alert fires, and the shortest in which it does not."""
    kinds = ([case for case in cases(alert) if case["name"].startswith(kind)] for kind in ("fires", "silent"))
    return [min(found, key=duration) for found in kinds]


def duration(case: dict[str, Any]) -> int:
    """Minutes until its last look."""
    units = {"d": 1440, "h": 60, "m": 1}
    return max(
        sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([dhm])", look["eval_time"]))
        for look in case["alert_rule_test"]
    )


def test_the_recording_rules_give_the_numbers_that_they_promise() -> None:
    result = promtool("test", "rules", TESTS / "recording.yml")
    assert result.returncode == 0, result.stdout


def documented_month() -> str:
    """Return the formula for hours in thirty days that docs/production.md gives."""
    text = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    (formula,) = re.findall(r"```promql\n(.*\[30d\].*)\n```", text)
    assert isinstance(formula, str)
    assert formula in (RULES / "recording.yml").read_text(encoding="utf-8")
    return formula


@pytest.mark.parametrize(
    ("who", "values", "hours"),
    [
        ("4 cores, all month", "0+7200x1440", 2880),
        ("joined 4 days before the end, with 100 cores since", "_x1248 0+180000x192", 9600),
        ("joined 4 days before the end, and was idle for the last of them", "_x1248 0+180000x144 25920000x47", 7200),
        ("10 cores; an exporter without a state file restarts in the middle", "0+18000x720 0+18000x719", 7190),
        ("10 cores; the exporter restarts three times with its state file", "0+18000x1440", 7200),
        ("10 cores; for 5 days nothing is scraped, and nothing counted", "0+18000x600 _x240 10818000+18000x599", 6000),
        ("10 cores; 5 days not scraped, but counted", "0+18000x600 _x240 15138000+18000x599", 7200),
        ("idle", "500000x1440", 0),
    ],
)
def test_the_documented_hours_of_a_month_are_right(who: str, values: str, hours: float, tmp_path: Path) -> None:
    """To within 1 %, for samples every half hour, which are few: what lies between two of them is guessed."""
    case = {
        "evaluation_interval": "30m",
        "tests": [
            {
                "name": who,
                "interval": "30m",
                "input_series": [
                    {
                        "series": 'hpc_member_cpu_seconds_total{hpc_cluster="kunshan",group="chemistry",user="alice"}',
                        "values": values,
                    }
                ],
                "promql_expr_test": [
                    {
                        "expr": f"abs({documented_month()} - {hours}) <= bool {max(1, hours / 100)}",
                        "eval_time": "720h",
                        "exp_samples": [{"labels": '{user="alice"}', "value": 1}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(case), encoding="utf-8")
    result = promtool("test", "rules", tmp_path / "test.yml")
    assert result.returncode == 0, result.stdout


def test_every_promised_alert_is_there() -> None:
    assert set(ALERTS) == NAMED_IN_THE_DOCUMENTATION


def test_every_test_and_every_runbook_belongs_to_an_alert() -> None:
    assert {path.stem for path in CASES.iterdir()} == set(ALERTS)
    runbooks = {f"{alert}{ending}" for alert in ALERTS for ending in (".md", ".zh.md")}
    assert {path.name for path in RUNBOOKS.iterdir()} == runbooks | {"README.md", "README.zh.md"}


@pytest.mark.parametrize(
    "page", ["troubleshooting.md", "troubleshooting.zh.md", "runbooks/README.md", "runbooks/README.zh.md"]
)
def test_lists_of_alerts_name_each_with_its_severity(page: str) -> None:
    lines = (RUNBOOKS.parent / page).read_text(encoding="utf-8").splitlines()
    rows = {found[1]: line for line in lines if (found := re.match(r"\| [`\[](HPC\w+)", line))}
    assert set(rows) == set(ALERTS)
    if page.startswith("runbooks/"):
        assert [name for name, row in rows.items() if f"| {ALERTS[name]['labels']['severity']} |" not in row] == []


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_every_alert_is_tested_over_restarts_and_gaps(alert: str) -> None:
    """Cases say in their names what they are about, and their expectations agree with their names."""
    names = [case["name"] for case in cases(alert)]
    assert any("restart" in name for name in names)
    assert any("gap" in name for name in names)
    for case in cases(alert):
        outcomes = [bool(check["exp_alerts"]) for check in checks(case, alert)]
        kind = re.match(r"fires|silent( and HPCDataStale fires)?(?=:)", case["name"])
        assert kind, case["name"]
        if kind[0] == "fires":
            assert any(outcomes), case["name"]
        else:
            assert not outcomes[-1], case["name"]


@pytest.mark.parametrize("alert", sorted(name for name, rule in ALERTS.items() if rule["labels"]["about"] == "data"))
def test_where_data_gets_too_old_its_alert_is_silent_and_data_stale_fires(alert: str) -> None:
    paired = [case for case in cases(alert) if case["name"].startswith("silent and HPCDataStale fires")]
    assert paired
    for case in paired:
        assert checks(case, alert)[-1]["exp_alerts"] == []
        assert checks(case, "HPCDataStale")[-1]["exp_alerts"] != []


@pytest.mark.parametrize(("alert", "rule"), sorted(ALERTS.items()))
def test_every_alert_on_data_says_so(alert: str, rule: dict[str, Any]) -> None:
    on_data = any(DATA.match(name) for name in metrics_in(rule["expr"]))
    assert (rule["labels"]["about"] == "data") == on_data


@pytest.mark.parametrize(("alert", "rule"), sorted(ALERTS.items()))
def test_every_alert_says_how_bad_it_is_where_it_is_and_what_to_do(alert: str, rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert.startswith("HPC")
    assert re.match(r"\d+[mhd]$", rule["for"])
    summary, runbook = rule["annotations"]["summary"], rule["annotations"]["runbook_url"]
    assert len(rule["annotations"]["description"].split()) > 15
    assert re.search(r"\$labels\.(source|hpc_cluster|project|instance|job)", summary)
    assert runbook == f"https://github.com/hpc-exporter/hpc-exporter/blob/main/docs/runbooks/{alert}.md"


@pytest.mark.parametrize("alert", sorted(ALERTS))
@pytest.mark.parametrize("name", ["summary", "description"])
def test_the_chinese_text_of_an_alert_has_the_same_placeholders(alert: str, name: str) -> None:
    english, chinese = (ALERTS[alert]["annotations"][each] for each in (name, f"{name}_zh"))
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    assert placeholders(chinese) == placeholders(english)


def placeholders(text: str) -> list[str]:
    """Return the actions of a template and what stands in backticks, sorted: languages differ in their order."""
    return sorted(re.sub(r"^\{\{-? ", "{{ ", found) for found in re.findall(r"\{\{.*?\}\}|`[^`]*`", text))


def test_a_placeholder_that_is_missing_in_chinese_would_be_found() -> None:
    assert placeholders("{{- $value }} jobs of {{ $labels.user }}") == placeholders(
        "{{ $labels.user }} 的 {{ $value }} 个"
    )
    assert placeholders("{{ $value }}") != placeholders("{{ $labels.value }}")


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_a_person_at_three_in_the_morning_can_follow_the_runbook(alert: str) -> None:
    """Its meaning, places to look at and remedies, in this order, and commands to paste."""
    text = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert headings == [alert, "What it means", "Look", "Do", "When it may be ignored"]
    severity = ALERTS[alert]["labels"]["severity"]
    assert f"Severity: **{severity}**" in text
    assert f"级别：**{severity}**" in (RUNBOOKS / f"{alert}.zh.md").read_text(encoding="utf-8")
    assert "```" in text


def test_rules_use_only_what_is_exported() -> None:
    rules = [*ALERTS.values(), *RECORDINGS.values()]
    assert not strangers_in([rule["expr"] for rule in rules], {**RECORDINGS, **THRESHOLDS})


def test_a_metric_that_is_not_exported_would_be_found() -> None:
    assert strangers_in(['sum by (user) (rate(scent_jobs{state="up"}[5m] offset 1h)) > 3']) == {"scent_jobs"}
    assert families_in(["histogram_quantile(0.9, sum by (le) (hpc_job_observed_wait_seconds_bucket))"]) == {
        "hpc_job_observed_wait_seconds"
    }


def test_no_rule_demands_the_name_of_a_job() -> None:
    for rule in [*ALERTS.values(), *RECORDINGS.values()]:
        assert not re.search(r"\bjob *(=|!)", rule["expr"])


def test_only_problems_of_all_users_are_critical() -> None:
    critical = {name for name, rule in ALERTS.items() if rule["labels"]["severity"] == "critical"}
    assert critical == {"HPCExporterDown", "HPCRegionDown", "HPCShardsIncomplete", "HPCAccountBlocked"}


def test_every_number_that_an_alert_compares_with_is_a_threshold_at_the_top_of_the_file() -> None:
    """0 and 1 are no matter of taste; spans of time cannot be taken from elsewhere."""
    for name, rule in ALERTS.items():
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]|offset \w+', "", rule["expr"])
        assert set(re.findall(r"(?<![\w.:$])\d[\d.]*", bare)) <= {"0", "1"}, name
    used = {name for rule in ALERTS.values() for name in metrics_in(rule["expr"]) if name.startswith("hpc:threshold:")}
    assert used == set(THRESHOLDS)
    assert list(THRESHOLDS) == [rule.get("record") for rule in _ALERTING[: len(THRESHOLDS)]]


@pytest.mark.parametrize("alert", sorted(name for name, rule in ALERTS.items() if "hpc:threshold:" in rule["expr"]))
def test_a_change_of_the_thresholds_changes_the_alert(alert: str, tmp_path: Path) -> None:
    changed = ("vector(-1e15)", "vector(1e15)")
    # One of the shortest cases of either kind notices most.
    hold, _ = outcome(alert, tmp_path, *(Variant(thresholds=each, only=shortest(alert)) for each in changed))
    for thresholds, held in zip(changed, hold, strict=True):
        assert not held or any(
            not outcome(alert, tmp_path, Variant(thresholds=thresholds, only=[case]))[0][0]
            for case in sorted(cases(alert), key=duration)
        ), thresholds
