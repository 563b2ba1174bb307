"""A table of settings by load: what an experiment over several loads leaves behind for others to use."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mustherd import files
from mustherd.definition.digest import to_yaml
from mustherd.definition.errors import DefinitionError, Finding
from mustherd.definition.knobs import FindingsError, settings
from mustherd.definition.units import QuantityError, quantity
from mustherd.definition.yaml import MAX_BYTES, Source, decode, parse
from mustherd.errors import shown
from mustherd.learn.base import Settings

TABLE = "policy.yml"
"""The table's file in an experiment's folder."""

HEAD = """\
# Settings by load: what was found at each, and whether it held when measured again.
# An experiment tries them with `search: {method: one-shot, table: policy.yml}`.
"""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A load and what to set at it."""

    qps: float
    settings: Settings
    verdict: str = ""
    """`met`, `not certain` or `not met`, as the experiment said; '' in a table that a person wrote."""
    saving_percent: float | None = None
    metrics: dict[str, float] = {}
    """What was measured there."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table as a file has it."""

    rows: list[Row]
    """Loads ascending."""
    constraints: tuple[str, ...] = ()
    """Limits within which the settings were found, as a definition states them."""


def write(path: Path, rows: Sequence[Row], *, experiment: str, constraints: Sequence[str], objective: str) -> Path:
    """Write a table to `path`, a file as a whole. Raises OSError."""
    table = {
        "experiment": experiment,
        "objective": objective,
        "constraints": list(constraints),
        "table": [_plain(row) for row in sorted(rows, key=lambda row: row.qps)],
    }
    files.deliver(path, HEAD + to_yaml(table))
    return path


def _plain(row: Row) -> dict[str, Any]:
    found = {"qps": row.qps, "settings": dict(row.settings)}
    if row.verdict:
        found["verdict"] = row.verdict
    if row.saving_percent is not None:
        found["saving_percent"] = round(row.saving_percent, 2)
    if row.metrics:
        found["metrics"] = {name: round(value, 4) for name, value in row.metrics.items()}
    return found


def read(path: Path | str) -> list[Row]:
    """The rows of a table, one for each load, ascending. Raises DefinitionError, with the line of what is wrong."""
    return read_whole(path, several=False).rows


def read_whole(path: Path | str, *, several: bool = True) -> Table:
    """A table and the limits that it was found within. Raises DefinitionError, with the line of what is wrong.

    `several`: a load may have several rows, of which whoever reads them chooses.
    """
    file = shown(path, 1024)
    try:
        with Path(path).open("rb") as stream:
            text = decode(stream.read(MAX_BYTES + 1), file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DefinitionError(f"the table can't be read: {reason}", file=file) from None
    root = parse(text, file)
    source = Source(file, root, text)
    whole: Any = root.plain()
    rows = whole.get("table") if isinstance(whole, dict) else None
    if not isinstance(rows, tuple) or not rows:
        raise source.error([Finding((), "holds no table of settings", "table: [{qps: 100k, settings: {...}}, ...]")])
    found: list[Row] = []
    for index, row in enumerate(rows):
        at = ("table", index)
        qps = _load(row.get("qps")) if isinstance(row, dict) else None
        if qps is None:
            raise source.error([Finding(at, "a row needs 'qps', requests per second", "a number above 0, as in 400k")])
        if not several and any(qps == other.qps for other in found):
            raise source.error(
                [Finding((*at, "qps"), f"a second row for {qps:g} requests per second", "one row a load")]
            )
        try:
            point = settings(row.get("settings"))
        except FindingsError as error:
            findings = [f._replace(path=(*at, "settings", *f.path)) for f in error.findings]
            raise source.error(findings) from None
        found.append(Row(qps=qps, settings=point, verdict=str(row.get("verdict") or ""), metrics=_metrics(row)))
    limits = whole.get("constraints")
    return Table(
        rows=sorted(found, key=lambda row: row.qps),
        constraints=tuple(map(str, limits)) if isinstance(limits, tuple) else (),
    )


def _load(raw: object) -> float | None:
    """Requests per second; None for what is no load."""
    try:
        qps = float(quantity(raw, "qps"))
    except (QuantityError, OverflowError):
        return None
    return qps if math.isfinite(qps) and qps > 0 else None


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """What was measured at a row's load; what isn't a number there says nothing."""
    found = row.get("metrics")
    if not isinstance(found, Mapping):
        return {}
    return {
        str(name): float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def nearest(rows: Sequence[Row], qps: float) -> Row:
    """The row whose load is nearest to `qps`, by their ratio; of two that are equally near the greater."""
    return min(rows, key=lambda row: (abs(math.log(row.qps / qps)), -row.qps))
