"""Collect: logs for ever, the newest of them kept."""

from dataclasses import dataclass
from typing import ClassVar

from mustherd.definition import Experiment
from mustherd.policy.nop import Nop

MIB = 1024 * 1024


@dataclass(frozen=True)
class CollectOptions:
    """What is kept."""

    keep_mib: int = 10_240
    """Of the log's files on disk, in MiB: the oldest go when there are more, and the newest stays."""

    def __post_init__(self) -> None:
        if self.keep_mib < 1:
            raise ValueError(f"keep_mib is {self.keep_mib}; allowed: 1 and more")


class Collect(Nop):
    """Every trial leaves the node as it was found, and its rows in the log, as many trials as the experiment has."""

    Options: ClassVar[type] = CollectOptions

    @staticmethod
    def log_bytes(experiment: Experiment) -> int:
        """What the experiment's log may take on the disk."""
        return CollectOptions(**experiment.policy.options).keep_mib * MIB
