"""What a definition's parts must be to one another; each rule yields what breaks it, with its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mustherd import metrics
from mustherd.definition import within
from mustherd.definition.errors import Finding, Path, listed, nearest
from mustherd.definition.knobs import KnobValues, disallowed, names_a_knob, value_text
from mustherd.definition.limits import limit_text
from mustherd.definition.workload import MUTILATE
from mustherd.goal import GUARD
from mustherd.learn.base import LARGEST_SPACE
from mustherd.load.application import WINDOW_PER_RESOLUTION
from mustherd.load.curve import CurveError
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.registry import server_kind
from mustherd.load.server import MEMCACHED, WorkerKind
from mustherd.meters.registry import options
from mustherd.meters.series import WINDOW_PER_PERIOD
from mustherd.node.catalog import packages_knobs
from mustherd.node.server import knobs as server
from mustherd.node.twin.mixes import MIXES
from mustherd.node.twin.profiles import DEFAULT, profile
from mustherd.plugins import SERVERS, lacking, plugin
from mustherd.terms import MAX_VALUE, NODE, KnobInfo, KnobKind

if TYPE_CHECKING:
    from mustherd.definition.model import Experiment

LARGEST_SHUFFLED = 1_000_000
"""Combinations that a search keeps in random order."""

UNBELIEVING = ("random", "grid", "one-shot")
"""Searches of ours that learn nothing and use no prior; a search of another package says by itself whether it does."""

MOST_CORES = 4096
"""Cores of a machine that nothing is known of: what its own turn out to be decides when the experiment starts."""

WATCHING = ("collect", "nop", "stats")
"""Policies that set nothing: what they have no use for need not be there."""

DRAWING = "latency-predictor"
"""The policy that compares nothing, and may try a setting twice."""

NOT_SIMULATED = (
    "a simulated node has no model of what it does; `herd: {local: {}}` sets a Linux knob of a package on this machine,"
    " `herd: {inventory: FOLDER}` any knob on real nodes"
)
NOT_LOCAL = (
    "it is no knob of a Linux machine but of a kind of node that a package adds; name that in a muster's configuration,"
    " and the herd as `herd: {inventory: FOLDER}`"
)
"""Why a herd doesn't offer a knob of a package, and what to do."""

TWIN = "twin"
"""The word for a `search.prior` that is no folder."""


def broken(experiment: Experiment) -> list[Finding]:
    """Every rule that the definition breaks; empty for a sound one."""
    found = [
        *_herd(experiment), *_workload(experiment), *_constraints(experiment), *_metrics(experiment),
        *_search(experiment), *_baseline(experiment), *_gates(experiment), *_application(experiment),
        *_meters(experiment), *within.wrong(experiment),
    ]  # fmt: skip
    if experiment.herd.simulated is not None and experiment.policy.name not in WATCHING:
        missing = dict.fromkeys(_packages_knobs(experiment), NOT_SIMULATED)
        found += offered(experiment, profile(experiment.herd.simulated.profile).knobs, missing)
    return [*found, *here(experiment)]


def here(experiment: Experiment, declared: Sequence[KnobInfo] | None = None) -> list[Finding]:
    """What the definition asks of knobs and a node on this machine doesn't allow; nothing for other herds.

    `declared` is what the file of `herd.local.own` declares; None: it has not been looked at, and any knob that isn't
    known may be among it.
    """
    local = experiment.herd.local
    if local is None:
        return []
    infos = _local_knobs(experiment, len(local.server_cores) or MOST_CORES)
    unlooked, missing = _this_machines(experiment)
    if declared is None and local.own is not None:
        keys = (*experiment.knobs, *experiment.baseline.settings)
        names = [name for key in keys if not names_a_knob(name := key.partition("@")[0])]
        declared = [KnobKind(name=name, unit="").offer(low=0, high=MAX_VALUE) for name in names]
    return offered(experiment, [*infos, *unlooked, *(declared or ())], missing)


def _packages_knobs(experiment: Experiment) -> dict[str, Any]:
    """Classes of the knobs that the definition names and other packages add, by name."""
    return packages_knobs((*experiment.knobs, *experiment.baseline.settings))


