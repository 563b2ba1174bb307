"""The keeper's shell: a herd's events, windows and sources into the keeper, its decisions out, its state on disk."""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from mustherd import unix_time
from mustherd.daemon import Stop
from mustherd.errors import UserError
from mustherd.herd.membership import Presence
from mustherd.keep import events as e
from mustherd.keep.beliefs import Belief
from mustherd.keep.guard import Barred
from mustherd.keep.keeper import Keeper
from mustherd.keep.learnt import MACHINE_CPU, RATE, SERVER_CPU
from mustherd.keep.residuals import SeenAt
from mustherd.keep.source import Sample, Source, WindowSource
from mustherd.keep.store import KeepStore
from mustherd.shepherd import events as h
from mustherd.shepherd.events import HerdError
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import MUSTER_CPU, Load, settings_of
from mustherd.wire.messages import Applied, Measured

log = logging.getLogger(__name__)

SAVE_S = 5.0
"""Between two looks at what a kill would lose."""
SEED = 2**31
COMPLAINT_S = 600.0
"""What a source that can't be read says is told again after so long."""
MOST_COMPLAINTS = 5
"""Different ones of a source in that time."""

Inbox = queue.SimpleQueue[Callable[[float], None]]


class KeepLoop:
    """Runs a keeper on a shepherd's herd until it is told to stop; what other threads tell it waits in a queue."""

    def __init__(
        self,
        keeper: Keeper,
        shepherd: Shepherd,
        store: KeepStore,
        sources: Sequence[Source],
        *,
        stop: Stop,
        latency: str,
        power: str = "",
        traffic: Callable[[float], float] | None = None,
        tend: Callable[[], None] = lambda: None,
        now: Callable[[], float] = unix_time.now,
    ) -> None:
        """`latency` is the metric that is limited, as a window's load report has it; `power` the one that is saved;
        `traffic` a simulated herd's."""
        self._keeper = keeper
        self._shepherd = shepherd
        self._store = store
        self._sources = list(sources)
        self._stop = stop
        self._percentile = latency.removeprefix("read_").removesuffix("_us")
        self._power = power
        self._traffic = traffic
        self._tend = tend
        self._now, self._began = now, now()
        self._inbox: Inbox = queue.SimpleQueue()
        self._lines: list[e.Story | e.Decide | e.Paired] = []
        self._measuring: set[str] = set()
        self._told: set[tuple[str, e.Signal]] = set()
        """What sources have told of nodes: windows of one that loads itself are no second voice on it."""
        self._seeds = itertools.count(1)
        self._cpu = time.process_time()
        self._saved = -1
        """How often what is believed had changed when it was saved last."""

    def run(self) -> None:
        """Until `stop` is set. Raises KeepStoreError."""
        self._restore()
        threads = [
            threading.Thread(target=self._ask, args=(source,), name="source", daemon=True) for source in self._sources
        ]
        for thread in threads:
            thread.start()
        frame_s = self._keeper.options.frame_s
        next_tick = saved = self._now()
        try:
            while not self._stop.is_set():
                self._tend()
                self._herd_events()
                self._measure()
                self._take(min(frame_s / 4, max(0.0, next_tick - self._now())))
                now = self._now()
                if now >= next_tick:
                    next_tick = now + frame_s / 2
                    self._act(self._keeper.tick(now))
                    self._flush()
                if now - saved >= SAVE_S:
                    saved = now
                    self._save(now)
        finally:
            for source in self._sources:
                source.close()
            self._act([e.Story(at_s=self._now(), node="", kind="member", text="the keeper ends; nodes go back")])
            self._flush()
            self._save(self._now())

    def _herd_events(self) -> None:
        while not self._shepherd.events.empty():
            event, now = self._shepherd.events.get_nowait(), self._now()
            match event:
                case h.PresenceChanged(change=change):
                    gone = change.after in (Presence.MISSING, Presence.DEAD, Presence.LEFT)
                    known = change.muster in self._keeper.nodes
                    if known and (gone or change.new_life):
                        self._act(self._keeper.handle(e.Left(node=change.muster), now))
                    if not gone and (not known or change.new_life):
                        self._act(self._keeper.handle(e.Joined(node=change.muster), now))
                case h.DecisionLost(muster=muster):
                    self._act(self._keeper.handle(e.PutBack(node=muster, why="its decision was lost"), now))
                case h.PutBack(muster=muster, reason=reason):
                    self._act(self._keeper.handle(e.PutBack(node=muster, why=reason), now))
                case h.StopAsked(by=by):
                    self._stop.ask(f"{by} asked for it")

    def _take(self, seconds: float) -> None:
        """What other threads have to say: wait so long for the first."""
        try:
            self._inbox.get(timeout=max(0.001, seconds))(self._now())
            while True:
                self._inbox.get_nowait()(self._now())
        except queue.Empty:
            pass

    def _measure(self) -> None:
        """Keep a window under way on each node: it says what the node drew, and of one that loads itself all else."""
        options = self._keeper.options
        musters = None
        for name in self._keeper.nodes:
            if name in self._measuring:
                continue
            musters = self._shepherd.musters() if musters is None else musters
            view = musters.get(name)
            if view is None:
                continue
            load = None
            if view.facts.loads_itself and self._traffic is not None:
                load = Load(qps=self._traffic(self._now() - self._began))
            speed = float(view.facts.text.get("speed", "1")) if view.facts.loads_itself else 1.0
            self._measuring.add(name)
            asked = self._shepherd.measure(
                name, settle_s=0, ramp_s=0, window_s=options.frame_s * speed, load=load, seed=next(self._seeds) % SEED
            )
            asked.add_done_callback(partial(self._later, partial(self._seen, name)))

    def _later(self, what: Callable[[Any, float], None], done: "Future[Any]") -> None:
        """From another thread: in the loop's own, do something with what was asked for."""
        self._inbox.put(partial(what, done))

    def _seen(self, name: str, done: "Future[Measured]", now: float) -> None:
        self._measuring.discard(name)
        error = done.exception()
        if error is not None:
            if not isinstance(error, HerdError):
                raise error
            log.debug("%s: %s", name, error)
            return
        seen = done.result()
        seconds = max(1e-9, seen.t1_s - seen.t0_s)
        spent = spent_in(seen, self._power)
        for source in self._sources:
            if isinstance(source, WindowSource):
                source.seen(name, seen)
        self._keeper.handle(used_in(seen), now)
        own: dict[e.Signal, float | None] = {"power": spent / seconds if spent > 0 else None}
        if seen.load is not None:
            own |= {"load": seen.load.achieved_qps, "latency": seen.load.read_us.get(self._percentile)}
        reading = e.Reading(
            node=name, at_s=now, **{signal: value for signal, value in own.items() if (name, signal) not in self._told}
        )
        self._act(self._keeper.handle(reading, now))

    def _ask(self, source: Source) -> None:
        """A source's thread."""
        frame_s = self._keeper.options.frame_s
        complained: dict[str, float] = {}
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                samples = source.read()
                self._inbox.put(partial(self._sampled, samples))
            except UserError as error:
                # Of one that fails and works by turns, or each time otherwise, not every frame is a line.
                complained = {text: at for text, at in complained.items() if began - at < COMPLAINT_S}
                if str(error) not in complained and len(complained) < MOST_COMPLAINTS:
                    complained[str(error)] = began
                    self._inbox.put(partial(self._tell, str(error)))
            self._stop.wait(max(0.0, frame_s - (time.monotonic() - began)))

    def _sampled(self, samples: Sequence[Sample], now: float) -> None:
        for node, signal, value, age_s in samples:
            self._told.add((node, signal))
            reading: dict[str, Any] = {"node": node, "at_s": now - age_s, signal: value}
            self._act(self._keeper.handle(e.Reading(**reading), now))

    def _tell(self, text: str, now: float) -> None:
        self._act([e.Story(at_s=now, node="", kind="signal", text=text)])

    def _act(self, actions: Sequence[e.Action]) -> None:
        for action in actions:
            self._lines.append(action)
            if isinstance(action, e.Decide):
                self._decide(action)
            elif isinstance(action, e.Story):
                log.info("%s%s", f"{action.node}: " if action.node else "", action.text)

    def _decide(self, decision: e.Decide) -> None:
        name, number = decision.node, decision.number
        view = self._shepherd.musters().get(name)
        try:
            settings = settings_of(decision.settings, view.knobs if view is not None else ())
            asked = self._shepherd.decide(name, settings)
        except (KeyError, ValueError) as error:
            # A KeyError's text is the knob alone.
            there = ", ".join(sorted({knob.name for knob in view.knobs})) if view is not None else ""
            why = f"it has no knob {error}; it has {there or 'none'}" if isinstance(error, KeyError) else str(error)
            refused = e.Answered(node=name, number=number, held=False, refused=True, why=why)
            self._inbox.put(partial(self._answered, refused))
            return
        asked.add_done_callback(partial(self._later, partial(self._answer, name, number)))

    def _answer(self, name: str, number: int, done: "Future[Applied]", now: float) -> None:
        self._answered(_answer_of(name, number, done), now)

    def _answered(self, answer: e.Answered, now: float) -> None:
        self._act(self._keeper.handle(answer, now))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._store.write(self._now(), lines)

    def _save(self, now: float) -> None:
        cpu = time.process_time()
        self._keeper.handle(e.Used(cpu_s=cpu - self._cpu), now)
        self._cpu = cpu
        keeper = self._keeper
        self._store.save(state_of(keeper, now, self._saved), keeper.ledger.days)
        self._saved = keeper.beliefs.changes

    def _restore(self) -> None:
        keeper = self._keeper
        keeper.ledger.days[:] = self._store.days()
        keeper.beliefs.restore(self._store.state("beliefs", list[Belief]) or ())
        keeper.beliefs.restore_seen(self._store.state("seen", list[SeenAt]) or ())
        keeper.bars.restore(self._store.state("bars", list[Barred]) or ())


