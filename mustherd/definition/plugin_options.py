"""What the plug-ins that a definition names say against their options, with file and line."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from mustherd.definition.errors import Finding, Path, listed
from mustherd.definition.model import Experiment
from mustherd.definition.problem import problem
from mustherd.definition.workload import COMMAND
from mustherd.learn import registry
from mustherd.load import registry as loads
from mustherd.load.command.source import LATENCY
from mustherd.plugins import LOADS, SERVERS, OptionError, PluginError, plugin, plugins

OWN_KEYS = {"gp": ("initial", "stop", "prior"), "one-shot": ("settings", "table")}
"""Options of our searches that are keys of `search` itself."""


def check_search(experiment: Experiment) -> None:
    """Raise DefinitionError, with its line, for options that the definition's search refuses.

    PluginError for a search that can't be loaded.
    """
    search, at = experiment.search, ("search", "options")
    found = registry.find(search.method)
    kind = registry.kind_of(found)
    for name in OWN_KEYS.get(search.method, ()):
        if name in (search.options or {}):
            finding = Finding((*at, name), f"'{name}' is a key of `search` itself", "", f"search.{name}", at_key=True)
            raise experiment.source.error([finding])
    if search.prior is not None and not getattr(kind, "believes_prior", False):
        finding = Finding(("search", "prior"), f"'{search.method}' believes nothing", "no prior, or gp", at_key=True)
        raise experiment.source.error([finding])
    if found.is_ours and not search.options:
        return  # the definition's own rules say all
    with refusals(experiment, at):
        registry.check(search.method, problem(experiment), search.options or {})


def check_load(experiment: Experiment) -> None:
    """Raise DefinitionError, with its line, for what the definition's server or load refuses or can't do.

    PluginError for a server or load that can't be loaded.
    """
    load, source = experiment.workload, experiment.source
    if load.server is not None and load.server.options:
        at: Path = ("workload", "server")
        if not source.has((*at, COMMAND)):
            at = (*at, "options")
        if experiment.herd.local is None:
            raise source.error([Finding(at, "only a local herd runs its server", "herd: {local: {}}", at_key=True)])
        with placed(experiment, ("workload", "server")), refusals(experiment, at):
            loads.check(plugin(SERVERS, load.server.name), load.server.options)
    if load.generator is not None:
        name, options = load.generator.name, load.options_of(load.generator.name)
    elif load.offered_by is not None:
        name, options = load.offered_by
    else:
        return
    at, own = places_of_load(experiment)
    with placed(experiment, at):
        found = plugin(LOADS, name)
    with placed(experiment, at), refusals(experiment, own):
        traits = loads.traits_of(name, options)
    if not traits.can_load(load.server_name):
        allowed = listed([each for each in plugins(LOADS) if _can_load(each, load.server_name)])
        raise source.error([Finding(at, f"'{name}' can't load {load.server_name}", allowed)])
    if traits.on_node and experiment.herd.simulated is None:
        raise source.error([Finding(at, f"'{name}' is a part of a simulated node", "herd: {simulated: {}}")])
    if not traits.follows_curves and any(load.load(part).curve for part in range(max(1, load.parts))):
        problem = f"{name}'s load is constant within a window"
        raise source.error([Finding(("workload", "curve"), problem, "steps as long as windows, and spans: experiment")])
    if traits.whole_seconds and load.window_seconds != int(load.window_seconds):
        problem = f"{name} measures whole seconds"
        raise source.error([Finding(("workload", "window_seconds"), problem, "a whole number from 1 on")])
    if not traits.open_loop and experiment.gates.achieved_ratio > 0:
        problem = f"{name} offers what is answered: its answered share says nothing"
        raise source.error([Finding(("gates", "achieved_ratio"), problem, "0, no guard", "0")])
    with placed(experiment, at), refusals(experiment, own):
        told = loads.latencies(found, loads.check(found, options))
    if told is not None and (untold := list(_untold(experiment, name, told))):
        raise source.error(untold)


def _untold(experiment: Experiment, load: str, told: Collection[str]) -> Iterator[Finding]:
    """The latencies that the definition needs, and that its load, which tells those of `told`, doesn't."""
    objectives: list[tuple[Path, str]] = [(("objective",), experiment.objective)]
    if experiment.objectives:
        objectives = [(("objectives", index), metric) for index, metric in enumerate(experiment.objectives)]
    limits = [(("constraints", index), limit.metric) for index, limit in enumerate(experiment.constraints)]
    checks = [(("workload", "checks", index), limit.metric) for index, limit in enumerate(experiment.workload.checks)]
    for at, metric in (*objectives, *limits, *checks):
        if LATENCY.fullmatch(metric) and metric not in told and metric not in experiment.metrics:
            allowed = f"what it tells: {', '.join(told) or 'no latency'}"
            if load == COMMAND:
                allowed += f"; or say under workload.load.metrics where {metric} stands"
            yield Finding(at, f"the load '{load}' doesn't tell {metric}", allowed)


def places_of_load(experiment: Experiment) -> tuple[Path, Path]:
    """Where a definition names its load, or the server that brings one, and where the load's options are."""
    load, source = experiment.workload, experiment.source
    if load.generator is None and load.server is not None:
        return ("workload", "server"), ("workload", "server")
    at = ("workload", "load" if source.has(("workload", "load")) else "generator")
    return at, (*at, "options") if load.generator is not None and source.has((*at, "options")) else at


def _can_load(name: str, server: str) -> bool:
    try:
        return loads.load_kind(plugin(LOADS, name)).traits.can_load(server)
    except PluginError:
        return False


@contextmanager
def placed(experiment: Experiment, at: Path) -> Iterator[None]:
    """Say where in the file a plug-in is named, at `at`, that can't be loaded."""
    try:
        yield
    except PluginError as error:
        raise type(error)(experiment.source.error([Finding(at, str(error))]).sentence()) from error


@contextmanager
def refusals(experiment: Experiment, at: Path) -> Iterator[None]:
    """Put what a plug-in says against its options, which are at `at`, in its place in the file."""
    try:
        yield
    except OptionError as error:
        finding = Finding((*at, *error.path), error.problem, error.allowed, error.suggestion, at_key=error.unknown)
        raise experiment.source.error([finding]) from None
    except ValueError as error:
        raise experiment.source.error([Finding(at, str(error))]) from None