def _this_machines(experiment: Experiment) -> tuple[list[KnobInfo], dict[str, str]]:
    """What a local herd may be asked of packages' knobs, and why not of others.

    What the machine allows of them is seen when the experiment starts: here they allow anything.
    """
    classes = _packages_knobs(experiment)
    if not classes:
        return [], {}
    from mustherd.node.linux.knob import LinuxKnob  # noqa: PLC0415

    missing = {name: NOT_LOCAL for name, made in classes.items() if not issubclass(made, LinuxKnob)}
    infos = []
    for key in (*experiment.knobs, *experiment.baseline.settings):
        name, _, sheep = key.partition("@")
        if name in classes.keys() - missing.keys():
            infos.append(classes[name].kind.offer(sheep or NODE, low=0, high=MAX_VALUE))
    return infos, missing


def _local_knobs(experiment: Experiment, cores: int) -> list[KnobInfo]:
    """What a local herd's node offers, which has worker threads where its server's kind has."""
    kind = server_kind(plugin(SERVERS, experiment.workload.server_name))
    has_workers = not lacking(kind, WorkerKind)
    return [info for info in server.offers(cores) if has_workers or info.name != server.ServerThreads.kind.name]


def offered(experiment: Experiment, infos: Sequence[KnobInfo], missing: Mapping[str, str] = {}) -> list[Finding]:
    """What the definition asks of knobs and the nodes that offer `infos` don't allow; `missing`: why they lack some."""
    found: list[Finding] = []
    for key, space in experiment.knobs.items():
        found += disallowed(("knobs", key), key, _asked(("knobs", key), space), infos, missing)
    for path, settings in _settings(experiment):
        for key, setting in settings.items():
            if key in experiment.knobs or (path[0] == "baseline" and names_a_knob(key)):
                found += disallowed((*path, key), key, iter([((*path, key), setting)]), infos, missing)
    return found


def _asked(path: Path, space: KnobValues) -> Iterator[tuple[Path, int]]:
    for index, asked in enumerate(space):
        yield ((*path, space.items[index]) if space.items else path), asked


def _settings(experiment: Experiment) -> Iterator[tuple[Path, Mapping[str, int]]]:
    yield ("baseline", "settings"), experiment.baseline.settings
    yield ("search", "settings"), experiment.search.settings or {}


def _herd(experiment: Experiment) -> Iterator[Finding]:
    given = [name for name in ("simulated", "local", "inventory") if getattr(experiment.herd, name) is not None]
    if len(given) != 1:
        yield Finding(
            ("herd", given[-1]) if given else ("herd",),
            "a herd is simulated, local or an inventory, one of them"
            if given
            else "a herd needs 'simulated', 'local' or 'inventory'",
            "simulated: {profile: c6220, musters: 2}, local: {} or inventory: FOLDER",
            at_key=bool(given),
        )


def _workload(experiment: Experiment) -> Iterator[Finding]:
    load = experiment.workload
    generator = load.generator.name if load.generator is not None else None
    if experiment.herd.simulated is not None and generator not in (None, "twin"):
        yield Finding(("workload", "generator"), "simulated nodes load themselves", "leave it out", at_key=True)
    if experiment.herd.simulated is not None and load.server_name != MEMCACHED:
        yield Finding(("workload", "server"), f"simulated nodes run {MEMCACHED}", "leave it out", at_key=True)
    if load.mutilate != MutilateOptions():
        if generator != MUTILATE and (generator is not None or experiment.herd.inventory is None):
            allowed = f"generator: {MUTILATE}"
            yield Finding(("workload", "mutilate"), "mutilate doesn't make this load", allowed, at_key=True)
        elif load.generator is not None and load.generator.options:
            said_twice = "mutilate's options are said in 'mutilate' and in 'generator'"
            yield Finding(("workload", "mutilate"), said_twice, "one of the two", at_key=True)
    for index, limit in enumerate(load.checks):
        if limit.metric == GUARD:
            yield Finding(("workload", "checks", index), f"the achieved ratio is limited by gates.{GUARD} alone")
    if experiment.herd.local is not None and load.server_name != MEMCACHED and load.offered_by is None:
        yield Finding(("workload", "server"), "nothing loads it", "a load: {command: [...]}, or the name of one")
    if load.curve is None:
        if load.qps is None and load.closed_loop is False:
            yield Finding(("workload", "qps"), "the key 'qps' is needed", "a number above 0, up to 1e9; or a 'curve'")
        return
    path = ("workload", "curve")
    given = [name for name in ("steps", "sine", "step", "trace") if getattr(load.curve, name) is not None]
    if load.qps is not None:
        yield Finding(path, "a load has 'qps' or a 'curve', not both", "one of them", at_key=True)
    if len(given) != 1:
        found = "a curve is one of several forms" if given else "a curve needs a form"
        yield Finding(path, found, "one of steps, sine, step and trace")
        return
    if load.curve.spans == "experiment" and experiment.policy.name == "tune":
        problem = "a search compares settings under one load, and this one changes from window to window"
        yield Finding((*path, "spans"), problem, "window, or policy: follow", "window")
    try:
        for part in range(max(1, min(load.parts, experiment.trials))):
            load.load(part)
    except CurveError as error:
        yield Finding((*path, given[0]), str(error), "a load above 0 in every window")


