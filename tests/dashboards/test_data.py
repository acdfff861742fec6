"""Data of the dashboards: something in every panel, and on the overview what is true of the simulator."""

import asyncio
import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from exporter.cli.http_client import Access
from exporter.cli.report_sources import Period, from_prometheus
from exporter.simulator import SimJob, Simulator, State
from exporter.tracking.totals import BUCKETS
from grafana import problems
from tests.dashboards.boards import ENGLISH, filled_in, panels, targets, variables
from tests.e2e.real import real_part
from tests.rules.test_rules import ALERTS, RECORDINGS, THRESHOLDS
from tests.support.history import PastPrometheus, remembering, victoria_metrics
from tools.history import HOUR, MINUTE, Past, Record, Story, live
from tools.virtualtime import run

OVERVIEW = ENGLISH["en/hpc-overview"]
# The polls of an hour and a half are done in seconds; what takes long is promtool's and Prometheus' work.
END = 1_750_000_000.0
PENDING = (State.QUEUED, State.HELD, State.WAITING, State.REQUEUED)


BAD_DAY = Story(hours=2, state="broken", end=END, scrape_interval=75, poll_interval=120, shards=2)


class Thrice(Record):
    """A history of an exporter that three jobs of Prometheus scrape: two by the same name, one by another."""

    def __init__(self, once: Record) -> None:
        super().__init__()
        self._once = once

    def lines(self) -> Iterator[str]:
        family: list[str] = []
        for line in self._once.lines():
            if line.startswith("#"):
                yield from self._copies(family)
                family = []
                yield line
            else:
                family.append(line)

    def _copies(self, family: list[str]) -> Iterator[str]:
        yield from family
        yield from (
            line.replace('job="hpc-exporter"', 'job="annotated",pod="hpc-0",namespace="hpc"') for line in family
        )
        for line in family:
            yield re.sub(
                r'job="hpc-exporter",instance="hpc-exporter-(\d+):9851"', r'job="by-hand",instance="10.0.0.\1"', line
            )


class Gauges(Record):
    """Series that keep their value (after the last "=") for the half hour before the end."""

    def __init__(self, samples: list[str]) -> None:
        super().__init__()
        self._gauges = samples

    def lines(self) -> Iterator[str]:
        for sample in self._gauges:
            series, _, value = sample.rpartition("=")
            yield from (f"{series} {value} {END - before}\n" for before in range(1800, -1, -60))
        yield "# EOF\n"


@pytest.fixture(scope="module")
def bad_day() -> Past:
    return past_of(BAD_DAY)


def past_of(story: Story) -> Past:
    real_part("promtool")
    real_part("prometheus")
    return run(live(story))


@pytest.fixture(scope="module")
def prometheus(bad_day: Past, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PastPrometheus]:
    with remembering(bad_day, tmp_path_factory.mktemp("bad_day")) as prometheus:
        yield prometheus


def test_every_query_of_every_panel_returns_data(prometheus: PastPrometheus) -> None:
    """On a bad day, on which every kind of thing happens, of several exporters that share the targets."""
    wrong = prometheus.at_the_end(overview("What is wrong right now?"))
    assert without_data(prometheus) == []
    assert {dict(labels)["problem"] for labels in wrong} >= {
        "HPCDataStale",
        "HPCTokenExpiring",
        "HPCApiThrottled",
        "HPCNoSchedulers",
        "HPCUnknownStates",
        "HPCJobsFailing",
    }
    # A user's trouble is the user's; that of all is not repeated for each. (Labels that are empty leave blanks, which a
    # browser draws as one.)
    troubles = {(of["problem"], of["where"], " ".join(of.get("what", "").split())) for of in map(dict, wrong)}
    assert ("HPCDataStale", "kunshan", "alice queue_jobs") in troubles
    assert ("HPCRegionDown", "xian", "") in troubles
    assert not [trouble for trouble in troubles if trouble[:2] == ("HPCDataStale", "xian")]


def test_every_query_returns_data_from_victoriametrics(bad_day: Past, tmp_path: Path) -> None:
    with victoria_metrics(bad_day, tmp_path) as victoria:
        assert without_data(victoria) == []


