"""Mixes of requests that are known by name."""

import msgspec

from mustherd.terms import Load


class Preset(msgspec.Struct, frozen=True):
    """A mix of requests; its distributions are written as mutilate's options and the built-in generator read them."""

    update_ratio: float
    """Share of requests that write."""
    meaning: str
    key_size: str = "30"
    value_size: str = "200"
    arrivals: str = "exponential"


PRESETS: dict[str, Preset] = {
    "etc": Preset(
        0.25,
        "Facebook's ETC pool: keys, values and arrivals as Atikoglu et al. (SIGMETRICS 2012) fitted them",
        key_size="fb_key",
        value_size="fb_value",
        arrivals="fb_ia",
    ),
    "usr": Preset(
        0.01,
        "Facebook's USR pool: keys of 19 bytes, values of 2 bytes, hardly any updates",
        key_size="19",
        value_size="2",
    ),
}
"""ETC's share of updates is the reference experiment's, not the paper's 1 in 30."""


def load(preset: str, qps: float, update_ratio: float | None = None, outstanding: int = 256) -> Load:
    """The load to offer: `qps` requests a second in the mix of a preset; `update_ratio` replaces its share of updates.

    KeyError names an unknown preset.
    """
    ratio = PRESETS[preset].update_ratio if update_ratio is None else update_ratio
    return Load(qps=qps, preset=preset, update_ratio=ratio, outstanding=outstanding)
