"""Other days: what was announced is measured again, and the record of it is kept and learnt from."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mustherd
from mustherd.definition import loads
from mustherd.experiment.again import DAYS, Day, Record, definition_of_day, for_today
from mustherd.experiment.verdict import AtLoad, Side, Verdict
from mustherd.store.errors import StoreError
from tests import running
from tests.definition.make import made

MARGIN = 0.06
"""The default of `confirmation.margin`, which p99's drift between recorded campaigns gave."""


def side(**knobs: int) -> Side:
    return Side(
        knobs={key.replace("_", "-"): value for key, value in knobs.items()}, n=3, energy_joules=1000.0,
        read_p99_us=450.0, achieved_ratio=1.0, metrics={"read_p99_us": 450.0}, intervals={},
    )  # fmt: skip


def verdict(**fields: Any) -> Verdict:
    base: dict[str, Any] = {
        "verdict": "met", "reason": "met: so it is", "objective": "energy_joules", "constraints": (),
        "best": side(itr_delay=200, dvfs=1600),
    }  # fmt: skip
    return Verdict(**{**base, **fields})


def day(ratio: float, word: Any = "met", metric: str = "read_p99_us") -> Day:
    return Day(
        folder="f", began_at=0.0, verdict=word, reason="", saving_percent=20.0, drift={metric: ratio} if ratio else {}
    )


def test_the_definition_of_a_day_measures_what_was_announced_and_nothing_else() -> None:
    first = made(
        name="mine", search={"seed": 7, "prior": "twin"}, repeats=5, confirmation={"rounds": 9, "margin": 0.1},
        herd={"simulated": {"musters": 2, "seed": 4, "drift": 1.0}}, baseline={"every": 4}, gates={"attempts": 2},
        constraints=["read_p99_us <= 480"], budget={"minutes": 90}, trials=12,
        knobs={"itr-delay": [1, 50, 200], "dvfs": [1200, 1600, 2800]},
    )  # fmt: skip
    second = loads(definition_of_day(first, verdict(), Path("/f"), 3))
    assert second.search.method == "one-shot"
    assert second.search.settings == {"itr-delay": 200, "dvfs": 1600}
    assert second.search.prior is None
    assert second.confirmation.margin == 0.0, "the margin was for such a day"
    assert (second.trials, second.repeats, second.confirmation.rounds, second.confirmation.candidates) == (1, 5, 9, 1)
    for same in ("name", "workload", "knobs", "constraints", "baseline", "gates", "objective"):
        assert getattr(second, same) == getattr(first, same), same
    assert second.herd.simulated is not None
    assert (second.herd.simulated.day, second.herd.simulated.seed, second.herd.simulated.musters) == (3, 4, 2)
    assert second.search.seed != first.search.seed, "another day has other noise"


def test_a_day_of_several_loads_tries_the_table_that_was_announced(tmp_path: Path) -> None:
    rows = tuple(
        AtLoad(
            qps=qps, verdict="met", reason="", best=side(itr_delay=200, dvfs=1600), default=None, saving_percent=None,
            saving_ci_percent=None,
        )
        for qps in (200_000.0, 400_000.0)
    )  # fmt: skip
    first = made(workload={"qps": [200_000, 400_000]})
    second = loads(definition_of_day(first, verdict(best=None, loads=rows), tmp_path, 1))
    assert second.search.table == str(tmp_path / "policy.yml")
    assert second.trials == 2


@pytest.mark.parametrize(
    ("found", "says"),
    [(None, "it isn't over"), (verdict(verdict="not met", reason="not met: none kept", best=None), "none kept")],
)
def test_where_nothing_was_announced_there_is_nothing_to_measure_again(found: Verdict | None, says: str) -> None:
    with pytest.raises(StoreError, match=rf"/f announced no setting that could be measured again: .*{says}"):
        definition_of_day(made(), found, Path("/f"), 1)


