"""Following a load by a table."""

from pathlib import Path

import pytest

from mustherd.definition import DefinitionError, Experiment, loads, problem
from mustherd.learn.base import Observation
from mustherd.policy.base import Follower, check
from mustherd.policy.follow import Follow
from mustherd.store.store import Store
from mustherd.terms import Load
from tests import running

EXAMPLE = (Path(__file__).parents[2] / "examples" / "follow.yml").read_text()


def defined(**options: object) -> Experiment:
    experiment = loads(EXAMPLE, "follow.yml")
    table = {"200k": {"itr-delay": 300}, "600000": {"itr-delay": 150, "dvfs": "1.9 GHz"}}
    changed = experiment.policy.model_copy(update={"options": {"table": table, **options}})
    return experiment.model_copy(update={"policy": changed})


def follow(**options: object) -> Follow:
    experiment = defined(**options)
    return Follow(experiment, problem(experiment))


@pytest.mark.parametrize(("qps", "delay"), [(100, 300), (250_000, 300), (450_000, 150), (2e6, 150)])
def test_the_nearest_load_s_row_is_set(qps: float, delay: int) -> None:
    policy = follow()
    assert isinstance(policy, Follower)
    policy.expect(Load(qps=qps))
    point = policy.propose([])
    assert point is not None
    assert point["itr-delay"] == delay


def test_who_follows_what_was_measured_is_late_by_one_trial() -> None:
    policy = follow(load="measured")
    policy.expect(Load(qps=100_000))
    assert policy.propose([]) == {"itr-delay": 150, "dvfs": 1900}, "not the row that is safe at every load"
    policy.observe([Observation(point={}, metrics={"achieved_qps": 190_000.0})])
    policy.expect(Load(qps=600_000))
    assert policy.propose([]) == {"itr-delay": 300}


def test_who_guesses_goes_by_what_the_card_received_under_the_delay_that_was_set() -> None:
    policy = follow(load="guessed")
    policy.observe([Observation(point={"itr-delay": 300}, metrics={"achieved_qps": 9e5, "rx_bytes_per_row": 3000.0})])
    assert policy.propose([]) == {"itr-delay": 300}
    policy.observe([Observation(point={}, metrics={"rx_bytes_per_row": 7800.0})])
    assert policy.propose([]) == {"itr-delay": 150, "dvfs": 1900}, "as found: the delay is adaptive"
    policy.observe([Observation(point={}, metrics={})])
    assert policy.propose([]) == {"itr-delay": 150, "dvfs": 1900}, "without rows nothing is learnt"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tabel": {}}, "no option 'tabel'; allowed: table, load"),
        ({"load": "by-eye"}, "'by-eye'; allowed: oracle, measured, guessed"),
        ({"table": {}}, "needs a table"),
        ({"table": {"many": {"dvfs": 1300}}}, "many: 'many' is no amount"),
        ({"table": {"0": {"dvfs": 1300}}}, "loads are above 0"),
        ({"table": {"1k": {"dvfs": 1300}, "1000": {"dvfs": 1300}}}, "each has one row"),
        ({"table": {"1k": {"dvsf": 1300}}}, "1k: unknown knob 'dvsf'|1k: dvsf 1300 is not among"),
        ({"table": {"1k": {"dvfs": 1500}}}, "1k: dvfs 1500 is not among the experiment's knobs and their values"),
        ({"table": {"1k": 5}}, "1k: "),
    ],
)
def test_options_that_cannot_be_used_have_their_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as caught:
        check(defined(**options))
    assert caught.value.line > 0


@pytest.mark.process
def test_the_example_follows_its_curve(tmp_path: Path) -> None:
    code, result, err = running.complete(tmp_path, EXAMPLE.replace("speed: 200", "speed: 2000"))
    assert code == 0, err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        trials = store.trials()
    assert [t.load.qps for t in trials if t.load] == [4e5, 8e5, 6e5, 2e5, 4e5, 1e5]
    assert [t.settings["itr-delay"] for t in trials] == [300, 200, 300, 300, 300, 300]
    for trial in trials:
        assert trial.load is not None
        assert trial.metrics["achieved_qps"] == pytest.approx(trial.load.qps, rel=0.02)
        assert trial.metrics["read_p99_us"] <= 500