def _application(experiment: Experiment) -> Iterator[Finding]:
    for name, metric in experiment.metrics.items():
        at: Path = ("metrics", name)
        if experiment.herd.simulated is not None:
            yield Finding(at, "simulated nodes run no application", "leave it out", at_key=True)
        if name in experiment.workload.declared:
            yield Finding(at, f"'{name}' is what the load tells", "another name", at_key=True)
        if (meter := name.removesuffix("_joules")) != name and meter in experiment.meters:
            yield Finding(at, f"'{name}' is the energy that the meter '{meter}' tells", "another name", at_key=True)
        if metric.needs_seconds > experiment.workload.window_seconds:
            problem = (
                f"a new value every {metric.needs_seconds / WINDOW_PER_RESOLUTION:g} s is too coarse for the window"
            )
            yield Finding(at, problem, f"a window of {metric.needs_seconds:g} s, or finer values")


def _meters(experiment: Experiment) -> Iterator[Finding]:
    for name, given in experiment.meters.items():
        at: Path = ("meters", name)
        if f"{name}_joules" in experiment.workload.declared:
            yield Finding(at, f"'{name}_joules', its energy, is what the load tells", "another name", at_key=True)
        if experiment.herd.simulated is not None:
            yield Finding(at, "simulated nodes have no meter beside their own", "leave it out", at_key=True)
        needs = WINDOW_PER_PERIOD * options(given).period_seconds
        if needs > experiment.workload.window_seconds:
            problem = f"a new value every {needs / WINDOW_PER_PERIOD:g} s is too coarse for the window"
            yield Finding(at, problem, f"a window of {needs:g} s, or a finer meter")
    named = [(("objective",), experiment.objective), *((("objectives", 1), m) for m in experiment.objectives[1:])]
    named += [(("constraints", i), c.metric) for i, c in enumerate(experiment.constraints)]
    for path, metric in named if not experiment.meters else ():
        if metric in metrics.OF_WALL:
            yield Finding(path, f"{metric} takes a meter of the machine", "one under `meters`, or another metric")


def _constraints(experiment: Experiment) -> Iterator[Finding]:
    seen: dict[tuple[str, bool], float] = {}
    for index, constraint in enumerate(experiment.constraints):
        path = ("constraints", index)
        if constraint.metric == GUARD:
            yield Finding(path, f"the achieved ratio is limited by gates.{GUARD} alone", "", f"gates.{GUARD}")
        if (constraint.metric, constraint.at_least) in seen:
            yield Finding(path, f"{constraint.metric} already has such a limit", "one limit on each side")
        opposite = seen.get((constraint.metric, not constraint.at_least))
        if (
            opposite is not None
            and (opposite < constraint.limit) == constraint.at_least
            and opposite != constraint.limit
        ):
            yield Finding(path, f"'{limit_text(constraint)}' contradicts a limit above it", "limits that leave room")
        seen[constraint.metric, constraint.at_least] = constraint.limit


def _metrics(experiment: Experiment) -> Iterator[Finding]:
    named: list[tuple[Path, str]] = [(("objective",), experiment.objective)]
    named += [(("objectives", 1), metric) for metric in experiment.objectives[1:]]
    if experiment.objectives and experiment.objectives[0] != experiment.objective:
        allowed = f"leave it out, or say '{experiment.objectives[0]}'"
        yield Finding(("objective",), "the objective is the first of `objectives`", allowed)
    named += [(("constraints", i), c.metric) for i, c in enumerate(experiment.constraints)]
    ratio = experiment.workload.update_ratio
    for path, metric in named if experiment.workload.server_name == MEMCACHED else ():
        verb = metrics.of(metric).requests
        if (verb, ratio) in (("update", 0.0), ("read", 1.0)):
            yield Finding(
                path, f"the workload has no {verb}s to measure", f"another metric, or an update_ratio but {ratio:g}"
            )


