"""The keys of `herd`: which nodes an experiment runs on."""

from typing import Annotated

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
)

from mustherd.definition.section import Section, as_tuple, key
from mustherd.definition.structs import Keys
from mustherd.node.twin.faults import Speed, TwinOptions


class Simulated(TwinOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes that need no hardware."""

    speed: Speed = 200.0
    musters: Annotated[
        int, msgspec.Meta(ge=1, le=128, description="How many identical nodes, each with a muster of its own.")
    ] = 1


Cores = Annotated[tuple[Annotated[int, Field(ge=0, le=4095)], ...], BeforeValidator(as_tuple)]


class Local(Section):
    """A real memcached on this machine under the built-in generator, with the muster that runs both."""

    server_cores: Cores = key(
        (), "Cores that the server may be given; none: all.", allowed="a list of numbers of cores"
    )
    own: str | None = key(
        None,
        "File that declares knobs of this machine, from the current folder; only root or you may write it.",
        min_length=1,
        max_length=1024,
    )
    server_threads: int = key(4, "Worker threads that it is started with.", ge=1, le=1024)
    generator_cores: Cores = key(
        (), "Cores of the generator's processes; none: any.", allowed="a list of numbers of cores"
    )
    generator_processes: int = key(1, "Processes of the generator.", ge=1, le=64)
    connections: int = key(16, "Connections of each of them.", ge=1, le=4096)
    blocking: bool = key(True, "The generator sleeps between requests instead of taking a whole core.")


class Herd(Section):
    """The nodes: `simulated`, `local` or `inventory`."""

    simulated: Annotated[Simulated, Keys()] | None = key(None, "Simulated nodes.")
    local: Local | None = key(None, "One real server process on this machine.")
    inventory: str | None = key(
        None, "Inventory of real nodes, a folder or file, from the current folder.", min_length=1, max_length=1024
    )
