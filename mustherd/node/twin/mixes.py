"""What the mix of a load's requests makes of a machine's constants: the share of updates, the sizes on the wire; pure.

The constants are fitted to one mix, ETC with a quarter of updates; no other was run on a machine on record. Others
follow from what is known of them: an update takes more cycles than a read, by as many as its latency is longer, and
frames are as long as their keys and values. What copying a byte costs is little beside a request, and is left out.
"""

import msgspec

from mustherd.node.twin.profiles import Profile
from mustherd.terms import Load

FITTED = "etc"
FITTED_UPDATES = 0.25
"""The mix that constants were fitted under."""

LEAST_SHARE = 0.5
"""Of a request's cycles, what stays of them at least."""


class Frames(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of frames as the server receives and sends them, headers of 66 bytes among them."""

    rx_read: float
    rx_update: float
    tx_read: float
    tx_update: float


FRAMES = {
    # Keys of 19 bytes, values of 2: `get KEY`, `set KEY 0 0 2` and its value, `VALUE KEY 0 2` and its value, `STORED`.
    "usr": Frames(rx_read=91.0, rx_update=101.0, tx_read=106.0, tx_update=74.0),
}
"""Of mixes that a profile has none of its own of."""

MIXES = (FITTED, *FRAMES)
"""The presets that a twin can be put under."""


def under(profile: Profile, load: Load) -> Profile:
    """The profile that a machine has under a load's mix."""
    more = (load.update_ratio - FITTED_UPDATES) * profile.latency.update_kcycles
    if not more:
        return profile
    service, loop = profile.service, profile.loop
    return msgspec.structs.replace(
        profile,
        service=msgspec.structs.replace(service, kcycles=max(LEAST_SHARE * service.kcycles, service.kcycles + more)),
        loop=msgspec.structs.replace(loop, kcycles=max(LEAST_SHARE * loop.kcycles, loop.kcycles + more)),
    )


def frames(profile: Profile, preset: str) -> Frames:
    """How long the frames of a mix are."""
    traffic = profile.traffic
    own = Frames(
        rx_read=traffic.rx_read, rx_update=traffic.rx_update, tx_read=traffic.tx_read, tx_update=traffic.tx_update
    )
    return FRAMES.get(preset, own)
