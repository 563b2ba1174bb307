from mustherd.muster.reports import BLOCK_VALUES, fitting, pieces
from mustherd.node.logger import Rows
from mustherd.terms import Reading
from mustherd.wire import messages as m

READING = Reading(sheep="node-0", knob="dvfs", asked=1200, applied=1200, running=1200, held=True, error="e" * 200)


def measured(readings: int) -> m.Measured:
    return m.Measured(
        measure=7,
        in_force=1,
        t0_s=0,
        t1_s=1,
        energies=(),
        before=(READING,) * readings,
        after=(),
        load=None,
        rows={},
        rows_lost={},
        last_block=0,
    )


def test_a_report_that_fits_is_itself() -> None:
    assert fitting(measured(10)) == measured(10)


def test_one_that_does_not_fit_says_so_under_its_number() -> None:
    small = fitting(measured(2000))
    assert isinstance(small, m.NotMeasured)
    assert (small.measure, small.reason) == (7, "report-too-large")
    applied = m.Applied(seq=3, outcome="applied", readings=(READING,) * 2000)
    assert fitting(applied) == m.Applied(seq=3, outcome="applied", readings=())


def test_rows_come_in_pieces_that_join_to_the_whole() -> None:
    rows = Rows(first=5, columns={"a": tuple(float(k) for k in range(20_000)), "b": (0.0,) * 20_000})
    parts = list(pieces(rows))
    assert all(len(part) * 2 <= BLOCK_VALUES for part in parts)
    assert [part.first for part in parts[:2]] == [5, 5 + BLOCK_VALUES // 2]
    assert sum((part.columns["a"] for part in parts), ()) == rows.columns["a"]
    assert list(pieces(Rows(first=0, columns={}))) == []
