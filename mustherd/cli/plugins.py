"""`mustherd plugins`: what is installed under a name that a definition or a node may use."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mustherd.cli.printing import console, ends_with, print_json
from mustherd.errors import printable

if TYPE_CHECKING:
    from mustherd.plugins import Plugin

app = typer.Typer(
    help="Policies, searches, loads and more that are installed, ours and other packages'.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]

BROKEN = 3
"""Exit code where a plug-in can't be used: as that of a command that needs it."""


@app.command("list")
def list_(json: Json = False) -> None:
    """List every plug-in with its package, and say which can't be used and why: with one of these exit code 3."""
    from mustherd.plugins import GROUPS, installed
    from mustherd.report.frame import emit, new_table

    rows = [_row(found) for group in GROUPS for found in installed(group)]
    with ends_with(BROKEN if any(row["problem"] for row in rows) else 0):
        if json:
            print_json({"plugins": rows})
        else:
            terminal = console()
            table = new_table(terminal)
            for column in ("kind", "name", "package", "version", "where", "state"):
                table.add_column(column)
            for row in rows:
                table.add_row(
                    *(printable(str(row[key])) for key in ("kind", "name", "package", "version", "where")), _state(row)
                )
            emit(terminal, table)


def _row(found: "Plugin") -> dict[str, Any]:
    from mustherd import metrics
    from mustherd.plugins import KINDS, METRICS, OURS, installed

    same = [each for each in installed(found.group) if each.name == found.name]
    # Our metrics are a table of mustherd.metrics, and no entry points.
    ours = (found.group == METRICS and found.name in metrics.OURS) or (same[0].is_ours and not found.is_ours)
    by = OURS if ours else "" if found.is_ours else " and ".join(each.package for each in same if each is not found)
    return {
        "group": found.group,
        "kind": KINDS[found.group],
        "name": found.name,
        "package": found.package,
        "version": found.version,
        "where": found.target,
        "problem": f"not used: {by} has one of that name" if by else _problem(found),
    }


def _state(row: dict[str, Any]) -> str:
    return row["problem"] or "ok"


def _problem(found: "Plugin") -> str:
    """Why it can't be used; '' where it can, as far as can be said without running it."""
    from mustherd.definition.fields import PLUGIN_NAME
    from mustherd.keep.sources.registry import source_kind
    from mustherd.learn import registry as searches
    from mustherd.load import registry as loads
    from mustherd.meters.registry import meter_kind
    from mustherd.metrics import loaded as metric
    from mustherd.muster.config import Config
    from mustherd.node.catalog import knob_class
    from mustherd.node.node import NodeKind
    from mustherd.plugins import (
        KNOBS,
        LOADS,
        METERS,
        METRICS,
        NODES,
        PEERS,
        POLICIES,
        SEARCHES,
        SERVERS,
        SOURCES,
        Plugin,
        PluginError,
        keeps,
    )
    from mustherd.policy import base as policies

    checks: dict[str, Callable[[Plugin], Any]] = {
        POLICIES: policies.kind_of,
        SEARCHES: searches.kind_of,
        PEERS: searches.kind_of,
        LOADS: loads.load_kind,
        SERVERS: loads.server_kind,
        METRICS: metric,
        METERS: meter_kind,
        SOURCES: source_kind,
        NODES: lambda found: keeps(found, found.load(), NodeKind),
        KNOBS: lambda found: knob_class(found.name),
    }
    if found.group == POLICIES and not re.fullmatch(PLUGIN_NAME, found.name):
        return f"{found.title}: nothing can name it; allowed: small letters, digits, '_', '.' and '-', a letter first"
    if found.group == NODES and found.name in Config.__struct_fields__:
        return f"{found.title}: nothing can name it: [{found.name}] is every muster's own table"
    try:
        checks[found.group](found)
        if found.group not in (METRICS, KNOBS):  # which have no options
            _need_options(found)
    except PluginError as error:
        return str(error)
    return ""


def _need_options(found: "Plugin") -> None:
    """Raise PluginError for a plug-in of whose `Options` nothing can be made, whatever a definition gives."""
    from contextlib import suppress

    from msgspec.inspect import CustomType, DataclassType, StructType, type_info

    from mustherd.plugins import OptionError, PluginError, blaming, options_of

    kind = found.load()
    with suppress(OptionError, ValueError):  # it may need some, and say which
        options_of(kind, {})
    with blaming(f"{found.title} ({found.target}): its Options can't be used", PluginError, PluginError):
        declared = getattr(kind, "Options", None)
        made = None if declared is None else type_info(declared)
    for field in made.fields if isinstance(made, DataclassType | StructType) else ():
        if field.required and isinstance(field.type, CustomType):
            raise PluginError(
                f"{found.title} ({found.target}): no definition can give its option {field.name!r}, a"
                f" {field.type.cls.__name__}; allowed: numbers, text, true or false, lists and mappings"
            )
