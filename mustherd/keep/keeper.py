"""The keeper: readings and the time in, decisions, ledger entries and story lines out. Pure.

On each reading of a node: what load has it (`load`), is its limit kept (`guard`), what do the means over a block say of
what was foretold (`beliefs`, `retune`, `ledger`); then what should be set, and may it be set now. What leads to safety
is done at once; everything else waits until the node has settled and the herd's share allows it.
"""

import math
from functools import partial

from mustherd.keep import events as e
from mustherd.keep.beliefs import Beliefs, Drift
from mustherd.keep.book import MOST, Book, Choice
from mustherd.keep.controls import Controls
from mustherd.keep.guard import Bars, Changes, LimitWatch
from mustherd.keep.ledger import Ledger
from mustherd.keep.node_state import Mode, NodeState, unheld, words
from mustherd.keep.options import Options
from mustherd.keep.retuning import Retuning
from mustherd.learn.base import Settings
from mustherd.learn.windows import Key, key_of

NEAR = 0.8
"""A load that jumps to this share of the highest that settings are known to hold at may be hidden behind it."""
REVIEW_S = 30.0
FRESH_REVIEW_S = 2.0
"""What to set is thought over at least so often; a load that was believed a moment ago is known better soon."""
LEAST_FRAMES = 0.5
"""Share of a block's frames that have to be at the same settled settings for it to count."""
MOST_OFF = 0.7
"""A limit broken by more counts as by so much: a queue that overflows is no measure of a latency."""
DOUBT = 8.0
"""After a limit was broken other settings are doubted, too: until the bar ends, or for so many times the hold."""
PROBATION_S = 60.0
"""For a day after a limit was broken on a node all settings are suspect for so long after each change."""
SUSPECT_S = 3600.0
"""Settings that broke the limit on one node are suspect on every node for so long: a drift mostly is of all."""
REAL_BREAK = 0.05
"""A limit broken at a steady load with a latency so far above what was foretold is a drift."""


