"""Programs that a local herd's definition names and this machine doesn't have, each with its place in the file."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mustherd.definition import Experiment
from mustherd.definition.errors import Finding, Path, dotted
from mustherd.definition.plugin_options import places_of_load
from mustherd.definition.workload import COMMAND
from mustherd.errors import shown

LISTS = ("prepare", "populate")
"""Options of a server or load by command that are commands, one after the other."""

INSTALL = "install it, or name its whole path"
"""What to do about a program that isn't here."""


def absent(program: str, environment: Mapping[str, str] | None = None) -> str:
    """What is wrong with a program that this machine doesn't have, found by `environment`'s PATH if any; '' of one
    that it has."""
    if shutil.which(program, path=(environment or {}).get("PATH")) is not None:
        return ""
    return f"no program '{shown(program)}' is found here"


def missing(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """For each the place, with its line, and what is wrong. A name with words in braces, or with a folder before it
    that is not from the root, only the run knows; one that an earlier command may make is not looked for either."""
    for path, command, environment in _commands(experiment):
        program = str(command[0]) if command else ""
        if not program or "{" in program or ("/" in program and not program.startswith("/")):
            continue
        if found := absent(program, environment):
            yield f"{dotted(path)}{lined(experiment, path)}", found


def lined(experiment: Experiment, path: Path) -> str:
    """The line of what is at `path`, as it stands behind its name; empty where there is no file."""
    line = experiment.source.error([Finding(path, "", at_key=True)]).line
    return f", line {line}" if line else ""


def _commands(experiment: Experiment) -> Iterator[tuple[Path, Sequence[Any], Mapping[str, str]]]:
    """The commands that this machine runs, with their places and what their environment has beside its own."""
    for name, metric in experiment.metrics.items():
        yield ("metrics", name, "command"), metric.command, {}
    load = experiment.workload
    parts: list[tuple[Path, Mapping[str, Any]]] = []
    if load.server is not None and load.server.name == COMMAND:
        at: Path = ("workload", "server")
        parts.append((at if experiment.source.has((*at, COMMAND)) else (*at, "options"), load.server.options))
    if load.generator is not None and load.generator.name == COMMAND:
        parts.append((places_of_load(experiment)[1], load.generator.options))
    for at, options in parts:
        environment = options.get("environment", {})
        for name in LISTS:
            for index, command in enumerate(options.get(name, ())):
                yield (*at, name, index), command, environment
        if not (options.get("prepare") and str(options[COMMAND][0]).startswith("/")):
            yield (*at, COMMAND), options[COMMAND], environment
