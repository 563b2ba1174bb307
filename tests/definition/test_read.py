import json
from pathlib import Path

import pytest

from mustherd.definition import DefinitionError, load, loads, quickstart
from mustherd.definition.errors import MOST_OTHERS
from tests.definition.make import error_of, made, refused, text

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.yml")), ids=lambda p: p.name)
def test_every_example_is_sound(path: Path) -> None:
    assert load(path).name == path.stem


def test_the_quickstart_is_the_example_of_that_name() -> None:
    assert quickstart() == (ROOT / "examples/quickstart.yml").read_text(encoding="utf-8")


def test_the_quickstart_asks_for_what_it_promises() -> None:
    experiment = loads(quickstart(), "quickstart.yml")
    assert experiment.workload.qps == 600000
    assert [str(c.metric) for c in experiment.constraints] == ["read_p99_us"]
    assert set(experiment.knobs["dvfs"]) == {*range(1200, 2601, 200), 2800}
    assert experiment.herd.simulated is not None
    assert (experiment.herd.simulated.musters, experiment.herd.simulated.speed, experiment.trials) == (2, 1000, 30)


def test_little_has_to_be_said() -> None:
    experiment = made()
    assert experiment.objective == "energy_joules"
    assert experiment.search.method == "gp"
    assert experiment.policy.name == "tune"
    assert experiment.workload.update_ratio == 0.25
    assert experiment.baseline.settings == {}


def test_the_preset_decides_the_share_of_updates_unless_it_is_given() -> None:
    real = {"inventory": "inventory/lab"}
    assert made(herd=real, workload={"qps": 1, "preset": "usr"}).workload.update_ratio == 0.01
    usr = {"qps": 1, "preset": "usr", "update_ratio": 0.5}
    assert made(herd=real, workload=usr).workload.load(1).update_ratio == 0.5


@pytest.mark.parametrize("policy", ["nop", "collect", {"name": "stats", "options": {}}])
@pytest.mark.parametrize("knobs", [None, {}])
def test_a_policy_that_sets_nothing_needs_no_knobs(policy: object, knobs: dict[str, object] | None) -> None:
    experiment = made(policy=policy, knobs=knobs)
    assert experiment.knobs == {}
    assert loads(experiment.to_yaml()) == experiment


def test_other_ways_to_write_the_same() -> None:
    experiment = made(
        workload={"qps": "600k"},
        policy={"name": "follow", "options": {"steps": [1, {"a": None}]}},
        baseline={"settings": {"itr-delay": "adaptive"}},
    )
    assert experiment.workload.qps == 600000
    assert experiment.policy.options == {"steps": [1, {"a": None}]}
    assert experiment.baseline.settings == {"itr-delay": 1}


