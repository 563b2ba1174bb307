"""Load by rows of intlog: what a median says, whose rows are a window's, and what is in memory."""

import random

import pytest

from mustherd.keep.source import PER_DELAY, SourceError
from mustherd.keep.sources.intlog import MOST_BLOCKS, IntlogOptions, IntlogSource, Rows, load_of, median_of
from mustherd.learn.load_estimate import C6220
from mustherd.shepherd.sink import LogSink
from mustherd.terms import Reading
from mustherd.testing.source import ONE, view
from mustherd.wire import messages as m

NAMES = ("i", "rx_bytes", "joules")


def block(seq: int, received: int, *, rows: int = 101, spool: int = 7, **more: bool) -> tuple[m.Block, bytes]:
    draw = random.Random(seq)
    lines = [b"%d %d %d\n" % (n, max(0, received + draw.randint(-90, 90)), n % 2) for n in range(rows)]
    made = m.Block(
        muster_epoch=1, shepherd_epoch=1, spool=spool, seq=seq, label="w", stream="core-0", form="text", columns=NAMES,
        **more,
    )  # fmt: skip
    return made, b"".join(lines)


def window(last: int, delay: int | None = 100, after: int | None = 100, spool: int = 7) -> m.Measured:
    held = [
        (Reading(sheep="node-0", knob="itr-delay", asked=one, applied=one, running=None, held=True),)
        for one in (delay, after)
    ]
    return m.Measured(
        measure=1, in_force=0, t0_s=0.0, t1_s=1.0, energies=(), before=held[0], after=held[1], load=None, rows={},
        rows_lost={}, last_block=last, spool=spool,
    )  # fmt: skip


@pytest.fixture
def source() -> IntlogSource:
    made = IntlogSource(IntlogOptions(), lambda: {ONE: view(ONE)})
    made.learn({})
    return made


def put(source: IntlogSource, seq: int, received: int) -> None:
    made, rows = block(seq, received)
    source.sink.put(ONE, made, memoryview(rows))


def test_rows_of_a_window_say_its_load(source: IntlogSource) -> None:
    put(source, 1, 9999)
    source.seen(ONE, window(1))
    assert not source.read(), "what lay there from before says nothing of now"
    for seq, load in ((2, 400e3), (3, 100e3), (4, 1.0e6)):
        source.seen(ONE, window(seq))
        assert not source.read(), "its rows haven't come"
        put(source, seq, int(C6220[100][load]))
        [sample] = source.read()
        assert sample.value == pytest.approx(load, rel=0.03)
        assert not source.read()
    source.seen(ONE, window(5))
    put(source, 5, 5189)
    put(source, 6, 5)
    assert source.read()[0].value == pytest.approx(400e3, rel=0.03), "block 6 is of the next window"


def test_a_delay_that_changed_meanwhile_says_nothing(source: IntlogSource) -> None:
    for seq in (1, 2):
        put(source, seq, 5000)
        source.seen(ONE, window(seq, 100, 200))
        assert not source.read()


def test_a_window_without_rows_is_an_error(source: IntlogSource) -> None:
    for last in (1, 2):
        made, _ = block(last, 1)
        source.sink.put(ONE, m.Block(**{**{f: getattr(made, f) for f in made.__struct_fields__}, "columns": ("i",)}),
                        memoryview(b"1\n"))  # fmt: skip
        source.seen(ONE, window(last))
        if last == 1:
            assert not source.read()
    with pytest.raises(SourceError, match="no rows with rx_bytes"):
        source.read()


@pytest.mark.parametrize(
    ("delay", "received", "believed", "load"),
    [
        (100, C6220[100][600e3], None, 600e3),
        (100, 643.0, None, 50e3),
        # From 600k on all look alike at 300 us: the highest, or what was known before.
        (300, 7090.0, None, 1.2e6),
        (300, 7090.0, 800e3, 800e3),
        (300, 7090.0, 400e3, 1.2e6),
        (300, 7500.0, 2e6, 1.2e6),
        (300, 3033.0, 800e3, 200e3),
    ],
)
def test_where_loads_look_alike_the_highest_counts(
    delay: int, received: float, believed: float | None, load: float
) -> None:
    assert load_of(sorted(C6220[delay].items()), received, believed) == pytest.approx(load, rel=0.01)


def test_medians_of_the_experiment_come_before_the_reference_s() -> None:
    made = IntlogSource(IntlogOptions(), lambda: {ONE: view(ONE)})
    made.learn({f"{PER_DELAY}100": [(10.0, 100.0), (20.0, 200.0)]})
    for seq in (1, 2):
        put(made, seq, 5000)
        made.seen(ONE, window(seq))
        samples = made.read()
    assert samples[0].value == pytest.approx(500, rel=0.02)


def test_lines_that_are_cut_are_left_out_and_old_drivers_rows_too() -> None:
    made, rows = block(1, 5000, continues=True, unfinished=True)
    assert median_of([(made, b"7 7\n" + rows + b"3 99")]) == pytest.approx(5000, abs=100)
    of_old = b"".join(b"%d %d %d\n" % (n, 1 if n % 5 else 8000, n % 5 == 0) for n in range(100))
    assert median_of([(block(1, 1)[0], of_old)]) == 8000
    assert median_of([]) is None


def test_memory_is_bounded_and_musters_may_forget_at_once() -> None:
    rows: LogSink = Rows()
    safe: list[int] = []
    rows.attach(lambda _muster, _spool, number: safe.append(number))
    for seq in range(1, 3 * MOST_BLOCKS):
        made, text = block(seq, 5000, rows=3)
        rows.put(ONE, made, memoryview(text))
    assert safe == list(range(1, 3 * MOST_BLOCKS))
    assert isinstance(rows, Rows)
    assert len(rows.upto(ONE, 7, 10_000) or ()) == 0
    assert len(rows.upto(ONE, 7, 3 * MOST_BLOCKS - 1) or ()) == MOST_BLOCKS
    assert rows.watermark(ONE, 7) == 3 * MOST_BLOCKS - 1
    assert rows.watermark(ONE, 8) == 0
    assert rows.watermark(ONE, 7) == 0
