"""What an application says of itself: a Prometheus query, a page of metrics, a command or a file, for one signal."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from msgspec import Meta

from mustherd.keep.events import Signal
from mustherd.keep.source import Musters, Sample, SourceError, gathered
from mustherd.load.address import Address
from mustherd.load.application import Place, check, value_now
from mustherd.meters.base import MUSTER
from mustherd.sampling import UnreadableError
from mustherd.wire.messages import MusterView

ADDRESS = "{address}"
"""Stands in a text for the server of the node that is asked of, as HOST:PORT, as MUSTER stands for its muster."""

METRICS: dict[Signal, str] = {"load": "load_qps", "latency": "latency_us", "power": "power_watts"}
"""Each signal's name as a metric, whose end is its unit."""

SIDE_BY_SIDE = 8
"""Nodes that are asked at a time."""


class ApplicationOptions(Place, frozen=True, kw_only=True):
    """Where one signal comes from; without `unit` it is in requests a second, us or W.

    Where a text has `{muster}` or `{address}` each node is asked of by itself; otherwise one answer is all nodes'.
    """

    signal: Signal
    age_seconds: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """How old a value is when it is told: a Prometheus server's scrape interval."""


class ApplicationSource:
    """Asks each node's application, some at a time."""

    Options = ApplicationOptions

    def __init__(self, options: ApplicationOptions, musters: Musters) -> None:
        """ValueError for what can't be asked."""
        self._options = options
        self._musters = musters
        self._metric = METRICS[options.signal]
        check(self._metric, options)
        self._asking = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="application")

    def read(self) -> Sequence[Sample]:
        views = self._musters()
        each = {name: self._of(view) for name, view in views.items()}
        if len(each) > 1 and len(set(each.values())) == 1:
            first, *others = each
            one = self._sample(first, each[first])
            return [one, *(one._replace(node=name) for name in others)]
        return gathered([self._asking.submit(self._sample, *one).result for one in each.items()])

    def close(self) -> None:
        self._asking.shutdown(wait=False, cancel_futures=True)

    def _sample(self, node: str, place: Place) -> Sample:
        signal = self._options.signal
        try:
            return Sample(node, signal, value_now(self._metric, place), self._options.age_seconds)
        except UnreadableError as error:
            raise SourceError(f"{node}: {signal}: {error}") from None

    def _of(self, view: MusterView) -> Place:
        """What is asked of a node."""
        address = Address(*view.facts.address) if view.facts.address is not None else ""
        options = self._options

        def named(text: str) -> str:
            return text.replace(MUSTER, view.name).replace(ADDRESS, str(address))

        return Place(
            prometheus=named(options.prometheus),
            query=named(options.query),
            endpoint=named(options.endpoint),
            series=named(options.series),
            command=tuple(map(named, options.command)),
            file=named(options.file),
            unit=options.unit,
        )