class TestRecord:
    def test_it_counts_the_days_on_which_the_announced_setting_held(self) -> None:
        assert Record().text() == ""
        assert Record().margin is None
        assert Record(days=(day(1.0),)).text().startswith("held on 1 of 1 day; a margin of ")
        mixed = Record(days=(day(1.0), day(1.2, "not met"), day(1.0), day(1.01, "not certain")))
        assert mixed.held == 2
        assert mixed.text().startswith("held on 2 of 4 days; not met on 1; not certain on 1; a margin of ")
        assert Record(days=(day(0.0),)).margin is None

    def test_before_days_speak_for_themselves_the_margin_is_near_the_default(self) -> None:
        assert Record(days=(day(1.0),)).margin == pytest.approx(MARGIN, abs=0.01)

    def test_quiet_herds_need_less_and_drifting_ones_more(self) -> None:
        quiet, loud = (Record(days=tuple(day(r) for r in ratios)).margin for ratios in ([1.0] * 8, [1.1, 0.9] * 4))
        assert quiet is not None
        assert loud is not None
        assert quiet < MARGIN < loud

    def test_of_several_limits_the_one_that_spreads_most_counts(self) -> None:
        one = Record(days=(day(1.2), day(0.9)))
        both = Record(days=(*one.days, day(1.0, metric="update_p99_us")))
        assert both.margin == one.margin

    @given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=30))
    def test_it_is_a_share_and_covers_the_spread_of_many_days(self, ratios: list[float]) -> None:
        margin = Record(days=tuple(map(day, ratios))).margin
        assert margin is not None
        assert 0 < margin < 1
        if len(ratios) >= 20 and max(ratios) / min(ratios) > 1.5:
            assert margin > 1 - math.exp(-math.log(max(ratios) / min(ratios)) / len(ratios))


def test_what_is_announced_is_for_today_until_it_held_on_another_day(tmp_path: Path) -> None:
    said = for_today(tmp_path, verdict(), Record())
    assert said.startswith("this is for today")
    assert "not measured yet" in said
    assert str(tmp_path) in said
    assert "has not held on another day" in for_today(tmp_path, verdict(), Record(days=(day(1.2, "not met"),)))
    assert for_today(tmp_path, verdict(), Record(days=(day(1.2, "not met"), day(1.0)))) == ""
    # Of the other day itself it is not said, nor where nothing was announced.
    assert for_today(tmp_path / DAYS / "one", verdict(), Record()) == ""
    assert for_today(tmp_path, verdict(verdict="not certain"), Record()) == ""
    assert for_today(tmp_path, None, Record()) == ""


@pytest.mark.process
def test_today_is_said_at_the_end_in_show_and_in_the_report(tmp_path: Path) -> None:
    text = running.definition(musters=1, speed=5000, trials=8, repeats=2, method="gp")
    _, first, _ = running.complete(tmp_path, text)
    folder = Path(first["folder"])
    assert first["verdict"] == "met"
    assert first["today"].startswith("this is for today")
    _, shown, _ = running.run("experiment", "show", folder, cwd=tmp_path)
    assert "this is for today" in " ".join(shown.split())
    assert "This is for today" in mustherd.open(folder).report().read_text()
    assert mustherd.again(folder, report=False).verdict.verdict == "met"
    code, shown, _ = running.run("experiment", "show", folder, cwd=tmp_path)
    assert code == 0
    assert "for today" not in shown
    assert "held on 1 of 1 day" in shown
    assert "for today" not in mustherd.open(folder).report().read_text()


@pytest.mark.long
@pytest.mark.process
def test_two_other_days_of_a_drifting_herd_are_kept_and_told(tmp_path: Path) -> None:
    text = running.definition(musters=1, speed=5000, trials=8, repeats=2, method="gp", more=", drift: 1.0")
    _, first, _ = running.complete(tmp_path, text)
    folder = Path(first["folder"])
    code, out, err = running.run("experiment", "again", folder, "--json", cwd=tmp_path)
    told = json.loads(out)
    assert code == (0 if told["verdict"] == "met" else 1), err
    assert told["best" if told["best"] else "closest"]["knobs"] == first["best"]["knobs"]
    assert Path(told["folder"]).parent == folder / DAYS
    assert len(told["again"]["days"]) == 1
    second = mustherd.again(folder, report=False)
    record = mustherd.open(folder).again
    assert len(record.days) == 2
    assert record.days[-1].folder == str(second.folder)
    assert len({d.drift["read_p99_us"] for d in record.days}) == 2, "each day has latencies of its own"
    assert all(abs(d.drift["read_p99_us"] - 1) > 0.001 for d in record.days)
    _, shown, _ = running.run("experiment", "show", folder, cwd=tmp_path)
    assert record.text() in shown
    assert record.text() in mustherd.open(folder).report().read_text()
