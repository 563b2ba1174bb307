import pytest

from mustherd.definition import (
    DefinitionError,
    check_knobs,
    default_settings,
    loads,
    problem,
    quickstart,
)
from mustherd.goal import Constraint
from mustherd.learn.base import Dimension
from mustherd.learn.space import Space
from mustherd.node.twin.node import TwinNode
from mustherd.terms import Facts, KnobInfo
from tests.definition.make import made

THREADS = KnobInfo(name="threads", sheep="node-0", unit="threads", low=1, high=16)
INVENTORY = {"herd": {"inventory": "inventory/local"}}


def test_the_quickstart_s_problem() -> None:
    found = problem(loads(quickstart()))
    assert [d.name for d in found.space.dimensions] == ["dvfs", "itr-delay"]
    assert [d.scale for d in found.space.dimensions] == ["linear", "log"]
    assert found.space.dimensions[1].categories == ()
    assert found.goal.objective == "energy_joules"
    assert found.goal.aimed == (Constraint("read_p99_us", 470.0), Constraint("achieved_ratio", 0.98, at_least=True))
    assert found.space.default is None
    assert Space(found.space.dimensions).size == 90


def test_modes_have_no_order() -> None:
    found = problem(made(knobs={"itr-delay": ["off", "adaptive", {"low": 2, "high": 10}], "dvfs": [1200]}))
    assert found.space.dimensions[1] == Dimension(
        name="itr-delay", values=(0, 1, 2, 4, 6, 8, 10), categories=(0, 1), scale="log", role="delay"
    )
    assert Space(found.space.dimensions).axes[1].values == (0, 1, 2, 4, 6, 8, 10)


def test_one_load_says_how_long_requests_may_be_under_way() -> None:
    assert problem(made(workload={"qps": 400_000, "outstanding": 256})).space.in_flight_us == 640.0
    assert problem(made(workload={"qps": [200_000, 400_000]})).space.in_flight_us is None


def test_a_range_stays_one() -> None:
    found = problem(made(knobs={"dvfs": {"low": 1200, "high": 2600, "step": 200}}))
    assert found.space.dimensions == (Dimension(name="dvfs", low=1200, high=2600, step=200, role="clock"),)


def test_the_guard_s_limit_is_the_gate_s() -> None:
    assert problem(made(gates={"achieved_ratio": 0.9})).goal.aimed == (Constraint("achieved_ratio", 0.9, True),)
    assert problem(made(gates={"achieved_ratio": 0})).goal.aimed == ()


def test_the_default_is_known_where_it_lies_in_the_space() -> None:
    assert problem(made(), {"itr-delay": 50, "dvfs": 2600}).space.default == {"dvfs": 2600, "itr-delay": 50}
    assert problem(made(), {"itr-delay": 51, "dvfs": 2600}).space.default is None
    assert problem(made(), {"itr-delay": 50}).space.default is None
    explicit = made(baseline={"settings": {"itr-delay": 2}})
    assert problem(explicit, {"itr-delay": 50, "dvfs": 2600}).space.default == {"dvfs": 2600, "itr-delay": 2}


def test_default_settings() -> None:
    assert default_settings(made()) == {}
    assert default_settings(made(baseline={"settings": {"itr-delay": "adaptive", "dvfs": "0xc00"}})) == {
        "itr-delay": 1,
        "dvfs": 1200,
    }


def test_a_twin_takes_what_is_asked_of_it() -> None:
    check_knobs(loads(quickstart()), [knob.info for knob in TwinNode().knobs])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"knobs": {"thraeds": [1]}},
            "7: knobs.thraeds: unknown knob 'thraeds'; allowed: threads; did you mean 'threads'?",
        ),
        (
            {"knobs": {"threads": [1, 17]}},
            "9: knobs.threads[1]: node-0 does not allow 17; allowed: 1..16 threads",
        ),
        (
            {"knobs": {"threads": {"low": 8, "high": 20}}},
            "8: knobs.threads: node-0 does not allow 17; allowed: 1..16 threads",
        ),
        (
            {"knobs": {"threads@core-1": [1]}},
            "7: knobs.threads@core-1: unknown knob 'threads@core-1'; allowed: threads@node-0; "
            "did you mean 'threads@node-0'?",
        ),
        (
            {"knobs": {"threads": [1]}, "baseline": {"settings": {"threads": 99}}},
            "11: baseline.settings.threads: node-0 does not allow 99; allowed: 1..16 threads",
        ),
    ],
)
def test_what_no_node_allows_has_a_line(changes: dict[str, object], said: str) -> None:
    experiment = made(**INVENTORY, **changes)
    with pytest.raises(DefinitionError) as caught:
        check_knobs(experiment, [THREADS])
    assert str(caught.value) == f"test.yml:{said}"


