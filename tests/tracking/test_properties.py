"""Invariants for every listing: nothing negative, nothing double, nothing that grows without end."""

import asyncio
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, Store, Tracker, TrackerState
from exporter.tracking.model import REMEMBERED_SECONDS, Phase
from exporter.tracking.waits import key_of

INTERVAL = 60.0
MEMBERS = [MemberKey("kunshan", "1", "test"), MemberKey("xian", "1", "test"), MemberKey("kunshan", "1", "bob")]

AMOUNTS = st.none() | st.integers(0, 2**53)
JOBS = st.builds(
    Job,
    id=st.sampled_from("1234567") | st.text(max_size=3),
    name=st.just(""),
    state=st.sampled_from(JobState),
    allocated_cpus=AMOUNTS,
    allocated_gpus=AMOUNTS,
    allocated_dcus=AMOUNTS,
    requested_gpus=st.sampled_from([None, 0, 1]),
)
LISTINGS = st.builds(JobListing, st.lists(JOBS, max_size=8).map(tuple), rejected=st.sampled_from([0, 0, 0, 1]))


class AnyListings(RuleBasedStateMachine):
    """Members polled in any order, with outages, clocks set back, and restarts in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "tracker.db"
        self.tracker = Tracker()
        self.at = 1_700_000_000.0
        self.listed: dict[MemberKey, list[tuple[float, set[str], bool]]] = {key: [] for key in MEMBERS}
        self.set_back = False
        self.highest: dict[tuple[MemberKey, str], float] = {}

    @rule(key=st.sampled_from(MEMBERS), listing=LISTINGS, again=st.booleans())
    def poll(self, key: MemberKey, listing: JobListing, again: bool) -> None:
        for _ in range(1 + again):
            self.at += INTERVAL
            self.tracker.observe(key, listing, self.at, INTERVAL)
            self.listed[key].append((self.at, {job.id for job in listing.jobs}, listing.complete))

    @rule(seconds=st.sampled_from([200.0, 7 * 86400.0, -1.0, -3600.0]))
    def pass_time(self, seconds: float) -> None:
        self.at += seconds
        self.set_back |= seconds < 0

    @rule()
    def restart(self) -> None:
        before = [(self.tracker.member(key), self.tracker.group(key.source, key.group_id)) for key in MEMBERS]
        waits = self.tracker._waits._classes
        self.tracker = Tracker(asyncio.run(self._written_and_read()))
        assert self.tracker._waits._classes == waits
        after = [(self.tracker.member(key), self.tracker.group(key.source, key.group_id)) for key in MEMBERS]
        assert before == after

    async def _written_and_read(self) -> TrackerState:
        for attempt in ("write", "read"):
            store, state = await Store.open(self.path)
            if attempt == "write":
                await store.save(self.tracker.take_batch())
            await store.close()
        return state

    @invariant()
    def nothing_is_negative_and_nothing_steps_back(self) -> None:
        for key in MEMBERS:
            view, group = self.tracker.member(key), self.tracker.group(key.source, key.group_id)
            numbers: dict[str, float] = {
                **{f"{a}>{b}": n for (a, b), n in view.transitions.items()},
                **{str(outcome): n for outcome, n in view.finished.items()},
                **{"/".join(name): n for name, n in group.censored.items()},
                "cpu": view.cpu_seconds or 0,
                "gpu": view.gpu_seconds or 0,
                "dcu": view.dcu_seconds or 0,
                "unaccounted": view.unaccounted_seconds,
                "waited": group.queues[""].waits.sum,
                "waits": group.queues[""].waits.count,
                "run": group.queues[""].runs.sum,
                "runs": group.queues[""].runs.count,
            }
            for name, value in numbers.items():
                assert value >= self.highest.get((key, name), 0.0)
                self.highest[key, name] = value

    @invariant()
    def arrivals_are_there_or_gone(self) -> None:
        """Nothing double: a job enters once and leaves once, and finishes at most once for each time it enters."""
        for key in MEMBERS:
            view, member = self.tracker.member(key), self.tracker.join(key)
            entered = sum(n for (before, _), n in view.transitions.items() if before == "none")
            left = sum(n for (_, after), n in view.transitions.items() if after == "gone")
            dropped = entered - left - len(member.state.jobs)
            assert dropped >= 0  # a listing that stays incomplete for a week ends in that
            again = sum(n for (before, after), n in view.transitions.items() if ended(before) and not ended(after))
            assert sum(view.finished.values()) <= entered + again

    @invariant()
    def heads_that_wait_are_jobs_that_wait(self) -> None:
        waiting = {
            key_of(key, job_id)
            for key in MEMBERS
            for job_id, job in self.tracker.join(key).state.jobs.items()
            if job.phase is Phase.WAIT
        }
        for name, waits in self.tracker._waits._classes.items():
            assert waiting.issuperset(waits.waiting())
            assert self.tracker._waits._followed[name].keys() == set(waits.waiting())
            for score in waits.scores:
                assert 0 <= score.held <= score.checked

    @invariant()
    def only_what_was_listed_is_remembered(self) -> None:
        for key in MEMBERS:
            state = self.tracker.join(key).state
            times = list(state.finished.values())
            assert times == sorted(times)
            assert all(state.last - time < REMEMBERED_SECONDS for time in times)
            assert all(time <= state.last for time in times)
            assert not state.finished.keys() & state.jobs.keys()
            if not self.set_back:
                assert state.jobs.keys() <= self.listed_since(key, state.last, complete_listings_ago=2)
                for job_id, time in state.finished.items():
                    assert job_id in self.listed_since(key, time, complete_listings_ago=3)
            assert self.tracker.tracked_jobs(key.source) == sum(
                len(self.tracker.join(other).state.jobs) for other in MEMBERS if other.source == key.source
            )

    def listed_since(self, key: MemberKey, time: float, complete_listings_ago: int) -> set[str]:
        """All ids listed up to `time` from the so-many-last complete listing on: a job is gone after two without it."""
        until = [poll for poll in self.listed[key] if poll[0] <= time]
        complete = [at for at, _, is_complete in until if is_complete][-complete_listings_ago:]
        since = complete[0] if len(complete) == complete_listings_ago else 0.0
        return {job_id for at, ids, _ in until if at >= since for job_id in ids}

    def teardown(self) -> None:
        self.folder.cleanup()


def ended(state: str) -> bool:
    return state in {"completed", "deleted", "failed", "timeout", "node_failure"}


TestAnyListings = AnyListings.TestCase
TestAnyListings.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