def state_of(keeper: Keeper, now: float, saved: int) -> dict[str, Any]:
    """What is to be saved at `now`: what is believed, which is large, where it isn't at `saved` changes still."""
    nodes = {
        name: {
            "mode": node.mode,
            "settings": node.in_force,
            "load": node.estimator.load,
            "lost": node.lost,
            "hold_until": node.hold_until if node.hold_until > now else None,
            "why": node.hold_why if node.hold_until > now else "",
        }
        for name, node in keeper.nodes.items()
    }
    beliefs = keeper.beliefs
    believed = {"beliefs": beliefs.state(), "seen": beliefs.seen()} if beliefs.changes != saved else {}
    return {**believed, "bars": keeper.bars.state(), "nodes": nodes, "at": now}


def spent_in(seen: Measured, power: str) -> float:
    """What a window says of what is saved: joules, or seconds of the CPU time that the settings were learnt by.

    Without a word on it (`power` is '') whichever of them the node counts, energy first.
    """
    if power == RATE:
        return _package_joules(seen)
    if power:
        return seen.counts.get(power, 0.0)
    return _package_joules(seen) or seen.counts.get(SERVER_CPU, 0.0) or seen.counts.get(MACHINE_CPU, 0.0)


def used_in(seen: Measured) -> e.Used:
    """What MustHerd itself took of a node in a window: CPU time of its processes there and, where the node counts its
    busy time and its packages' energy, their share of that energy by their share of that time."""
    own, busy = seen.counts.get(MUSTER_CPU, 0.0), seen.counts.get(MACHINE_CPU, 0.0)
    return e.Used(cpu_s=own, joules=_package_joules(seen) * min(1.0, own / busy) if busy > 0 else 0.0)


def _package_joules(seen: Measured) -> float:
    return sum(energy.joules for energy in seen.energies if energy.kind == "package")


def _answer_of(name: str, number: int, done: "Future[Applied]") -> e.Answered:
    """What became of a decision, and why where it doesn't hold."""
    error = done.exception()
    if error is not None:
        return e.Answered(node=name, number=number, held=False, why=str(error))
    applied = done.result()
    bad = [reading for reading in applied.readings if not reading.held]
    why = applied.detail or "; ".join(
        f"{r.knob} on {r.sheep} {r.error or f'is at {r.applied} and runs at {r.running}'}" for r in bad
    )
    held = applied.outcome in ("applied", "restored") and not bad
    return e.Answered(node=name, number=number, held=held, refused=applied.outcome == "refused", why=why)
