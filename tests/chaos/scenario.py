"""One simulation: what happens is made from a seed, and checked while it does."""

import asyncio
import contextlib
import gc
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest import mock

import aiohappyeyeballs
import structlog

from exporter import threads
from exporter.app import Application, Options
from exporter.errors import ConfigurationError
from exporter.metrics.format import Format
from exporter.polling import Outcome, Target, TargetStatus, scheduler
from tests.chaos.invariants import Invariants, ViolationError
from tests.chaos.loop import ChaosClock, ChaosLoop, ChaosTask, CrashedError
from tests.chaos.network import HEALTHY, MOODS, Network
from tests.chaos.platform import ALWAYS, PLATFORM, REGIONS, Platform, configuration
from tests.e2e.process import samples_of

T = TypeVar("T")

START: Final = 1_700_000_000.0
# Seconds for a start, a reload, a scrape and a stop, at most.
DEADLINE: Final = 300.0
# In intervals: while things happen, and until all is well once nothing does, at most.
TROUBLE, PEACE = 4, 40
# Looks until something that is waited for, at most.
PATIENCE = 200
KINDS: Final = {
    "mood": 6,
    "reload": 3,
    "scrape": 9,
    "revoke": 1,
    "jump": 1,
    "slow threads": 1,
    "crash": 3,
    "stop": 1,
    "broken reload": 1,
    "reload at a poll": 2,
    "reload at a login": 2,
    "scrape at an expiry": 2,
}


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = rng = random.Random(f"scenario {seed}")
        self.folder = folder
        self.interval = rng.choice((10.0, 20.0))
        self.end = TROUBLE * self.interval
        self.persistent, self.history, self.ends_well = rng.random() < 0.8, rng.random() < 0.5, rng.random() < 0.4
        self.platform = Platform(random.Random(f"platform {seed}"), self.end, START)
        hosts = (PLATFORM, *(host for host, _ in REGIONS.values()))
        self.platform.moods = {host: rng.choice((HEALTHY, HEALTHY, *MOODS)) for host in hosts}
        self.tick = rng.choice((0.0, 0.25, 1.0))
        self.invariants = Invariants(self.platform, persistent=self.persistent)
        kinds = rng.choices(list(KINDS), list(KINDS.values()), k=rng.randrange(4, 12))
        # Several things often happen together.
        moments = [rng.uniform(0, self.end) for _ in range(rng.randrange(1, 8))]
        self.events = sorted((rng.choice(moments) + rng.choice((0, rng.expovariate(1))), kind) for kind in kinds)
        self.order, self.network_rng = random.Random(f"order {seed}"), random.Random(f"network {seed}")
        self.passed = 0.0
        self.trace = self.steps = 0
        self.loop: ChaosLoop
        self.app: Application
        self.clock: ChaosClock
        self.stopping = False
        self.states = folder / "state"
        self.states.mkdir()
        self.write_configuration()

    @property
    def file(self) -> Path:
        return self.folder / "exporter.yml"

    def write_configuration(self) -> None:
        state = "state/jobs.db" if self.persistent else ""
        self.text = configuration(self.rng, history=self.history, state=state, interval=self.interval)
        self.file.write_text(self.text, encoding="utf-8")

    def run(self) -> None:
        """Let processes live one after the other until all has happened. Raises AssertionError."""
        while self.live():
            self.passed += self.rng.expovariate(0.2)
            self.invariants.restarted()

    def live(self) -> bool:
        """Run one process; whether it is followed by another."""
        loop = self.loop = ChaosLoop(self.order, self.passed, self.tick)
        self.clock = ChaosClock(loop, START)
        self.platform.passed = loop.time
        network = Network(loop, self.network_rng, self.platform.moods, self.platform.answer)
        life = loop.create_task(self.process(network))
        try:
            return bool(loop.run_until_complete(life))
        except CrashedError:
            return True
        finally:
            # The files stay as they are now; the rest of the process goes on unseen.
            self.passed, problems = loop.time(), len(self.invariants.logged)
            self.trace, self.steps = hash((self.trace, loop.trace)), self.steps + loop.steps
            shutil.copytree(self.states, self.folder / "kept")
            abandon(loop, network, self.app)
            shutil.rmtree(self.states)
            (self.folder / "kept").rename(self.states)
            del self.invariants.logged[problems:]
            loop.close()

    async def process(self, network: Network) -> bool:
        self.file.write_text(self.text, encoding="utf-8")
        self.app, self.stopping = Application(Options(self.file), self.clock), False
        await self.within(self.app.start(), "start")
        await asyncio.gather(*(self.happen(kind, at) for at, kind in self.take_events()))
        if self.ends_well and not self.stopping:
            await self.calm_down()
        await self.within(self.app.stop(), "stop")
        await self.check_stopped(network)
        return self.stopping

    def take_events(self) -> list[tuple[float, str]]:
        """Take what happens until this process ends."""
        ends = [index for index, (_, kind) in enumerate(self.events) if kind in ("crash", "stop")]
        taken = ends[0] + 1 if ends else len(self.events)
        events, self.events = self.events[:taken], self.events[taken:]
        return events

    async def happen(self, kind: str, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self.loop.time()))
        match kind:
            case "scrape":
                await self.scrape()
            case "scrape at an expiry":
                while self.loop.time() < self.end and (late := await self.until(self.expiring)):
                    await self.scrape()
                    await self.until(partial(ended, late))
                    await self.scrape()
            case "reload":
                await self.reload()
            case "reload at a poll":
                await self.until(lambda: not ended(self.statuses))
                await self.reload()
            case "reload at a login":
                await self.until(lambda: self.platform.logging_in)
                await self.reload()
            case "crash":
                await self.crash()
            case "stop":
                self.stopping = True
            case _:
                await self.disturb(kind)

    async def disturb(self, kind: str) -> None:
        rng = self.rng
        match kind:
            case "broken reload":
                await self.reload("clusters: {")
                self.file.write_text(self.text, encoding="utf-8")
            case "mood":
                self.platform.moods[rng.choice(list(self.platform.moods))] = rng.choice(MOODS)
            case "revoke":
                self.platform.revoke()
            case "jump":
                self.clock.jump(rng.choice((-3600.0, -5.0, 5.0, 3600.0)))
            case "slow threads":
                self.loop.longest_call = rng.choice((0.01, 0.5, 2.0))

    @property
    def statuses(self) -> tuple[TargetStatus, ...]:
        return self.app.scheduler.statuses

    async def until(self, condition: Callable[[], T]) -> T | None:
        """Wait for something, up to a limit; None if it does not come."""
        for _ in range(PATIENCE):
            if found := condition():
                return found
            await asyncio.sleep(self.tick or 0.1)
        return None

    def expiring(self) -> list[TargetStatus]:
        """Return the targets that are polled, and whose data has become too old since they are."""
        now = self.loop.time()
        return [
            each
            for each in self.statuses
            if each.in_flight
            and not each.stale
            and each.succeeded_at is not None
            and each.succeeded_at + each.target.stale_after < now
        ]

    async def crash(self) -> None:
        """Kill the process soon after a scrape, most often while a list is taken in."""
        rng = self.rng
        arrived = self.platform.answers
        if rng.random() < 2 / 3:
            await self.until(lambda: self.platform.answers > arrived)
        self.loop.longest_call = rng.choice((0.01, 1.0))
        await asyncio.sleep(rng.choice((0.0, rng.uniform(0.0, 0.1), rng.uniform(0.0, 1.5))))
        await self.scrape()
        self.loop.crash_at = self.loop.steps + rng.randrange(1, 20)
        await asyncio.sleep(self.end)

    async def reload(self, text: str = "") -> None:
        """Reload a text, or another configuration."""
        if text:
            self.file.write_text(text, encoding="utf-8")
        else:
            self.write_configuration()
        with contextlib.suppress(ConfigurationError):
            await self.within(self.app.reload(), "reload")
        self.invariants.reloaded(self.app.components.sources)

    async def scrape(self) -> str:
        before = self.invariants.before(self.app)
        text: str = (await self.within(self.app.metrics(Format.TEXT, compress=False), "scrape")).decode()
        self.invariants.check(text, self.app, before, self.loop.time())
        self.invariants.raise_problems(self.loop.problems)
        return text

    async def calm_down(self) -> None:
        """Heal everything, and check that all recovers and each end is known."""
        self.platform.moods.update(dict.fromkeys(self.platform.moods, HEALTHY))
        self.loop.longest_call = 0.01
        healed = self.loop.time()
        for _ in range(PEACE):
            await asyncio.sleep(self.interval)
            if not (missing := self.missing(healed, await self.scrape())):
                return
        raise ViolationError(f"not recovered: {missing}")

    def missing(self, healed: float, text: str) -> list[Any]:
        """Return problems that are left once all is well: polls that fail, ends that the history told."""
        failing = [status.key for status in self.statuses if (status.succeeded_at or 0.0) <= healed]
        if not self.history:
            return failing
        ended = self.platform.ended(*ALWAYS)
        counted = self.invariants.finished(samples_of(text), *ALWAYS)
        return [*failing, *([f"{ended} jobs ended, {counted:g} counted"] if counted != ended else [])]

    async def check_stopped(self, network: Network) -> None:
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left or network.wires:
            raise ViolationError(f"after the stop there are {left} and {network.wires}")
        self.invariants.raise_problems(self.loop.problems)

    async def within(self, work: Coroutine[Any, Any, Any], what: str) -> Any:
        try:
            async with asyncio.timeout(DEADLINE):
                return await work
        except TimeoutError:
            raise ViolationError(f"no end of a {what} within {DEADLINE:g} s") from None


