"""One simulation: what happens is made from a seed, and checked while it does."""

import asyncio
import contextlib
import gc
import gzip
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from unittest import mock

import aiohappyeyeballs
import structlog
from prometheus_client import ProcessCollector

from exporter import threads
from exporter.app import Application, Options, tracker
from exporter.app.joblist import JobSelection
from exporter.app.status import Selection
from exporter.config import load, tree
from exporter.errors import ConfigurationError
from exporter.http import client
from exporter.metrics.format import Format
from exporter.polling import WHOLE, Outcome, Shard, Target, TargetStatus, scheduler
from exporter.sources.collector import registry
from exporter.tracking import MemberKey, StateFileError, TrackingService
from exporter.tracking.store import Store
from tests.chaos.invariants import Invariants, ViolationError
from tests.chaos.loop import ChaosClock, ChaosLoop, ChaosTask, CrashedError
from tests.chaos.network import HEALTHY, MOODS, Network
from tests.chaos.platform import ALWAYS, PLATFORM, REGIONS, Platform, configuration, poll_settings
from tests.e2e.process import samples_of

T = TypeVar("T")

START: Final = 1_700_000_000.0
# Seconds for a start, a reload, a scrape and a stop, at most.
DEADLINE: Final = 1200.0
# In intervals: while things happen, and until all is well once nothing does, at most.
TROUBLE, PEACE = 4, 40
# Seconds until something that is waited for, at most, and steps after it.
PATIENCE, STEPS_AFTER = 20.0, 4
# Turns of the event loop that tasks have to end after a stop: it runs them in any order.
LAST_TURNS: Final = 200
# The weight of each kind of event.
KINDS: Final = {
    "mood": 6,
    "reload": 4,
    "reload to and fro": 4,
    "abandoned reload": 1,
    "broken reload": 1,
    "scrape": 9,
    "scrape at an expiry": 2,
    "status": 1,
    "revoke": 2,
    "jump": 1,
    "slow threads": 1,
    "disk": 2,
    "lost file": 0.5,
    "crash": 3,
    "stop": 1,
}
# Moments that events wait for, by weight.
AIMS: Final = {"": 5, "poll": 1, "login": 2, "cancellation": 2, "thread": 1}
AIMED: Final = frozenset({"reload", "reload to and fro", "abandoned reload", "scrape", "revoke", "crash", "stop"})
# Configurations that are changed between.
CONFIGURATIONS: Final = 3