def test_the_report_adds_up_to_the_boards(prometheus: PastPrometheus) -> None:
    """`hpc-exporter report` from this Prometheus, held against the table of resource hours of the board Members."""
    period = Period(END - BAD_DAY.seconds, END, UTC)
    report = asyncio.run(from_prometheus(prometheus.url, Access(), period, ("cluster", "group", "user")))
    board = ENGLISH["en/hpc-members"]
    (expression,) = (target["expr"] for _, target in targets(board) if "hpc_member_cpu_seconds_total" in target["expr"])
    hours = prometheus.at_the_end(filled_in(expression, int(BAD_DAY.seconds)))
    shown = {
        tuple(dict(labels)[name] for name in ("hpc_cluster", "group", "user")): value for labels, value in hours.items()
    }
    assert {key: sums.core_hours for key, sums in report.sums.items()} == pytest.approx(shown)
    assert sum(shown.values()) > 100
    assert report.covered is not None
    assert 0.9 < report.covered <= 1
    by_queue = asyncio.run(from_prometheus(prometheus.url, Access(), period, ("queue",)))
    assert {sums.jobs for sums in by_queue.sums.values()} == {None}, "the counters know no queue of an ended job"
    assert any(sums.median_wait_seconds for sums in by_queue.sums.values())


def test_an_exporter_that_three_jobs_scrape_counts_once(
    bad_day: Past, prometheus: PastPrometheus, tmp_path: Path
) -> None:
    """In every panel and every rule: nothing is many-to-many, and nothing is added up twice."""
    with remembering(replace(bad_day, record=Thrice(bad_day.record)), tmp_path) as thrice:
        panels_asked = {
            (name, title, target["expr"]): filled_in(target["expr"], int(BAD_DAY.seconds))
            for name, board in ENGLISH.items()
            for title, target in targets(board)
        }
        rules_asked = {("rule", name, ""): alone(rule["expr"]) for name, rule in {**ALERTS, **RECORDINGS}.items()}
        asked = panels_asked | rules_asked
        found = {key: (alike(prometheus, asked[key]), alike(thrice, asked[key])) for key in asked}
    assert len(panels_asked) > 100
    assert sum(bool(single) for single, _ in found.values()) > 100
    assert {key: both for key, both in found.items() if both[0] != both[1]} == {}


def test_a_full_queue_is_not_open_an_account_in_arrears_has_no_days_left_and_no_quota_no_share(
    bad_day: Past, tmp_path: Path
) -> None:
    """Unlike a closed queue and an unknown one; however little the account spends."""
    queues = {"room": (1, 4), "full": (1, 0), "closed": (0, 4), "unknown": (1, None)}
    samples = [
        f'hpc_queue_enabled{{hpc_cluster="a",queue="{name}"}}={enabled}' for name, (enabled, _) in queues.items()
    ]
    samples += [
        f'hpc_queue_free_cpus{{hpc_cluster="a",queue="{name}"}}={free}'
        for name, (_, free) in queues.items()
        if free is not None
    ]
    samples += [f'hpc_account_balance_cny{{account="{name}"}}={yuan}' for name, yuan in (("owes", -5), ("idle", 5))]
    for path, quota in (("half", 10), ("none", 0)):
        of_path = f'{{hpc_cluster="a",user="u",path="{path}"}}'
        samples += [f"hpc_storage_used_bytes{of_path}=5", f"hpc_storage_quota_bytes{of_path}={quota}"]
    with remembering(replace(bad_day, record=Gauges(samples)), tmp_path) as prometheus:

        def shown(board: str, title: str, column: int, label: str) -> dict[str, float]:
            asked = [target["expr"] for panel, target in targets(ENGLISH[board]) if panel == title]
            found = prometheus.at_the_end(filled_in(asked[column], 3600))
            return {dict(labels)[label]: value for labels, value in found.items()}

        assert shown("en/hpc-submitting", "All queues", 0, "queue") == {"room": 1, "full": 2, "closed": 0, "unknown": 1}
        assert shown("en/hpc-submitting", "Most free cores", 0, "queue") == {"room": 4, "full": 0}
        assert shown("en/hpc-lasting", "Money: how many days are left?", 0, "account") == {"owes": 0}
        assert shown("en/hpc-lasting", "Storage: when is it full?", 0, "path") == {"half": 0.5}


