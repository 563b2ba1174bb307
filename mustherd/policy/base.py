"""The interface of a policy, and where policies are found."""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Protocol, runtime_checkable

from mustherd.definition import Experiment
from mustherd.definition.errors import Finding
from mustherd.errors import UserError
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.noise import Noise
from mustherd.terms import Load

GROUP = "mustherd.policies"


class PolicyError(UserError):
    """A policy can't be had or broke; the message names it and its package."""

    exit_code = 3


@runtime_checkable
class Policy(Protocol):
    """Says what to try next. The trial loop runs it: sets the knobs, measures, gates, stores, and tells the policy.

    Made once for each run of an experiment as `Policy(experiment, problem)`; a resumed run makes a new one and tells it
    all that was found so far in one `observe`. Called from one thread. A policy may take seconds to propose (no
    heartbeat waits for it), and touches no node itself.
    """

    compares: ClassVar[bool]
    """Whether its trials are held against a baseline and its best one is confirmed: a search does, watching doesn't."""

    def observe(self, observations: Sequence[Observation]) -> None:
        """Learn from valid, finished trials of this policy, in the order they ended. Baselines are not among them."""
        ...

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        """The next setting to try, given those under way; {} leaves the node as it was found; None: enough.

        Where the experiment has several loads, a point's `qps` says at which one; without it they take turns.
        """
        ...

    def why_enough(self) -> str:
        """After `propose` gave None: why, as the end of a sentence that begins with 'the search is over:'."""
        ...

    def close(self) -> None:
        """Let go of what it holds; called once."""
        ...


@runtime_checkable
class Follower(Protocol):
    """A policy that wants to know the load of the trial that it is about to be asked for."""

    def expect(self, load: Load) -> None:
        """The next `propose` is about a trial under `load`; called before each of them."""
        ...


@runtime_checkable
class Ranking(Policy, Protocol):
    """A policy that knows better than the trials themselves what is worth confirming."""

    def ranking(self) -> Sequence[Settings]:
        """When the search is over: settings to confirm, the best first; empty: as the trials say.

        Of several loads the point says at which, as in `propose`.
        """
        ...


@runtime_checkable
class CalibratedPolicy(Policy, Protocol):
    """A policy that can use how much equal trials differ."""

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        """The noise of one trial by metric, as the baseline's repeats show it so far; told after each of them."""
        ...


def installed() -> dict[str, EntryPoint]:
    """Policies by name; of two with one name ours wins, so that a package can't take a built-in's place."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        ours = entry.value.startswith("mustherd.")
        if ours or entry.name not in found:
            found[entry.name] = entry
    return found


def check(experiment: Experiment) -> None:
    """Raise DefinitionError, with its line, for options that the policy refuses, where it can say so beforehand.

    A policy says so by a static method `check(experiment)` that raises ValueError.
    """
    entry = installed().get(experiment.policy.name)
    look = getattr(entry.load(), "check", None) if entry is not None else None
    if look is None:
        return
    try:
        look(experiment)
    except ValueError as error:
        raise experiment.source.error([Finding(("policy", "options"), str(error))]) from None


def make(experiment: Experiment, problem: Problem) -> Policy:
    """The policy that an experiment names. Raises PolicyError."""
    name = experiment.policy.name
    entry = installed().get(name)
    if entry is None:
        raise PolicyError(f"no policy {name!r} is installed; there are: {', '.join(sorted(installed()))}")
    try:
        policy = entry.load()(experiment, problem)
    except ValueError as error:
        raise PolicyError(f"policy {name}: {error}") from None
    except Exception as error:
        raise PolicyError(
            f"policy {name} ({entry.value}) could not be made: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(policy, Policy):
        raise PolicyError(f"policy {name} ({entry.value}) lacks part of the interface: see mustherd.policy.base")
    return policy
