"""The kinds of nodes that can be simulated, as far as a definition has to know them.

The simulated nodes are the source of this; a test holds the two equal. What a real node allows is known only when its
muster says so.
"""

import msgspec

from mustherd.terms import KnobInfo


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of node offers, and what it draws."""

    knobs: tuple[KnobInfo, ...]
    presets: tuple[str, ...]
    """Mixes of requests under which its behaviour is known."""
    watts: float
    """Power of its packages under load at the default settings: the recorded grid's highest, 3103 J in 30 s."""


PROFILES: dict[str, Profile] = {
    "c6220": Profile(
        knobs=(
            KnobInfo(
                name="itr-delay",
                sheep="node-0",
                unit="us",
                values=(0, 1),
                low=2,
                high=1022,
                names={0: "off", 1: "adaptive"},
                settle_seconds=3.0,
            ),
            KnobInfo(
                name="dvfs",
                sheep="node-0",
                unit="MHz",
                values=(2800,),
                low=1200,
                high=2600,
                step=100,
                names={2800: "turbo"},
            ),
        ),
        presets=("etc",),
        watts=103.0,
    ),
}