class Event(NamedTuple):
    """Something that happens `at` a time or soon after it: within some steps of what it aims at."""

    at: float
    kind: str
    aim: str


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
        self.shard = Shard(rng.randrange(2), 2) if rng.random() < 0.1 else WHOLE
        # Whether all is done in slices of one, and whatever may be done in threads is done in threads.
        self.large = rng.random() < 0.4
        self.full = self.lost = False
        # The file that holds all that was shown when the last process ended.
        self.kept: Path | None = None
        self.in_order, self.slowness = rng.random() < 0.5, rng.choice((0.0, 0.0, 0.01, 0.1))
        self.invariants = Invariants(self.platform)
        kinds = rng.choices(list(KINDS), list(KINDS.values()), k=rng.randrange(4, 12))
        # Several things often happen together.
        moments = [rng.uniform(0, self.end) for _ in range(rng.randrange(1, 8))]
        self.events = sorted(
            Event(
                rng.choice(moments) + rng.choice((0, rng.expovariate(1))),
                kind,
                rng.choices(list(AIMS), list(AIMS.values()))[0] if kind in AIMED else "",
            )
            for kind in kinds
        )
        self.order, self.network_rng = random.Random(f"order {seed}"), random.Random(f"network {seed}")
        self.passed = 0.0
        self.trace = self.steps = 0
        self.loop: ChaosLoop
        self.app: Application
        self.clock: ChaosClock
        self.stopping = False
        self.states = folder / "state"
        self.states.mkdir()
        self.configurations = self.some_configurations()
        self.write(self.configurations[0])

    @property
    def file(self) -> Path:
        return self.folder / "exporter.yml"

    def some_configurations(self) -> list[str]:
        """Return some configurations; all but their parts, such as how often they poll, may be the same."""
        rng = self.rng
        files = ("state/jobs.db", "state/other.db", "") if rng.random() < 0.2 else ("state/jobs.db",)
        live = rng.random() < 0.4
        poll, alike = poll_settings(rng, self.interval), rng.random() < 0.5
        return [
            configuration(
                rng,
                history=self.history,
                state=rng.choice(files) if self.persistent else "",
                poll=poll if alike else poll_settings(rng, self.interval),
                share=rng.choice((0.2, 0.7)) if number else 0.8,
                live=live,
            )
            for number in range(CONFIGURATIONS)
        ]

    def write(self, text: str) -> None:
        self.text = text
        self.file.write_text(text, encoding="utf-8")

    def run(self) -> None:
        """Let processes live one after the other until all has happened. Raises AssertionError."""
        while self.live():
            self.passed += self.rng.expovariate(self.rng.choice((0.2, 0.05)))

    def live(self) -> bool:
        """Run one process; whether it is followed by another."""
        loop = self.loop = ChaosLoop(self.order, self.passed, self.tick, in_order=self.in_order, slowness=self.slowness)
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
            self.kept = self.written()
            self.trace, self.steps = hash((self.trace, loop.trace)), self.steps + loop.steps
            shutil.copytree(self.states, self.folder / "kept")
            abandon(loop, network, self.app)
            shutil.rmtree(self.states)
            (self.folder / "kept").rename(self.states)
            del self.invariants.logged[problems:]
            loop.close()

    async def process(self, network: Network) -> bool:
        self.file.write_text(self.text, encoding="utf-8")
        self.app, self.stopping = Application(Options(self.file, shard=self.shard), self.clock), False
        self.invariants.starting()
        await self.within(self.app.start(), "start")
        self.loop.longest_call = self.rng.choice((0.01, 0.5)) if self.large else 0.01
        if self.passed:
            self.invariants.restarted(kept=self.kept is not None and state_file(self.app) == self.kept)
        await asyncio.gather(*map(self.happen, self.take_events()))
        if self.ends_well and not self.stopping:
            await self.calm_down()
        await self.within(self.app.stop(), "stop")
        await self.check_stopped(network)
        return self.stopping

    def written(self) -> Path | None:
        """Return the state file in use, if all that is shown is in it."""
        service = service_of(self.app)
        return None if service is None or service._told or self.lost else state_file(self.app)

    @contextlib.contextmanager
    def disk(self) -> Iterator[None]:
        """Let writes of the state file fail while the disk is full."""
        save = Store._save

        def saved(store: Store, batch: Any) -> Any:
            if self.full:
                raise StateFileError(f"state file {store.path}: cannot be written: no space left on device")
            left_out = save(store, batch)
            self.lost = False
            return left_out

        with mock.patch.object(Store, "_save", saved):
            yield

    def take_events(self) -> list[Event]:
        """Take what happens until this process ends."""
        ends = [index for index, event in enumerate(self.events) if event.kind in ("crash", "stop")]
        taken = ends[0] + 1 if ends else len(self.events)
        events, self.events = self.events[:taken], self.events[taken:]
        return events

    async def happen(self, event: Event) -> None:
        await asyncio.sleep(max(0.0, event.at - self.loop.time()))
        await self.aim(event.aim)
        match event.kind:
            case "scrape":
                for _ in range(self.rng.choice((1, 1, 3))):
                    await self.scrape()
                    await asyncio.sleep(self.rng.uniform(0, 0.5))
            case "disk":
                self.full = True
                try:
                    await asyncio.sleep(self.rng.expovariate(0.2))
                finally:
                    self.full = False
            case "scrape at an expiry":
                while self.loop.time() < self.end and (late := await self.until(self.expiring)):
                    await self.scrape()
                    await self.until(partial(ended, late))
                    await self.scrape()
            case "status":
                await self.within(self.app.status_as(lambda facts: facts, Selection(jobs=JobSelection())), "status")
            case "crash":
                await self.crash()
            case "stop":
                self.stopping = True
            case kind if "reload" in kind:
                await self.change(kind)
            case kind:
                self.disturb(kind)

    async def aim(self, aim: str) -> None:
        """Wait for a moment in which much may go wrong, and up to some steps more."""
        cancellations = self.loop.cancellations
        moments: dict[str, Callable[[], object]] = {
            "poll": lambda: not ended(self.statuses),
            "login": lambda: self.platform.logging_in,
            "cancellation": lambda: self.loop.cancellations > cancellations,
            "thread": lambda: self.loop.calls,
        }
        if aim == "login" and self.rng.random() < 0.5:
            self.platform.revoke()
        if aim:
            await self.until(moments[aim])
            for _ in range(self.rng.randrange(STEPS_AFTER)):
                await asyncio.sleep(0)

    async def change(self, kind: str) -> None:
        """Reload, in one of several ways."""
        rng, before = self.rng, self.text
        match kind:
            case "broken reload":
                self.file.write_text("clusters: {", encoding="utf-8")
                await self.reload()
                # Other events may have changed it.
                self.write(self.text)
                await self.reload()
            case "abandoned reload":
                self.write(rng.choice(self.configurations))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rng.choice((0.0, 0.005, 1.0))):
                        await self.reload()
            case "reload to and fro":
                self.write(rng.choice(self.configurations))
                self.app.request_reload()
                await self.aim(rng.choice(list(AIMS)))
                self.write(before)
                await self.reload()
            case _:
                self.write(rng.choice(self.configurations))
                await self.reload()

    def disturb(self, kind: str) -> None:
        rng = self.rng
        match kind:
            case "mood":
                self.platform.moods[rng.choice(list(self.platform.moods))] = rng.choice(MOODS)
            case "revoke":
                self.platform.revoke()
            case "jump":
                self.clock.jump(rng.choice((-3600.0, -5.0, 5.0, 3600.0)))
            case "slow threads":
                self.loop.longest_call = rng.choice((0.01, 0.5, 2.0, 25.0))
            case "lost file":
                for file in self.states.iterdir():
                    file.unlink()
                    self.lost = True

    @property
    def statuses(self) -> tuple[TargetStatus, ...]:
        return self.app.scheduler.statuses

    async def until(self, condition: Callable[[], T]) -> T | None:
        """Wait for something, up to a limit; None if it does not come."""
        return await self.loop.until(condition, PATIENCE)

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
        """Kill the process soon after a scrape, most often while a list is taken in or not written yet."""
        rng = self.rng
        arrived = self.platform.answers
        self.loop.longest_call = rng.choice((0.01, 1.0))
        if rng.random() < 2 / 3:
            await self.until(lambda: self.platform.answers > arrived)
        if rng.random() < 1 / 2:
            await self.until(self.unwritten)
        else:
            await asyncio.sleep(rng.choice((0.0, rng.uniform(0.0, 0.1), rng.uniform(0.0, 1.5))))
        await self.scrape()
        self.loop.crash_at = self.loop.steps + rng.randrange(1, 20)
        await asyncio.sleep(self.end)

    def unwritten(self) -> bool:
        """Whether something is not in the state file yet."""
        service = service_of(self.app)
        return service is not None and (service._flushing.locked() or bool(service.tracker._batch.members))

    async def reload(self) -> None:
        with contextlib.suppress(ConfigurationError):
            await self.within(self.app.reload(), "reload")

    async def scrape(self) -> str:
        before = self.invariants.before(self.app, self.loop.time())
        compress = self.rng.random() < 0.5
        body: bytes = await self.within(self.app.metrics(Format.TEXT, compress=compress), "scrape")
        text = (gzip.decompress(body) if compress else body).decode()
        self.invariants.check(text, self.app, before, self.loop.time())
        self.invariants.raise_problems(self.loop.problems)
        return text

    async def calm_down(self) -> None:
        """Heal everything, and check that all recovers and each end is known."""
        self.platform.moods.update(dict.fromkeys(self.platform.moods, HEALTHY))
        self.loop.longest_call, self.full = 0.01, False
        healed = self.loop.time()
        for _ in range(PEACE):
            await asyncio.sleep(self.interval)
            if not (missing := self.missing(healed, await self.scrape())):
                return await self.check_reloaded()
        raise ViolationError(f"not recovered: {missing}")

    async def check_reloaded(self) -> None:
        """Check that what the file says is in use: each change of it was followed by the request for a reload."""
        if "state file" in (self.app.last_reload.error or ""):
            # The disk was slow. It may be busy with the last attempt.
            await asyncio.sleep(DEADLINE / 10)
            await self.reload()
        if self.app._loaded != load(self.file):
            raise ViolationError(f"not reloaded: {self.app.last_reload}")

    def missing(self, healed: float, text: str) -> list[Any]:
        """Return problems that are left once all is well: polls that fail, ends that the history told."""
        failing = [status.key for status in self.statuses if (status.succeeded_at or 0.0) <= healed]
        # A tracker that a reload made after the wall clock was set requests ends of another hour.
        if not self.history or self.shard is not WHOLE or self.clock.start != START:
            return failing
        ended = self.platform.ended(*ALWAYS)
        counted = self.invariants.finished(samples_of(text), *ALWAYS)
        return [*failing, *([f"{ended} jobs ended, {counted:g} counted"] if counted != ended else [])]

    async def check_stopped(self, network: Network) -> None:
        """Check that what is left ends in the moment of the stop."""
        self.loop.in_order, self.loop.slowness = False, 0.0
        turns = 0
        while (left := asyncio.all_tasks() - {asyncio.current_task()}) and turns < LAST_TURNS:
            turns += 1
            await asyncio.sleep(0)
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


