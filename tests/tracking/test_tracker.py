"""All members together: what is known of them, what is to be written, and what is left of those that are forgotten."""

import msgspec
import pytest

from exporter.records import EndedJob, Job, JobListing, JobState
from exporter.tracking import MemberKey, Tracker, TrackerState
from exporter.tracking.bounds import LONGEST_WAIT, WaitClass
from exporter.tracking.model import REMEMBERED_SECONDS
from exporter.tracking.totals import GroupTotals, MemberTotals
from exporter.tracking.waits import ClassKey
from tests.tracking.lives import INTERVAL, KEY, listing, time_of

BOB = KEY._replace(user="bob")
ELSEWHERE = KEY._replace(source="xian", group_id="7")
GROUP = (KEY.source, KEY.group_id)


def polled(tracker: Tracker, key: MemberKey, polls: range) -> Tracker:
    for poll in polls:
        tracker.observe(key, listing(poll), time_of(poll), INTERVAL)
    return tracker


def test_each_member_has_its_own_jobs_and_each_source_their_number() -> None:
    tracker = polled(Tracker(), KEY, range(1, 4))
    polled(tracker, BOB, range(1, 3))
    job = Job("9", "", JobState.RUNNING, scheduler="pbs")
    tracker.observe(ELSEWHERE, JobListing((job, Job("10", "", JobState.QUEUED))), time_of(3), INTERVAL)
    assert [tracker.jobs_of(key) for key in (KEY, BOB, ELSEWHERE)] == [["1", "2", "3"], ["1", "2"], ["9", "10"]]
    assert tracker.jobs_of(KEY._replace(user="nobody")) == []
    assert {key: list(jobs) for key, jobs in tracker.followed_jobs().items()} == {
        KEY: ["1", "2", "3"],
        BOB: ["1", "2"],
        ELSEWHERE: ["9", "10"],
    }
    tracker.followed_jobs()[KEY].clear()
    assert tracker.schedulers("xian") == {ELSEWHERE: {"9": "pbs"}}
    assert tracker.schedulers(KEY.source) == {KEY: {}, BOB: {}}
    assert [tracker.tracked_jobs(source) for source in (KEY.source, "xian", "nowhere")] == [5, 2, 0]
    again = Tracker(TrackerState(members=tracker._members))
    assert [again.tracked_jobs(source) for source in (KEY.source, "xian", "nowhere")] == [5, 2, 0]
    assert [tracker.last_listed(key) for key in (KEY, BOB)] == [time_of(3), time_of(2)]
    assert tracker.last_listed(KEY._replace(user="nobody")) is None


def test_a_group_counts_what_its_members_do_and_no_other() -> None:
    tracker = polled(Tracker(), KEY, range(1, 9))
    of_one = tracker.group(*GROUP)
    assert of_one.queues[""].runs.count == 4
    polled(tracker, BOB, range(1, 9))
    polled(tracker, ELSEWHERE, range(1, 3))
    assert tracker.group(*GROUP).queues[""].runs.count == 8
    assert of_one.queues[""].runs.count == 4, "a copy"
    assert tracker.group("xian", "7").queues[""].runs.count == 0
    assert tracker.group("nowhere", "7") == GroupTotals().copied()
    assert tracker.member(KEY._replace(user="nobody")) == MemberTotals()
    of_member = tracker.member(KEY)
    polled(tracker, KEY, range(9, 12))
    assert of_member.finished["completed"] == 4
    assert tracker.member(KEY).finished["completed"] == 7


def test_the_first_list_of_a_member_that_was_introduced_is_no_first_one() -> None:
    """All its jobs came since the list of the others."""
    tracker = Tracker()
    tracker.introduce(KEY, time_of(0))
    polled(tracker, KEY, range(1, 4))
    tracker.introduce(KEY, time_of(9))
    assert tracker.last_listed(KEY) == time_of(3)
    assert tracker.group(*GROUP).censored == GroupTotals().censored
    assert tracker.group(*GROUP).queues[""].waits.count == 2


def test_the_history_is_read_again_from_the_first_row_on_that_waits_for_the_polls() -> None:
    tracker = polled(Tracker(), KEY, range(1, 4))
    row = EndedJob("test", "1", time_of(2) + 7, Job("2", "", JobState.COMPLETED, started=time_of(2)))
    tracker.take_ends(KEY, [row], time_of(3), 600.0)
    for source in (KEY.source, "xian"):
        tracker.set_mark(source, time_of(3))
    marks = [tracker.mark(source) for source in (KEY.source, "xian", "nowhere")]
    assert marks == [time_of(2) + 7, time_of(3), None]
    for batch in (tracker.take_batch(), tracker.take_batch(everything=True)):
        written = {source: msgspec.msgpack.decode(until or b"") for (source,), until in batch.others["marks"].items()}
        assert written == {KEY.source: time_of(2) + 7, "xian": time_of(3)}
    assert not tracker.take_batch()
    again = Tracker(TrackerState(marks={"xian": 5.0}))
    assert again.mark("xian") == 5.0