SIMULATED = {"herd": {"simulated": {"musters": 3}, "inventory": "there"}}
WRONG = [
    ({"name": None}, "", "the key 'name' is needed", ""),
    ({"name": 5}, "name", "should be text, found the number 5; in quotes it is text", ""),
    ({"name": "../up"}, "name", "is no name", ""),
    ({"name": ""}, "name", "is no name", ""),
    ({"nam": "x"}, "nam", "unknown key 'nam'", "name"),
    ({"qps": 5}, "qps", "unknown key 'qps'", "workload.qps"),
    ({"herd": {}}, "herd", "needs 'simulated', 'local' or 'inventory'", ""),
    ({"herd": None}, "", "the key 'herd' is needed", ""),
    ({"knobs": None}, "", "the key 'knobs' is needed", ""),
    ({"knobs": {}}, "knobs", "no knob leaves nothing to try", ""),
    ({"knobs": None, "policy": "latency-predictor"}, "", "the key 'knobs' is needed", ""),
    ({"knobs": {}, "policy": {"name": "follow"}}, "knobs", "no knob leaves nothing to try", ""),
    ({"herd": "local"}, "herd", "should be a mapping, found 'local'", ""),
    (SIMULATED, "herd.inventory", "simulated, local or an inventory, one of them", ""),
    ({"herd": {"simulated": {"profile": "c6200"}}}, "herd.simulated.profile", "unknown profile 'c6200'", "c6220"),
    ({"herd": {"simulated": {"musters": 0}}}, "herd.simulated.musters", "0 is too small", ""),
    ({"herd": {"simulated": {"musters": 129}}}, "herd.simulated.musters", "129 is too large", ""),
    ({"herd": {"simulated": {"musters": True}}}, "herd.simulated.musters", "whole number, found true", ""),
    ({"herd": {"simulated": {"speed": "fast"}}}, "herd.simulated.speed", "a number, found 'fast'", ""),
    (
        {"herd": {"simulated": {"faults": {"lost_row": 3}}}},
        "herd.simulated.faults.lost_row",
        "unknown key",
        "lost_rows",
    ),
    ({"herd": {"simulated": {"faults": {"misses": 2}}}}, "herd.simulated.faults.misses", "2 is too large", ""),
    (
        {"herd": {"simulated": {"faults": {"write_error": ["dvfz"]}}}},
        "herd.simulated.faults.write_error[0]",
        "unknown knob",
        "dvfs",
    ),
    (
        {"herd": {"simulated": {"faults": {"knob_reverts_after_s": {"dvfs": "x"}}}}},
        "herd.simulated.faults.knob_reverts_after_s.dvfs",
        "a number, found 'x'",
        "",
    ),
    (
        {"herd": {"simulated": {"faults": {"energy_stuck": 1}}}},
        "herd.simulated.faults.energy_stuck",
        "true or false",
        "",
    ),
    ({"workload": {}}, "workload.qps", "the key 'qps' is needed", ""),
    ({"workload": {"qps": 0}}, "workload.qps", "0 is too small", ""),
    ({"workload": {"qps": 1e300}}, "workload.qps", "too large", ""),
    ({"workload": {"qps": "many"}}, "workload.qps", "'many' is no amount", ""),
    ({"workload": {"qps": 5, "preset": "ect"}}, "workload.preset", "unknown preset 'ect'", "etc"),
    ({"workload": {"qps": 5, "preset": ["etc"]}}, "workload.preset", "unknown preset a list", ""),
    ({"workload": {"qps": 5, "update_ratio": 2}}, "workload.update_ratio", "2 is too large", ""),
    ({"workload": {"qps": 5, "window_secs": 2}}, "workload.window_secs", "unknown key", "window_seconds"),
    ({"workload": {"qps": 5, "window_seconds": 0}}, "workload.window_seconds", "0 is too small", ""),
    ({"workload": {"qps": 5, "curve": {"steps": [[5, 9]]}}}, "workload.curve", "not both", ""),
    ({"workload": {"curve": {}}}, "workload.curve", "needs a form", ""),
    ({"workload": {"curve": {"steps": [[5, 9]], "trace": [[0, 1], [2, 1]]}}}, "workload.curve", "one of several", ""),
    ({"workload": {"curve": {"steps": []}}}, "workload.curve.steps", "should be a list", ""),
    ({"workload": {"curve": {"steps": [[5]]}}}, "workload.curve.steps", "is no pair", ""),
    ({"workload": {"curve": {"steps": [["5 W", 9]]}}}, "workload.curve.steps", "'W' is no unit here", ""),
    ({"workload": {"curve": {"steps": [[5, 0]]}}}, "workload.curve.steps", "piece 1: seconds is 0", ""),
    ({"workload": {"curve": {"trace": "no-such.csv"}}}, "workload.curve.trace", "no-such.csv can't be read", ""),
    ({"workload": {"curve": {"trace": [[0, 5], [0, 5]]}}}, "workload.curve.trace", "time 0 s should be above 0", ""),
    (
        {"workload": {"curve": {"sine": {"low": 9, "high": 5, "period_seconds": 9, "seconds": 9}}}},
        "workload.curve.sine",
        "low 9 qps is above high 5 qps",
        "",
    ),
    (
        {"workload": {"curve": {"step": {"low": 9, "high": 5, "at_seconds": 9, "seconds": 9}}}},
        "workload.curve.step",
        "a step at 9 s does not lie within",
        "",
    ),
    (
        {"workload": {"curve": {"steps": [[5, 30], [0, 30]], "spans": "experiment"}}, "policy": "nop"},
        "workload.curve.steps",
        "the load is 0 all the time",
        "",
    ),
    (
        {"workload": {"curve": {"steps": [[5, 30], [6, 30]], "spans": "experiment"}}},
        "workload.curve.spans",
        "a search compares settings under one load",
        "window",
    ),
    (
        {"workload": {"qps": 5, "window_seconds": "500 ms"}},
        "workload.window_seconds",
        "a number, found '500 ms'",
        "0.5",
    ),
    ({"workload": {"qps": 5, "window_seconds": "30s"}}, "workload.window_seconds", "a number, found '30s'", "30"),
    ({"workload": {"qps": 5, "window_seconds": "5 W"}}, "workload.window_seconds", "a number, found '5 W'", ""),
    ({"confirmation": {"margin": "6 %"}}, "confirmation.margin", "a number, found '6 %'", "0.06"),
    ({"knobs": {"itr-delay": "20-50"}}, "knobs.itr-delay", "should be values, found '20-50'", "{low: 20, high: 50}"),
    ({"knobs": {"dvfs": "1.2 .. 2 GHz"}}, "knobs.dvfs", "should be values", ""),
    ({"knobs": {"dvfs": "1.2 GHz to 2 GHz"}}, "knobs.dvfs", "should be values", "{low: 1.2 GHz, high: 2 GHz}"),
    ({"knobs": {"itr-delay": "yes"}}, "knobs.itr-delay", "should be values, found 'yes'", ""),
    ({"knobs": {"itr-delay": "50 us"}}, "knobs.itr-delay", "should be values, found '50 us'", "[50 us]"),
    ({"knobs": {"itr-delay": [[20]]}}, "knobs.itr-delay[0]", "found a list; allowed: off, adaptive, a number", ""),
    ({"constraints": ["100 <= read_p99_us <= 500"]}, "constraints[0]", "has one side", "read_p99_us >= 100"),
    ({"constraints": ["0.5 ms >= read_p99_us"]}, "constraints[0]", "begins with its metric", "read_p99_us <= 0.5 ms"),
    ({"constraints": [{"read_p99_us": 500}]}, "constraints[0]", "a mapping is no limit", "read_p99_us <= 500"),
    ({"objectives": ["energy_joules"]}, "objectives", "names one metric; allowed: two metrics", ""),
    ({"knobs": {}}, "knobs", "nothing to try", ""),
    ({"knobs": {"itr-dely": [2]}}, "knobs.itr-dely", "unknown knob 'itr-dely'", "itr-delay"),
    ({"knobs": {"itr_delay": [2]}}, "knobs.itr_delay", "is no name of a knob", "itr-delay"),
    ({"knobs": {"dvfs@core-3": [1200]}}, "knobs.dvfs@core-3", "unknown knob", "dvfs@node-0"),
    ({"knobs": {"dvfs": [1200, "2.65 GHz"]}}, "knobs.dvfs[1]", "does not allow 2650 MHz", ""),
    ({"knobs": {"dvfs": [{"low": 1200, "high": 1500}, 2700]}}, "knobs.dvfs[1]", "does not allow 2700 MHz", ""),
    ({"knobs": {"dvfs": {"low": 1200, "high": 2800}}}, "knobs.dvfs", "does not allow 2700 MHz", ""),
    ({"knobs": {"itr-delay": [1024]}}, "knobs.itr-delay[0]", "does not allow 1024 us", ""),
    ({"objective": "energy"}, "objective", "unknown metric 'energy'", "energy_joules"),
    ({"objective": "energy_jouls"}, "objective", "unknown metric", "energy_joules"),
    ({"objective": "offered_qps"}, "objective", "no objective", ""),
    ({"objective": ["energy_joules"]}, "objective", "should be the name of a metric, found a list", ""),
    ({"constraints": "read_p99_us <= 500"}, "constraints", "should be a list", "[read_p99_us <= 500]"),
    ({"constraints": ["read_p9_us <= 500"]}, "constraints[0]", "unknown metric", "read_p99_us"),
    ({"constraints": ["p99 <= 500"]}, "constraints[0]", "unknown metric 'p99'", "read_p99_us"),
    ({"constraints": ["avg <= 500"]}, "constraints[0]", "unknown metric 'avg'", "read_avg_us"),
    ({"constraints": ["read_p99_us <= 5", "read_p99_us <= 6"]}, "constraints[1]", "already has", ""),
    ({"constraints": ["read_p99_us <= 5", "read_p99_us >= 6"]}, "constraints[1]", "contradicts", ""),
    ({"constraints": ["read_p99_us >= 6", "read_p99_us <= 5"]}, "constraints[1]", "contradicts", ""),
    ({"constraints": ["achieved_ratio >= 0.9"]}, "constraints[0]", "gates.achieved_ratio", "gates.achieved_ratio"),
    ({"constraints": [f"misses <= {i}" for i in range(40)]}, "constraints", "is too long", ""),
    (
        {"constraints": ["update_p99_us <= 5"], "workload": {"qps": 5, "update_ratio": 0}},
        "constraints[0]",
        "no updates to measure",
        "",
    ),
    ({"objective": "read_p99_us", "workload": {"qps": 5, "update_ratio": 1}}, "objective", "no reads", ""),
    ({"search": "gp"}, "search", "should be a mapping, found 'gp'", ""),
    ({"search": {"method": "bayes"}}, "search.method", "unknown method 'bayes'", ""),
    ({"search": {"method": "oneshot"}}, "search.method", "unknown method", "one-shot"),
    ({"search": {"seed": -1}}, "search.seed", "-1 is too small", ""),
    ({"search": {"seed": 1.5}}, "search.seed", "a whole number, found '1.5'", ""),
    ({"search": {"initial": 31}}, "search.initial", "more initial points than the 30 trials", ""),
    ({"search": {"initial": 3, "method": "grid"}}, "search.initial", "has no initial points", ""),
    ({"search": {"method": "one-shot"}}, "search", "needs 'settings'", ""),
    ({"search": {"method": "one-shot", "settings": {"dvfs": 1200}}}, "search.settings", "no value for 'itr-delay'", ""),
    (
        {"search": {"method": "one-shot", "settings": {"dvfs": 1200, "itr-delay": 100}}},
        "search.settings.itr-delay",
        "100 us is not among the knob's values",
        "",
    ),
    ({"search": {"settings": {"dvfs": 1200, "itr-delay": 2}}}, "search.settings", "takes no settings", ""),
    ({"trials": 0}, "trials", "0 is too small", ""),
    ({"trials": "30"}, "trials", "a whole number, found '30'", ""),
    ({"repeats": -1}, "repeats", "-1 is too small", ""),
    ({"baseline": {"settings": "defualt"}}, "baseline.settings", "unknown settings", "default"),
    ({"baseline": {"settings": {"itr-dely": 2}}}, "baseline.settings.itr-dely", "not among the knobs", "itr-delay"),
    ({"baseline": {"settings": {"dvfs": 2700}}}, "baseline.settings.dvfs", "does not allow 2700 MHz", ""),
    ({"baseline": {"every": 0}}, "baseline.every", "0 is too small", ""),
    ({"gates": {"achieved_ratio": 98}}, "gates.achieved_ratio", "98 is too large", ""),
    ({"gates": {"energy_watts": {"low": 50, "high": 20}}}, "gates.energy_watts", "low, 50, is not below high, 20", ""),
    ({"gates": {"atempts": 3}}, "gates.atempts", "unknown key 'atempts' in 'gates'", "attempts"),
    ({"budget": {"minutes": 0}}, "budget.minutes", "0 is too small", ""),
    ({"budget": {"hours": 1}}, "budget.hours", "unknown key", ""),
    ({"policy": ["tune"]}, "policy", "should be a mapping, found a list", ""),
    ({"policy": "Tune!"}, "policy.name", "is no name", ""),
    ({"policy": {"name": "tune", "options": 3}}, "policy.options", "should be a mapping of options", ""),
    ({"policy": {"options": 1e999}}, "policy.options", "should be a mapping of options", ""),
]


