"""A trial on a group of nodes: its workers at the same settings, its source as it was found, all measured at once."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from mustherd import metrics, unix_time
from mustherd.experiment.trial_runner import TrialRunner
from mustherd.policy.base import Group
from mustherd.trial import Trial, TrialKind, TrialState

SUMMED = ("W", "qps")
"""Units of what nodes have together, beside what adds up over windows."""
A_REQUEST = "_per_request"


class GroupRunner:
    """Runs trials on groups; each is stored as one of its group's first worker, and says what the group came to."""

    def __init__(self, runner: TrialRunner, groups: Sequence[Group]) -> None:
        self._runner = runner
        self._groups = {group.workers[0]: group for group in groups}

    @property
    def workers(self) -> frozenset[str]:
        """The musters whose knobs are set."""
        return frozenset(name for group in self._groups.values() for name in group.workers)

    def whole(self, settle_s: Mapping[str, float]) -> dict[str, float]:
        """Of musters that are there, with the seconds that their knobs take to settle: groups all of whose members are,
        by first worker."""
        return {
            leader: max(settle_s[name] for name in group.members)
            for leader, group in self._groups.items()
            if all(name in settle_s for name in group.members)
        }

    def run(self, trial: Trial, leader: str) -> Trial:
        """Run a started trial on the group with that first worker to its end."""
        group = self._groups[leader]
        with ThreadPoolExecutor(len(group.members), thread_name_prefix="member") as threads:
            under_way = {
                name: threads.submit(self._runner.run, self._part(trial, group, name), name, of_group=True)
                for name in group.members
            }
        parts = {name: part.result() for name, part in under_way.items()}
        whole = msgspec.structs.replace(
            parts[leader], kind=trial.kind, settings=trial.settings, load=trial.load, ended_at=unix_time.now()
        )
        for name, part in parts.items():
            if part.state is not TrialState.FINISHED:
                detail = part.detail if name in part.detail else f"muster {name}: {part.detail}"
                return msgspec.structs.replace(whole, state=part.state, reason=part.reason, detail=detail)
        found = together([parts[name].metrics for name in group.workers], parts[group.source].metrics, group.of_source)
        return self._runner.judged(msgspec.structs.replace(whole, metrics=found))

    def _part(self, trial: Trial, group: Group, name: str) -> Trial:
        """A member's part of a trial: the source has the whole load and nothing set, a worker its share of it."""
        load = trial.load or self._runner.load
        if name == group.source:
            return msgspec.structs.replace(trial, kind=TrialKind.SEARCH, settings={}, load=load, muster=name)
        many = len(group.workers)
        curve = tuple((seconds, begin / many, end / many) for seconds, begin, end in load.curve)
        share = msgspec.structs.replace(load, qps=load.qps / many, curve=curve)
        return msgspec.structs.replace(trial, load=share, muster=name)


def together(
    workers: Sequence[Mapping[str, float]], source: Mapping[str, float], of_source: Sequence[str]
) -> dict[str, float]:
    """A group's metrics, by those of its nodes: of workers amounts are summed, of all else the worst counts; pure.

    Those `of_source` are the source's. Where nobody tells its backpressure it is what the slowest worker leaves of its
    share: a stream goes at its pace.
    """
    names = set(workers[0]).intersection(*workers[1:])
    found = {name: _of_workers(name, workers) for name in sorted(names)}
    if metrics.ACHIEVED_RATIO in found:
        found[metrics.BACKPRESSURE] = max(0.0, 1 - found[metrics.ACHIEVED_RATIO])
    return {**found, **{name: source[name] for name in of_source if name in source}}


def _of_workers(name: str, workers: Sequence[Mapping[str, float]]) -> float:
    values = [one[name] for one in workers]
    metric = metrics.of(name)
    if name.endswith(A_REQUEST):
        # By what each has answered; where that isn't known each counts as much.
        answered = [one.get(metrics.ACHIEVED_QPS, 0.0) for one in workers]
        weights = answered if all(answered) else [1.0] * len(workers)
        return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
    if metric.over_windows == "sum" or metric.unit in SUMMED:
        return math.fsum(values)
    return min(values) if metric.maximized else max(values)
