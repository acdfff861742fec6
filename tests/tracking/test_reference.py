"""The state machine agrees with an independent, slow reference on random histories."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.records import Job, JobListing, JobState
from exporter.tracking.machine import advance
from exporter.tracking.model import Events, MemberState
from tests.tracking.reference import Expected, Poll, recompute

INTERVAL = 60.0
AMOUNTS = st.sampled_from([None, 0, 1, 4, 64])
# Jobs, and an array: the spellings of its row, and its tasks as Slurm and PBS write them.
IDS = st.sampled_from([*"1234", "900", "900_[1-4]", "900_[4]", "900[]", "900_1", "900_2", "900[3]"])
# Ordinary steps, repeated polls, failed polls, outages, a week, and clocks set back.
STEPS = st.sampled_from([60.0] * 8 + [0.0, 30.0, 61.5, 120.0, 180.0, 180.5, 500.0, 8 * 86400.0, -30.0, -3600.0])
# States weighted to what occurs, so that whole lives are common; every state can follow every other.
STATES = st.sampled_from([*JobState, *[JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED] * 3])


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    job_id = draw(IDS)
    return Job(
        id=job_id,
        name=f"job {job_id}",
        state=draw(STATES),
        allocated_cpus=draw(AMOUNTS),
        allocated_gpus=draw(AMOUNTS),
        allocated_dcus=draw(AMOUNTS),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Poll]:
    at, polls = 1_700_000_000.0, []
    for _ in range(draw(st.integers(1, 14))):
        listing = JobListing(tuple(draw(st.lists(jobs(), max_size=4))), rejected=draw(st.sampled_from([0, 0, 0, 1])))
        polls.append(Poll(at, draw(st.sampled_from([INTERVAL, INTERVAL, 20.0])), listing))
        at += draw(STEPS)
    return polls


def replay(history: list[Poll]) -> tuple[Expected, MemberState]:
    """Return the state machine's result for a history, in the reference's terms."""
    state, said = MemberState(), Expected()
    for poll in history:
        update = advance(state, poll.listing, poll.at, poll.interval)
        state.apply(update)
        add(said, update.events)
    said.followed = len(state.jobs)
    said.oldest_waiting = state.oldest_waiting
    return said, state


def add(said: Expected, events: Events) -> None:
    said.transitions.update(events.transitions)
    said.finished.update(events.finished)
    said.censored.update(events.censored)
    said.waits += [spell.seconds for spell in events.waits]
    said.runs += [spell.seconds for spell in events.runs]
    said.unaccounted += events.unaccounted
    for index in range(3):
        said.seconds[index] += events.resource_seconds[index]
        said.known[index] |= events.amounts_known[index]


@settings(max_examples=300, deadline=None)
@given(histories())
def test_agrees_with_the_reference_on_every_history(history: list[Poll]) -> None:
    said, _ = replay(history)
    expected = recompute(history)
    assert said.transitions == expected.transitions
    assert said.finished == expected.finished
    assert said.censored == expected.censored
    assert sorted(said.waits) == pytest.approx(sorted(expected.waits))
    assert sorted(said.runs) == pytest.approx(sorted(expected.runs))
    assert said.seconds == pytest.approx(expected.seconds)
    assert said.known == expected.known
    assert said.unaccounted == pytest.approx(expected.unaccounted)
    assert said.followed == expected.followed
    assert said.oldest_waiting == expected.oldest_waiting


def test_the_reference_counts_a_plain_life() -> None:
    """The reference itself is right where the answer can be seen without it."""
    states = [None, "queued", "queued", "running", "running", "completed", "completed", None, None]
    history = [
        Poll(60.0 * k, INTERVAL, JobListing((Job("1", "", JobState(state), allocated_cpus=2),) if state else ()))
        for k, state in enumerate(states)
    ]
    expected = recompute(history)
    assert expected.waits == [120.0]
    assert expected.runs == [120.0]
    assert expected.finished == Counter(completed=1)
    assert expected.seconds[0] == 240.0
    assert not expected.censored
    assert expected.followed == 0
