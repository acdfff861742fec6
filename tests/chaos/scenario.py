"""One simulation: what happens is made from a seed, and checked while it does."""

import asyncio
import contextlib
import gc
import random
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import aiohappyeyeballs
import structlog

from exporter import threads
from exporter.app import Application, Options
from exporter.errors import ConfigurationError
from exporter.metrics.format import Format
from tests.chaos.invariants import Invariants, ViolationError
from tests.chaos.loop import ChaosClock, ChaosLoop, ChaosTask, CrashedError
from tests.chaos.network import HEALTHY, MOODS, Network
from tests.chaos.platform import ALWAYS, PLATFORM, REGIONS, Platform, configuration
from tests.e2e.process import samples_of

START: Final = 1_700_000_000.0
# Seconds for a start, a reload, a scrape and a stop, at most.
DEADLINE: Final = 300.0
# In intervals: while things happen, and until all is well once nothing does, at most.
TROUBLE, PEACE = 4, 40
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
        loop = self.loop = ChaosLoop(self.order, self.passed)
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
        rng = self.rng
        match kind:
            case "mood":
                self.platform.moods[rng.choice(list(self.platform.moods))] = rng.choice(MOODS)
            case "reload":
                self.write_configuration()
                await self.reload()
            case "broken reload":
                self.file.write_text("clusters: {", encoding="utf-8")
                await self.reload()
                self.file.write_text(self.text, encoding="utf-8")
            case "scrape":
                await self.scrape()
            case "revoke":
                self.platform.revoke()
            case "jump":
                self.clock.jump(rng.choice((-3600.0, -5.0, 5.0, 3600.0)))
            case "slow threads":
                self.loop.longest_call = rng.choice((0.01, 0.5, 2.0))
            case "crash":
                await self.crash()
            case "stop":
                self.stopping = True

    async def crash(self) -> None:
        """Kill the process soon after a scrape, most often while a list is taken in."""
        rng = self.rng
        arrived = self.platform.answers
        for _ in range(rng.choice((0, 200, 200))):
            if self.platform.answers > arrived:
                break
            await asyncio.sleep(0.1)
        self.loop.longest_call = rng.choice((0.01, 1.0))
        await asyncio.sleep(rng.choice((0.0, rng.uniform(0.0, 0.1), rng.uniform(0.0, 1.5))))
        await self.scrape()
        self.loop.crash_at = self.loop.steps + rng.randrange(1, 20)
        await asyncio.sleep(self.end)

    async def reload(self) -> None:
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
        statuses = self.app.scheduler.statuses
        failing = [status.key for status in statuses if (status.succeeded_at or 0.0) <= healed]
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


async def refuse(_: object) -> Any:
    raise ConnectionRefusedError


def abandon(loop: ChaosLoop, network: Network, app: Application) -> None:
    """End what is left of a process that was killed, unseen."""
    loop.crash_at, loop.connect = None, refuse
    for wire in list(network.wires):
        wire.close()

    async def end() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
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
            with repeatable(seed):
                simulation.run()
        finally:
            gc.enable()
            structlog.configure(**configured)
    return simulation
