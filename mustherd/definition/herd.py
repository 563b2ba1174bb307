"""The keys of `herd`: which nodes an experiment runs on."""

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
)

from mustherd.definition.fields import KNOB_NAMES, Delays, Names, Section, as_tuple, key


class Faults(Section):
    """What is wrong with the simulated nodes; by default nothing. Knobs are named by their names."""

    dvfs_without_effect: bool = key(False, "The clock's register takes every value, and the clock stays as it was.")
    knob_ignored: Names = key((), "Knobs that take a write and forget it.", allowed=KNOB_NAMES)
    knob_reverts_after_s: Delays = key(
        dict, "Knobs that get their original value back so long after a write.", "s", "knobs with seconds"
    )
    write_error: Names = key((), "Knobs that refuse every write.", allowed=KNOB_NAMES)
    lost_rows: int = key(0, "Every so many-th row of the logs is missing; 0: none.", ge=0, le=10**9)
    energy_stuck: bool = key(False, "The energy counters stand still.")
    energy_error: bool = key(False, "The energy counters can't be read.")
    energy_factor: float = key(1.0, "What the energy counters show, as a multiple of the energy used.", ge=0, le=1e6)
    misses: float = key(0.0, "Share of the requests that find no value.", ge=0, le=1)
    generator_saturated: bool = key(False, "The load generator sends nine tenths of what it was asked for.")


class Simulated(Section):
    """Nodes that need no hardware."""

    profile: Literal["c6220"] = key("c6220", "The kind of node that is simulated.")
    musters: int = key(1, "How many identical nodes, each with a muster of its own.", ge=1, le=128)
    speed: float = key(200.0, "How many times faster than real time the nodes' clock runs.", gt=0, le=10_000)
    seed: int = key(1, "Decides the noise: equal seeds give equal measurements.", ge=0, le=2**32 - 1)
    noise: float = key(1.0, "Spread between repeats, 1 being what was measured on real nodes.", ge=0, le=100)
    drift: float = key(0.0, "Shift of its latencies against other campaigns, 1 being what was measured.", ge=0, le=100)
    intlog_cores: int = key(0, "How many of its 16 cores log their interrupts as the intlog driver does.", ge=0, le=16)
    faults: Faults = key(Faults, "What is wrong with every one of them.")


Cores = Annotated[tuple[Annotated[int, Field(ge=0, le=4095)], ...], BeforeValidator(as_tuple)]


class Local(Section):
    """A real memcached on this machine under the built-in generator, with the muster that runs both."""

    server_cores: Cores = key(
        (), "Cores that the server may be given; none: all.", allowed="a list of numbers of cores"
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

    simulated: Simulated | None = key(None, "Simulated nodes.")
    local: Local | None = key(None, "One real server process on this machine.")
    inventory: str | None = key(
        None, "Inventory of real nodes, a folder or file, from the current folder.", min_length=1, max_length=1024
    )
