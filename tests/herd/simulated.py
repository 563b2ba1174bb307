"""A herd of the real shepherd and real musters on a simulated network, with clocks of their own, in no real time.

The network loses, repeats, delays and reorders; processes die, start again and stand still. `World` watches over the
herd's promises at every step, with the true times that no process knows.
"""

import heapq
import random
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

from mustherd.herd.lease import Act, Ignore
from mustherd.herd.timing import DECISION_TTL_S, LEASE_S, WELCOME_MAX_S
from mustherd.muster.config import Config
from mustherd.muster.muster import Muster
from mustherd.muster.pasture import Pasture
from mustherd.node.ranges import Range
from mustherd.shepherd.events import DecisionLost, HerdEvent, PutBack
from mustherd.shepherd.server import ShepherdServer
from mustherd.terms import NODE, Setting
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.shepherd_endpoint import Received, ShepherdEndpoint
from tests.fakes import ORIGINALS, FakeNode, MemoryJournal
from tests.typed import some

Message = Received | m.Down | m.Credit | m.Decision
"""To a shepherd with its sender, or to a muster."""

STEP_S = 0.02
SLACK_S = WELCOME_MAX_S + 2 * STEP_S
"""A muster's estimate of the shepherd's clock may be this far off until a quick beat has come."""


@dataclass
class Network:
    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = 0.0
    """Longest; each message draws its own, so they overtake one another."""


@dataclass
class Process:
    """What of a muster survives a crash, and the life it has now."""

    name: str
    ahead_s: float
    node: FakeNode = field(default_factory=FakeNode)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    muster: Muster | None = None
    inbox: list[tuple[float, Message]] = field(default_factory=list)
    life: int = 0
    still_until: float = 0.0
    write_s: float = 0.0
    """How long a write to one of its knobs takes."""
    writing: bool = False
    newest_beat: float = -1e9
    """When the newest beat or welcome that was handled had been sent, in true time."""
    acted: list[tuple[int, int]] = field(default_factory=list)


