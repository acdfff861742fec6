"""Against a simulated batch system that knows the truth: what is counted is right, what is measured is near.

Thousands of jobs in each case, so that the limits hold for any seed (four standard errors and more); the seeds are
not chosen. `python -m tools.accuracy` measures the same at length.
"""

from statistics import fmean

import pytest

from tools.accuracy import Result, Scenario, replay

CLEAN = [
    (Scenario("good polls", 300.0, days=1.7), 2),
    (Scenario("ended jobs are not listed", 120.0, days=1.3, ended_listed_for=0.0), 3),
]
TROUBLED = [
    (Scenario("everything", 120.0, days=1.4, failed=0.1, partial=0.1, outages=5, restarts=10), 6),
]


def counts_are_exact(result: Result) -> None:
    assert result.jobs > 3000
    assert result.finished_counted == result.finished_visible
    assert result.transitions_counted == result.transitions_visible
    assert result.beyond_bound == 0
    assert result.hidden_share < 0.03


@pytest.mark.parametrize(("scenario", "seed"), CLEAN)
def test_good_polls_give_exact_counts_and_unbiased_waits(scenario: Scenario, seed: int) -> None:
    result = replay(scenario, seed)
    counts_are_exact(result)
    assert len(result.long_wait_errors) > 2500
    assert abs(result.bias) < 0.02
    assert {reason for _, reason in result.censored} <= {"left_truncated", "vanished"}


@pytest.mark.parametrize(("scenario", "seed"), TROUBLED)
def test_failed_polls_outages_and_restarts_falsify_nothing(scenario: Scenario, seed: int) -> None:
    result = replay(scenario, seed)
    counts_are_exact(result)
    assert abs(fmean(result.wait_errors)) < scenario.interval / 10
    assert len(result.wait_errors) > 2000


def test_resource_seconds_of_long_runs_are_right() -> None:
    result = replay(Scenario("long runs", 300.0, days=1.5, failed=0.1, longer_than=10), 7)
    assert result.true_cpu_seconds > 1e6
    assert abs(result.resource_error) < 0.01
