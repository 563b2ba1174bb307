"""The interface of a policy, and how the one that an experiment names is made."""

import enum
import logging
import operator
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from mustherd.definition import Experiment
from mustherd.definition.errors import Finding, listed, nearest
from mustherd.definition.plugin_options import refusals
from mustherd.definition.problem import CONTEXT
from mustherd.errors import MAX_ERROR, UserError, repr_of, shown
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.noise import Noise
from mustherd.plugins import POLICIES, Plugin, PluginError, blaming, in_file, keeps, options_of, plugin, plugins, said
from mustherd.terms import MAX_VALUE, Load

log = logging.getLogger(__name__)


class PolicyError(UserError):
    """A policy can't be had or broke; the message names it and its package."""

    exit_code = 3


class Wait(enum.Enum):
    """What a policy answers that can't choose before something that is under way has ended."""

    WAIT = "wait"


CLOSE_S = 10.0
"""How long another package's policy may take to let go of what it holds."""

WAIT: Final = Wait.WAIT
"""The answer itself. The policy is asked again once a trial has ended or a muster has joined."""

Proposal = Settings | Wait | None
"""What a policy may answer: settings to try, WAIT, or None: enough, for good."""


@runtime_checkable
class Policy(Protocol):
    """Says what to try next. The trial loop runs it: sets the knobs, measures, gates, stores, and tells the policy.

    Made once for each run of an experiment as `Policy(experiment, problem)`; a resumed run makes a new one and tells it
    all that was found so far in one `observe`. Called from one thread. A policy may take seconds to propose (no
    heartbeat waits for it), and touches no node itself.
    """

    @property
    def compares(self) -> bool:
        """Whether its trials are held against a baseline and its best one is confirmed: a search does, watching
        doesn't. An attribute of the class."""
        ...

    def observe(self, observations: Sequence[Observation]) -> None:
        """Learn from valid, finished trials of this policy, in the order they ended. Baselines are not among them."""
        ...

    def propose(self, pending: Sequence[Settings]) -> Proposal:
        """The next setting to try, given those under way; {} leaves the node as it was found; None: enough, for good.

        WAIT: not before something that is under way has ended; where nothing is, that ends the search, too.
        Where the experiment has several loads, a point's `qps` says at which one; without it they take turns.
        """
        ...

    def why_enough(self) -> str:
        """After `propose` gave None: why, as the end of a sentence that begins with 'the search is over:'."""
        ...

    def close(self) -> None:
        """Let go of what it holds; called once, when nodes have been put back.

        Of another package's policy in a thread of its own, which is waited for as long as CLOSE_S.
        """
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
        """When the search is over: settings to confirm, the best first; if empty, the trials decide.

        Of several loads the point says at which, as in `propose`.
        """
        ...


@runtime_checkable
class CalibratedPolicy(Policy, Protocol):
    """A policy that can use how much equal trials differ."""

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        """The noise of one trial by metric, as the baseline's repeats show it so far; told after each of them."""
        ...


@runtime_checkable
class BaselinePolicy(Policy, Protocol):
    """A policy that can use what the baseline measures, which costs it no trial."""

    def observe_baseline(self, observations: Sequence[Observation]) -> None:
        """Learn from valid, finished trials of the baseline. Their settings are those that the definition gives it: {}
        for a node as it was found."""
        ...


@dataclass(frozen=True)
class Group:
    """Nodes that a trial is about together, by the names of their musters."""

    workers: tuple[str, ...]
    """They get the trial's settings; the first stands for the group in stores and reports."""
    source: str
    """It is measured at the same time, as it was found."""
    of_source: tuple[str, ...] = ()
    """Metrics of the source's window; all others are the workers'."""

    @property
    def members(self) -> tuple[str, ...]:
        """All of them."""
        return (self.source, *self.workers)


@runtime_checkable
class Grouping(Protocol):
    """A policy whose trials are of several nodes at a time."""

    def groups(self, musters: Sequence[str]) -> Sequence[Group]:
        """How the musters that have joined form groups, none of them in two; empty: each is by itself. Asked once,
        before anything is proposed. PolicyError for musters that can't."""
        ...