class Keeper:
    """Of one herd. `handle` takes what happens, `tick` that time passes; both give what is to be done."""

    def __init__(self, options: Options, book: Book, ledger: Ledger | None = None) -> None:
        self.options = options
        self.book = book
        self.beliefs = Beliefs(options, book.values())
        self.bars = Bars(options)
        self.ledger = ledger or Ledger(options.day_s)
        self.nodes: dict[str, NodeState] = {}
        self.retuning = Retuning(options, book, self.beliefs)
        self._number, self._block = 0, -1
        self._actions: list[e.Action] = []
        self._changes = Changes(options)
        self._aim = options.limit * (1 - options.margin)
        self._safe: Settings = dict(options.safe or {})
        self._baseline: Settings = dict(options.baseline or {})
        self._controls = Controls(options, self._baseline)

    def handle(self, event: e.Event, now: float) -> list[e.Action]:
        """Something has happened."""
        self._roll(now)
        match event:
            case e.Reading():
                node = self.nodes.get(event.node)
                if node is not None:
                    self._read(node, event, now)
            case e.Joined(node=name):
                self.nodes[name] = NodeState(name, LimitWatch(self.options))
                self._tell(now, name, "member", "joined, as it was found")
            case e.Left(node=name):
                if self.nodes.pop(name, None) is not None:
                    self._tell(now, name, "member", "left; its lease puts it back as it was found")
            case e.Answered():
                node = self.nodes.get(event.node)
                if node is not None and event.number == node.number:
                    self._answered(node, event, now)
            case e.PutBack(node=name, why=why):
                node = self.nodes.get(name)
                if node is not None:
                    self._tell(now, name, "member", f"is as it was found again{': ' if why else ''}{why}")
                    node.lost_settings(now, self.options.first_settle_s)
            case e.Used():
                self.ledger.use(now, event)
        return self._taken()

    def tick(self, now: float) -> list[e.Action]:
        """Time has passed; call it once a frame at least."""
        self._roll(now)
        for node in self.nodes.values():
            self._decide(node, now)
        return self._taken()

    def _read(self, node: NodeState, seen: e.Reading, now: float) -> None:
        if seen.load is not None and seen.at_s > node.load_at:
            node.load_at = seen.at_s
            self._load(node, seen.load, now)
        if seen.power is not None and seen.at_s > node.power_at:
            if node.power_at > -math.inf:
                seconds = min(seen.at_s - node.power_at, 2 * self.options.frame_s)
                what = {"learnt": "kept", "canary": "kept", "control": "control"}.get(node.mode, "other")
                self.ledger.spend(now, seconds, seen.power * seconds, what)
            node.power_at = seen.at_s
        if seen.latency is not None and seen.at_s > node.latency_at:
            node.latency_at = seen.at_s
            self._latency(node, seen.latency, now)
        self._gather(node, seen)
        self._decide(node, now)

    def _load(self, node: NodeState, load: float, now: float) -> None:
        estimator, before = node.estimator, node.estimator.load
        if not estimator.add(load):
            return
        node.dirty, node.load_changed_at = True, now
        if node.mode in ("learnt", "canary") and before and estimator.load > self.options.jump * before:
            key = node.choice.key if node.choice is not None else ()
            if estimator.load >= NEAR * self.book.highest(key, self._aim):
                node.hold(self.options.settle_s, "the load has jumped", now)
                self._tell(now, node.name, "load", f"jumped from {before:,.0f} to {estimator.load:,.0f} or more")

    def _latency(self, node: NodeState, latency: float, now: float) -> None:
        if node.mode not in ("learnt", "canary") or now < max(node.hold_until, node.settled_at) or node.choice is None:
            node.watch.clear()
            return
        options, choice = self.options, node.choice
        foretold = self.book.foretell(choice.key, node.estimator.load)[1]
        believed = self.beliefs.latency(node.name, choice.key, foretold)
        doubtful = self.beliefs.drifted(node.name, "latency")
        probation = now - node.settled_at < PROBATION_S and now - node.broke_at < options.day_s
        suspect = probation or self.bars.put_since(choice.key, now - SUSPECT_S)
        if not node.watch.add(latency, doubtful=doubtful, believed=believed, suspect=suspect):
            return
        node.watch.clear()
        if now - node.load_changed_at < options.settle_s:
            node.hold(options.settle_s, "the load has changed", now)
            return
        if now - node.broke_at > options.half_life_s:
            node.breaks = 0
        canary = node.mode == "canary"
        # What a canary tried is known to be doubtful, and not tried again soon.
        node.breaks, node.broke_at = min(node.breaks + (not canary), 30), now
        hold = min(options.longest_bar_s, options.hold_s * (1.0 if canary else 2.0 ** (node.breaks - 1)))
        barred = self.bars.put(node.name, choice.key, choice.cell, now)
        node.hold(hold, "a limit was broken" if latency > options.limit else "a limit was too near", now)
        self._tell(now, node.name, "guard", f"{broken(latency, options, choice, hold)} for {barred:,.0f} s")
        self.retuning.broke(node.name, choice.key)
        if off := really_broken(latency, foretold):
            again = self.bars.times(node.name, choice.key, choice.cell) > 1
            until = now + max(barred, DOUBT * hold)
            for_long = max(until, now + options.day_s) if again else until
            self.beliefs.broke(node.name, choice.key, node.estimator.load, off, for_long, again=again)
            if again and not self._choices(node, now):
                # Where nothing is believed to hold nothing would show for a day that it does.
                self.beliefs.doubt_until(node.name, until)
            if not canary:
                self._drift(Drift(node=node.name, signal="latency", shift=off, blocks=0), now)

    def _gather(self, node: NodeState, seen: e.Reading) -> None:
        """Add a frame to the node's block, if it is at settings that have settled."""
        if node.pending or seen.at_s < node.settled_at or not node.estimator.load:
            return
        key = key_of(node.in_force)
        gathering = node.gathered(int(seen.at_s // self.options.block_s), key)
        load = seen.load if seen.load is not None else node.estimator.load
        gathering.add(load, seen.power, seen.latency, self.book.foretell(key, max(load, 1e-9)))

    def _roll(self, now: float) -> None:
        """End the block that is over; before anything is added to the next one."""
        number = int(now // self.options.block_s)
        if number == self._block:
            return
        self._block = number
        least = LEAST_FRAMES * self.options.block_s / self.options.frame_s
        for node in self.nodes.values():
            block = node.ended(number - 1, now, least)
            if (pair := self._controls.pair(node, block, now)) is not None:
                self.ledger.pair(pair)
                self._actions.append(pair)
            if block is None:
                continue
            if self.retuning.under_way is not None:
                self.retuning.under_way.add(block)
            for drift in self.beliefs.add(block, testing=node.mode != "canary"):
                node.dirty = True
                self._drift(drift, now)
        self.bars.forget(now)
        every = partial(self._choices, now=now, every=True)
        for name, kind, text in self.retuning.step(number, self.nodes, every):
            self._tell(now, name, kind, text)

    def _drift(self, drift: Drift, now: float) -> None:
        after = f" after {drift.blocks} blocks" if drift.blocks else ""
        off = f"{drift.signal} is {100 * math.expm1(drift.shift):+.1f} % off what was believed{after}"
        self._tell(now, drift.node, "drift", off)
        self.retuning.drifted(drift.node, self._block)

    def _choices(self, node: NodeState, now: float, also: Key | None = None, *, every: bool = False) -> list[Choice]:
        load = node.estimator.highest * (1 + self.options.headroom)
        if load <= 0:
            return []
        mine = node.choice.key if node.choice is not None else also
        correct = self.beliefs.correct(node.name, load, self.book.keys, now)
        most = None if every or self.beliefs.promoted(node.name) else MOST
        found = self.book.choices(load, self._aim, correct, also or mine, most)
        return [c for c in found if self.bars.free(node.name, c.key, c.cell, now)]

    def _decide(self, node: NodeState, now: float) -> None:
        lost = node.lost_signal(now, self.options.age_s)
        if lost != node.lost:
            node.lost, node.dirty = lost, True
            self._tell(now, node.name, "signal", node.said_of(lost))
            if lost == "load":
                node.estimator.clear()
        if lost or now < node.hold_until:
            self._set(node, "safe", None, node.lost or node.hold_why, now, urgent=True)
            return
        if node.dirty or now >= node.review_at:
            self._think(node, now)
        target = node.target
        if target is None:
            self._set(node, "safe", None, "nothing is known to hold at this load", now, urgent=True)
            return
        if self._controls.due(node.name, now):
            self._set(node, "control", None, "its turn as a control", now, urgent=False)
            return
        retune = self.retuning.under_way
        arm = retune.arm(node.name, self._block) if retune is not None else None
        if arm is not None and any(c.key == arm.key for c in self._choices(node, now, arm.key)):
            self._set(node, "canary", arm, "its turn as a canary", now, urgent=False)
            return
        # What is in force isn't known to hold any more: it has to go, settled or not.
        urgent = node.mode == "learnt" and node.choice is not None and node.choice.key != target.key and node.unsafe
        if urgent and now < node.settled_at:
            node.hold(node.settled_at - now, "the load has risen", now)
            self._set(node, "safe", None, node.hold_why, now, urgent=True)
            return
        self._set(node, "learnt", target, f"for {node.estimator.load:,.0f} requests a second", now, urgent=urgent)

    def _think(self, node: NodeState, now: float) -> None:
        fresh = now - node.load_changed_at < REVIEW_S
        node.dirty, node.review_at = False, now + (FRESH_REVIEW_S if fresh else REVIEW_S)
        choices = self._choices(node, now)
        node.target = choices[0] if choices else None
        node.unsafe = False
        if node.mode != "learnt" or node.choice is None:
            return
        key = node.choice.key
        same, best = next((c for c in choices if c.key == key), None), node.target
        node.unsafe = same is None
        if same is not None and best is not None and same.power is not None and best.power is not None:
            worth = best.power <= same.power * (1 - self.options.least_saving / 100)
            node.target = best if worth else same

    def _set(self, node: NodeState, mode: Mode, choice: Choice | None, why: str, now: float, *, urgent: bool) -> None:
        settings = self._safe if mode == "safe" else self._baseline if mode == "control" else {}
        if choice is not None:
            settings = choice.settings
        if settings == node.in_force:
            node.mode, node.choice = mode, choice
            return
        if now < node.retry_at:
            return
        if not urgent:
            if node.pending or now < node.settled_at or not self._changes.free(len(self.nodes), now):
                return
            self._changes.add(now)
        self._number += 1
        settle_s = self.options.settle_s if node.in_force else self.options.first_settle_s
        node.mode, node.choice, node.in_force = mode, choice, dict(settings)
        node.number, node.pending, node.settled_at, node.gathering = self._number, True, now + settle_s, None
        node.watch.clear()
        self._actions.append(e.Decide(node=node.name, number=self._number, settings=dict(settings), why=why))

    def _answered(self, node: NodeState, answer: e.Answered, now: float) -> None:
        if answer.held:
            node.pending, node.failures = False, 0
            return
        barred_s = 0.0
        if answer.refused and node.choice is not None:
            barred_s = self.bars.put(node.name, node.choice.key, node.choice.cell, now)
        self._tell(now, node.name, "guard", unheld(node, answer, barred_s))
        node.lost_settings(now, self.options.first_settle_s)
        node.fail(now, self.options, again=not barred_s)

    def _tell(self, now: float, node: str, kind: str, text: str) -> None:
        self._actions.append(e.Story(at_s=now, node=node, kind=kind, text=text))

    def _taken(self) -> list[e.Action]:
        actions, self._actions = self._actions, []
        return actions


def broken(latency: float, options: Options, choice: Choice, hold_s: float) -> str:
    """What the story says of a broken limit, up to how long the settings are barred."""
    did = "broke" if latency > options.limit else "came too near to"
    return (
        f"latency {latency:,.0f} {did} the limit of {options.limit:,.0f} at {words(choice.settings)};"
        f" safe settings for {hold_s:,.0f} s, these barred at this load"
    )


def really_broken(latency: float, foretold: float | None) -> float:
    """By what logarithm a latency that broke a limit is above what was foretold; 0 where that is no drift."""
    off = min(MOST_OFF, math.log(latency / foretold)) if foretold else 0.0
    return off if off > REAL_BREAK else 0.0