@pytest.mark.parametrize(("changes", "key", "said", "suggestion"), WRONG, ids=[f"{w[1]} {w[2]}" for w in WRONG])
def test_what_is_wrong_is_said(changes: dict[str, object], key: str, said: str, suggestion: str) -> None:
    error = refused(**changes)
    assert said in str(error)
    assert error.suggestion == suggestion
    assert error.key == key or (not key and error.problem.startswith("the key"))
    assert error.line > 0
    assert "\n" not in str(error)
    assert json.loads(json.dumps(error.to_dict()))["problem"] == error.problem


def test_the_line_and_the_column_are_those_of_the_value_or_of_the_unknown_key() -> None:
    definition = """\
name: x
herd: {simulated: {}}
workload: {qps: 600k}
knobs:
  itr-delay:
    - {low: 2, high: 100}
    - 1023
  dvfs:
    - 1200
constraints: []
trails: 5
"""
    error = error_of(definition)
    assert (error.line, error.column, error.key, error.suggestion) == (11, 1, "trails", "trials")
    error = error_of(definition.replace("trails", "trials"))
    assert (error.line, error.column, error.key, error.value) == (7, 7, "knobs.itr-delay[1]", "1023")
    assert str(error) == (
        "test.yml:7: knobs.itr-delay[1]: node-0 does not allow 1023 us; allowed: off, adaptive, 2..1022 us"
    )


