"""What every source of signals does."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from mustherd.keep.events import SIGNALS
from mustherd.keep.source import Musters, Sample, Source, SourceError
from mustherd.terms import Facts
from mustherd.wire.messages import MusterView

ONE, TWO = "muster-1", "muster-2"


def view(name: str, address: tuple[str, int] | None = None) -> MusterView:
    """A muster as a keeper sees it, with its server at `address`."""
    return MusterView(
        name=name,
        presence="alive",
        silent_s=0.0,
        muster_epoch=1,
        facts=Facts(kind="linux", address=address),
        knobs=(),
        zones=(),
        streams=(),
        in_force=0,
        times_late=0,
        unrestored=0,
        answer_ms=None,
        readings=(),
    )


class SourceContract:
    """A place that is asked for a signal of each node."""

    exact: ClassVar[bool] = True
    """Whether what is shown is what is read: not of a rate, nor of a time that is taken."""

    @pytest.fixture
    def herd(self) -> dict[str, MusterView]:
        """The musters ONE and TWO; a source that asks their servers gives each an address of its own."""
        return {name: view(name) for name in (ONE, TWO)}

    @pytest.fixture
    def musters(self, herd: dict[str, MusterView]) -> Musters:
        return lambda: herd

    @pytest.fixture
    def source(self, musters: Musters) -> Source:
        raise NotImplementedError

    @pytest.fixture
    def show(self) -> Callable[[float], None]:
        """Lets every node have so much of the signal, in its unit; what was broken works again."""
        raise NotImplementedError

    @pytest.fixture
    def break_node(self) -> Callable[[str], None]:
        """Makes what a node's values come from silent, or what it says nonsense."""
        raise NotImplementedError

    @staticmethod
    def told(source: Source) -> Sequence[Sample]:
        """What is read; a rate needs two looks."""
        return source.read() or source.read()

    def test_tells_of_each_node_what_is_there(self, source: Source, show: Callable[[float], None]) -> None:
        for amount in (100.0, 250.0):
            show(amount)
            samples = self.told(source)
            assert sorted(sample.node for sample in samples) == [ONE, TWO]
            for sample in samples:
                assert sample.signal in SIGNALS
                assert math.isfinite(sample.value)
                assert sample.value >= 0
                assert sample.age_s >= 0
                assert not self.exact or sample.value == pytest.approx(amount)

    def test_tells_of_nobody_else(
        self, source: Source, show: Callable[[float], None], herd: dict[str, MusterView]
    ) -> None:
        show(100.0)
        self.told(source)
        del herd[TWO]
        assert {sample.node for sample in self.told(source)} == {ONE}
        herd.clear()
        assert not self.told(source)

    def test_one_that_can_t_be_read_keeps_no_other_from_being_heard(
        self, source: Source, show: Callable[[float], None], break_node: Callable[[str], None]
    ) -> None:
        show(100.0)
        self.told(source)
        break_node(ONE)
        assert [sample.node for sample in self.told(source)] == [TWO]

    def test_what_can_t_be_read_is_an_error_never_a_zero(
        self, source: Source, show: Callable[[float], None], break_node: Callable[[str], None]
    ) -> None:
        show(100.0)
        self.told(source)
        break_node(ONE)
        break_node(TWO)
        with pytest.raises(SourceError, match=r"\w"):
            source.read()

    def test_it_comes_back_by_itself(
        self, source: Source, show: Callable[[float], None], break_node: Callable[[str], None]
    ) -> None:
        show(100.0)
        self.told(source)
        break_node(ONE)
        break_node(TWO)
        with pytest.raises(SourceError):
            source.read()
        show(100.0)
        assert len(self.told(source)) == 2

    def test_it_may_be_closed_twice(self, source: Source, show: Callable[[float], None]) -> None:
        show(100.0)
        self.told(source)
        source.close()
        source.close()
