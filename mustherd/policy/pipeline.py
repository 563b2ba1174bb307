"""Pipeline: tune the workers of a stream together, by what its source shows beside what they use."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from mustherd.definition import Experiment
from mustherd.learn.base import Problem
from mustherd.policy.base import Group, PolicyError
from mustherd.policy.tune import Tune

Names = Annotated[tuple[str, ...], Meta(min_length=1, max_length=128)]


class OnePipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source and who works for it, by the names of their musters."""

    source: str
    workers: Names


class PipelineOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without `pipelines` the first muster by name is the source of all others."""

    pipelines: tuple[OnePipeline, ...] = ()
    of_source: tuple[str, ...] = ()
    """Metrics of the source's window; those that the definition declares are asked of the application, and need not be
    named. All others are the workers'."""


class Pipeline(Tune):
    """Runs the experiment's search over groups of nodes: each trial sets all workers of one alike, and nothing of its
    source, whose backpressure may be objective or limit."""

    Options: ClassVar[type] = PipelineOptions

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        self._options = _options(experiment)
        self._declared = tuple(experiment.metrics)
        super().__init__(experiment, problem)

    @staticmethod
    def check(experiment: Experiment) -> None:
        """ValueError for what can't be done."""
        members = [name for one in _options(experiment).pipelines for name in (one.source, *one.workers)]
        if twice := next((name for name in members if members.count(name) > 1), None):
            raise ValueError(f"{twice} is in it twice: a muster is one pipeline's source, or one of its workers")
        if experiment.changes:
            raise ValueError("knobs of a pipeline are not set within its windows: leave 'changes' out")
        simulated = experiment.herd.simulated
        if experiment.herd.local is not None or (simulated is not None and simulated.musters < 2):
            raise ValueError("a pipeline needs two nodes at least: a source and a worker")

    def groups(self, musters: Sequence[str]) -> Sequence[Group]:
        """Of these musters. PolicyError for one that isn't there."""
        pipelines = self._options.pipelines
        if not pipelines:
            source, *workers = sorted(musters)
            if not workers:
                raise PolicyError("policy pipeline: there is one muster, and a pipeline needs a source and a worker")
            pipelines = (OnePipeline(source=source, workers=tuple(workers)),)
        for name in (name for one in pipelines for name in (one.source, *one.workers)):
            if name not in musters:
                raise PolicyError(f"policy pipeline: there is no muster {name}; there are {', '.join(sorted(musters))}")
        of_source = (*self._declared, *self._options.of_source)
        return [Group(workers=one.workers, source=one.source, of_source=of_source) for one in pipelines]


def _options(experiment: Experiment) -> PipelineOptions:
    try:
        return msgspec.convert(experiment.policy.options, PipelineOptions)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