def service_of(app: Application) -> TrackingService | None:
    return app._context.tracked.service


def state_file(app: Application) -> Path | None:
    service = service_of(app)
    return None if service is None else service._state_file


async def refuse(_: object) -> Any:
    raise ConnectionRefusedError


def abandon(loop: ChaosLoop, network: Network, app: Application) -> None:
    """End what is left of a process that was killed, unseen."""
    loop.crash_at, loop.connect = None, refuse
    loop.in_order, loop.slowness = False, 0.0
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
    """Replace what is not the same at each run: generators without a seed, threads, sockets, facts of the real process."""
    seeds = random.Random(f"exporter {seed}")
    plain = random.Random

    class Seeded(plain):  # type: ignore[misc, valid-type]
        def __init__(self, x: Any = None) -> None:
            super().__init__(seeds.random() if x is None else x)

    random.seed(seed)
    with (
        mock.patch.object(random, "Random", Seeded),
        mock.patch.object(ProcessCollector, "collect", return_value=()),
        mock.patch.object(threads, "daemon_call", lambda call, **_: running().deferred(call)),
        mock.patch.object(
            aiohappyeyeballs, "start_connection", lambda addr_infos, **_: running().connect(addr_infos[0][4])
        ),
    ):
        yield


@contextlib.contextmanager
def observed(invariants: Invariants) -> Iterator[None]:
    """Tell `invariants` the outcome of each poll, what is in use after each reload, and who begins anew."""
    poll_target, apply, left_alone = scheduler.poll_target, Application._apply, tracker.left_alone

    async def poll(target: Target, *args: Any) -> Outcome:
        outcome = await poll_target(target, *args)
        invariants.polled(target, outcome)
        return outcome

    async def applied(self: Application, prepared: Any) -> None:
        await apply(self, prepared)
        invariants.reloaded(self.components.sources, service_of(self))

    def alone(*args: Any) -> set[MemberKey]:
        found = left_alone(*args)
        invariants.left_alone(found)
        return found

    with (
        mock.patch.object(scheduler, "poll_target", poll),
        mock.patch.object(Application, "_apply", applied),
        mock.patch.object(tracker, "left_alone", alone),
    ):
        yield