def test_nodes_without_knobs_are_said_to_have_none() -> None:
    with pytest.raises(DefinitionError, match="no node offers a knob"):
        check_knobs(made(), [])


def test_a_node_that_lacks_a_knob_is_quoted_on_why() -> None:
    facts = Facts(kind="process", text={"no_cpu-quota": "it takes root", "server": "no_thing"})
    experiment = made(
        herd={"local": {}}, objective="server_cpu_seconds", constraints=[], knobs={"cpu-quota": [50, 100]}
    )
    with pytest.raises(DefinitionError) as caught:
        check_knobs(experiment, [THREADS], facts)
    assert "knobs.cpu-quota: the node doesn't offer 'cpu-quota': it takes root; allowed: threads" in str(caught.value)
    with pytest.raises(DefinitionError, match="unknown knob 'cpu-quota'"):
        check_knobs(experiment, [THREADS])


def test_what_one_of_several_nodes_refuses_is_refused() -> None:
    narrow = KnobInfo(name="threads", sheep="node-0", unit="threads", low=1, high=8)
    experiment = made(**INVENTORY, knobs={"threads": [4, 12]})
    check_knobs(experiment, [THREADS])
    with pytest.raises(DefinitionError, match="does not allow 12"):
        check_knobs(experiment, [THREADS, narrow])


def test_one_sheep_may_be_named() -> None:
    core = KnobInfo(name="dvfs", sheep="core-3", unit="MHz", low=1200, high=2000, step=100)
    node = KnobInfo(name="dvfs", sheep="node-0", unit="MHz", low=1200, high=2600, step=100)
    check_knobs(made(**INVENTORY, knobs={"dvfs@node-0": [2600]}), [core, node])
    with pytest.raises(DefinitionError, match="core-3 does not allow 2600 MHz"):
        check_knobs(made(**INVENTORY, knobs={"dvfs@core-3": [2600]}), [core, node])


def test_a_node_that_counts_in_another_unit_than_what_is_installed_here_is_refused() -> None:
    seconds = KnobInfo(name="itr-delay", sheep="node-0", unit="ns", low=0, high=10**6)
    with pytest.raises(DefinitionError) as caught:
        check_knobs(made(**INVENTORY, knobs={"itr-delay": [2]}), [seconds])
    said = "test.yml:7: knobs.itr-delay: node-0 counts 'itr-delay' in ns, and what is installed here counts it in us"
    assert str(caught.value) == f"{said}; allowed: the same version of its package here and on the node"


@pytest.mark.parametrize(
    ("local", "knobs", "said"),
    [
        ({}, {"memcached-treads": [1]}, "7: knobs.memcached-treads: unknown knob 'memcached-treads'"),
        ({}, {"server-cores": [0, 1]}, "8: knobs.server-cores[0]: node-0 does not allow 0 cores"),
        (
            {"server_cores": [0, 1]},
            {"server-cores": [2, 3]},
            "12: knobs.server-cores[1]: node-0 does not allow 3 cores",
        ),
        ({"server_cores": [0]}, {"cpu-quota": ["100 %", 105]}, "11: knobs.cpu-quota[1]: node-0 does not allow 105 %"),
        ({}, {"busy-poll": ["2 ms"]}, "8: knobs.busy-poll[0]: node-0 does not allow 2000 us"),
    ],
)
def test_what_no_server_of_this_machine_would_allow_is_said_before_one_is_started(
    local: dict[str, object], knobs: dict[str, object], said: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        made(herd={"local": local}, knobs=knobs)
    assert str(caught.value).startswith(f"test.yml:{said}")


def test_what_some_machine_allows_is_left_to_the_one_that_is_there() -> None:
    made(herd={"local": {}}, knobs={"server-cores": [1, 512], "memcached-threads": [1, 1024], "busy-read": [0, 50]})