def test_members_are_forgotten_after_a_week_or_at_once_and_a_group_with_its_last_one() -> None:
    tracker = Tracker()
    for key in (KEY, BOB, ELSEWHERE):
        polled(tracker, key, range(1, 4))
    tracker.take_batch()
    polled(tracker, KEY, range(4, 5))
    week = time_of(3) + REMEMBERED_SECONDS
    assert tracker.forget_members([KEY], week) == ([], [])
    assert tracker.forget_members([KEY], week, others=[ELSEWHERE]) == ([ELSEWHERE], [("xian", "7")])
    assert tracker.tracked_jobs("xian") == 0
    assert tracker.forget_members([KEY], week + 1) == ([BOB], [])
    assert (tracker.tracked_jobs(KEY.source), list(tracker.members())) == (4, [KEY])
    batch = tracker.take_batch()
    assert (batch.forgotten, list(batch.members)) == ([ELSEWHERE, BOB], [KEY])
    assert batch.others["groups"].keys() == {GROUP, ("xian", "7")}
    assert batch.others["groups"]["xian", "7"] is None
    # Even one that is to be kept from now on; what was to be written of it is not.
    polled(tracker, KEY, range(5, 6))
    assert tracker.forget_members([KEY], week, others=[KEY]) == ([KEY], [])
    batch = tracker.take_batch()
    assert (batch.forgotten, list(batch.members), list(batch.others["groups"])) == ([KEY], [], [GROUP])


def test_without_a_file_nothing_is_kept_to_be_written() -> None:
    tracker = polled(Tracker(persistent=False), KEY, range(1, 4))
    tracker.forget_members([], time_of(3), others=[KEY])
    assert not tracker.take_batch()


def test_a_batch_that_is_given_back_is_written_with_what_came_since() -> None:
    tracker = Tracker()
    for key in (KEY, BOB, ELSEWHERE):
        polled(tracker, key, range(1, 4))
    tracker.set_mark("xian", 5.0)
    tracker.forget_members([KEY, BOB], time_of(3), others=[ELSEWHERE])
    batch = tracker.take_batch()
    polled(tracker, BOB, range(4, 5))
    tracker.set_mark("xian", 6.0)
    tracker.forget_members([KEY], time_of(3), others=[BOB])
    tracker.give_back(batch)
    polled(tracker, KEY, range(4, 5))
    later = tracker.take_batch()
    assert later.forgotten == [ELSEWHERE, BOB]
    assert later.members.keys() == {KEY}
    assert later.members[KEY].rewrite, "as a whole"
    assert later.members[KEY].parts["jobs"].keys() == {"1", "2", "3", "4"}
    assert later.others["marks"] == {("xian",): msgspec.msgpack.encode(6.0)}
    assert msgspec.msgpack.decode(later.others["groups"][GROUP] or b"", type=GroupTotals) == tracker._groups[GROUP]
    assert later.others["groups"]["xian", "7"] is None
    assert not tracker.take_batch()


@pytest.mark.parametrize("polls", [1, 5])
def test_changes_of_several_polls_are_one_change(polls: int) -> None:
    """The last one of each job, and the member as it is."""
    tracker = polled(Tracker(), KEY, range(1, 12))
    tracker.take_batch()
    polled(tracker, KEY, range(12, 12 + polls))
    (change,) = tracker.take_batch().members.values()
    state = tracker._members[KEY].state
    assert not change.rewrite
    assert change.parts["jobs"] == {
        job_id: state.jobs.get(job_id)
        for job_id in change.parts["jobs"].keys() | {str(11 + number) for number in range(1, polls + 1)}
    }
    member = msgspec.msgpack.decode(change.member, type=type(tracker._members[KEY]))
    assert (member.totals, member.state.last, member.state.jobs) == (tracker.member(KEY), time_of(11 + polls), {})


def test_bounds_of_waits_are_renewed_every_half_minute_a_few_at_a_time() -> None:
    """They grow while jobs wait; here they are withdrawn, since nothing was submitted for too long."""
    queues = [ClassKey("own", "", f"queue {number}", accelerated=False) for number in range(10)]
    newest = int(time_of(0)) + 20 - LONGEST_WAIT
    tracker = Tracker(TrackerState(waits={key: WaitClass(heads=[10] * 60, newest=newest) for key in queues}))

    def known(now: float) -> list[bool]:
        return [view.promises[0].seconds is not None for view in tracker.waits("own", now)]

    assert known(time_of(0)) == [True] * 10
    assert known(time_of(0) + 29.9) == [True] * 10
    assert known(time_of(0) + 30) == [False] * 8 + [True] * 2
    assert known(time_of(0) + 30) == [False] * 10
    assert tracker.waits("own", time_of(0) + 31) is tracker.waits("own", time_of(0) + 90)
