"""A workload by commands in a definition: what it means, and where it is wrong."""

import pytest

from mustherd import metrics
from mustherd.definition import goal, loads
from mustherd.definition.errors import DefinitionError
from mustherd.definition.model import Experiment
from mustherd.definition.plugin_options import check_load
from mustherd.goal import GUARD
from mustherd.load import registry
from mustherd.metrics import Direction
from mustherd.plugins import LOADS, plugin

TEXT = """\
name: by-command
herd: {local: {}}
workload:
  server:
    command: [my-server, --port, "{port}"]
    ready: {text: listening}
  load:
    command: [my-load, "{host}:{port}", "{seconds}"]
    results: json
    metrics:
      requests: {at: count}
      read_p99_us: {at: latency.p99, unit: ms}
      hits_ratio: {at: hits, better: more}
      queue_length: {at: queue}
  checks: [queue_length <= 100]
  window_seconds: 2
knobs: {server-cores: [1, 2]}
objective: server_cpu_seconds
constraints: [read_p99_us <= 500, queue_length <= 10]
"""
PDU = "{pdu: {kind: command, command: [cat, /x], period_seconds: 0.1}}"


def defined(*changes: tuple[str, str]) -> Experiment:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    made = loads(text, "test.yml")
    check_load(made)
    return made


def test_commands_stand_in_the_place_of_names() -> None:
    load = defined().workload
    assert load.server_name == "command"
    assert load.offered_by is not None
    assert load.offered_by[0] == "command"
    assert load.closed_loop
    assert load.loads == (), "a closed loop is offered nothing"
    assert load.load().qps == 0


def test_it_is_written_as_it_was_read() -> None:
    made = defined()
    again = loads(made.to_yaml(), "again.yml")
    assert again == made
    assert "name: command" not in made.to_yaml()
    assert defined(("  load:\n", "  generator:\n")) == made


def test_a_closed_loop_has_no_guard_and_an_open_one_has() -> None:
    assert goal(defined()).guard == 0
    open_loop = defined(("    results:", "    loop: open\n    results:"), ('"{seconds}"]', '"{seconds}", "{qps}"]'),
                        ("  window", "  qps: 100\n  window"))  # fmt: skip
    assert goal(open_loop).guard > 0
    assert GUARD in {c.metric for c in goal(open_loop).constraints}


def test_its_own_metrics_are_objectives_and_limits_with_their_units() -> None:
    made = defined(("objective: server_cpu_seconds", "objective: hits_ratio"))
    found = goal(made)
    assert (found.objective, found.objectives[0].direction) == ("hits_ratio", Direction.MORE)
    assert {c.metric for c in found.limits} == {"read_p99_us", "queue_length"}
    assert "hits_ratio" not in metrics.catalogue(), "elsewhere nobody knows it"
    assert metrics.of("hits_ratio").shown_unit == "%"
    assert made.workload.checks[0].limit == 100
    one = defined(("objective: server_cpu_seconds", "objective: queue_length"))
    assert goal(one).objectives[0].direction is Direction.LESS


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{port}", "{prot}", "test.yml:5: workload.server.command: {prot} means nothing here"),
        ("{text: listening}", "{text: (}", "test.yml:6: workload.server.ready.text: '(' is no pattern"),
        ("    ready:", "    raedy:", "test.yml:6: workload.server.raedy: unknown option 'raedy'"),
        ('"{seconds}"', '"{minutes}"', "test.yml:8: workload.load.command: {minutes} means nothing here"),
        ("    metrics:", "    metricsx:", "test.yml:10: workload.load.metricsx: unknown option 'metricsx'"),
        ("{at: queue}", "{atx: queue}", "test.yml:14: workload.load.metrics.queue_length"),
        ("unit: ms", "unit: W", "test.yml:12: workload.load.metrics.read_p99_us: read_p99_us: unit 'W' is none of"),
        ("queue_length <= 100", "queue_size <= 100", "test.yml:15: workload.checks[0]: unknown metric 'queue_size'"),
        ("queue_length <= 100", "achieved_ratio >= 1", "workload.checks[0]: the achieved ratio is limited"),
        ("queue_length <= 10]", "queue_size <= 10]", "test.yml:19: constraints[1]: unknown metric 'queue_size'"),
        ("objective: server", "gates: {achieved_ratio: 0.9}\nobjective: server", "says nothing"),
        ("queue_length: {at: queue}", "queue_length: {at: [1e400]}", "load.metrics.queue_length.at[0]: inf is"),
        (
            "      hits_ratio",
            "      pdu_joules: {at: j}\n      hits_ratio",
            "meters.pdu: 'pdu_joules', its energy, is what the load tells",
        ),
        ("  window_seconds: 2", "  window_seconds: 2.5", "command measures whole seconds"),
        ("    results: json", "    loop: open\n    results: json", "workload"),
        ("  load:\n", "  generator: wrk\n  load:\n", "workload.load: unknown key 'load'"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        defined((old, new), *[("knobs:", f"meters: {PDU}\nknobs:")] * ("pdu" in new))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("read_p99_us <= 500", "read_p95_us <= 500", "test.yml:19: constraints[0]"),
        ("objective: server_cpu_seconds", "objective: read_p95_us", "test.yml:18: objective"),
        ("queue_length <= 100", "read_p95_us <= 100", "test.yml:15: workload.checks[0]"),
    ],
)
def test_a_latency_that_the_load_does_not_tell_is_refused(old: str, new: str, place: str) -> None:
    with pytest.raises(DefinitionError) as error:
        defined((old, new))
    said = " ".join(str(error.value).split())
    assert place in said
    assert "the load 'command' doesn't tell read_p95_us; allowed: what it tells: read_p99_us; or say" in said


