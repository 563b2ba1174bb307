"""The load `several`: loads beside one another, each with a leader, agents, servers and a mix of its own.

As where two servers of a node, one on each socket, are loaded by two leaders at the same time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec

from mustherd.load import registry
from mustherd.load.base import ANY, BuildsTold, LoadSource, LoadTraits, Site, WatchedLoad
from mustherd.load.error import LoadError
from mustherd.load.memcached.counters import Counters
from mustherd.node.node import RunningLoad
from mustherd.plugins import LOADS, OptionError, PluginError, plugin
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport

MOST_LOADS = 16
NAME = "several"

T = TypeVar("T")


class OneLoad(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of them."""

    servers: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=1024)], ...], msgspec.Meta(min_length=1)]
    """Which of the node's servers it goes to: 1 is the first."""
    share: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 1.0
    """Its part of the workload's qps, beside the others' shares: 400 and 200 make two thirds and one third."""
    agents: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    """How many of the agents load for it; they are dealt out in order."""
    preset: str = ""
    """Empty: the workload's."""
    update_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """None: the workload's."""
    load: str = "mutilate"
    """What makes it."""
    options: dict[str, Any] = {}
    """That load's own."""


class SeveralOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loads."""

    loads: Annotated[tuple[OneLoad, ...], msgspec.Meta(min_length=2, max_length=MOST_LOADS)]


class SeveralSource:
    """Keeps the contract of mustherd.load.base.LoadSource: its loads are started, opened and closed together.

    What it reports of a window is about all of them: their loads add up, a percentile is the worst one's (that of all
    requests together is no larger), and each load's own is there as `load_1_read_p99_us`, `load_1_achieved_qps` and
    `load_1_achieved_ratio`.
    """

    Options = SeveralOptions
    traits: ClassVar[LoadTraits] = LoadTraits(servers=(ANY,), open_loop=True)

    def __init__(self, site: Site, options: SeveralOptions) -> None:
        """LoadError for servers and agents that there are not."""
        self._loads = options.loads
        self._sources: list[LoadSource] = []
        self._threads = ThreadPoolExecutor(len(options.loads), thread_name_prefix=NAME)
        self._shares_servers = len({n for one in self._loads for n in one.servers}) < sum(
            len(one.servers) for one in self._loads
        )
        wanted = sum(one.agents for one in self._loads)
        if wanted > len(site.agents):
            raise LoadError(Reason.AGENT_DEAD, f"its loads want {wanted} agents, and there are {len(site.agents)}")
        first = 0
        for number, (one, part) in enumerate(zip(self._loads, parts(self._loads), strict=True), 1):
            if (most := max(one.servers)) > len(site.servers):
                found = f"load {number} goes to server {most}, and the node has {len(site.servers)}"
                raise LoadError(Reason.SERVER_UNREACHABLE, found)
            own = msgspec.structs.replace(
                site,
                servers=tuple(site.servers[n - 1] for n in one.servers),
                agents=site.agents[first : first + one.agents],
                qps=site.qps * part,
            )
            first += one.agents
            self._sources.append(registry.make(one.load, own, one.options))

    @staticmethod
    def check_options(options: SeveralOptions) -> None:
        """OptionError with the place of what a load of them refuses."""
        for number, one in enumerate(options.loads):
            try:
                found = plugin(LOADS, one.load)
                if one.load == NAME or registry.load_kind(found).traits.on_node:
                    raise PluginError(f"load {one.load!r} can't be one of several")
                registry.check(found, one.options)
            except OptionError as error:
                path = ("loads", number, "options", *error.path)
                raise OptionError(
                    error.problem, path, allowed=error.allowed, suggestion=error.suggestion, unknown=error.unknown
                ) from None
            except PluginError as error:
                raise OptionError(str(error), ("loads", number, "load")) from None

    @staticmethod
    def traits_of(options: SeveralOptions) -> LoadTraits:
        """What is the same of all its loads."""
        of = [registry.traits_of(one.load, one.options) for one in options.loads]
        return LoadTraits(
            servers=tuple(server for server in of[0].servers if all(one.can_load(server) for one in of)),
            open_loop=all(one.open_loop for one in of),
            follows_curves=all(one.follows_curves for one in of),
            whole_seconds=any(one.whole_seconds for one in of),
            overhead_s=max(one.overhead_s for one in of),
        )

    @staticmethod
    def declares(options: Mapping[str, object]) -> dict[str, Literal["less", "more"]]:
        """Its loads' own metrics."""
        loads = options.get("loads")
        found: dict[str, Literal["less", "more"]] = {}
        for number in range(1, len(loads) + 1 if isinstance(loads, Sequence) else 1):
            found |= {f"load_{number}_read_p99_us": "less", f"load_{number}_achieved_qps": "more"}
            found[f"load_{number}_achieved_ratio"] = "more"
        return found

    def prepare(self) -> None:
        self._all(lambda source: source.prepare(), self._sources)

    def start(self, load: Load, seed: int) -> "SeveralLoad":
        pairs = [
            (source, of, seed + k) for k, (source, of) in enumerate(zip(self._sources, self._of(load), strict=True))
        ]
        running = self._all(lambda one: one[0].start(one[1], one[2]), pairs)
        return SeveralLoad(running, self._all, shares_servers=self._shares_servers)

    def stop(self) -> None:
        for source in self._sources:
            source.stop()

    def check(self) -> Sequence[str]:
        return [
            f"load {number}: {problem}" for number, source in enumerate(self._sources, 1) for problem in source.check()
        ]

    def builds(self) -> dict[str, str]:
        """Of each load that tells. LoadError."""
        told = (source.builds() for source in self._sources if isinstance(source, BuildsTold))
        return {name: text for one in told for name, text in one.items()}

    def _of(self, load: Load) -> list[Load]:
        """Each load's own."""
        return [
            msgspec.structs.replace(
                load,
                qps=load.qps * part,
                preset=one.preset or load.preset,
                update_ratio=load.update_ratio if one.update_ratio is None else one.update_ratio,
                outstanding=max(1, round(load.outstanding * part)),
                curve=tuple((seconds, qps * part, end * part) for seconds, qps, end in load.curve),
            )
            for one, part in zip(self._loads, parts(self._loads), strict=True)
        ]

    def _all(self, do: "Callable[[Any], T]", ones: Sequence[Any]) -> list[T]:
        """Do it with all at the same time. Where one fails all the others are waited for, and its error is raised."""
        doing = [self._threads.submit(do, one) for one in ones]
        failed = [error for future in doing if (error := future.exception()) is not None]
        if failed:
            raise failed[0]
        return [future.result() for future in doing]


