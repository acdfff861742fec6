"""From how one target's trial went to the step that failed, and the first thing to do about it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from exporter.app.target_info import TargetInfo
from exporter.cli.once import unreadable_of
from exporter.config import FileSecret
from exporter.errors import (
    AuthenticationError,
    DecodeError,
    NotThereError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UntrustedCertificateError,
    UpstreamBusyError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http import ALARMING_SKEW
from exporter.http.probe import Reached
from exporter.polling import Outcome
from exporter.sources.scnet.tokens import read_token

Step = Literal["address", "connection", "TLS", "login", "permission", "answer", "clock"]
STEPS: Final[tuple[Step, ...]] = ("address", "connection", "TLS", "login", "permission", "answer", "clock")

FROZEN: Final = "10007"  # SCNet's code of a user who is frozen
TRY_LATER: Final = "try again later; if it stays, tell the region's support"


@dataclass(frozen=True, slots=True)
class Trial:
    """All that was tried for a target; None is what was not.

    `skew` is how far our clock is ahead of the host's, in seconds. `accepted_elsewhere`: another target's poll worked with
    the same credential.
    """

    info: TargetInfo
    reached: Reached
    login_reached: Reached | None = None
    outcome: Outcome | None = None
    skew: float | None = None
    accepted_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: at which step, why, and what to do first."""

    step: Step
    reason: str
    advice: str


def diagnose(trial: Trial, now: float) -> Finding | None:
    """The first thing that is wrong with a target, None if nothing is; `now` is Unix time."""
    if trial.reached.failed is not None:
        return unreachable(trial.reached, trial.info.address.place)
    if trial.login_reached is not None and trial.login_reached.failed is not None:
        assert trial.info.login is not None  # noqa: S101 - otherwise there was nothing to reach
        found = unreachable(trial.login_reached, trial.info.login.place)
        return Finding("login", f"{found.reason}, and tokens come from there", found.advice)
    if trial.outcome is None:
        return Finding("answer", "not done when the time was over", "give more time with --timeout")
    if isinstance(trial.outcome.error, NotThereError):
        return None
    if trial.outcome.error is not None:
        return of_error(trial, trial.outcome.error, now)
    return flaw(trial, trial.outcome)


def unreachable(reached: Reached, place: str) -> Finding:
    """A host that does not even shake hands. `place` is where the configuration names it."""
    step = reached.failed or "connection"
    advice = {
        "address": f"correct the address at {place}, or the name service of this machine",
        "connection": f"check host and port at {place}, and firewalls on the way",
        "TLS": f"give the host's own CA with tls.ca_file at {place}, or correct the address",
    }[step]
    return Finding(step, reached.reason, advice)


def of_error(trial: Trial, error: PollError, now: float) -> Finding:
    """What a failed poll means."""
    if str(error).startswith("the login of "):
        return Finding("login", str(error), login_advice(trial, error))
    match error:
        case AuthenticationError():
            return refused(trial, error, now)
        case PermissionDeniedError():
            return Finding("permission", str(error), permission_advice(trial))
        case RejectedError():
            return Finding("permission", str(error), rejection_advice(trial, error))
        case UntrustedCertificateError():
            return Finding("TLS", str(error), f"give the host's own CA with tls.ca_file at {trial.info.address.place}")
        case UnexpectedStatusError() | DecodeError():
            advice = f"is the address at {trial.info.address.place} the right one? If it is, please report this answer"
        case ThrottledError():
            advice = "set requests_per_second, or a longer poll.interval"
        case UpstreamTimeoutError():
            advice = "raise poll.timeout; if the host never answers, tell its support"
        case UpstreamConnectionError() | ServerError() | UpstreamBusyError():
            advice = TRY_LATER
        case _:
            advice = "look the code up with the region's support"
    return Finding("answer", str(error), advice)


def login_advice(trial: Trial, error: PollError) -> str:
    place = trial.info.login.place if trial.info.login is not None else trial.info.subject.place
    if isinstance(error, AuthenticationError):
        return f"check the user and the keys or the password at {place}"
    if isinstance(error, UpstreamConnectionError | UpstreamTimeoutError | ServerError | UpstreamBusyError):
        return "try again later; if it stays, tell the platform's support"
    return f"check the address of the login at {place}"


def refused(trial: Trial, error: AuthenticationError, now: float) -> Finding:
    """A token that was refused: too old, or good but of somebody who may not ask this."""
    credential = trial.info.credential
    expires = None if credential is None else read_token(credential.value()).expires
    if expires is not None and expires <= now:
        ended = datetime.fromtimestamp(expires, UTC)
        reason = f"the token expired on {ended:%Y-%m-%d at %H:%M} UTC ({error})"
        return Finding("login", reason, f"put a fresh token into {where(trial)}")
    if trial.accepted_elsewhere:
        return Finding("permission", f"{error}; elsewhere the same token is accepted", permission_advice(trial))
    if credential is None:
        return Finding("login", str(error), login_advice(trial, error))
    return Finding(
        "login",
        str(error),
        f"put a fresh token into {where(trial)}; if that does not help, " + permission_advice(trial),
    )


def where(trial: Trial) -> str:
    """Where a pasted token is written."""
    credential = trial.info.credential
    if isinstance(credential, FileSecret):
        return str(credential.path)
    return f"the configuration at {trial.info.credential_place}"


def rejection_advice(trial: Trial, error: RejectedError) -> str:
    if error.api_code == FROZEN:
        return "settle the bill, or have the user unfrozen"
    return f"check the names and ids at {trial.info.subject.place}"


def permission_advice(trial: Trial) -> str:
    """Whose token it takes."""
    whose = trial.info.collector.whose
    return (
        whose(trial.info.subject) if whose else "ask the region's support to let the token's owner use this interface"
    )


def flaw(trial: Trial, outcome: Outcome) -> Finding | None:
    """What is wrong although the poll worked."""
    unreadable = unreadable_of(outcome)
    if unreadable:
        return Finding(
            "answer",
            f"{unreadable} record{'s' * (unreadable > 1)} of the answer could not be read",
            "please report what this host sends",
        )
    if trial.skew is not None and abs(trial.skew) >= ALARMING_SKEW:
        direction = "ahead of" if trial.skew > 0 else "behind"
        return Finding(
            "clock",
            f"this machine's clock is {abs(trial.skew):.0f} s {direction} the host's",
            "set this machine's clock (NTP); if it is right, tell the host's support",
        )
    return None
