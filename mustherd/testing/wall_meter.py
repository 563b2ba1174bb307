"""What every meter of a whole machine does."""

from collections.abc import Callable

import pytest

from mustherd.meters.base import Traits, UnreadableError, WallMeter


class WallMeterContract:
    """A BMC, a PDU, a wall meter."""

    @pytest.fixture
    def meter(self) -> WallMeter:
        raise NotImplementedError

    @pytest.fixture
    def show(self, meter: WallMeter) -> Callable[[float], None]:
        """Lets the device show so many W, or J so far: whole numbers from 50 on, rising."""
        raise NotImplementedError

    @pytest.fixture
    def break_meter(self, meter: WallMeter) -> Callable[[], None]:
        """Makes the device silent, or what it says nonsense."""
        raise NotImplementedError

    def test_its_options_say_what_its_values_are_worth(self, meter: WallMeter) -> None:
        assert issubclass(type(meter).Options, Traits)
        assert meter.quantity in ("watts", "joules")

    def test_reads_what_is_shown(self, meter: WallMeter, show: Callable[[float], None]) -> None:
        for amount in (50.0, 250.0, 1000.0):
            show(amount)
            assert meter.read() == pytest.approx(amount)
            assert isinstance(meter.read(), float)

    def test_what_can_t_be_read_is_an_error_never_a_zero(
        self, meter: WallMeter, show: Callable[[float], None], break_meter: Callable[[], None]
    ) -> None:
        show(250.0)
        meter.read()
        break_meter()
        with pytest.raises(UnreadableError, match=r"\w"):
            meter.read()

    def test_it_comes_back_by_itself(
        self, meter: WallMeter, show: Callable[[float], None], break_meter: Callable[[], None]
    ) -> None:
        show(50.0)
        break_meter()
        with pytest.raises(UnreadableError):
            meter.read()
        show(60.0)
        assert meter.read() == pytest.approx(60.0)