class SeveralLoad:
    """Its loads under way; keeps the contract of mustherd.node.node.RunningLoad."""

    def __init__(
        self,
        running: Sequence[RunningLoad],
        together: "Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]",
        *,
        shares_servers: bool,
    ) -> None:
        self._running = running
        self._together = together
        self._shares_servers = shares_servers

    def open_window(self) -> None:
        """Open all of them. LoadError."""
        self._together(lambda one: one.open_window(), self._running)

    def look(self) -> None:
        """Look after those that can be. LoadError."""
        for one in self._running:
            if isinstance(one, WatchedLoad):
                one.look()

    def close_window(self) -> LoadReport:
        """Close all, and report them as one. LoadError."""
        reports = self._together(lambda one: one.close_window(), self._running)
        return merged(reports, shares_servers=self._shares_servers)


def parts(loads: Sequence[OneLoad]) -> list[float]:
    """Each load's part of the whole, of 1."""
    whole = math.fsum(one.share for one in loads)
    return [one.share / whole for one in loads]


def merged(reports: Sequence[LoadReport], *, shares_servers: bool = False) -> LoadReport:
    """Several reports of the same window as one, over the time that they have in common; pure."""
    t0, t1 = max(one.t0_s for one in reports), min(one.t1_s for one in reports)
    common = [max(0.0, t1 - t0) / (one.t1_s - one.t0_s) for one in reports]
    own: dict[str, float] = {}
    for number, one in enumerate(reports, 1):
        if (p99 := one.read_us.get("p99")) is not None:
            own[f"load_{number}_read_p99_us"] = p99
        own[f"load_{number}_achieved_qps"] = one.achieved_qps
        own[f"load_{number}_achieved_ratio"] = one.achieved_qps / one.offered_qps if one.offered_qps else 0.0
    return LoadReport(
        generator=NAME,
        t0_s=t0,
        t1_s=t1,
        offered_qps=math.fsum(one.offered_qps for one in reports),
        achieved_qps=math.fsum(one.achieved_qps for one in reports),
        requests=sum(round(one.requests * share) for one, share in zip(reports, common, strict=True)),
        misses=sum(round(one.misses * share) for one, share in zip(reports, common, strict=True)),
        samples=sum(round(one.samples * share) for one, share in zip(reports, common, strict=True)),
        read_us=_latency([(one.samples, one.read_us) for one in reports]),
        update_us=_latency([(one.samples, one.update_us) for one in reports]),
        saturated=any(one.saturated for one in reports),
        counters=_counted([one.counters for one in reports], shares_servers=shares_servers),
        metrics={**{name: value for one in reports for name, value in one.metrics.items()}, **own},
    )


def _latency(told: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """The mean over all, and of each percentile the worst."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for _, one in told for name in one):
        values = [(max(1, samples), one[name]) for samples, one in told if name in one]
        weights = sum(samples for samples, _ in values)
        mean = math.fsum(samples * value for samples, value in values) / weights
        found[name] = mean if name == "avg" else max(value for _, value in values)
    return found


def _counted(told: Sequence[Mapping[str, float]], *, shares_servers: bool) -> dict[str, float]:
    """What servers counted added up, unless loads share them; of what generators tell of themselves the worst."""
    of_servers = set() if shares_servers else Counters().plain().keys()
    names = dict.fromkeys(name for one in told for name in one)
    values = {name: [one[name] for one in told if name in one] for name in names}
    return {name: math.fsum(all_) if name in of_servers else max(all_) for name, all_ in values.items()}