def test_every_error_is_said_a_line_each_in_file_order() -> None:
    error = refused(trials=0, repeats=-1, name=5)
    assert error.key == "name"
    assert [other.key for other in error.others] == ["trials", "repeats"] or {o.key for o in error.others} == {
        "trials",
        "repeats",
    }
    assert error.more == 2
    lines = str(error).splitlines()
    assert len(lines) == 3
    assert [line.split(": ")[1] for line in lines] == [error.key, *(other.key for other in error.others)]


def test_a_terminal_sees_the_line_and_the_place() -> None:
    error = error_of("name: x\nherd: {simulated: {musters: 1}}\ntrials:    many\n")
    [at] = [k for k, line in enumerate(error.picture().splitlines()) if ": trials: " in line]
    _, excerpt, caret = error.picture().splitlines()[at : at + 3]
    assert excerpt == "    trials:    many"
    assert excerpt[caret.index("^") :] == "many"


def test_a_long_or_odd_line_is_cut_around_the_place() -> None:
    error = error_of('x: "' + "\\e" * 300 + '"\n' + "{" + " " * 3000 + "trails: 1}\n")
    assert all(len(line) < 700 for line in error.picture().splitlines())
    assert all(c.isprintable() or c == "\n" for c in error.picture())


def test_of_very_many_errors_the_rest_is_counted() -> None:
    error = error_of("\n".join(f"odd{n}: 1" for n in range(60)))
    assert error.more >= 59
    assert str(error).splitlines()[-1] == f"and {error.more - MOST_OTHERS} more errors"
    assert len(str(error).splitlines()) == MOST_OTHERS + 2


