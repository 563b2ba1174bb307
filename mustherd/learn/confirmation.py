"""Confirmation: the best few settings and the default measured again, until what is announced holds.

The trial that made a setting look best was chosen for being low, so it is likely too low; and a limit that one trial
kept narrowly, another will miss. So nothing of the search counts here, and this is done instead:

1. *Rounds.* Every node measures the default and each candidate once a round, each in an order of its own
   (mustherd.learn.turns). A setting is compared with the default within such a block only: on the same node, in the
   same round.
2. *Looks.* After a few numbers of rounds that are fixed beforehand a candidate may be found to *hold*: its saving is
   certainly above nothing and its mean certainly keeps every limit on every node, at a level that is shared out over
   candidates and looks (mustherd.learn.inference); the estimated saving is worth announcing; and the next window will
   keep the limits on every node, by a bound for it (mustherd.learn.windows).
3. *The winner* is the cheapest that holds, once none beside it may be much cheaper.
4. *Rounds after it was chosen*, of the winner and the default alone. Their numbers are the ones that are announced:
   what made it the winner, luck included, is not in them (Cox, Biometrika 1975). If they contradict, there is another
   winner, or none.
5. *A window that broke a limit*, of whichever setting, and was contradicted when it was measured again, may be one of
   many: its node goes on measuring the winner until it has twenty windows. Two that break the limit contradict as well.

A candidate that certainly misses a limit, saves nothing worth having or is certainly dearer than one that holds is
dropped, and the next takes its place; one that will hardly be settled in the rounds that are left steps back for it.
Dropping can't make a wrong announcement likelier.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from mustherd.goal import Goal
from mustherd.learn.base import Settings
from mustherd.learn.inference import (
    ALPHA,
    LEAST_ROUNDS,
    SAVINGS_ASKED,
    Estimate,
    average,
    enough,
    holm,
    level_of,
    looks,
    rounds_needed,
    spread,
)
from mustherd.learn.judging import Found, Judge, Judged, RankingResult, Word, text_of
from mustherd.learn.questions import AGAIN, Question, Questions, Wanted
from mustherd.learn.rivals import INDIFFERENCE, Rivals
from mustherd.learn.turns import turn
from mustherd.learn.windows import Key, Repeat, Windows, key_of, questioned

LATER = 0.5
"""The weight of the candidates that come after the first few, of those after these, and so on: rarely will it be their
turn."""


class Confirmation:
    """Which settings to measure next, and what the rounds so far say. Pure: it measures nothing itself."""

    def __init__(
        self,
        goal: Goal,
        candidates: Sequence[Settings],
        *,
        default: Settings | None = None,
        expected: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """A confirmation of `candidates`, the most promising first, beside the `default`, the baseline's settings.

        The goal says with which limits, how many rounds a setting needs before it is chosen and again afterwards
        (`repeats`, two at least), how many there are at most before a winner is chosen (`rounds`, never fewer), how
        many candidates are measured at the same time (`parallel`), what saving is worth announcing (`least_saving`)
        and what decides the order within a round (`seed`). `expected` is what the search expects of each candidate, of
        the objective and of what is limited; it tells which of them have more room than one that turned out too noisy,
        and which may still be cheaper than one that holds. ValueError where `rounds` or `parallel` is below 1.
        """
        if goal.rounds < 1 or goal.parallel < 1:
            raise ValueError("a confirmation has at least 1 round of 1 setting")
        self._goal = goal
        self._candidates = [c for c in candidates if c != default]
        self._default = default
        self._least = max(LEAST_ROUNDS, goal.repeats)
        self._limit = max(self._least, goal.rounds)
        self._looks = looks(self._least, self._limit)
        self._parallel = goal.parallel
        self._seed = goal.seed
        self._windows = Windows()
        self._judge = Judge(goal, self._windows, default=default, looks=len(self._looks))
        known = {key_of(c): e for c, e in zip(candidates, expected, strict=bool(expected))}
        self._rivals = Rivals(goal, self._judge, known)
        self._count = 0
        self._known: dict[Key, Found] | None = None
        """What the rounds so far say, once it was asked."""
        self._before: list[int] = []
        """The numbers of the rounds before a winner was chosen."""
        self._after: dict[Key, list[int]] = {}
        """By winner, the numbers of those after it was chosen."""
        self._wanted_after = 0
        self._winner: Settings | None = None
        self._questions = Questions()
        self._asked: set[tuple[Key, str, int]] = set()
        self._missed: set[Key] = set()
        self._holds: set[Key] = set()
        self._refuted: set[Key] = set()
        self._stuck: dict[Key, dict[str, tuple[float, float]]] = {}
        """What will hardly be settled, with what it lacks."""

    # --- what to measure ---

    def round(self, node: int = 0) -> list[Wanted]:
        """The windows of the next round in the order in which the node of that number measures them; empty when it is
        decided.

        Nodes are numbered from 0 on as they first take part. A setting without a node is for every node, which measures
        all of these; one with a node is a window that is measured again.
        """
        if self._questions:
            return self._questions.wanted()
        points = self._live() if self._winner is None else [self._winner] if self._lacks() else []
        if not points:
            return []
        points += [self._default] if self._default is not None else []
        order = turn(len(points), seed=self._seed, number=self._count, node=node)
        return [Wanted(point=points[place]) for place in order]

    def add(self, measured: Sequence[Repeat]) -> None:
        """Take a round in; windows that were invalid are left out of it."""
        self._known = None
        if self._questions:
            self._questions.answered(measured)
        else:
            self._windows.add(self._count, measured)
            (self._before if self._winner is None else self._after[key_of(self._winner)]).append(self._count)
            self._count += 1
            self._questions.ask(self._far_off())
        if self._questions:
            return
        self._judge.look()
        if self._winner is None:
            self._look()
        elif not self._lacks():
            self._questions.ask_more(self._winner, self._judge.too_few(self._winner))
            if not self._questions:
                self._check(self._winner)

    @property
    def chosen(self) -> Settings | None:
        """The winner, once there is one, whether or not its own rounds are over."""
        return self._winner

    def has(self, point: Settings) -> bool:
        """Whether a round has measured `point`."""
        return bool(self._windows.of(point))

    def _live(self) -> list[Settings]:
        left = self._limit - len(self._before)
        if left <= 0:
            return []
        best = self._best(self._found())
        gone = self._missed | self._refuted | self._rivals.beaten(self._holding)
        open_ = [c for c in self._candidates if key_of(c) not in gone]
        begun = [c for c in open_ if self.has(c)]
        live = [c for c in begun if key_of(c) not in self._stuck][: self._parallel]
        # A setting that has no time to be looked at any more isn't begun, nor one that would be no cheaper.
        new = [c for c in open_ if c not in begun and self._rivals.may_beat(c, best)] if left >= self._least else []
        while new and len(live) < self._parallel:
            # What is too noisy here may be so everywhere, or only near the limit: the bets are spread.
            share = (self._parallel - len(live)) / self._parallel
            live.append(next((c for c in new if self._rivals.has_room(c, self._stuck.values(), share)), new[0]))
            new.remove(live[-1])
        return [*live, *(c for c in begun if c not in live)][: self._parallel]

    def _lacks(self) -> bool:
        return self._winner is not None and len(self._after[key_of(self._winner)]) < self._wanted_after

    def _far_off(self) -> Iterable[Question]:
        """The windows that are to be measured again, of settings that the last round measured."""
        for point in self._candidates:
            cells = self._windows.of(point)
            if not cells or cells[-1].round != self._count - 1:
                continue
            for metric in [c.metric for c in self._goal.constraints if self._judge.log(c)]:
                if not questioned(cells, metric, 0.0):
                    continue
                for cell in questioned(cells, metric, self._windows.spread(metric)):
                    place = (key_of(point), cell.node, cell.round)
                    if place not in self._asked:
                        self._asked.add(place)
                        yield Question(point, cell, AGAIN)

    # --- what the rounds say ---

    def _look(self) -> None:
        """What a round before the choice has shown: who drops out, who holds, and perhaps a winner."""
        found = self._found()
        due = {key for key, one in found.items() if one.rounds in self._looks}
        self._missed |= {key for key in due - self._holds if self._judge.hopeless(found[key])}
        self._test({key: found[key] for key in due - self._missed})
        left = self._limit - len(self._before)
        lacking = {
            key: self._judge.lacking(one, left, self._least)
            for key, one in found.items()
            if key not in self._holds and one.rounds >= self._least
        }
        self._stuck = {key: lacked for key, lacked in lacking.items() if lacked}
        self._decide(found)

    def _decide(self, found: Mapping[Key, Found]) -> None:
        """Choose the best that holds, once none that is still open may be much cheaper."""
        best = self._best(found)
        if best is None:
            return
        due = [p for p in self._candidates if (one := found.get(key_of(p))) and one.rounds in self._looks]
        self._rivals.compare(best, [p for p in due if p != best], self._before)
        open_ = [p for p in self._live() if p != best and key_of(p) not in self._stuck]
        if all(self._judge.dearer(p, best, self._before, 1 - INDIFFERENCE) for p in open_):
            self._choose(best, found[key_of(best)])

    def _holding(self, point: Settings) -> bool:
        key = key_of(point)
        return key in self._holds and key not in self._refuted and self._judge.stands(self._found()[key])

    def _found(self) -> dict[Key, Found]:
        """Every candidate that was measured before the choice."""
        if self._known is None:
            measured = [p for p in self._candidates if self._windows.of(p, self._before)]
            self._known = {key_of(p): self._judge.find(p, self._before) for p in measured}
        return self._known

    def _test(self, due: Mapping[Key, Found]) -> None:
        """The look: which candidates hold from now on, by Holm's procedure at the look's share of the level."""
        keys = [key_of(c) for c in self._candidates]
        weights = [LATER ** (place // self._parallel) for place in range(len(keys))]
        again = True
        while again:
            again = False
            shares = dict(zip(keys, holm(weights, [key in self._holds for key in keys]), strict=True))
            for key, one in due.items():
                level = ALPHA * shares[key] / len(self._looks)
                if key not in self._holds and self._judge.p_value(one) <= level and self._judge.stands(one):
                    self._holds.add(key)
                    again = True

    def _best(self, found: Mapping[Key, Found]) -> Settings | None:
        """The cheapest of those that hold and still stand."""
        holding = filter(self._holding, self._candidates)
        return min(holding, key=lambda p: average(found[key_of(p)].differences or [0.0]), default=None)

    def _choose(self, best: Settings, found: Found) -> None:
        self._winner = best
        self._after[key_of(best)] = []
        self._wanted_after = self._least
        if len(found.differences) > 1:
            each = max(1, round(len(found.differences) / found.rounds))
            mean = average(found.differences)
            self._wanted_after = enough(mean, spread(found.differences), each, self._least, self._limit)

    def _check(self, winner: Settings) -> None:
        """After the winner's own rounds: if they contradict it, what is left goes on, or the next best is chosen."""
        if not (self._judge.too_few(winner) or self._judge.contradicted(winner, self._after[key_of(winner)])):
            return
        self._refuted.add(key_of(winner))
        self._winner = None
        self._decide(self._found())

    # --- the outcome ---

    def outcome(self) -> RankingResult:
        """What can be announced now."""
        judged = tuple(self.judge(p) for p in self._candidates if self.has(p))
        chosen = next((j for j in judged if j.point == self._winner), None)
        open_ = [j for j in judged if j.word != "not met"]
        left = [j for j in open_ if key_of(j.point) not in self._rivals.beaten(self._holding)] or open_
        winner = chosen or min(left, key=lambda j: j.cost, default=None)
        word: Word = "not met" if winner is None else winner.word
        return RankingResult(
            word=word,
            winner=winner,
            judged=judged,
            rounds=self._count,
            with_default=self._default is not None,
            fresh=len(self._after[key_of(chosen.point)]) if chosen else 0,
            memory=self._judge.memory,
            jumps=self._judge.jumps(chosen.point, range(self._count)) if chosen else 0.0,
            asked=bool(chosen and self._questions),
            needed=_needed(
                [self._judge.differences(p, self._before) for p in self._candidates],
                len(self._before),
                lambda rounds: level_of(self._least, rounds, min(len(self._candidates), self._parallel)),
                self._goal.least_saving,
            ),
            text=text_of(word, winner, self._count, self._goal.objectives[0].direction),
        )

    def estimate(self, point: Settings, metric: str) -> Estimate:
        """The mean of a metric at `point`, which must have been measured, over all of its windows."""
        return self._judge.estimate(point, metric)

    def judge(self, point: Settings) -> Judged:
        """What the rounds say of `point`, which must have been measured."""
        chosen = point == self._winner
        done = chosen and not self._lacks() and not self._questions
        word: Word = "met" if done else "not met" if key_of(point) in self._missed else "not certain"
        after = self._after[key_of(point)] if chosen else ()
        return self._judge.judged(point, word, before=self._before, after=after)


def _needed(
    differences: Sequence[Sequence[float]], rounds: int, level: Callable[[int], float], least: float
) -> dict[float, int | None]:
    """Rounds that savings need, at the usual spread of a block's difference: the median over the candidates."""
    known = [of for of in differences if len(of) > 1]
    if not known:
        return {}
    each = max(1, round(median(len(of) / rounds for of in known)))
    deviation = median(spread(of) for of in known)
    return {s: rounds_needed(s, deviation, nodes=each, level=level, least_percent=least) for s in SAVINGS_ASKED}
