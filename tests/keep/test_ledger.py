"""The ledger adds up: what controls say of what was kept, by day and in all, with an interval that covers."""

import random

import pytest

from mustherd.keep.events import Paired, Used
from mustherd.keep.learnt import MACHINE_CPU
from mustherd.keep.ledger import DAYS_KEPT, Ledger
from mustherd.keep.loop import spent_in, used_in
from mustherd.terms import MUSTER_CPU, Energy
from mustherd.wire.messages import Measured

DAY_S = 1000.0


def pair(at_s: float, ratio: float) -> Paired:
    return Paired(node="a", at_s=at_s, load=1.0, default_power=100.0 * ratio, kept_power=100.0, settings={"clock": 1})


def test_joules_saved_are_what_the_default_would_have_taken_more() -> None:
    ledger = Ledger(DAY_S)
    ledger.spend(1.0, 5.0, 900.0, "control")
    for at in range(0, 2000, 100):
        ledger.pair(pair(float(at), 2.0))
        ledger.spend(float(at), 10.0, 500.0, "kept")
    ledger.use(1500.0, Used(cpu_s=3.0, joules=7.0))
    whole, second = ledger.saved(), ledger.saved(1)
    assert whole.percent.mean == pytest.approx(50)
    assert whole.joules.mean == pytest.approx(whole.kept_joules) == pytest.approx(10_000)
    assert (second.pairs, second.kept_joules, second.used_cpu_s, second.used_joules) == (10, 5000, 3, 7)
    assert ledger.days[0].control_joules == 900


def test_the_interval_covers_what_is_true_as_often_as_it_says() -> None:
    draw, covered = random.Random(2), 0
    for _ in range(400):
        ledger = Ledger(DAY_S)
        for at in range(12):
            ledger.pair(pair(float(at), 1.25 * 2.718281828 ** draw.gauss(0, 0.05)))
        ledger.spend(1.0, 1.0, 100.0, "kept")
        covered += ledger.saved().percent.covers(20.0)
    assert 0.92 <= covered / 400 <= 0.98


def test_one_pair_says_nothing_certain_and_old_days_go() -> None:
    ledger = Ledger(DAY_S)
    ledger.pair(pair(0.0, 1.5))
    assert ledger.saved().percent.low == float("-inf")
    for day in range(DAYS_KEPT + 5):
        ledger.spend(day * DAY_S, 1.0, 1.0, "kept")
    assert len(ledger.days) == DAYS_KEPT
    assert ledger.days[-1].number == DAYS_KEPT + 4


def seen(counts: dict[str, float], joules: float = 600.0) -> Measured:
    zones = (Energy(zone="package-0", kind="package", joules=joules), Energy(zone="dram-0", kind="dram", joules=90.0))
    return Measured(
        measure=1, in_force=0, t0_s=0.0, t1_s=10.0, energies=zones, before=(), after=(), load=None, rows={},
        rows_lost={}, last_block=0, counts=counts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "cpu_s", "joules"),
    [
        ({MUSTER_CPU: 0.02, MACHINE_CPU: 8.0}, 0.02, 1.5),
        # A machine that did nothing else, by counters with steps of their own.
        ({MUSTER_CPU: 0.03, MACHINE_CPU: 0.02}, 0.03, 600.0),
        ({MUSTER_CPU: 0.02, MACHINE_CPU: 0.0}, 0.02, 0.0),
        ({MUSTER_CPU: 0.02}, 0.02, 0.0),
        ({MACHINE_CPU: 8.0}, 0.0, 0.0),
    ],
)
def test_its_own_joules_are_its_share_of_the_busy_time(counts: dict[str, float], cpu_s: float, joules: float) -> None:
    used = used_in(seen(counts))
    assert (used.cpu_s, used.joules) == pytest.approx((cpu_s, joules))


def window(joules: float = 0.0, **counts: float) -> Measured:
    energies = (Energy(zone="package-0", kind="package", joules=joules),) if joules else ()
    return Measured(
        measure=1, in_force=0, t0_s=0.0, t1_s=1.0, energies=energies, before=(), after=(), load=None, rows={},
        rows_lost={}, last_block=0, counts=counts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        ("power_watts", 50.0),
        ("machine_cpu_seconds", 3.0),
        ("server_cpu_seconds", 2.0),
        ("", 50.0),
    ],
)
def test_what_settings_were_learnt_by_is_what_is_held_against_it(power: str, expected: float) -> None:
    assert spent_in(window(50.0, server_cpu_seconds=2.0, machine_cpu_seconds=3.0), power) == expected


def test_seconds_are_never_taken_for_watts() -> None:
    assert spent_in(window(server_cpu_seconds=2.0, machine_cpu_seconds=3.0), "power_watts") == 0.0
    assert spent_in(window(machine_cpu_seconds=3.0), "") == 3.0