def test_an_unknown_key_is_said_and_not_what_is_below_it() -> None:
    error = error_of(
        "name: x\nherd: {simulated: {musters: 1}}\nworkload: {preset: etc, qps: 1000}\nknobs: {dfvs: {low: 1.2 GHz}}\n"
    )
    assert "did you mean 'dvfs'?" in str(error), str(error)
    assert "high" not in str(error)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('name: "x\ntrials: 3\nrepeats: 2\n', 1, "quote"),
        ("name: x\nknobs: {dvfs: [1200,\n  1300\ntrials: 3\n", 2, "'['"),
        ("name: x\nherd: {simulated: {musters: 1}\ntrials: 3\n", 2, "'{'"),
    ],
)
def test_what_is_not_closed_is_said_where_it_was_opened(text: str, line: int, said: str) -> None:
    error = error_of(text)
    assert (error.line, said in str(error)) == (line, True), error.picture()


def test_a_space_that_is_none_to_yaml_is_named_with_its_place() -> None:
    error = error_of("name: x\ntrials:\u00a05\nrepeats: 2\n")
    assert (error.line, error.column) == (2, 8)
    assert "U+00A0" in error.problem
    assert error.excerpt.startswith("trials:")


def test_a_key_that_is_there_twice_is_shown() -> None:
    error = error_of("name: x\ntrials: 3\ntrials: 4\n")
    assert (error.line, error.excerpt) == (3, "trials: 4")
    assert error.picture().splitlines()[1:] == ["    trials: 4", "    ^"]


