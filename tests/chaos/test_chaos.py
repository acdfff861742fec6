"""Deterministic simulation: some seeds of the many that `make chaos` runs, and a bug that it has to find."""

import gc
import os
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import pytest

from exporter.http import TokenCache
from tests.chaos.bugs import BUGS, with_bug
from tests.chaos.invariants import Invariants, ViolationError
from tests.chaos.platform import REGIONS
from tests.chaos.scenario import simulate

SEEDS = 200
# A counter of the tracker, and one of the exporter's own.
COUNTERS = (
    'hpc_jobs_finished_total{hpc_cluster="hefei",group="chemistry",user="bob",outcome="failed"}',
    'hpc_exporter_api_requests_total{source="hefei",collector="queue_jobs",code="200"}',
)


def run(seeds: int) -> str:
    """Run the first seeds in a process of their own, in which sets have the same order each time."""
    command = [sys.executable, "-m", "tests.chaos", f"--seeds={seeds}"]
    folder = Path(__file__).parent.parent.parent
    # Else it would start twice.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_that_happens_breaks_an_invariant() -> None:
    assert run(SEEDS)


def test_a_seed_gives_the_same_each_time() -> None:
    assert run(5) == run(5)


@pytest.mark.parametrize("series", COUNTERS)
@pytest.mark.parametrize("overtaken", [True, False])
def test_a_counter_may_be_that_of_before_where_it_began_anew_during_a_scrape(series: str, *, overtaken: bool) -> None:
    invariants = Invariants(Mock(arrived={}, ended=lambda *_: 1))
    app = Mock()
    app.scheduler.statuses, app.components.sources = (), REGIONS

    def check(value: int, before: object) -> None:
        text = f"# TYPE {series.partition('{')[0]} counter\n{series} {value}\n"
        invariants.check(text, app, before, 0.0)  # type: ignore[arg-type]

    def begin_anew() -> None:
        invariants.reloaded(["kunshan"], "another tracker")
        invariants.reloaded(REGIONS, "the next one")

    before = invariants.before(app, 0.0)
    if overtaken:
        begin_anew()
        check(1, before)
        check(0, invariants.before(app, 0.0))
        check(1, before)
    else:
        check(1, before)
        with pytest.raises(ViolationError, match=r"went back from 1\.0 to 0\.0"):
            check(0, invariants.before(app, 0.0))
        begin_anew()
        check(0, invariants.before(app, 0.0))


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_can_be_put_back(bug: str) -> None:
    for change in BUGS[bug]:
        compile(with_bug(change), "a function", "exec")


def test_a_second_login_at_a_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in = TokenCache.log_in

    async def forgetful(self: TokenCache, *args: object, **more: object) -> None:
        self._under_way = None
        await log_in(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(TokenCache, "log_in", forgetful)
    # The second one may also be met when it outlives the process.
    with pytest.raises(AssertionError, match=r"logins of account .* at a time|after the stop there are .*name='login'"):
        list(map(simulate, range(50)))
    # A simulation that failed closes nothing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