def test_a_region_that_is_dead_is_one_line_in_the_table_of_failing_targets(bad_day: Past, tmp_path: Path) -> None:
    """Not one of few targets, of which each is told, nor one where something works."""
    regions = {"dead": (0, 0, 0, 0, 0), "small": (0, 0, 0), "partly": (1, 0, 0, 0, 0)}
    samples = [
        f'hpc_exporter_target_{name}{{source="{region}",collector="member_jobs",target="u{number}"}}={value}'
        for region, targets in regions.items()
        for number, up in enumerate(targets)
        for name, value in (
            ("up", up),
            ("stale", int(region == "dead" and number == 1)),
            ("last_success_timestamp_seconds", END - 60 * (number + 1)),
        )
    ]
    with remembering(replace(bad_day, record=Gauges(samples)), tmp_path) as prometheus:

        def shown(column: int) -> dict[tuple[str, str], float]:
            title = "What does not work?"
            asked = [target["expr"] for panel, target in targets(ENGLISH["en/hpc-exporter"]) if panel == title]
            found = prometheus.at_the_end(filled_in(asked[column], 3600))
            return {(of["source"], of["target"]): value for labels, value in found.items() for of in [dict(labels)]}

        each = {("small", f"u{n}"): 60.0 * (n + 1) for n in range(3)} | {
            ("partly", f"u{n}"): 60.0 * (n + 1) for n in range(1, 5)
        }
        assert shown(0) == dict.fromkeys(each, 1.0) | {("dead", "× 5"): 2}
        assert shown(1) == each | {("dead", "× 5"): 60}


def alone(expression: str) -> str:
    """Return the expression of a rule, with thresholds as they are written, of hours that the history has."""
    for name, rule in THRESHOLDS.items():
        expression = expression.replace(f"scalar({name})", f"scalar({rule['expr']})")
    return expression.replace("3h", "30m").replace("offset 2h", "offset 1h")


def alike(prometheus: PastPrometheus, expression: str) -> list[tuple[str, str]]:
    """Return the result of an expression now and an hour before, without labels that only name the scrape."""
    found = []
    for before in (0.0, HOUR):
        for labels, value in prometheus.at_the_end(expression, before).items():
            of = dict(labels)
            if of.pop("job", "hpc-exporter") != "hpc-exporter" or of.get("instance", "").startswith("10.0.0."):
                continue
            # Of those that are equal, topk takes any.
            kept = {} if re.match("(top|bottom)k", expression) else of
            found.append((f"{before} {sorted(kept.items())}", f"{value:.9g}"))
    return sorted(found)


def selector(query: str) -> str:
    match = re.fullmatch(r"label_values\((.*), \w+\)", query)
    assert match
    return match[1]


def without_data(prometheus: PastPrometheus) -> list[str]:
    """Return the queries of panels and variables that find nothing in the bad day."""
    empty = [
        f"{name}: {title}: {target['expr']}"
        for name, board in ENGLISH.items()
        for title, target in targets(board)
        if not answers(prometheus, target["expr"], instant=target["instant"], story=BAD_DAY)
        # The month before lies before the story, and a bound needs more first jobs than two hours have; the lists of members
        # tell no queues and reasons.
        and not re.search(
            r"offset 30d|hpc_wait_bound|hpc_(pending_)?jobs\b|hpc_job_(submit|start)_timestamp", target["expr"]
        )
    ]
    return empty + [
        f"{name}: variable {each['name']}"
        for name, board in ENGLISH.items()
        for each in variables(board)
        if not prometheus.over(filled_in(selector(each["query"]["query"]), 3600), BAD_DAY.seconds, 300)
    ]