def ended(statuses: Iterable[TargetStatus]) -> bool:
    """Whether no poll of these is in flight."""
    return not any(each.in_flight for each in statuses)


async def refuse(_: object) -> Any:
    raise ConnectionRefusedError


def abandon(loop: ChaosLoop, network: Network, app: Application) -> None:
    """End what is left of a process that was killed, unseen."""
    loop.crash_at, loop.connect = None, refuse
    for wire in list(network.wires):
        wire.close()

    async def end() -> None:
        # Those of other seeds may change the order in a set.
        for task in sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=hash):
            task.cancel()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(DEADLINE):
                await app.stop()

    with contextlib.suppress(AssertionError):
        loop.run_until_complete(end())


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Replace what is not the same at each run: generators without a seed, threads and sockets."""
    seeds = random.Random(f"exporter {seed}")
    plain = random.Random

    class Seeded(plain):  # type: ignore[misc, valid-type]
        def __init__(self, x: Any = None) -> None:
            super().__init__(seeds.random() if x is None else x)

    random.seed(seed)
    with (
        mock.patch.object(random, "Random", Seeded),
        mock.patch.object(threads, "daemon_call", lambda call, **_: running().deferred(call)),
        mock.patch.object(
            aiohappyeyeballs, "start_connection", lambda addr_infos, **_: running().connect(addr_infos[0][4])
        ),
    ):
        yield


@contextlib.contextmanager
def observed(polled: Callable[[Target, Outcome], None]) -> Iterator[None]:
    """Call `polled` with the outcome of each poll."""
    poll_target = scheduler.poll_target

    async def poll(target: Target, *args: Any) -> Outcome:
        outcome = await poll_target(target, *args)
        polled(target, outcome)
        return outcome

    with mock.patch.object(scheduler, "poll_target", poll):
        yield


def running() -> ChaosLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ChaosLoop)
    return loop


def simulate(seed: int) -> Simulation:
    """Run the simulation of a seed. Raises AssertionError."""
    fast = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of its own in it
    configured = structlog.get_config()
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-chaos-", dir=fast) as name:
        simulation = Simulation(seed, Path(name))
        ChaosTask.begin_anew()
        structlog.configure(processors=[simulation.invariants.note])
        gc.disable()
        try:
            with repeatable(seed), observed(simulation.invariants.polled):
                simulation.run()
        finally:
            gc.enable()
            structlog.configure(**configured)
    return simulation
