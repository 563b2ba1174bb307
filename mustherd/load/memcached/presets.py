"""Mixes of requests to a memcached that are known by name."""

from mustherd.load.server import Preset
from mustherd.terms import Load


class MemcachedPreset(Preset, frozen=True, kw_only=True):
    """Its distributions are written as mutilate's options and the built-in generator read them."""

    key_size: str = "30"
    value_size: str = "200"
    arrivals: str = "exponential"


PRESETS: dict[str, MemcachedPreset] = {
    "etc": MemcachedPreset(
        update_ratio=0.25,
        meaning="Facebook's ETC pool: keys, values and arrivals as Atikoglu et al. (SIGMETRICS 2012) fitted them",
        key_size="fb_key",
        value_size="fb_value",
        arrivals="fb_ia",
    ),
    "usr": MemcachedPreset(
        update_ratio=0.01,
        meaning="Facebook's USR pool: keys of 19 bytes, values of 2 bytes, hardly any updates",
        key_size="19",
        value_size="2",
    ),
}
"""ETC's share of updates is the reference experiment's, not the paper's 1 in 30."""


PLAIN = MemcachedPreset(meaning="requests at random times, of nothing in particular")


def load(preset: str, qps: float, update_ratio: float | None = None, outstanding: int = 256) -> Load:
    """The load to offer: `qps` requests a second in the mix of a preset; `update_ratio` replaces its share of updates.

    KeyError names an unknown preset.
    """
    ratio = PRESETS[preset].update_ratio if update_ratio is None else update_ratio
    return Load(qps=qps, preset=preset, update_ratio=ratio, outstanding=outstanding)