def answers(prometheus: PastPrometheus, expression: str, *, instant: bool, story: Story) -> bool:
    """Whether there is anything to see, a number that is one: for instant queries at the end, or an hour before."""
    asked = filled_in(expression, int(story.seconds))
    if instant:
        looks = (prometheus.at_the_end(asked), prometheus.at_the_end(asked, before=HOUR))
        return any(not math.isnan(value) for look in looks for value in look.values())
    found = prometheus.over(asked, story.seconds, 120)
    return any(value != "NaN" for series in found for _, value in series["values"])


def overview(title: str) -> str:
    """Return the query of a panel of the overview, as it is sent."""
    (panel,) = (panel for panel in panels(OVERVIEW) if panel["title"] == title and panel["type"] != "timeseries")
    return filled_in(panel["targets"][0]["expr"], 6 * 3600)


def test_the_overview_tells_the_truth(tmp_path: Path) -> None:
    """On a good day, at whose end all stands still, so that what was polled last is still true; by three shards."""
    past = past_of(Story(hours=1.5, end=END, scrape_interval=75, poll_interval=90, still=300, shards=3))
    with remembering(past, tmp_path) as prometheus:

        def shown(title: str) -> float:
            (value,) = prometheus.at_the_end(overview(title)).values()
            return value

        simulator = past.simulator
        assert shown("Running") == len(jobs_in(simulator, State.RUNNING)) > 10
        assert shown("Queued") == len(jobs_in(simulator, State.QUEUED)) > 0
        of_members = [job for job in all_jobs(simulator) if job.stream.user.group]
        assert shown("GPUs in use") == sum(job.allocated.gpus for job in of_members) > 0
        assert shown("DCUs in use") == sum(job.allocated.dcus for job in of_members) > 0
        assert shown("Octopus backlog") == backlog(simulator) > 0
        assert shown("Longest waiting") == pytest.approx(longest_waiting(simulator), abs=2 * MINUTE)
        low, high = around_p90(simulator)
        assert low <= shown("Wait p90") <= high
        fresh = prometheus.at_the_end(overview("Is the data fresh?"))
        assert {dict(labels)["source"]: value for labels, value in fresh.items()} == {
            "kunshan": 0,
            "xian": 0,
            "driving": 0,
            "lab": 0,
            "erin": 0,
        }
        cores = [region.batch.cores() for region in simulator.regions.values()]
        used, unused = sum(each[0] for each in cores), sum(each[1] for each in cores)
        assert shown("Cores in use") == pytest.approx(used / (used + unused))
        assert [dict(labels) for labels in prometheus.at_the_end(overview("What is wrong right now?"))] == [
            {"problem": problems.NONE}
        ]


def all_jobs(simulator: Simulator) -> list[SimJob]:
    return [
        job
        for region in simulator.regions.values()
        for user in region.spec.users
        for job in region.batch.jobs(user.name)
    ]


def jobs_in(simulator: Simulator, *states: State) -> list[SimJob]:
    return [job for job in all_jobs(simulator) if job.state in states]


def backlog(simulator: Simulator) -> int:
    return sum(len(project.queued(queue)) for project in simulator.projects.values() for queue in project.spec.queues)


def longest_waiting(simulator: Simulator) -> float:
    """Seconds since the exporter could have seen it: it was not there before the story began."""
    waiting = [waiting_since(job) for job in jobs_in(simulator, *PENDING)]
    return END - max(min(waiting), END - 1.5 * HOUR)


def waiting_since(job: SimJob) -> float:
    """Return the end of its last run, else its submission."""
    last_run = job.runs[-1].ended if job.runs else None
    return job.submitted if last_run is None else last_run


def around_p90(simulator: Simulator) -> tuple[float, float]:
    """Return the bounds of the buckets between which the 80th and the 97th percentile of true waits lie."""
    waits = sorted(
        run.started - job.submitted
        for region in simulator.regions.values()
        for job in region.batch.truth()
        for run in job.runs[:1]
        if job.submitted > END - 1.5 * HOUR and run.started > END - HOUR
    )
    assert len(waits) > 20
    below, above = waits[int(0.8 * len(waits))], waits[int(0.97 * len(waits))]
    return (0.0, *BUCKETS)[bisect_left(BUCKETS, below)], BUCKETS[bisect_left(BUCKETS, above)]