def test_what_a_load_tells_is_what_can_be_asked_for() -> None:
    """wrk prints a p75, which is no metric."""
    wrk = plugin(LOADS, "wrk")
    assert registry.latencies(wrk, registry.check(wrk, {})) == [
        "read_avg_us",
        "read_p50_us",
        "read_p90_us",
        "read_p99_us",
    ]


def test_a_server_that_nothing_loads_is_refused() -> None:
    head, _, rest = TEXT.partition("  load:\n")
    text = head + "  checks: []\n" + rest.partition("<= 100]\n")[2].replace(", queue_length <= 10", "")
    with pytest.raises(DefinitionError, match=r"workload\.(server|qps): "):
        loads(text, "test.yml")


def test_an_open_loop_needs_a_rate() -> None:
    with pytest.raises(DefinitionError, match=r"workload.qps: the key 'qps' is needed"):
        defined(("    results:", "    loop: open\n    results:"), ('"{seconds}"]', '"{seconds}", "{qps}"]'))


@pytest.mark.parametrize(
    ("name", "told"), [("redis", "read_avg_us"), ("nginx", "read_avg_us"), ("postgresql", "update_avg_us")]
)
def test_servers_that_people_have_bring_their_load(name: str, told: str) -> None:
    head, rest = TEXT.split("  server:\n")
    tail = rest.partition("  window_seconds")[2]
    text = f"{head}  server: {name}\n  window_seconds{tail}".replace(", queue_length <= 10", "")
    made = loads(text.replace("read_p99_us", told), "test.yml")
    check_load(made)
    assert made.workload.closed_loop
    assert goal(made).guard == 0


def test_how_long_such_a_server_may_take_to_start_is_bounded() -> None:
    head, rest = TEXT.split("  server:\n")
    server = "  server: {name: redis, options: {ready: {seconds: 3601}}}\n  window_seconds"
    text = (head + server + rest.partition("  window_seconds")[2]).replace(", queue_length <= 10", "")
    with pytest.raises(DefinitionError, match=r"test\.yml:4: workload\.server\.options\.ready\.seconds: .*<= 3600"):
        check_load(loads(text, "test.yml"))


APPLICATION = """\
metrics:
  heap_bytes: {endpoint: "http://127.0.0.1:1/metrics", series: heap, take: max, every_seconds: 0.2}
  goodput: {prometheus: "http://127.0.0.1:1", query: up, better: more, every_seconds: 0.4}
objective: goodput
"""


def with_metrics(*changes: tuple[str, str]) -> Experiment:
    text = TEXT.replace("objective: server_cpu_seconds\n", APPLICATION)
    text = text.replace("queue_length <= 10]", "heap_bytes <= 5e6]")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return loads(text, "test.yml")


def test_what_an_application_tells_is_objective_and_limit() -> None:
    made = with_metrics()
    assert goal(made).objectives[0].direction is Direction.MORE
    assert goal(made).limits[-1].metric == "heap_bytes"
    assert made.metrics["heap_bytes"].take == "max"
    assert loads(made.to_yaml(), "again.yml") == made


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "every_seconds: 0.4",
            "every_seconds: 1",
            "metrics.goodput: a new value every 1 s is too coarse for the window",
        ),
        (
            "query: up",
            "query: up, resolution_seconds: 15",
            "a new value every 15 s is too coarse for the window; allowed: a",
        ),
        ("take: max", "take: most", "metrics.heap_bytes"),
        ("series: heap,", "", "metrics.heap_bytes: endpoint and series belong together"),
        ("  heap_bytes: {", "  energy_joules: {", "metrics.energy_joules: 'energy_joules' is measured already"),
        (
            "herd: {local: {}}",
            f"herd: {{local: {{}}}}\nmeters: {PDU.replace('pdu', 'heap')}",
            "metrics.heap_joules: 'heap_joules' is the energy that the meter 'heap' tells",
        ),
        ("heap_bytes", "queue_length", "metrics.queue_length: 'queue_length' is what the load tells"),
        ("  heap_bytes: {", "  Heap: {", "metrics.Heap: 'Heap' is no name of a metric"),
        ("herd: {local: {}}", "herd: {simulated: {}}", "simulated nodes"),
    ],
)
def test_what_is_wrong_with_a_metric_has_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        with_metrics((old, new), *[("heap_bytes", "heap_joules")] * ("meters" in new))
    assert said in str(caught.value)
