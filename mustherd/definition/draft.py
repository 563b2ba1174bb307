"""A definition written for somebody who answers a few questions: every key that they may want next, with its comment.

What is written is what is read again: each draft is a definition like any other, and its mistakes are told as those of
any other.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

SIMULATED, LOCAL = "simulated", "local"


@dataclass(frozen=True)
class Usual:
    """What is asked of a kind of herd unless somebody says otherwise. Texts are YAML, each of one line."""

    herd: str
    load: str
    objective: str
    limits: tuple[str, ...]
    knobs: tuple[str, ...]
    times: str
    """Keys of `workload` that say how long a window is."""


USUAL = MappingProxyType(
    {
        SIMULATED: Usual(
            herd="simulated: {profile: c6220, musters: 2, speed: 400}  # two nodes of a model, 400 times faster",
            load="200k",
            objective="energy_joules",
            limits=("read_p99_us <= 500",),
            knobs=("itr-delay", "dvfs"),
            times="",
        ),
        LOCAL: Usual(
            herd="local: {server_threads: 4}  # a real memcached on this machine, under the built-in generator",
            load="30k",
            objective="server_cpu_seconds",
            limits=("read_p99_us <= 20000",),
            knobs=("memcached-threads",),
            times=", settle_seconds: 0.2, ramp_seconds: 1, window_seconds: 4",
        ),
    }
)
REAL = replace(USUAL[SIMULATED], herd="")
"""What is asked of nodes of an inventory: what is asked of their model."""

VALUES: Mapping[str, str] = MappingProxyType(
    {
        "itr-delay": "[2, 20, 50, 100, 150, 200, 250, 300, 350, 400]  # us between interrupts of a queue",
        "dvfs": "[{low: 1.2 GHz, high: 2.6 GHz, step: 200 MHz}]  # clocks; mustherd knob list says what nodes allow",
        "uncore-max": "[1.2 GHz, 1.8 GHz, 2.4 GHz]  # highest clock of caches and memory controller",
        "idle-latency": "[free, 2, 50, polling]  # us that a core may take to wake up",
        "gro-flush-timeout": "['off', 20, 100]  # us until packets that wait are handed up; needs napi-defer",
        "napi-defer": "['off', 2, 10]  # polls of an empty queue before its interrupt is on again",
        "memcached-threads": "[1, 2, 4]  # of the server",
        "cpu-quota": "[25, 50, 75, 100]  # % of one core that the server may use; needs root",
    }
)
"""Values to begin with, for the knobs that most people set first."""

_BARE = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./ <>=%-]*(?<! )")


@dataclass(frozen=True)
class Answers:
    """What somebody wants. Empty: what is usual for such a herd."""

    herd: str = SIMULATED
    """`simulated`, `local`, or where an inventory is."""
    objective: str = ""
    limits: tuple[str, ...] = ()
    load: str = ""
    """Requests per second as a definition writes them: `200k`, or `[200k, 400k]`."""
    knobs: tuple[str, ...] = ()
    """Names, or `NAME=VALUES` with values as a definition writes them."""
    name: str = field(default="mine", kw_only=True)

    @property
    def usual(self) -> Usual:
        """What is usual for such a herd."""
        return USUAL.get(self.herd, REAL)


def name_of(path: Path) -> str:
    """What an experiment is called whose definition is this file."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:64] or "mine"


def text(answers: Answers) -> str:
    """The definition, with comments; each answer stands on the line that a message about it names."""
    usual = answers.usual
    limits = ", ".join(_scalar(limit) for limit in answers.limits or usual.limits)
    herd = usual.herd or f"inventory: {_scalar(answers.herd)}  # mustherd herd doctor -i says what its nodes lack"
    lines = [
        "# An experiment: which settings of the knobs make the objective best, while every limit is kept?",
        "# `mustherd experiment plan` says what it takes, `start` runs it, `check` tries its links.",
        f"name: {_scalar(answers.name)}",
        "",
        "# The nodes: simulated, local, or the inventory of a herd.",
        "herd:",
        f"  {herd}",
        "",
        "# The load, in requests per second. [100k, 200k] are several, each with settings of its own.",
        f"workload: {{preset: etc, qps: {_one_line(answers.load or usual.load)}{usual.times}}}",
        "",
        "# What may be set, and to what.",
        "knobs:",
        *(f"  {_knob(knob)}" for knob in answers.knobs or usual.knobs),
        "",
        "# The metric to make small (large where more is better), and what a setting has to keep.",
        f"objective: {_scalar(answers.objective or usual.objective)}",
        f"constraints: [{limits}]",
        "",
        "# Settings that are tried; then the best and the default are measured again, in rounds.",
        "trials: 20",
        "repeats: 3",
        "",
        "# More, each with its default:",
        "# policy: tune  # nop, collect and stats measure the nodes as they are: leave `knobs` out with them",
        "# search: {method: gp, seed: 1}  # or random, grid, and what other packages add: mustherd plugins list",
        "# baseline: {settings: default, every: 10}  # what is compared with: the node as it is found",
        "# gates: {achieved_ratio: 0.98}  # a window that answers less of its load keeps no limit",
        "# budget: {minutes: 120}  # what may be spent on the nodes' clock; no bound by default",
    ]
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split()) or '""'


def _scalar(text: str) -> str:
    """A text as YAML takes it for one: quoted where it would be read otherwise."""
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _knob(asked: str) -> str:
    """A knob's line: with the values given, else with some to begin with."""
    name, equals, values = asked.partition("=")
    name = name.strip()
    return f"{_scalar(name)}: {_one_line(values) if equals else VALUES.get(name, '[]  # name its values here')}"