@runtime_checkable
class BoundedLog(Protocol):
    """A policy that bounds the log of its experiment."""

    @staticmethod
    def log_bytes(experiment: Experiment) -> int:
        """What its files may take on the disk; the oldest go when there are more."""
        ...


def log_bytes(experiment: Experiment) -> int | None:
    """What an experiment's log may take on the disk; None where its policy doesn't bound it.

    Raises PolicyError; PluginError for a policy that breaks as it is asked.
    """
    found = plugin(POLICIES, experiment.policy.name)
    try:
        return _log_bytes(experiment, found, kind_of(found))
    except ValueError as error:
        raise PolicyError(str(error)) from None


def _log_bytes(experiment: Experiment, found: Plugin, kind: Any) -> int | None:
    """ValueError for what is no number of bytes."""
    if not isinstance(kind, BoundedLog):
        return None
    with blaming(f"{found.title} can't bound its log", PolicyError, PluginError):
        given = kind.log_bytes(experiment)
    try:
        most = -1 if isinstance(given, bool) else operator.index(given)
    except (Exception, SystemExit):  # whatever its own number raises
        most = -1
    if not 0 <= most <= MAX_VALUE:
        raise ValueError(
            f"{found.title}: its log_bytes are {repr_of(given)}; allowed: a whole number from 0 to {MAX_VALUE}"
        )
    return most


def kind_of(found: Plugin) -> Any:
    """What a policy's name stands for: its class. Raises PluginError when it can't be loaded or isn't a policy."""
    kind = found.load()
    keeps(found, kind, Policy)
    return kind


def check(experiment: Experiment) -> None:
    """Look whether the policy that a definition names is there and takes its options, before anything is started.

    A policy says what it takes by `Options`, a dataclass or msgspec struct, and by a static method `check(experiment)`
    that raises ValueError, or mustherd.plugins.OptionError with the place of an option.

    Raises DefinitionError, with its line, for the name, an option, and a bound of its log that is no number of bytes;
    PluginError for a policy that can't be loaded or that breaks.
    """
    name, known = experiment.policy.name, list(plugins(POLICIES))
    own = in_file(POLICIES, name)
    if own is not None and not Path(own.package).is_file():
        finding = Finding(("policy", "name"), f"there is no file {own.package!r}", "a file, from the current folder")
        raise experiment.source.error([finding])
    if own is None and name not in known:
        # `policy: tune` has no key below it; the error is then placed at the policy itself.
        finding = Finding(("policy", "name"), f"unknown policy '{name}'", listed(known), nearest(name, known))
        raise experiment.source.error([finding])
    found = plugin(POLICIES, name)
    kind = kind_of(found)
    look = getattr(kind, "check", None)
    with refusals(experiment, ("policy", "options")):
        if hasattr(kind, "Options"):
            options_of(kind, experiment.policy.options)
        if look is not None:
            with blaming(f"{found.title} can't check its options", (ValueError, UserError), PluginError):
                look(experiment)
    with refusals(experiment, ("policy",)):
        _log_bytes(experiment, found, kind)


def make(experiment: Experiment, problem: Problem) -> Policy:
    """The policy that an experiment names. Raises PolicyError; PluginError for one that can't be loaded."""
    name = experiment.policy.name
    found = plugin(POLICIES, name)
    kind = kind_of(found)
    try:
        own = (PolicyError, ValueError) if found.is_ours else PolicyError
        with blaming(f"{found.title} ({found.target}) could not be made", own, PolicyError):
            policy: Policy = kind(experiment, problem)
    except ValueError as error:
        raise PolicyError(f"policy {name}: {error}") from None
    return policy if found.is_ours else GuardedPolicy(found.title, policy, experiment)


def _no_group(group: Group, musters: Sequence[str]) -> str:
    """Why the nodes of a group can't be measured together; "" where they can."""
    names = (group.workers, group.of_source)
    if not all(isinstance(each, tuple | list) and all(isinstance(name, str) for name in each) for each in names):
        return "its workers and of_source are tuples of names"
    if not group.workers:
        return "it has no workers"
    unknown = [name for name in group.members if name not in musters]
    if unknown:
        return f"no muster is called {listed([repr_of(name) for name in unknown])}; allowed: {listed(list(musters))}"
    return ""


