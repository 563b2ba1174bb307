"""A keeper's file, keep.yml: its times and shares, and where its signals come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mustherd.definition.errors import DefinitionError
from mustherd.definition.model import Experiment
from mustherd.definition.yaml import MAX_BYTES, decode, parse
from mustherd.errors import shown
from mustherd.keep.options import Options

LEVEL_S = 30.0
Piece = tuple[Annotated[float, Meta(gt=0)], Annotated[float, Meta(gt=0)]]


class KeepConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file holds."""

    keeper: dict[str, Any] = {}
    """Options (mustherd.keep.options) by name; the limit may come from the experiment."""
    sources: tuple[dict[str, Any], ...] = ()
    """Each with its `kind` and what that kind takes."""
    traffic: tuple[Piece, ...] = ()
    """A simulated herd's: seconds and requests a second, over and over."""


def read(file: Path | None) -> KeepConfig:
    """The file's meaning; none is an empty one. DefinitionError names what is wrong."""
    if file is None:
        return KeepConfig()
    name = shown(file, 1024)
    try:
        with file.open("rb") as stream:
            plain: Any = parse(decode(stream.read(MAX_BYTES + 1), name), name).plain()
        return msgspec.convert(plain or {}, KeepConfig)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise DefinitionError(f"can't be used: {getattr(error, 'strerror', None) or error}", file=name) from None


def options(config: KeepConfig, limit: float | None, file: Path | None) -> Options:
    """The keeper's options, the limit by what was learnt unless the file has one. DefinitionError."""
    given = dict(config.keeper)
    if limit is not None:
        given.setdefault("limit", limit)
    if "limit" not in given:
        raise DefinitionError(
            "keeper.limit is missing: a table says nothing of the latency's limit; allowed: a number in its unit",
            file=shown(file or "keep.yml", 1024),
        )
    try:
        return msgspec.convert(given, Options)
    except msgspec.ValidationError as error:
        raise DefinitionError(f"keeper: {error}", file=shown(file or "keep.yml", 1024)) from None


def trace(config: KeepConfig, experiment: Experiment | None) -> Callable[[float], float]:
    """What a simulated herd is under at a time: the file's traffic, or the loads that were learnt, 30 s each."""
    loads = experiment.workload.loads if experiment is not None else ()
    pieces = config.traffic or tuple((LEVEL_S, qps) for qps in loads) or ((LEVEL_S, 100_000.0),)
    whole = sum(seconds for seconds, _ in pieces)

    def qps(at: float) -> float:
        left = at % whole
        for seconds, level in pieces:
            if left < seconds:
                return level
            left -= seconds
        return pieces[-1][1]

    return qps
