"""Change nothing: measure the herd as it is, as often as the experiment says."""

from collections.abc import Sequence
from typing import ClassVar

from mustherd.definition import Experiment
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.plugins import NoOptions


class Nop:
    """Every trial leaves the node as it was found."""

    Options: ClassVar[type] = NoOptions
    compares: ClassVar[bool] = False

    def __init__(self, _experiment: Experiment, _problem: Problem) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        pass

    def propose(self, pending: Sequence[Settings]) -> Settings | None:  # noqa: ARG002
        return {}

    def why_enough(self) -> str:
        return ""

    def close(self) -> None:
        pass
