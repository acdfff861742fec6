"""The states that a region's job lists name, in all spellings that are known.

Sources: the page 查询成员实时作业列表 for ``statR`` and its like; ``statDE``, ``statF``, ``statEX`` and others as public clients
handle them; Slurm's own words (sometimes passed on as they are) from "JOB STATE CODES" of squeue(1) and sacct(1).
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from exporter.records import JobState
from exporter.sources.values import value_of, word_of

# The part after "stat".
_LETTERS: Final = {
    "r": JobState.RUNNING,
    "q": JobState.QUEUED,
    "h": JobState.HELD,
    "s": JobState.SUSPENDED,
    "w": JobState.WAITING,
    "e": JobState.EXITING,
    "c": JobState.COMPLETED,
    "x": JobState.OTHER,
    "de": JobState.DELETED,
    "d": JobState.FAILED,
    "f": JobState.FAILED,
    "ex": JobState.FAILED,
    "t": JobState.TIMEOUT,
    "n": JobState.NODE_FAILURE,
    "rq": JobState.REQUEUED,
}
# A job that is being configured or signalled has its nodes; a stopped one keeps them but does not run. A preempted or
# revoked one did not fail: something else took it away.
_SLURM_WORDS: Final = {
    "boot_fail": JobState.NODE_FAILURE,
    "canceled": JobState.DELETED,
    "cancelled": JobState.DELETED,
    "completed": JobState.COMPLETED,
    "completing": JobState.EXITING,
    "configuring": JobState.RUNNING,
    "deadline": JobState.TIMEOUT,
    "failed": JobState.FAILED,
    "launch_failed": JobState.NODE_FAILURE,
    "node_fail": JobState.NODE_FAILURE,
    "out_of_memory": JobState.FAILED,
    "pending": JobState.QUEUED,
    "preempted": JobState.DELETED,
    "reconfig_fail": JobState.NODE_FAILURE,
    "requeued": JobState.REQUEUED,
    "requeue_fed": JobState.REQUEUED,
    "requeue_hold": JobState.HELD,
    "resizing": JobState.RUNNING,
    "resv_del_hold": JobState.HELD,
    "revoked": JobState.DELETED,
    "running": JobState.RUNNING,
    "signaling": JobState.RUNNING,
    "special_exit": JobState.HELD,
    "stage_out": JobState.EXITING,
    "stopped": JobState.SUSPENDED,
    "suspended": JobState.SUSPENDED,
    "timeout": JobState.TIMEOUT,
}
# Slurm's short codes, and single letters on whose meaning Slurm, PBS and SCNet agree. T, D, N and X are left out:
# to PBS a job in T is being moved.
_SHORT_CODES: Final = {
    **{letter: _LETTERS[letter] for letter in "rqhswecf"},
    "bf": JobState.NODE_FAILURE,
    "ca": JobState.DELETED,
    "cd": JobState.COMPLETED,
    "cf": JobState.RUNNING,
    "cg": JobState.EXITING,
    "dl": JobState.TIMEOUT,
    "nf": JobState.NODE_FAILURE,
    "oom": JobState.FAILED,
    "pd": JobState.QUEUED,
    "pr": JobState.DELETED,
    "rd": JobState.HELD,
    "rf": JobState.REQUEUED,
    "rh": JobState.HELD,
    "rq": JobState.REQUEUED,
    "rs": JobState.RUNNING,
    "rv": JobState.DELETED,
    "se": JobState.HELD,
    "si": JobState.RUNNING,
    "so": JobState.EXITING,
    "st": JobState.SUSPENDED,
    "to": JobState.TIMEOUT,
}
_WORDS: Final = {**{f"stat{letters}": state for letters, state in _LETTERS.items()}, **_SLURM_WORDS, **_SHORT_CODES}
# In the page's own spelling.
PAGE_STATES: Final = {f"stat{letters.upper()}": state for letters, state in _LETTERS.items()}
# "CANCELLED by 1000" tells by which user.
_BY_USER: Final = re.compile(r"\s+by\s+\S+$")
# A word that a table cut off ends in "+"; with fewer letters it could be too many words.
_SHORTEST_CUT: Final = 4


@lru_cache(maxsize=1024)
def state_of(word: str) -> JobState:
    """Return the state that `word` names, in any case and with what Slurm's tools add to it.

    UNKNOWN if it names none.
    """
    plain = _BY_USER.sub("", word.strip().casefold())
    if plain.endswith("+"):
        return _state_of_cut(plain.rstrip("+"))
    return _WORDS.get(re.sub(r"[\s-]+", "_", plain), JobState.UNKNOWN)


def state_and_word(raw: msgspec.Raw) -> tuple[JobState, str]:
    """Return the state that a JSON value names, and its text in one printable line where the state is UNKNOWN."""
    value = value_of(raw)
    state = state_of(value) if isinstance(value, str) else JobState.UNKNOWN
    return state, word_of(raw) if state is JobState.UNKNOWN else ""


def _state_of_cut(beginning: str) -> JobState:
    if beginning in _WORDS:
        return _WORDS[beginning]
    possible = {state for word, state in _SLURM_WORDS.items() if word.startswith(beginning)}
    return possible.pop() if len(possible) == 1 and len(beginning) >= _SHORTEST_CUT else JobState.UNKNOWN
