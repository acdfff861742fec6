"""`hpc-exporter check --online`: tries every target once and says which credential or address is at fault."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from exporter.app import Assembly, assemble
from exporter.app.survey import all_targets, polled
from exporter.app.target_info import Address, TargetInfo, info_of, target_infos
from exporter.cli.diagnosis import STEPS, Finding, Step, Trial, diagnose
from exporter.cli.output import complain, show
from exporter.cli.progress import progress
from exporter.errors import NotThereError
from exporter.http import Response, clock_skew, on_response
from exporter.http.probe import Reached, probe
from exporter.polling import Target, TargetKey
from exporter.redaction import redact
from exporter.text import printable


def run(path: Path, seconds: float) -> int:
    """Try everything within so many `seconds`; the exit status. Raises ConfigurationError."""
    assembly = assemble(path, retries=0)
    return asyncio.run(check_online(assembly, seconds))


async def check_online(assembly: Assembly, seconds: float) -> int:
    """A line for each target, in the order of the configuration; 0 if nothing is wrong with any."""
    doctor = Doctor(assembly)
    targets = all_targets(assembly)
    try:
        with progress("trying", len(targets)) as advance:
            trials = await doctor.examine(targets, seconds, advance)
    finally:
        await assembly.close()
    now = assembly.services.clock.now()
    findings = [(key, trial, diagnose(trial, now)) for key, trial in with_hindsight(trials)]
    show(redact("".join(line(key, trial, finding) for key, trial, finding in findings)))
    failed = sum(finding is not None for _, _, finding in findings)
    if failed:
        complain(f"{failed} of {len(findings)} targets failed")
    elif not findings:
        complain("there is nothing to try: the configuration names no targets")
    return 1 if failed else 0


Trials = list[tuple[TargetKey, Trial]]


class Doctor:
    """Tries targets. Each address is probed once, however many targets share it."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._infos = target_infos(assembly.config)
        self._probes: dict[tuple[str, str], asyncio.Task[Reached]] = {}

    async def examine(self, targets: Iterable[Target], seconds: float, advance: Callable[[], None]) -> Trials:
        """Try all at once; those that are not done after so many `seconds` are given up."""
        tasks = [(target.key, asyncio.create_task(self._try(target, advance))) for target in targets]
        if tasks:
            _, late = await asyncio.wait([task for _, task in tasks], timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        return [
            task.result() if not task.cancelled() else (key, Trial(info_of(self._infos, key), Reached()))
            for key, task in tasks
        ]

    async def _try(self, target: Target, advance: Callable[[], None]) -> tuple[TargetKey, Trial]:
        info = info_of(self._infos, target.key)
        trial = Trial(info, await self._probe(info.address, target))
        if trial.reached.failed is None and info.login is not None:
            trial = replace(trial, login_reached=await self._probe(info.login, target))
        if trial.reached.failed is None and (trial.login_reached is None or trial.login_reached.failed is None):
            skews: list[float | None] = []

            def see(response: Response) -> None:
                skews.append(clock_skew(response))

            with on_response(see):
                outcome = await polled(self._assembly, target)
            trial = replace(trial, outcome=outcome, skew=next((each for each in skews[::-1] if each is not None), None))
        advance()
        return (trial.outcome.key if trial.outcome else target.key), trial

    async def _probe(self, address: Address, target: Target) -> Reached:
        known = (address.url, address.place)
        if known not in self._probes:
            tls = self._assembly.contexts[address.tls]
            self._probes[known] = asyncio.create_task(probe(address.url, tls, self._timeout(target)))
        return await asyncio.shield(self._probes[known])

    def _timeout(self, target: Target) -> float:
        config = self._assembly.config
        polls = {cluster.name: cluster.poll for cluster in config.clusters}
        polls |= {project.name: project.poll for project in config.octopus}
        return polls[target.key.source].timeout


def with_hindsight(trials: Trials) -> Trials:
    """The trials, each with what the others tell about its credential."""
    good = {credential_of(key, trial.info) for key, trial in trials if trial.outcome is not None and trial.outcome.ok}
    return [(key, replace(trial, accepted_elsewhere=credential_of(key, trial.info) in good)) for key, trial in trials]


def credential_of(key: TargetKey, info: TargetInfo) -> tuple[str, object]:
    """What a target's token is or comes from, within its region: a token is good in one region only."""
    return key.source, info.credential or info.login


def passed(trial: Trial, finding: Finding | None, steps: list[Step]) -> list[Step]:
    """The steps that are known to have gone well: where no answer was read, nobody said that the token is any good."""
    if finding is None:
        return steps
    before = steps[: steps.index(finding.step)] if finding.step in steps else []
    if finding.step != "answer" or (trial.outcome is not None and trial.outcome.error is None):
        return before
    # Given up, or an error that says nothing of the token.
    return [] if trial.outcome is None else [step for step in before if step not in ("login", "permission")]


def line(key: TargetKey, trial: Trial, finding: Finding | None) -> str:
    """One line about one target."""
    steps = [step for step in STEPS if step != "TLS" or trial.info.address.url.startswith("https:")]
    told = [f"{step} ok" for step in passed(trial, finding, steps) if step != "clock"]
    if finding is not None:
        told.append(f"{finding.step} FAILED: {finding.reason}; first: {finding.advice}")
    if trial.skew is not None:
        told.append(f"clock {trial.skew:+.0f} s")
    if trial.outcome is not None:
        told.append(f"took {trial.outcome.seconds:.2f} s")
    name = " ".join(filter(None, key))
    if trial.outcome is not None and isinstance(trial.outcome.error, NotThereError):
        return printable(f"absent  {name}: {trial.outcome.error}; it is optional") + "\n"
    verdict = "ok    " if finding is None else "FAILED"
    return printable(f"{verdict}  {name}: {', '.join(told)}") + "\n"
