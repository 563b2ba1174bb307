"""Metrics that an application tells of itself: asked again and again over a window, from the shepherd's machine."""

import json
import math
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from mustherd import files
from mustherd.load.command.results import amount, units_of
from mustherd.programs import ProgramError, printed
from mustherd.sampling import NotThereError, Sampler, Samples, Source, UnreadableError, value_at, values_within

Argument: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]
Take: TypeAlias = Literal["mean", "max", "min", "last", "increase", "rate"]

WINDOW_PER_RESOLUTION = 5
"""A window that lasts so many times what a value needs to become new: its ends are then off by a fifth at most."""
ANSWER_S = 5.0
MOST_BYTES = 8 << 20
SERIES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})?\s+(\S+)(?:\s+-?\d+)?")
NOT_THERE = re.compile(
    r"connection (was |is |actively )*refused|refused (to connect|((the|our|a) )?connection)|econnrefused|"
    r"(could not|couldn't|cannot|can't|failed to) connect|no such file|ended with \d+: it said nothing$",
    re.IGNORECASE,
)
"""What a command says that asks a server which isn't there."""
URL = re.compile(r"https?://[^\s/]+(/\S*)?")


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a value comes from: `prometheus` with `query`, `endpoint` with `series`, `command` or `file`."""

    prometheus: str = ""
    """A Prometheus server, as in http://127.0.0.1:9090; `query` is what it is asked."""
    query: str = ""
    endpoint: str = ""
    """A page of text as Prometheus reads it, as in http://127.0.0.1:8080/metrics."""
    series: str = ""
    """One of its series, with labels as they stand there; a name alone is the sum of all that have it."""
    command: tuple[Argument, ...] = ()
    """Prints the value."""
    file: str = ""
    """Holds the value."""
    unit: str = ""
    """The unit that the value is given in; the metric's own is what its name ends in."""


class ApplicationMetric(Place, frozen=True, kw_only=True):
    """A metric of an application's: where its values come from, and what they come to over a window."""

    take: Take = "mean"
    """What of the values in the window counts; of a running total the `increase`, or the `rate` a second."""
    better: Literal["less", "more"] = "less"
    every_seconds: Seconds = 1.0
    """How often it is asked."""
    resolution_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """How long the value stays the same at its source: a Prometheus server's scrape interval, a sensor's period."""

    @property
    def needs_seconds(self) -> float:
        """How long a window must last at least."""
        return WINDOW_PER_RESOLUTION * max(self.every_seconds, self.resolution_seconds)


class Kind:
    """What `metrics` takes, as plug-ins say what they take."""

    Options = ApplicationMetric


def check(name: str, place: Place) -> None:
    """Raise ValueError for what can't be asked."""
    ways = {
        "prometheus": place.prometheus,
        "endpoint": place.endpoint,
        "command": place.command,
        "file": place.file,
    }
    if sum(map(bool, ways.values())) != 1:
        raise ValueError(f"it comes from one of {', '.join(ways)}")
    for url in filter(None, (place.prometheus, place.endpoint)):
        if not URL.fullmatch(url):
            raise ValueError(f"{url!r} is no address such as http://127.0.0.1:9090")
    for way, detail in (("prometheus", "query"), ("endpoint", "series")):
        if bool(ways[way]) != bool(getattr(place, detail)):
            raise ValueError(f"{way} and {detail} belong together")
    if place.file and not place.file.startswith("/"):
        raise ValueError(f"file {place.file!r} should begin with /")
    if place.unit and place.unit not in units_of(name):
        raise ValueError(f"unit {place.unit!r} is none of {', '.join(filter(None, units_of(name)))}")


def value_now(name: str, place: Place) -> float:
    """The value at this moment, in the unit that the metric called `name` has.

    Raises UnreadableError, which is a NotThereError where nothing is there that could be asked.
    """
    where, ask = _source(place)
    try:
        found = ask()
        if place.command and not found:
            # Of a pipe the last program's end counts, though the first one had nobody to ask.
            raise NotThereError(f"{where}: it printed nothing")
        return amount(name, found, place.unit)
    except OSError as error:
        kind = NotThereError if isinstance(error, FileNotFoundError) else UnreadableError
        raise kind(f"{where}: {error.strerror or error}") from None
    except ProgramError as error:
        kind = NotThereError if NOT_THERE.search(str(error)) else UnreadableError
        raise kind(str(error)) from None
    except ValueError as error:
        raise UnreadableError(f"{where}: {error}") from None


