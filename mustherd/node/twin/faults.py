"""What can be wrong with a twin, and the options that make one."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mustherd.node.twin.profiles import DEFAULT, FILE, PLAYGROUND, PROFILES, profile
from mustherd.plugins import OptionError, nearest

KNOBS = tuple(info.name for info in PLAYGROUND.knobs)
"""The names of the knobs that a twin may have; which, its profile says."""

MAX_SEED = 2**32 - 1

MAX_SECONDS = 86_400.0

_NAMES = {"x-allowed": "a list of knobs that the profile has"}


@cache
def _described(kind: type[msgspec.Struct]) -> Any:
    return msgspec.inspect.type_info(kind)


def _bare(kind: Any) -> Any:
    """A type with its limits, without what is said of it for people."""
    return _bare(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def _require_limits(struct: msgspec.Struct) -> None:
    """OptionError for a number beyond its field's limits: msgspec looks at these only where it decodes."""
    for field in _described(type(struct)).fields:
        value, kind = getattr(struct, field.name), _bare(field.type)
        inner = getattr(kind, "value_type", None)
        if isinstance(value, Mapping) and inner is not None:
            for name, one in value.items():
                _require_limit((field.name, name), one, _bare(inner))
        else:
            _require_limit((field.name,), value, kind)


def _require_limit(path: tuple[str | int, ...], value: float, kind: Any) -> None:
    def refuse(words: str, limit: float) -> OptionError:
        return OptionError(f"must be {words} {limit}, not {value}", path)

    # Asked so that what is no number keeps none.
    if (least := getattr(kind, "ge", None)) is not None and not value >= least:
        raise refuse("at least", least)
    if (above := getattr(kind, "gt", None)) is not None and not value > above:
        raise refuse("above", above)
    if (most := getattr(kind, "le", None)) is not None and not value <= most:
        raise refuse("at most", most)


class TwinFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with the simulated nodes; by default nothing. Knobs are named by their names."""

    dvfs_without_effect: Annotated[
        bool, Meta(description="The clock's register takes every value, and the clock stays as it was.")
    ] = False
    knob_ignored: Annotated[
        tuple[str, ...], Meta(description="Knobs that take a write and forget it.", extra_json_schema=_NAMES)
    ] = ()
    knob_without_effect: Annotated[
        tuple[str, ...],
        Meta(
            description="Knobs that keep a write and read back as asked, while the node stays as it was.",
            extra_json_schema=_NAMES,
        ),
    ] = ()
    knob_reverts_after_s: Annotated[
        dict[str, Annotated[float, Meta(ge=0, le=MAX_SECONDS)]],
        Meta(
            description="Knobs that get their original value back so long after a write.",
            extra_json_schema={"x-unit": "s", "x-allowed": "knobs with seconds"},
        ),
    ] = {}
    write_error: Annotated[
        tuple[str, ...], Meta(description="Knobs that refuse every write.", extra_json_schema=_NAMES)
    ] = ()
    lost_rows: Annotated[
        int, Meta(ge=0, le=10**9, description="Every so many-th row of the logs is missing; 0: none.")
    ] = 0
    energy_stuck: Annotated[bool, Meta(description="The energy counters stand still.")] = False
    energy_error: Annotated[bool, Meta(description="The energy counters can't be read.")] = False
    energy_factor: Annotated[
        float, Meta(ge=0, le=1e6, description="What the energy counters show, as a multiple of the energy used.")
    ] = 1.0
    energy_unit_factor: Annotated[
        float,
        Meta(gt=0, le=1e6, description="The unit in which they are read, as a multiple of what the processor names."),
    ] = 1.0
    log_energy_factor: Annotated[
        float,
        Meta(ge=0, le=1e6, description="The energy in intlog's rows, as a multiple of what the meter counts."),
    ] = 1.0
    tsc_factor: Annotated[
        float, Meta(gt=0, le=100, description="How fast the rows' timestamps count, as a multiple of what is said.")
    ] = 1.0
    misses: Annotated[float, Meta(ge=0, le=1, description="Share of the requests that find no value.")] = 0.0
    generator_saturated: Annotated[
        bool, Meta(description="The load generator sends nine tenths of what it was asked for.")
    ] = False
    load_forgotten: Annotated[
        float,
        Meta(ge=0, lt=1, description="Share of the load that the generator leaves out and doesn't count as offered."),
    ] = 0.0

    @property
    def sent_share(self) -> float:
        """Of the load that the generator was asked for, what it sends."""
        return (0.9 if self.generator_saturated else 1.0) * (1 - self.load_forgotten)

    def __post_init__(self) -> None:
        """OptionError for a fault that can't be."""
        _require_limits(self)
        self.require(KNOBS)

    def require(self, knobs: Sequence[str], at: tuple[str, ...] = ()) -> None:
        """OptionError for a fault of a knob that isn't among these."""
        named: list[tuple[str, int | str, str]] = [
            *(("knob_ignored", index, name) for index, name in enumerate(self.knob_ignored)),
            *(("knob_without_effect", index, name) for index, name in enumerate(self.knob_without_effect)),
            *(("knob_reverts_after_s", name, name) for name in self.knob_reverts_after_s),
            *(("write_error", index, name) for index, name in enumerate(self.write_error)),
        ]
        for field, place, name in named:
            if name not in knobs:
                raise OptionError(
                    f"unknown knob {name!r}",
                    (*at, field, place),
                    allowed=", ".join(knobs),
                    suggestion=nearest(name, knobs),
                    unknown=place == name,
                )


