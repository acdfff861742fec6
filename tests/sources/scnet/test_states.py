"""Words for states, as regions and the schedulers behind them spell them."""

import pytest

from exporter.records import JobState
from exporter.sources.scnet.states import state_of

WORDS = {
    JobState.RUNNING: "statR RUNNING CONFIGURING RESIZING SIGNALING R CF RS SI",
    JobState.QUEUED: "statQ PENDING Q PD",
    JobState.HELD: "statH H REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT RH RD SE",
    JobState.SUSPENDED: "statS SUSPENDED STOPPED S ST",
    JobState.WAITING: "statW W",
    JobState.EXITING: "statE COMPLETING STAGE_OUT E CG SO",
    JobState.COMPLETED: "statC COMPLETED C CD COMPLETED+",
    JobState.OTHER: "statX",
    JobState.DELETED: "statDE CANCELLED CANCELED PREEMPTED REVOKED CA PR RV CANCELLED+ CANCEL+",
    JobState.FAILED: "statD statF statEX FAILED OUT_OF_MEMORY F OOM OUT_OF_ME+",
    JobState.TIMEOUT: "statT TIMEOUT DEADLINE TO DL",
    JobState.NODE_FAILURE: "statN NODE_FAIL BOOT_FAIL LAUNCH_FAILED RECONFIG_FAIL NF BF NODE_F+",
    JobState.REQUEUED: "statRQ REQUEUED REQUEUE_FED RQ RF",
    JobState.UNKNOWN: "statZZ stat STAT T D N X COMPLET+ + PENDING,RUNNING RUNNINGS xR",
}


@pytest.mark.parametrize(("word", "state"), [(word, state) for state, words in WORDS.items() for word in words.split()])
def test_every_word_in_any_case(word: str, state: JobState) -> None:
    assert {state_of(spelled) for spelled in (word, word.upper(), word.lower(), word.title(), f" {word}\n")} == {state}


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("CANCELLED by 1000", JobState.DELETED),
        ("Cancelled by root", JobState.DELETED),
        ("OUT OF MEMORY", JobState.FAILED),
        ("node-fail", JobState.NODE_FAILURE),
        ("", JobState.UNKNOWN),
        ("by 1000", JobState.UNKNOWN),
    ],
)
def test_what_tools_add_to_a_word(word: str, state: JobState) -> None:
    assert state_of(word) is state