def _source(place: Place) -> tuple[str, Callable[[], object]]:
    """What errors call the place, and what asks it. Raises OSError, ValueError and ProgramError when asked."""
    if place.prometheus:
        query = urllib.parse.urlencode({"query": place.query})
        return place.query, lambda: _queried(f"{place.prometheus.rstrip('/')}/api/v1/query?{query}")
    if place.endpoint:
        return f"{place.endpoint}: {place.series}", lambda: _series(_page(place.endpoint), place.series)
    if place.command:
        return place.command[0], lambda: printed(place.command, ANSWER_S)
    return place.file, lambda: files.head(Path(place.file), 1000).decode("utf-8", "replace").strip()


class Watch(Sampler):
    """Asks for values from when it is entered until it is left; then says what they come to over a window."""

    def __init__(
        self,
        metrics: Mapping[str, ApplicationMetric],
        read: Callable[[str, ApplicationMetric], float] = value_now,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = dict(metrics)
        super().__init__(
            {name: Source(partial(read, name, metric), metric.every_seconds) for name, metric in metrics.items()}, now
        )

    def over(self, t0: float, t1: float) -> tuple[dict[str, float], dict[str, str]]:
        """Values over a window of CLOCK_MONOTONIC, and for each metric that has none, why."""
        return self.made_of(lambda name, samples: taken(self._metrics[name].take, samples, t0, t1))


def taken(take: Take, samples: Samples, t0: float, t1: float) -> float:
    """What samples come to over a window; pure. ValueError where they don't tell."""
    inside = values_within(samples, t0, t1)
    if take in ("increase", "rate"):
        if any(later[1] < earlier[1] for earlier, later in pairwise(samples)):
            raise ValueError("the total went back: it was set anew")
        grown = value_at(samples, t1) - value_at(samples, t0)
        return grown / (t1 - t0) if take == "rate" else grown
    return {"mean": math.fsum(inside) / len(inside), "max": max(inside), "min": min(inside), "last": inside[-1]}[take]


def _page(url: str) -> str:
    # Imported late: it takes 20 ms with its TLS, and every definition is read with the types above.
    import http.client  # noqa: PLC0415
    import urllib.error  # noqa: PLC0415

    from mustherd import fetch  # noqa: PLC0415

    try:
        with fetch.opened(url, ANSWER_S) as answer:
            content = fetch.content(answer, MOST_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        raise UnreadableError(f"{url}: answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", None) or error
        kind = NotThereError if isinstance(cause, ConnectionRefusedError) else UnreadableError
        raise kind(f"{url}: {cause}") from None
    if len(content) > MOST_BYTES:
        raise UnreadableError(f"{url}: more than {MOST_BYTES >> 20} MiB")
    return content.decode("utf-8", "replace")


def _queried(url: str) -> object:
    """The one value of an instant query (prometheus.io/docs/prometheus/latest/querying/api)."""
    try:
        told = json.loads(_page(url))
        data = told["data"]
        result = data["result"]
        if data["resultType"] == "scalar":
            return result[1]
        if data["resultType"] == "vector" and len(result) == 1:
            return result[0]["value"][1]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise UnreadableError(f"{url}: not an answer of Prometheus") from None
    # A Prometheus server that knows nothing yet of what the experiment starts has no series of it.
    kind = UnreadableError if result else NotThereError
    raise kind(f"{url}: {len(result)} series; a query gives one, such as by sum(...)")


def _series(page: str, wanted: str) -> float:
    """A series' value in a page of text; for a name alone the sum of all with that name. ValueError."""
    values = []
    for line in page.splitlines():
        found = SERIES.fullmatch(line.strip())
        if found and wanted in (found[1], f"{found[1]}{found[2] or ''}"):
            try:
                values.append(float(found[3]))
            except ValueError:
                raise ValueError(f"{found[3][:40]!r} is no number") from None
    if not values:
        raise ValueError(f"there is no series {wanted}")
    return math.fsum(values)
