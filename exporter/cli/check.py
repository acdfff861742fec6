"""`hpc-exporter check`: reports every mistake in the configuration with its place; --online tries every target once."""

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from exporter.app import Components, assemble, validate
from exporter.app.poll_once import poll
from exporter.app.target_info import Address, TargetInfo, info_of, target_infos
from exporter.cli import options
from exporter.cli.commands import Command, Flag
from exporter.cli.output import ALIKE, indented, print_error, print_line, print_text, warn
from exporter.cli.terminal import progress, rendered
from exporter.config import FileSecret
from exporter.errors import (
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    NotThereError,
    PermissionDeniedError,
    PollError,
    Reach,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UpstreamBusyError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http import ALARMING_SKEW, Request, Response, clock_skew, on_response
from exporter.http.client import NOT_REPEATED
from exporter.polling import Outcome, Target, TargetKey
from exporter.redaction import redact
from exporter.sources.collector import registry
from exporter.sources.once import Column
from exporter.text import counted, printable

Step = Reach | Literal["login", "permission", "answer", "clock"]
STEPS: Final[tuple[Step, ...]] = ("address", "connection", "TLS", "login", "permission", "answer", "clock")

REACHED: Final = ("address", "connection", "TLS")
# Errors of requests whose host was reached, unless they say that it was not.
CONNECTED: Final = (UpstreamTimeoutError, UpstreamConnectionError)
# The collector of requests of a login.
LOGIN: Final = "token"
# Errors of a login begin with this.
OF_LOGIN: Final = "the login of "
FROZEN: Final = "10007"  # SCNet's code of a user who is frozen
TRY_LATER: Final = "try again later; if it stays, tell the region's support"

EXAMPLE = """examples:
  hpc-exporter check --config.file=exporter.yml
  hpc-exporter check --online

Exit status: 0 if all is well, 1 for any mistake and, with --online, any target that fails.

With --online each target is tried once, without retries. Those that fail come first, with the step that failed, the reason
and the first thing to do about it; --verbose shows every target with all steps.

  address      the host's name resolves
  connection   the host accepts connections
  TLS          its certificate is accepted
  login        the token is accepted, and the account's login works
  permission   the token's owner may request this; the user or group exists
  answer       it arrives in time, and all of it can be read
  clock        this machine's clock and the host's differ by less than a minute
"""


COMMAND = Command(
    "check the configuration",
    "Load the configuration and report every mistake as FILE:LINE:COL: path: message.",
    EXAMPLE,
    options.CONFIG_FILE,
    Flag("--online", "also try every target once"),
    Flag("--timeout", "limit for all targets together, with --online", options.DURATION, "5m"),
    Flag("--verbose", "with --online, also show the targets that work; without, list all collectors"),
    *options.logging("warning"),
)


def run(args: argparse.Namespace) -> int:
    status = check(args.config_file)
    if status == 0 and args.online:
        return asyncio.run(_check_online(assemble(args.config_file, retries=0), args.timeout, verbose=args.verbose))
    if status == 0 and args.verbose:
        titles = ("section", "collector", "default", "for each", "gives")
        collectors = [
            (each.per.section, each.name, "yes" if each.default else "no", each.per.text.en, each.gives.en)
            for each in sorted(registry().values(), key=lambda each: each.per.section)
        ]
        print_text(rendered(list(map(Column, titles)), collectors, sys.stdout))
    return status


def check(path: Path) -> int:
    """Check one file; the exit status."""
    try:
        warnings = validate(path)
    except ConfigurationError as error:
        print_line(str(error))
        print_error(f"{path}: {counted(len(error.mistakes), 'mistake')}")
        return 1
    print_error(*(f"warning: {warning}" for warning in warnings))
    print_line(f"{path}: the configuration is {'valid' if warnings else 'fine'}")
    return 0


async def _check_online(components: Components, seconds: float, *, verbose: bool) -> int:
    """Print the targets that fail, and how many work; 0 if nothing is wrong with any."""
    targets = components.targets()
    if not targets:
        warn("there is nothing to try: the configuration names no targets")
        return 1
    try:
        with progress("trying", len(targets)) as advance:
            results = await _tried(components, targets, seconds, advance)
    finally:
        await components.close()
    now = components.context.clock.now()
    findings = [(result, _finding(result, now)) for result in _with_credentials_compared(results)]
    failed = [(result, finding) for result, finding in findings if finding is not None]
    shown = _each(failed) if verbose else _shared(failed)
    if verbose:
        shown += _each((result, None) for result, finding in findings if finding is None)
    shown.append(_summary(len(results), len(failed), sum(map(_is_absent, results))))
    print_text(redact("".join(indented(printable(line), sys.stdout, " " * 8) for line in shown)))
    return 1 if failed else 0


def _summary(total: int, failed: int, absent: int) -> str:
    total -= absent
    known = f"{total - failed:,} of {total:,} targets work" if total != 1 else f"{total - failed} of 1 target works"
    return known + (f"; {absent:,} are optional and not there" if absent else "")


def _is_absent(result: "CheckResult") -> bool:
    return isinstance(result.error, NotThereError)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of the poll of a target; None for one that took too long.

    `answered`: its host has answered something. `skew` is how far our clock is ahead of the host's, in seconds.
    `accepted_elsewhere`: another target's poll worked with the same credential.
    """

    key: TargetKey
    info: TargetInfo
    outcome: Outcome | None = None
    answered: bool = False
    skew: float | None = None
    accepted_elsewhere: bool = False

    @property
    def error(self) -> PollError | None:
        return self.outcome.error if self.outcome else None

    @property
    def credential(self) -> tuple[str, object]:
        """The identity of the token's origin within its region: a token is valid in one region only."""
        return self.key.source, self.info.credential or self.info.login


@dataclass(frozen=True, slots=True)
class Finding:
    """A failed step, the reason, and the first thing to do."""

    step: Step
    reason: str
    advice: str


async def _tried(
    components: Components, targets: Iterable[Target], seconds: float, advance: Callable[[], None]
) -> list[CheckResult]:
    """Poll all simultaneously; those that take longer than `seconds` are cancelled."""
    infos = target_infos(components.config)

    async def one(target: Target) -> CheckResult:
        skews: list[float | None] = []

        def note_skew(request: Request, response: Response) -> None:
            if request.collector != LOGIN:
                skews.append(clock_skew(response))

        with on_response(note_skew):
            outcome = await poll(components, target)
        advance()
        skew = next((skew for skew in reversed(skews) if skew is not None), None)
        return CheckResult(outcome.key, info_of(infos, target.key), outcome, bool(skews), skew)

    tasks = [(target.key, asyncio.create_task(one(target))) for target in targets]
    _, late = await asyncio.wait([task for _, task in tasks], timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [CheckResult(key, info_of(infos, key)) if task.cancelled() else task.result() for key, task in tasks]


def _with_credentials_compared(results: list[CheckResult]) -> list[CheckResult]:
    """Return the results, each with `accepted_elsewhere` set."""
    good = {result.credential for result in results if result.outcome is not None and result.outcome.ok}
    return [replace(result, accepted_elsewhere=result.credential in good) for result in results]


def _each(findings: Iterable[tuple[CheckResult, Finding | None]]) -> list[str]:
    return [_line(result, finding) for result, finding in findings]


def _shared(failed: Sequence[tuple[CheckResult, Finding]]) -> list[str]:
    """Return a line for each failure; of many alike, one that names the first, with the advice for that one."""
    alike: defaultdict[object, list[tuple[CheckResult, Finding]]] = defaultdict(list)
    for result, finding in failed:
        alike[_trouble(result, finding)].append((result, finding))
    lines = []
    for found in alike.values():
        first, finding = found[0]
        sources = {result.key.source for result, _ in found}
        several = f"{first.key.source}: {len(found):,} targets, the first {_name(first.key[1:])}"
        if len(sources) > 1:
            several = f"{len(found):,} targets of {len(sources):,} sources, the first {_name(first.key)}"
        lines += _each(found) if len(found) <= ALIKE else [_line(first, finding, several)]
    return lines


def _trouble(result: CheckResult, finding: Finding) -> object:
    """Return a key that is equal for failures with the same remedy."""
    if result.error is not None and result.error.unreached in ("address", "connection"):
        # The same host, whichever targets need it.
        return finding.step, result.error.culprit
    # Each credential needs a remedy of its own.
    credential = result.credential if finding.step in ("login", "permission") else ""
    return result.key.source, finding.step, finding.reason, credential


def _name(labels: Iterable[str]) -> str:
    return " ".join(filter(None, labels))


def _line(result: CheckResult, finding: Finding | None, name: str = "") -> str:
    """Return one line about one target."""
    name = name or _name(result.key)
    if _is_absent(result):
        return f"absent  {name}: {result.error}; it is optional"
    told = [f"{step} ok" for step in _passed(result, finding)]
    if finding is not None:
        told.append(f"{finding.step} FAILED: {finding.reason}; first: {finding.advice}")
    if result.skew is not None:
        told.append(f"clock {result.skew:+.0f} s")
    if result.outcome is not None:
        told.append(f"took {result.outcome.seconds:.2f} s")
    verdict = "ok    " if finding is None else "FAILED"
    return f"{verdict}  {name}: {', '.join(told)}"


def _passed(result: CheckResult, finding: Finding | None) -> list[Step]:
    """Return the steps known to have passed; without the clock, whose skew is shown."""
    failed = STEPS.index("clock" if finding is None else finding.step)
    passed = [step for step in STEPS[:failed] if step != "TLS" or result.info.address.url.startswith("https:")]
    error = result.error
    if result.outcome is not None and error is None:
        return passed
    if error is None or not (error.unreached or result.answered or isinstance(error, CONNECTED)):
        return []
    if failed == STEPS.index("login") and error.unreached:
        # Of another host than the target's.
        return []
    # An error unrelated to the token says nothing about it.
    return [step for step in passed if failed != STEPS.index("answer") or step in REACHED]


def _finding(result: CheckResult, now: float) -> Finding | None:
    """Return the first problem of a target, None if there is none; `now` is Unix time."""
    if result.outcome is None:
        return Finding("answer", "not done when the time was over", "give more time with --timeout")
    if isinstance(result.outcome.error, NotThereError):
        return None
    if result.outcome.error is not None:
        return _of_error(result, result.outcome.error, now)
    return _flaw(result, result.outcome)


def _unreachable(step: Reach, address: Address) -> str:
    """Return the first thing to do about a host that cannot be reached."""
    if address.url.startswith("unix:"):
        return (
            f"start slurmrestd or correct the path at {address.place}; the exporter must be allowed to read and write "
            "there"
        )
    return {
        "address": f"correct the address at {address.place}, or the name service of this machine",
        "connection": f"check host and port at {address.place}, and firewalls on the way",
        "TLS": f"give the host's own CA with tls.ca_file at {address.place}, or correct the address",
    }[step]


def _of_error(result: CheckResult, error: PollError, now: float) -> Finding:
    """Return the finding for a failed poll."""
    reason = str(error).removesuffix(NOT_REPEATED.en)
    if reason.startswith(OF_LOGIN):
        return Finding("login", reason, _login_advice(result, error))
    if error.unreached is not None:
        # Where a certificate is not accepted, the error says the remedy itself.
        reason, _, remedy = reason.partition("; ")
        address = result.info.address
        advice = f"{remedy} ({address.place})" if remedy else _unreachable(error.unreached, address)
        return Finding(error.unreached, reason, advice)
    match error:
        case AuthenticationError():
            return _rejected_token(result, error, now)
        case PermissionDeniedError():
            return Finding("permission", str(error), result.info.collector.advice_for(result.info.subject))
        case RejectedError():
            return Finding("permission", str(error), _rejection_advice(result, error))
        case UnexpectedStatusError() | DecodeError():
            advice = f"is the address at {result.info.address.place} the right one? If it is, please report this answer"
        case ThrottledError():
            advice = "set requests_per_second, or a longer poll.interval"
        case UpstreamTimeoutError():
            advice = "raise poll.timeout; if the host never answers, tell its support"
        case UpstreamConnectionError() | ServerError() | UpstreamBusyError():
            advice = TRY_LATER
        case _:
            advice = "look the code up with the region's support"
    return Finding("answer", reason, advice)


def _login_advice(result: CheckResult, error: PollError) -> str:
    place = result.info.login.place if result.info.login is not None else result.info.subject.place
    if isinstance(error, AuthenticationError):
        return f"check the user and the keys or the password at {place}"
    if error.unreached is not None and result.info.login is not None:
        return _unreachable(error.unreached, result.info.login)
    if isinstance(error, UpstreamConnectionError | UpstreamTimeoutError | ServerError | UpstreamBusyError):
        return "try again later; if it stays, tell the platform's support"
    return f"check the address of the login at {place}"


def _rejected_token(result: CheckResult, error: AuthenticationError, now: float) -> Finding:
    """Return a rejected token: expired, or without the permission for this request."""
    credential = result.info.credential
    expires = None if credential is None else result.info.read_token(credential.value()).expires
    if expires is not None and expires <= now:
        ended = datetime.fromtimestamp(expires, UTC)
        reason = f"the token expired on {ended:%Y-%m-%d at %H:%M} UTC ({error})"
        return Finding("login", reason, f"put a fresh token into {_where(result)}")
    if result.accepted_elsewhere:
        return Finding(
            "permission",
            f"{error}; elsewhere the same token is accepted",
            result.info.collector.advice_for(result.info.subject),
        )
    if credential is None:
        return Finding("login", str(error), _login_advice(result, error))
    return Finding(
        "login",
        str(error),
        f"put a fresh token into {_where(result)}; if that does not help, "
        + result.info.collector.advice_for(result.info.subject),
    )


def _where(result: CheckResult) -> str:
    """Return the place of a token that is given inline."""
    credential = result.info.credential
    if isinstance(credential, FileSecret):
        return str(credential.path)
    return f"the configuration at {result.info.credential_place}"


def _rejection_advice(result: CheckResult, error: RejectedError) -> str:
    if error.api_code == FROZEN:
        return "settle the bill, or have the user unfrozen"
    return f"check the names and ids at {result.info.subject.place}"


def _flaw(result: CheckResult, outcome: Outcome) -> Finding | None:
    """Return the finding for a poll that succeeded with flaws."""
    if unreadable := outcome.unreadable:
        return Finding(
            "answer",
            f"{counted(unreadable, 'record')} of the answer could not be read",
            "please report what this host sends",
        )
    if result.skew is not None and abs(result.skew) >= ALARMING_SKEW:
        direction = "ahead of" if result.skew > 0 else "behind"
        return Finding(
            "clock",
            f"this machine's clock is {abs(result.skew):.0f} s {direction} the host's",
            "set this machine's clock (NTP); if it is right, tell the host's support",
        )
    return None
