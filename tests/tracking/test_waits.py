"""Which jobs of listings become heads of bursts, what becomes of them, and what survives a restart."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.records import EndedJob, Job, JobListing, JobState
from exporter.tracking import MemberKey, Tracker, TrackingService
from exporter.tracking.bounds import BURST_SECONDS, LONGEST_WAIT, WINDOW, WaitClass
from exporter.tracking.machine import advance
from exporter.tracking.model import MemberState
from exporter.tracking.waits import MOST_CLASSES, ClassKey
from tests.tracking.files import SettableClock, loaded, saved

START = 1_700_000_000.0
MINUTE = 60.0
ANNE = MemberKey("own", "7", "anne")
BOB = MemberKey("own", "7", "bob")
STATES = {
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "D": JobState.WAITING,
    "S": JobState.SUSPENDED,
    "R": JobState.RUNNING,
    "C": JobState.COMPLETED,
    "?": JobState.UNKNOWN,
}


def job(spelled: str, **more: Any) -> Job:
    """Make a job of `ID=STATE`."""
    job_id, _, state = spelled.partition("=")
    return Job(job_id, "", STATES[state], **{"queue": "comp", **more})


def polled(*polls: str, tracker: Tracker | None = None, key: MemberKey = ANNE, first: int = 0, **more: Any) -> Tracker:
    """Poll a member every minute; `!` is a poll that fails, `!!` ten minutes of them."""
    tracker = tracker or Tracker()
    minute = first
    for poll in polls:
        if not poll.startswith("!"):
            jobs = tuple(job(spelled, **more) for spelled in poll.split())
            tracker.observe(key, JobListing(jobs), START + MINUTE * minute, MINUTE)
        minute += 10 if poll == "!!" else 1
    return tracker


def classes(tracker: Tracker) -> dict[tuple[str, str, bool], list[Any]]:
    """Heads by group, queue and acceleration: of those that wait, when they were submitted, after START."""
    return {
        name[1:]: [head if isinstance(head, int) else [head.since - int(START)] for head in waits.heads]
        for name, waits in tracker._waits._classes.items()
    }


@pytest.mark.parametrize(
    ("polls", "heads"),
    [
        (["", "1=Q", "1=Q", "1=R"], [120]),
        (["", "1=R"], [0]),
        (["", "1=Q"], [[30]]),
        # Together, or while another one waits that came within the hour: one burst.
        (["", "1=Q 2=Q", "1=Q 2=Q 3=Q", "1=R 2=Q 3=Q"], [120]),
        (["", "1=R 2=R 3=Q"], [0]),
        # The first has started: the second is not of its burst.
        (["", "1=Q", "1=R", "1=R 2=Q", "2=R"], [60, 60]),
        (["", "1=Q", *["1=Q"] * 60, "1=Q 2=Q"], [[30], [3690]]),
        # Not known from the beginning, or after a time in which short waits were not seen.
        (["1=Q 2=R", "1=R", "3=Q"], [[90]]),
        (["", "!!", "1=Q", "1=R", "1=R"], []),
        (["", "1=Q", "!!", "1=R"], [-1 - 30]),
        # Gone while it waited: it is known to have waited until the last list with it.
        (["", "1=Q", "1=Q", "", ""], [-1 - 90]),
        (["", "1=Q", "1=Q", "1=C"], [-1 - 90]),
        (["", "1=Q", "", "1=Q", "1=R"], [180]),
        # Not free to start.
        (["", "1=H", "1=H", "1=Q", "1=R"], []),
        (["", "1=D", "1=R"], []),
        (["", "1=Q", "1=Q", "1=H", "1=Q", "1=R"], [-1 - 90]),
        (["", "1=Q", "1=Q", "1=S", "1=R"], [-1 - 90]),
        (["", "1=Q", "1=Q", "1=?", "1=R"], [150]),
        # A second wait of the same job is no submission.
        (["", "1=Q", "1=R", "1=Q", "1=R"], [60]),
        # The row of an array starts with its first task.
        (["", "9_[1-3]=Q", "9_[2-3]=Q 9_1=R", "9_[3]=Q 9_1=R 9_2=R", "9_1=R 9_2=R 9_3=R"], [60]),
        (["", "9=Q", "9=Q 9_1=R", "9_1=R", "9_1=R"], [60]),
        (["", "9[]=Q", "9[]=Q", "", ""], [-1 - 90]),
        # It is not listed any more once its tasks wait one by one: no start.
        (["", "9_[1-2]=Q", "9_1=Q 9_2=Q", "9_1=Q 9_2=Q", "9_1=R 9_2=Q"], [-1 - 90]),
    ],
)
def test_heads(polls: list[str], heads: list[Any]) -> None:
    assert classes(polled(*polls)) == ({("", "comp", False): heads} if heads else {})


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, ("", "comp", False)),
        ({"queue": ""}, ("7", "", False)),
        ({"requested_gpus": 2}, ("", "comp", True)),
        ({"requested_dcus": 1, "queue": ""}, ("7", "", True)),
        ({"requested_gpus": 0, "requested_dcus": None}, ("", "comp", False)),
    ],
)
def test_class_of_a_job(more: dict[str, Any], name: tuple[str, str, bool]) -> None:
    assert classes(polled("", "1=Q", "1=R", **more)) == {name: [60]}


@pytest.mark.parametrize("reason", ["dependency", "held", "begin_time"])
def test_jobs_that_their_users_keep_back_are_no_heads(reason: Any) -> None:
    assert classes(polled("", "1=Q", "1=R", reason=reason)) == {}


def test_users_and_kinds_of_jobs_do_not_share_bursts() -> None:
    tracker = polled("", "1=Q")
    polled("", "2=Q", tracker=tracker, key=BOB)
    polled("1=Q", tracker=tracker, first=2)
    tracker.observe(ANNE, JobListing((job("1=Q"), job("3=Q", requested_dcus=1))), START + 3 * MINUTE, MINUTE)
    assert classes(tracker) == {("", "comp", False): [[30], [30]], ("", "comp", True): [[150]]}


def test_times_of_the_scheduler_are_used() -> None:
    tracker = polled("", "1=Q", submitted=START + 1)
    tracker.observe(ANNE, JobListing((job("1=R", submitted=START + 1, started=START + 100),)), START + 120, MINUTE)
    assert classes(tracker) == {("", "comp", False): [99]}
    (view,) = tracker.waits("own", START + 120)
    assert tracker._waits._classes[view.key].gap == 0
    assert polled("", "1=Q")._waits._classes[view.key].gap == MINUTE


def test_times_of_the_scheduler_are_used_for_a_job_that_no_poll_saw_waiting() -> None:
    tracker = polled("")
    jobs = (job("1=R", submitted=START + 10, started=START + 40), job("2=R", submitted=START + 5, started=START + 59))
    tracker.observe(ANNE, JobListing(jobs), START + MINUTE, MINUTE)
    assert classes(tracker) == {("", "comp", False): [54]}
    assert [waits.gap for waits in waits_of(tracker).values()] == [0]


def test_burst_by_the_scheduler_s_times() -> None:
    """Both came between two polls, more than an hour apart: with one poll in two hours."""
    jobs = (job("1=Q", submitted=START + 1), job("2=Q", submitted=START + 2 + BURST_SECONDS))
    tracker = Tracker()
    tracker.observe(ANNE, JobListing(()), START, 7200.0)
    tracker.observe(ANNE, JobListing(jobs), START + 7200, 7200.0)
    assert classes(tracker) == {("", "comp", False): [[1], [2 + BURST_SECONDS]]}


@pytest.mark.parametrize(
    ("started", "state", "head"),
    [
        (100, JobState.COMPLETED, 70),
        (130, JobState.DELETED, -1 - 90),
        (None, JobState.DELETED, -1 - 90),
        (140, JobState.COMPLETED, -1 - 90),
    ],
)
def test_a_start_may_be_known_from_the_history_alone(started: int | None, state: JobState, head: int) -> None:
    """While the list goes on showing the job as waiting, or is not read."""
    tracker = polled("", "1=Q", "1=Q")
    ended = Job("1", "", state, queue="comp", started=None if started is None else START + started)
    tracker.take_ends(ANNE, [EndedJob("anne", "s", START + 130, ended)], START + 1000, 0.0)
    assert classes(tracker) == {("", "comp", False): [head]}


def test_a_clock_that_is_set_back_ends_what_is_followed() -> None:
    tracker = polled("", "1=Q", "1=Q")
    tracker.observe(ANNE, JobListing((job("1=Q"),)), START - 1000, MINUTE)
    tracker.observe(ANNE, JobListing((job("1=R"),)), START - 940, MINUTE)
    assert classes(tracker) == {("", "comp", False): [-1 - 90]}


def test_a_head_whose_start_was_never_counted_does_not_wait_for_ever() -> None:
    """As after an unforeseen failure between taking in a list and counting what it tells."""
    tracker = polled("", "1=Q")
    Tracker.work(tracker.join(ANNE), JobListing((job("1=R"),)), START + 2 * MINUTE, MINUTE)
    tracker.take_batch()
    polled("1=R", tracker=tracker, first=3)
    assert classes(tracker) == {("", "comp", False): [-1]}
    assert tracker.take_batch().others["waits"].keys() == {ClassKey("own", "", "comp", False)}
    polled("1=R 2=Q", "2=R", tracker=tracker, first=4)
    assert classes(tracker) == {("", "comp", False): [-1, 60]}


QUARTER = 900.0
KINDS = st.tuples(st.sampled_from(["comp", "gpu"]), st.booleans())


@given(
    st.lists(st.tuples(st.integers(0, 6), KINDS, st.sampled_from("QR-")), max_size=4),
    st.lists(st.tuples(st.integers(5, 12), KINDS), max_size=4),
)
def test_a_head_is_a_job_without_another_one_in_the_hour_before_it(
    old: list[tuple[int, tuple[str, bool], str]], new: list[tuple[int, tuple[str, bool]]]
) -> None:
    """By the times of the scheduler, which a list may show later. One that is missing may have requested anything."""

    def listed(name: str, state: str, quarter: int, kind: tuple[str, bool]) -> Job:
        queue, accelerated = kind
        more = {"requested_gpus": 1} if accelerated else {}
        return job(f"{name}={state}", queue=queue, submitted=START + QUARTER * quarter, **more)

    waited = [listed(f"1{number}", "Q", quarter, kind) for number, (quarter, kind, _) in enumerate(old)]
    still = [listed(f"1{number}", state, *of) for number, (*of, state) in enumerate(old) if state != "-"]  # type: ignore[arg-type]
    came = [listed(f"2{number}", "Q", *of) for number, of in enumerate(new)]
    state = MemberState()
    for at, jobs in ((-60.0, []), (6 * QUARTER, waited)):
        state.apply(advance(state, JobListing(tuple(jobs)), START + at, 86400.0))
    heads = advance(state, JobListing((*still, *came)), START + 12 * QUARTER, 86400.0).events.queued
    kinds = {
        (quarter, (kind[0], either))
        for quarter, kind, state in old
        for either in ([False, True] if state == "-" else [kind[1]])
    }
    expected = []
    for number, (quarter, kind) in sorted(enumerate(new), key=lambda each: each[1][0]):
        if not any(of_kind == kind and quarter - other <= 4 for other, of_kind in kinds):
            expected.append((f"2{number}", START + QUARTER * quarter, *kind))
        kinds.add((quarter, kind))
    assert [(head.job_id, head.at, head.queue, head.accelerated) for head in heads] == expected
    assert all(head.reported for head in heads)


def test_a_head_that_no_list_tells_of_for_a_week_is_followed_no_longer() -> None:
    tracker = polled("", "1=Q", "1=Q")
    heads = []
    for days in (6, 8):
        tracker.observe(ANNE, JobListing((), rejected=1), START + 86400.0 * days, MINUTE)
        heads.append(classes(tracker)["", "comp", False])
    assert heads == [[[30]], [-1 - 90]]


# --- What is known while nothing is listed ----------------------------------------------------------------------------


def with_bounds() -> Tracker:
    """Follow a queue whose heads waited for a minute each, and in which another one waits."""
    tracker = polled("")
    for number in range(70):
        polled(f"{number}=Q", f"{number}=R", "", "", tracker=tracker, first=1 + 4 * number)
    return polled("waits=Q", tracker=tracker, first=281)


def seconds(tracker: Tracker, now: float) -> list[float | None]:
    (view,) = tracker.waits("own", now)
    return [promise.seconds for promise in view.promises]


def test_bounds_contain_the_gap_between_polls() -> None:
    assert seconds(with_bounds(), START + 281 * MINUTE) == [120.0, 120.0, 120.0]


def test_a_job_is_not_said_to_wait_while_its_member_is_not_listed() -> None:
    tracker = with_bounds()
    assert seconds(tracker, START + 400 * MINUTE) == [120.0, 120.0, 120.0]
    polled("waits=Q", tracker=tracker, first=282)
    assert seconds(tracker, START + 401 * MINUTE) == [120.0, 120.0, None]
    assert counts(tracker) == [(65, 65), (41, 41), (11, 11)]
    polled("waits=Q", tracker=tracker, first=283)
    assert counts(tracker) == [(66, 65), (42, 41), (12, 11)]


def counts(tracker: Tracker) -> list[tuple[int, int]]:
    (view,) = tracker.waits("own", START + 402 * MINUTE)
    return [(promise.checked, promise.held) for promise in view.promises]


def test_views_are_the_same_while_nothing_happens() -> None:
    tracker = with_bounds()
    now = START + 281 * MINUTE
    assert tracker.waits("own", now) is tracker.waits("own", now + 1)
    assert tracker.waits("own", now) is tracker.waits("own", now + 60)
    assert tracker.waits("elsewhere", now) == ()


def test_a_source_whose_queues_change_their_names_all_the_time() -> None:
    tracker = polled("")
    jobs = tuple(job(f"{number}=Q", queue=f"queue {number}") for number in range(MOST_CLASSES + 5))
    tracker.observe(ANNE, JobListing(jobs), START + MINUTE, MINUTE)
    assert len(classes(tracker)) == MOST_CLASSES
    before = tracker.waits("own", START + MINUTE)
    assert len(before) == MOST_CLASSES
    polled("", "1=Q", "1=R", tracker=tracker, key=BOB, queue="queue 1")
    assert tracker.waits("own", START + MINUTE + 0.9) is before, "not with each of the polls of a second"
    after = tracker.waits("own", START + MINUTE + 1)
    assert [new.key.queue for old, new in zip(before, after, strict=True) if new is not old] == ["queue 1"]


def test_members_that_are_forgotten_leave_nothing_that_waits() -> None:
    tracker = with_bounds()
    polled("", "1=Q", tracker=tracker, key=BOB, first=280, queue="")
    tracker.forget_members([BOB], START + 300 * MINUTE, others=[ANNE])
    assert classes(tracker)["", "comp", False][-1] == -1 - 30
    tracker.forget_members([], START + 300 * MINUTE, others=[BOB])
    assert classes(tracker) == {}
    batch = tracker.take_batch()
    assert batch.others["waits"] == {ClassKey("own", "", "comp", False): None, ClassKey("own", "7", "", False): None}


# --- The state file ---------------------------------------------------------------------------------------------------


def waits_of(tracker: Tracker) -> dict[ClassKey, WaitClass]:
    return tracker._waits._classes


async def test_a_head_that_waits_starts_after_a_restart(state_file: Path) -> None:
    tracker = with_bounds()
    await saved(state_file, tracker)
    again = Tracker(await loaded(state_file))
    assert waits_of(again) == waits_of(tracker)
    for each in (tracker, again):
        polled("waits=Q", "waits=R", tracker=each, first=282)
    assert waits_of(again) == waits_of(tracker)
    assert classes(again)["", "comp", False][-1] == 120


async def test_a_head_whose_member_was_lost_does_not_wait_for_ever(state_file: Path) -> None:
    await saved(state_file, with_bounds())
    state = await loaded(state_file)
    state.members.clear()
    assert classes(Tracker(state))["", "comp", False][-1] == -1


@pytest.mark.parametrize("queue", ["", "中文", "1\x00' OR 1", "🙂"])
async def test_any_queue_is_kept(state_file: Path, queue: str) -> None:
    tracker = polled("", "1=Q", "1=R", queue=queue)
    await saved(state_file, tracker)
    assert (await loaded(state_file)).waits == waits_of(tracker)


def test_a_batch_that_could_not_be_written_is_written_later() -> None:
    tracker = with_bounds()
    batch = tracker.take_batch()
    ((name, waits),) = batch.others["waits"].items()
    assert tracker.take_batch().others["waits"] == {}
    tracker.give_back(batch)
    assert tracker.take_batch().others["waits"] == tracker.take_batch(everything=True).others["waits"] == {name: waits}
    assert msgspec.msgpack.decode(waits or b"", type=WaitClass) == waits_of(tracker)[name]  # type: ignore[index]  # a ClassKey


async def test_bounds_are_shown_once_they_are_written(state_file: Path) -> None:
    service = TrackingService(state_file, clock=SettableClock())
    await service.start()
    await service.observe(ANNE, JobListing(()), START, MINUTE)
    assert service.waits("own") == ()
    await service.observe(ANNE, JobListing((job("1=Q"),)), START + MINUTE, MINUTE)
    (view,) = service.waits("own")
    await service.stop()
    again = TrackingService(state_file, clock=SettableClock())
    await again.start()
    assert again.waits("own") == (view,)
    again.forget_members([], [ANNE])
    assert again.waits("own") == ()
    await again.stop()


def test_a_head_that_waits_beyond_all_bounds_is_followed_no_longer() -> None:
    tracker = polled("", "1=Q", "1=Q")
    (followed,) = tracker._waits._followed.values()
    assert len(followed) == 1
    month = int(LONGEST_WAIT / MINUTE)
    polled("1=Q", tracker=tracker, first=month + 3)
    assert not followed
    polled("1=Q", "1=R", tracker=tracker, first=month + 4)
    assert classes(tracker) == {("", "comp", False): [-1 - LONGEST_WAIT]}


def test_a_head_without_a_bound_that_newer_ones_push_out_is_followed_no_longer() -> None:
    tracker = polled("", *["1=Q"] * 61)
    (followed,) = tracker._waits._followed.values()
    for number in range(WINDOW):
        assert len(followed) == 1
        polled(f"1=Q {number}x=Q", f"1=Q {number}x=R", tracker=tracker, first=62 + 2 * number)
    assert not followed
    polled("1=R", tracker=tracker, first=62 + 2 * WINDOW)
    assert len(classes(tracker)["", "comp", False]) == WINDOW