Speed = Annotated[
    float, Meta(ge=0.001, le=10_000, description="How many times faster than real time the nodes' clock runs.")
]


class TwinOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a twin."""

    profile: Annotated[
        str,
        Meta(
            max_length=1024,
            description="The kind of node that is simulated, or a file that `mustherd twin fit` wrote.",
            extra_json_schema={
                "pattern": rf"^({'|'.join(PROFILES)}|.*\{FILE})$",
                "x-allowed": f"{', '.join(PROFILES)}, or a file, as in my-profile{FILE}",
            },
        ),
    ] = DEFAULT.name
    speed: Speed = 1.0
    seed: Annotated[
        int, Meta(ge=0, le=MAX_SEED, description="Decides the noise: equal seeds give equal measurements.")
    ] = 1
    noise: Annotated[
        float, Meta(ge=0, le=100, description="Spread between repeats, 1 being what was measured on real nodes.")
    ] = 1.0
    drift: Annotated[
        float,
        Meta(ge=0, le=100, description="Shift of its latencies against other campaigns, 1 being what was measured."),
    ] = 0.0
    day: Annotated[
        int,
        Meta(
            ge=0, le=MAX_SEED, description="Which of its campaigns this is: with `drift` each has latencies of its own."
        ),
    ] = 0
    unlike: Annotated[
        float,
        Meta(ge=0, le=10, description="How much nodes differ from one another in power and latencies, 1 being 3 %."),
    ] = 0.0
    tails: Annotated[
        float,
        Meta(
            ge=0,
            le=100,
            description="How much more high percentiles spread where its cores are crowded, 1 being what was measured.",
        ),
    ] = 0.0
    turbo: Annotated[
        bool, Meta(description="Whether a clock above the nominal one can be had; if not, asking for it gives that.")
    ] = True
    intlog_cores: Annotated[
        int, Meta(ge=0, le=16, description="How many of its 16 cores log their interrupts as the intlog driver does.")
    ] = 0
    faults: Annotated[TwinFaults, Meta(description="What is wrong with every one of them.")] = TwinFaults()

    def __post_init__(self) -> None:
        """OptionError for a number that can't be, or a profile that isn't there."""
        _require_limits(self)
        if self.profile not in PROFILES and not self.profile.endswith(FILE):
            raise OptionError(
                f"unknown profile {self.profile!r}",
                ("profile",),
                allowed=f"{', '.join(PROFILES)}, or a file, as in my-profile{FILE}",
                suggestion=nearest(self.profile, PROFILES),
            )
        try:
            found = profile(self.profile)
        except ValueError as error:
            raise OptionError(str(error), ("profile",)) from None
        self.faults.require([info.name for info in found.knobs], ("faults",))