def _search(experiment: Experiment) -> Iterator[Finding]:
    search = experiment.search
    if search.initial is not None:
        if search.method != "gp":
            yield Finding(
                ("search", "initial"), f"'{search.method}' has no initial points", "only with gp", at_key=True
            )
        elif search.initial > experiment.trials:
            allowed = f"1..{experiment.trials}"
            yield Finding(("search", "initial"), f"more initial points than the {experiment.trials} trials", allowed)
    size = math.prod(len(space) for space in experiment.knobs.values())
    for name, usual in (("order", "as-written"), ("repetitions", 1)):
        if search.method != "grid" and getattr(search, name) != usual:
            problem = f"'{search.method}' goes through nothing in an order of its own"
            yield Finding(("search", name), problem, "only with grid", at_key=True)
    combinations = size * max(1, len(experiment.workload.loads)) * search.repetitions
    if search.order != "as-written" and combinations > LARGEST_SHUFFLED:
        allowed = f"{LARGEST_SHUFFLED} combinations, loads and repetitions included, or as-written"
        yield Finding(("search", "order"), f"{combinations} combinations are too many to shuffle", allowed)
    if search.prior is not None and search.method in UNBELIEVING:
        yield Finding(("search", "prior"), f"'{search.method}' believes nothing", "only with gp", at_key=True)
    if search.prior == TWIN:
        yield from _twin_prior(experiment)
    if search.method == "gp" and len(experiment.workload.loads) > 1 and size > LARGEST_SPACE:
        allowed = f"{LARGEST_SPACE} combinations, or one load"
        yield Finding(("knobs",), f"{size} combinations are too many to learn several loads together", allowed)
    if experiment.objectives and search.method == "gp" and len(experiment.workload.loads) > 1:
        yield Finding(
            ("objectives",), "two objectives at several loads are not learnt together", "one load, or one of both"
        )
    if search.method != "one-shot":
        for name in ("settings", "table"):
            if getattr(search, name) is not None:
                yield Finding(("search", name), f"'{search.method}' takes no {name}", "only one-shot", at_key=True)
        return
    if search.table is not None:
        if search.settings is not None:
            yield Finding(("search", "table"), "one-shot takes 'settings' or 'table'", "one of the two", at_key=True)
        return
    if search.settings is None:
        each = f"a value for each of {listed(list(experiment.knobs))}"
        yield Finding(("search",), "one-shot needs 'settings' or 'table'", each)
        return
    yield from _known(experiment, ("search", "settings"), search.settings)
    for key, space in experiment.knobs.items():
        if key not in search.settings:
            yield Finding(("search", "settings"), f"no value for '{key}'", "a value for each knob")
        elif search.settings[key] not in space:
            problem = f"{value_text(key, search.settings[key])} is not among the knob's values"
            yield Finding(("search", "settings", key), problem, _space_text(key, space))


def _twin_prior(experiment: Experiment) -> Iterator[Finding]:
    known = [info.name for info in DEFAULT.knobs]
    for knob in experiment.knobs:
        if knob not in known:
            yield Finding(("search", "prior"), f"the twin knows nothing of '{knob}'", f"knobs {listed(known)}")
    if experiment.workload.preset not in MIXES:
        problem = f"the twin knows nothing of '{experiment.workload.preset}'"
        yield Finding(("search", "prior"), problem, listed(list(MIXES)))


def _known(experiment: Experiment, path: Path, settings: Mapping[str, int]) -> Iterator[Finding]:
    knobs = list(experiment.knobs)
    for key in settings:
        if key not in experiment.knobs:
            yield Finding(
                (*path, key), f"'{key}' is not among the knobs", listed(knobs), nearest(key, knobs), at_key=True
            )


def _baseline(experiment: Experiment) -> Iterator[Finding]:
    """A baseline may set what is not searched, as long as some node has it."""
    unknown = {key: v for key, v in experiment.baseline.settings.items() if not names_a_knob(key)}
    yield from _known(experiment, ("baseline", "settings"), unknown)


def _gates(experiment: Experiment) -> Iterator[Finding]:
    band = experiment.gates.energy_watts
    if band.low >= band.high:
        yield Finding(
            ("gates", "energy_watts"), f"low, {band.low:g}, is not below high, {band.high:g}", "low below high"
        )


def _space_text(key: str, space: KnobValues) -> str:
    if space.values:
        return listed([value_text(key, v) for v in space.values])
    return f"{space.low}..{space.high} step {space.step}"