@pytest.mark.parametrize(
    "key", ["trials", "workload", "search", "knobs", "objective", "constraints", "gates", "baseline"]
)
def test_a_key_without_a_value_is_no_default(key: str) -> None:
    definition = text(**{key: None}) + f"{key}:\n"
    error = error_of(definition)
    assert error.key == key
    assert error.line == definition.count("\n")


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("", "empty"),
        ("---\n", "empty"),
        ("[]", "found a list"),
        ("x", "found 'x'"),
        ("{}", "is needed"),
        ("x: [", "no YAML"),
    ],
)
def test_what_is_no_definition(definition: str, said: str) -> None:
    assert said in str(error_of(definition))


@pytest.mark.parametrize(
    ("more", "key", "said"),
    [
        ("policy: {options: {a: [1e999]}}", "policy.options.a[0]", "inf is out of range"),
        ("meters: {pdu: {kind: command, period_seconds: 1e400}}", "meters.pdu.period_seconds", "inf is out of range"),
        ("metrics: {heap: {file: /x, every_seconds: 1e400}}", "metrics.heap.every_seconds", "inf is out of range"),
        ("constraints: [read_p99_us <= 1e400]", "constraints[0]", "1e400 is out of range"),
        ("constraints: [read_p99_us <= 1e400 ms]", "constraints[0]", "1e400 ms is out of range"),
    ],
)
def test_a_number_beyond_all_numbers_has_its_place(more: str, key: str, said: str) -> None:
    error = error_of(f"{text()}{more}\n")
    assert (error.key, error.problem) == (key, said)
    assert error.allowed


def test_a_server_that_is_wrong_is_told_and_no_preset_that_nobody_named() -> None:
    server = "\n    command: [x]\n    ready: {seconds: 1e400}\n"
    herd = f"name: x\nherd: {{local: {{}}}}\nworkload:\n  server:{server}"
    error = error_of(f"{herd}knobs: {{server-cores: [1, 2]}}\nobjective: server_cpu_seconds\n")
    assert "preset" not in str(error)
    assert (error.key, error.line) == ("workload.server.ready.seconds", 6)


@pytest.mark.parametrize(
    ("metric", "path", "said"),
    [
        ({"file": "/q", "take": "median"}, "take", "'median'; allowed: mean, max, min, last, increase, rate"),
        ({"flie": "/q"}, "flie", "unknown option 'flie'; allowed: prometheus, query, endpoint"),
    ],
)
def test_what_a_metric_of_an_application_may_be_is_told(metric: dict[str, str], path: str, said: str) -> None:
    error = refused(metrics={"queue": metric}, herd={"local": {}}, knobs={"server-cores": [1]})
    assert f"metrics.queue.{path}: " in str(error)
    assert said in str(error)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="the file can't be read: No such file") as caught:
        load(tmp_path / "none.yml")
    assert caught.value.line == 0
    assert str(caught.value).startswith(f"{tmp_path}/none.yml: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="can't be read"):
        load(tmp_path)
    with pytest.raises(DefinitionError, match="can't be read"):
        load("nul\0l.yml")
    with pytest.raises(DefinitionError, match="too large"):
        load("/dev/zero")
    (tmp_path / "latin.yml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(DefinitionError, match="0xe9"):
        load(tmp_path / "latin.yml")


def test_what_an_error_repeats_can_be_printed() -> None:
    error = error_of('name: "a\\e[2J\\nb' + "x" * 500 + '"')
    assert all(line.isprintable() and len(line) < 1000 for line in str(error).split("\n"))
    assert len(error.sentence()) < 1000
