"""What meters of whole machines are believed to say."""

import pytest

from mustherd.experiment import wall
from mustherd.meters.series import WallEnergy
from mustherd.reasons import Reason


@pytest.mark.parametrize(
    ("watts", "believed"), [(0.184, False), (0.5, True), (183.5, True), (9e4, True), (1.8e8, False)]
)
def test_a_power_that_no_machine_has_is_a_wrong_unit(watts: float, believed: bool) -> None:
    """A meter's kW that were W, or the other way round, came to a verdict where nothing else measured the machine."""
    fired = wall.implausible({"pdu": WallEnergy(watts * 30, 1.0)}, 30.0)
    assert (fired is None) is believed
    if fired is not None:
        assert fired.reason is Reason.ENERGY_IMPLAUSIBLE
        assert fired.detail.startswith(f"pdu says {watts:.4g} W, outside 0.5..100000 W")