class World:
    def __init__(self, seed: int, network: Network, musters: int = 1) -> None:
        self.random = random.Random(seed)
        self.network = network
        self.now = 0.0
        self.shepherd_ahead_s = self.random.uniform(-1e6, 1e6)
        self.shepherd: ShepherdServer | None = None
        self.shepherd_epoch = 0
        self.events: list[HerdEvent] = []
        self.futures: list[Future[m.Applied]] = []
        self.wanted: dict[str, tuple[Setting, ...]] = {}
        self._flying: list[tuple[float, int, str, int, Message]] = []
        self._order = count()
        self.processes = {f"m{k}": Process(f"m{k}", self.random.uniform(-1e6, 1e6)) for k in range(musters)}
        self.start_shepherd()
        for name in self.processes:
            self.start_muster(name)

    # --- the ends' side ---

    def transmit(self, to: str, life: int, message: Message) -> None:
        copies = 0 if self.random.random() < self.network.loss else 1
        copies += self.random.random() < self.network.repeat
        for _ in range(copies):
            arrives = self.now + self.random.uniform(0, self.network.delay_s)
            heapq.heappush(self._flying, (arrives, next(self._order), to, life, message))

    # --- events ---

    def start_shepherd(self) -> None:
        self.shepherd_epoch += 1
        self.fail_futures()
        self.events.clear()
        self.shepherd = ShepherdServer(
            _ShepherdEnd(self, self.shepherd_epoch),
            experiment="",
            folder="",
            sink=None,
            tell=self.events.append,
            now=lambda: self.now + self.shepherd_ahead_s,
        )

    def stop_shepherd(self) -> None:
        self.fail_futures()
        self.shepherd = None

    def fail_futures(self) -> None:
        self.futures = [f for f in self.futures if f.done()]

    def kill_muster(self, name: str) -> None:
        process = self.processes[name]
        process.muster = None
        process.inbox.clear()

    def start_muster(self, name: str) -> None:
        process = self.processes[name]
        process.life += 1
        process.inbox.clear()
        process.acted.clear()
        process.still_until = 0.0
        config = Config(
            muster=name,
            state="unused",
            ranges={"itr-delay": Range(values=(1,), low=2, high=400), "dvfs": Range(low=1200, high=2600)},
        )
        process.muster = Muster(
            config,
            process.node,
            Pasture(process.node.knobs, config.ranges, process.journal),
            _MusterEnd(self, name),
            now=lambda: self.now + process.ahead_s,
        )
        for knob in process.node.knobs:
            knob.on_write = lambda _value: self._write(process)
        process.muster.begin()
        self._watch(process, process.muster)

    def stand_still(self, name: str, seconds: float) -> None:
        self.processes[name].still_until = self.now + seconds

    def decide(self, name: str, settings: tuple[Setting, ...]) -> "Future[m.Applied] | None":
        if self.shepherd is None:
            return None
        future: Future[m.Applied] = Future()
        self.futures.append(future)
        self.shepherd.orders.decide(name, settings, future)
        return future

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += STEP_S
            self._deliver()
            if self.shepherd is not None:
                now = self.now + self.shepherd_ahead_s
                self.shepherd.tick(now, judge=True)
                self.shepherd.validate()
            for process in self.processes.values():
                if process.writing:
                    some(process.muster).meanwhile()
                    continue
                self._live(process)
                self._check(process)

    # --- inside ---

    def _deliver(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, to, life, message = heapq.heappop(self._flying)
            if to == "shepherd":
                if self.shepherd is not None and life == self.shepherd_epoch:
                    assert isinstance(message, Received)
                    self.shepherd.handle(message)
                continue
            process = self.processes[to]
            if process.muster is not None:
                process.inbox.append((self.now, message))

    def _live(self, process: Process) -> None:
        muster = process.muster
        if muster is None or self.now < process.still_until:
            return
        muster._rounds.held.extend(self.taken(process))
        for message in muster._rounds.taken():
            muster.tick()
            muster.handle(message)
        muster.tick()
        for part in (muster._lease, muster._link, muster._logs.outbox):
            part.validate()

    def taken(self, process: Process) -> Iterator[m.Down | m.Credit | m.Decision]:
        """What has arrived at a muster, which hears it now."""
        inbox, process.inbox = process.inbox, []
        for _, message in inbox:
            if isinstance(message, m.ShepherdBeat | m.Welcome):
                process.newest_beat = max(process.newest_beat, message.sent_s - self.shepherd_ahead_s)
            assert not isinstance(message, Received)
            yield message

    def _write(self, process: Process) -> None:
        """A write that takes its time, in which the world goes on."""
        if process.write_s:
            process.writing = True
            self.run(process.write_s)
            process.writing = False

    def _check(self, process: Process) -> None:
        """In force only while a fresh enough beat was heard."""
        if process.muster is None or self.now < process.still_until:
            return
        if process.node.values != ORIGINALS:
            assert self.now - process.newest_beat <= LEASE_S + SLACK_S, "a decision outlived its lease"

    def _watch(self, process: Process, muster: Muster) -> None:
        """See what is acted on."""

        def watched(
            *, shepherd_epoch: int, seq: int, settings: tuple[Setting, ...], issued_s: float, ttl_s: float, now: float
        ) -> Act | Ignore:
            lease = muster._lease
            offered = {"shepherd_epoch": shepherd_epoch, "seq": seq}
            verdict = type(lease).offer(lease, **offered, settings=settings, issued_s=issued_s, ttl_s=ttl_s, now=now)
            if isinstance(verdict, Act):
                age = self.now - (issued_s - self.shepherd_ahead_s)
                assert age <= DECISION_TTL_S + SLACK_S, f"acted on a copy {age:.2f} s old"
                assert shepherd_epoch == lease.shepherd_epoch
                assert all(s < seq for r, s in process.acted if r == shepherd_epoch), "acted on an old number"
                process.acted.append((shepherd_epoch, seq))
            return verdict

        muster._lease.offer = watched  # type: ignore[method-assign]

    def settled(self) -> None:
        """After the network has been sound for long: what is wanted is in force, and nothing waits."""
        assert all(future.done() for future in self.futures), "somebody waits for ever"
        for name, process in self.processes.items():
            wanted = self.shepherd.wanted(name) if self.shepherd is not None else ()
            expected = ORIGINALS | {s.knob: s.value for s in wanted}
            story = ", ".join(map(str, self.shepherd.story(name))) if self.shepherd is not None else ""
            assert process.node.values == expected, f"{name}: {process.node.values}, not {expected}; {story}"
            assert bool(process.journal.entries) == bool(wanted)

    def lost(self, name: str) -> bool:
        """Whether the driver was told that a decision ended."""
        return any(isinstance(e, DecisionLost | PutBack) and e.muster == name for e in self.events)


class _ShepherdEnd(ShepherdEndpoint):
    malformed = 0

    def __init__(self, world: World, shepherd_epoch: int) -> None:
        self.world = world
        self.shepherd_epoch = shepherd_epoch

    def send_pulse(self, muster: str, message: m.Down) -> bool:
        self.world.transmit(muster, 0, message)
        return True

    def reply(self, received: Received, message: m.Down) -> bool:
        return self.send_pulse(received.sender, message)

    def welcome(self, received: Received, groups: tuple[str, ...] = ()) -> None:
        pass

    def publish(self, target: str, decision: m.Decision) -> None:
        self.world.transmit(target, 0, decision)

    def send_credit(self, muster: str, credit: m.Credit) -> bool:
        self.world.transmit(muster, 0, credit)
        return True

    def report_malformed(self, channel: str, sender: str, reason: str) -> None:
        raise AssertionError(f"{channel} from {sender}: {reason}")


class _MusterEnd(MusterEndpoint):
    malformed = 0

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name

    def send_pulse(self, message: m.Up) -> bool:
        return self._send(message)

    def send_block(self, block: m.Block, payload: bytes | memoryview) -> bool:
        return self._send(block)

    def send_offer(self, offer: m.Offer) -> bool:
        return self._send(offer)

    def _send(self, message: m.Up | m.Block | m.Offer) -> bool:
        if self.world.shepherd is None:
            return False
        self.world.transmit("shepherd", self.world.shepherd_epoch, Received(self.name, None, message))
        return True

    def receive(self, timeout_s: float, *, log_room: bool = False) -> Iterator[m.Down | m.Credit | m.Decision]:
        assert not timeout_s, "the world delivers, but for what comes within a write"
        return self.world.taken(self.world.processes[self.name])

    def report_malformed(self, channel: str, reason: str) -> None:
        raise AssertionError(f"{channel}: {reason}")


def setting(itr: int, mhz: int) -> tuple[Setting, ...]:
    return (Setting(NODE, "dvfs", mhz), Setting(NODE, "itr-delay", itr))