@contextlib.contextmanager
def as_if_large(rng: random.Random) -> Iterator[None]:
    """Treat a few jobs and targets like thousands: in threads, and in slices with turns of the event loop between them."""
    off_loop = threads.off_loop
    # Imports the modules of all collectors.
    registry()

    async def beside(_size: int, _limit: int, call: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(call) if rng.random() < 0.5 else call()

    with contextlib.ExitStack() as stack:
        for name, module in tuple(sys.modules.items()):
            if name.startswith("exporter.") and module is not threads and vars(module).get("off_loop") is off_loop:
                stack.enter_context(mock.patch.object(module, "off_loop", beside))
        stack.enter_context(mock.patch.object(client, "DECODE_ON_LOOP_LIMIT", 100))
        stack.enter_context(mock.patch.object(scheduler, "SLICE", 1))
        yield


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Parse each configuration once: that takes a quarter of the time of a simulation."""
    known: dict[str, Any] = {}
    compose = tree._compose

    def composed(source: str, report: Any) -> Any:
        if source not in known:
            if (root := compose(source, report)) is None:
                return None
            known[source] = root
        return known[source]

    with mock.patch.object(tree, "_compose", composed):
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
            with contextlib.ExitStack() as stack:
                stack.enter_context(repeatable(seed))
                if simulation.large:
                    stack.enter_context(as_if_large(random.Random(f"threads {seed}")))
                stack.enter_context(observed(simulation.invariants))
                stack.enter_context(simulation.disk())
                stack.enter_context(parsed_once())
                simulation.run()
        finally:
            gc.enable()
            structlog.configure(**configured)
    return simulation