class GuardedPolicy:
    """A policy of another package: what it answers is looked at before it is acted on.

    Whatever it raises becomes one PolicyError that names it. What it hasn't does what a policy without it means.
    """

    def __init__(self, title: str, policy: Policy, experiment: Experiment) -> None:
        self._title = title
        with self._guarded("say whether it compares"):
            self.compares = policy.compares
        if not isinstance(self.compares, bool):
            raise PolicyError(f"{title} compares {repr_of(self.compares)}; allowed: True, False")
        self._policy = policy
        self._knobs = experiment.knobs
        self._loads = experiment.workload.loads

    def observe(self, observations: Sequence[Observation]) -> None:
        with self._guarded("learn"):
            self._policy.observe(observations)

    def expect(self, load: Load) -> None:
        if isinstance(self._policy, Follower):
            with self._guarded("expect a load"):
                self._policy.expect(load)

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        if isinstance(self._policy, CalibratedPolicy):
            with self._guarded("be calibrated"):
                self._policy.calibrate(noise)

    def observe_baseline(self, observations: Sequence[Observation]) -> None:
        if isinstance(self._policy, BaselinePolicy):
            with self._guarded("learn from the baseline"):
                self._policy.observe_baseline(observations)

    def groups(self, musters: Sequence[str]) -> Sequence[Group]:
        if not isinstance(self._policy, Grouping):
            return ()
        with self._guarded("group musters"):
            groups = list(self._policy.groups(musters))
        for group in groups:
            if not isinstance(group, Group):
                raise PolicyError(f"{self._title} groups {repr_of(group)}, which is no mustherd.policy.base.Group")
            if why := _no_group(group, musters):
                raise PolicyError(f"{self._title} groups {repr_of(group)}: {why}")
        members = [name for group in groups for name in group.members]
        if twice := next((name for name in members if members.count(name) > 1), ""):
            raise PolicyError(f"{self._title} groups {repr_of(groups)}: {twice} is in two of them")
        return groups

    def propose(self, pending: Sequence[Settings]) -> Proposal:
        with self._guarded("propose"):
            point = self._policy.propose(pending)
        return point if point is None or point is WAIT else self._believed(point)

    def ranking(self) -> Sequence[Settings]:
        if not isinstance(self._policy, Ranking):
            return []
        with self._guarded("rank"):
            ranking = list(self._policy.ranking())
        return [self._believed(point) for point in ranking]

    def why_enough(self) -> str:
        with self._guarded("say why it is over"):
            return shown(self._policy.why_enough(), MAX_ERROR)

    def close(self) -> None:
        """Whatever comes of it, what was found stands; one that never ends costs CLOSE_S."""

        def close() -> None:
            try:
                self._policy.close()
            except BaseException as error:  # it ends nothing but this thread
                log.warning("%s can't close: %s", self._title, said(error))

        closing = threading.Thread(target=close, name="close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            log.warning("%s takes longer than %g s to close: it is left at that", self._title, CLOSE_S)

    def _believed(self, point: Settings) -> Settings:
        """A point of the experiment's knobs and loads, its values whole numbers. PolicyError."""
        try:
            whole = {str(key): operator.index(value) for key, value in point.items()}
        except (Exception, SystemExit):  # whatever its own mapping or number raises
            found = repr_of(point)
            raise PolicyError(f"{self._title} proposes {found}: a whole number for each knob is wanted") from None
        for key, value in whole.items():
            known = self._loads if key == CONTEXT else self._knobs.get(key, ())
            if value not in known:
                found = f"{shown(key)} {repr_of(value)}"
                raise PolicyError(f"{self._title} proposes {found}, which is not among the experiment's values")
        return whole

    def _guarded(self, what: str) -> AbstractContextManager[None]:
        return blaming(f"{self._title} can't {what}", PolicyError, PolicyError)
