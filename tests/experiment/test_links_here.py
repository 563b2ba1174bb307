"""What an experiment on one machine rests on beside it: meters and metrics, each read once before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from mustherd.definition import loads
from mustherd.definition.errors import DefinitionError
from mustherd.experiment.links import LinksError, try_metrics_and_meters
from mustherd.experiment.preflight import planned
from mustherd.experiment.programs_here import missing
from mustherd.experiment.ready import ready, try_links
from mustherd.load import application
from tests.definition.make import made

pytestmark = pytest.mark.process

PDU = {"kind": "command", "command": ["echo", "183.5"], "period_seconds": 0.2}
WORKLOAD = {"qps": 500, "window_seconds": 2}


def on(**changes: Any) -> Any:
    given = {"herd": {"local": {}}, "workload": WORKLOAD, "knobs": {"server-cores": [1]}, "objective": "wall_joules"}
    return made(**{**given, "constraints": [], **changes})


@pytest.mark.parametrize(
    ("meter", "state", "found"),
    [
        (PDU, "ok", "183.5 W"),
        ({**PDU, "command": ["echo", "many"]}, "wrong", "echo: 'many' is no amount in W"),
        ({**PDU, "command": ["sh", "-c", "echo no route >&2; exit 2"]}, "wrong", "sh ended with 2: no route"),
        ({**PDU, "command": ["no-such-meter"]}, "wrong", "no program 'no-such-meter' is found here"),
        ({"kind": "url", "url": "http://127.0.0.1:1/w", "period_seconds": 0.2}, "wrong", "Connection refused"),
    ],
)
def test_each_meter_is_read_once_and_an_experiment_begins_with_none_that_tells_nothing(
    tmp_path: Path, meter: dict[str, Any], state: str, found: str
) -> None:
    experiment = on(meters={"pdu": meter})
    told: list[Any] = []
    [link] = try_links(experiment, musters=None, listen=None, keys=None, tell=told.append)
    assert (link.name, link.state) == ("meter pdu of muster-1", state)
    assert found in link.found
    assert told == [link]
    assert link.fix == ("install it, or name its whole path" if "no program" in found else "")
    if state == "ok":
        ready(experiment, tmp_path / "soon", musters=None, listen=None, keys=None)
        return
    with pytest.raises(LinksError, match="meter pdu of muster-1: "):
        ready(experiment, tmp_path / "soon", musters=None, listen=None, keys=None)


@pytest.mark.parametrize(
    ("herd", "text", "state", "found"),
    [
        ({"local": {}}, "7", "ok", "7"),
        ({"local": {}}, "seven", "wrong", "'seven' is no number"),
        ({"local": {}}, "", "wrong", "'' is no number"),
        ({"local": {}}, None, "not tried", "No such file or directory; its server may start with the experiment"),
        ({"inventory": "x"}, "seven", "wrong", "'seven' is no number"),
    ],
)
def test_each_metric_of_the_application_is_read_once(
    tmp_path: Path, herd: dict[str, Any], text: str | None, state: str, found: str
) -> None:
    file = tmp_path / "queue"
    if text is not None:
        file.write_text(text)
    metric = {"file": str(file), "every_seconds": 0.2}
    experiment = on(herd=herd, metrics={"queue_length": metric}, objective="queue_length")
    [link] = try_metrics_and_meters(experiment, ["muster-1"])
    assert (link.name, link.state, link.stops) == ("metric queue_length", state, False)
    assert found in link.found


@pytest.mark.parametrize(
    ("place", "state", "found"),
    [
        ({"command": ["sh", "-c", "echo oops >&2; exit 1"]}, "wrong", "sh ended with 1: oops"),
        ({"command": ["echo", "12,5"]}, "wrong", "'12,5' is no number"),
        ({"command": ["yes"]}, "wrong", "yes prints too much"),
        ({"command": ["sleep", "1000"]}, "wrong", "sleep takes longer than 0.2 s"),
        ({"file": "/dev/zero"}, "wrong", "is no number"),
        ({"file": "/dev"}, "wrong", "Is a directory"),
        ({"command": ["sh", "-c", "echo 'redis: Connection refused' >&2; exit 1"]}, "not tried", "Connection refused"),
        ({"command": ["sh", "-c", 'echo "curl: (7) Couldn\'t connect to server" >&2; exit 7']}, "not tried", "connect"),
        ({"command": ["sh", "-c", "exit 7"]}, "not tried", "said nothing"),
        ({"command": ["sh", "-c", "exit 7 | cat"]}, "not tried", "sh: it printed nothing"),
        ({"command": ["sh", "-c", "echo 'refused by policy' >&2; exit 1"]}, "wrong", "refused by policy"),
        ({"command": ["cat", "/no/such"]}, "not tried", "cat ended with 1: cat: /no/such: No such file"),
        ({"endpoint": "http://127.0.0.1:1/m", "series": "up"}, "not tried", "Connection refused"),
        ({"prometheus": "http://127.0.0.1:1", "query": "up"}, "not tried", "Connection refused"),
    ],
)
def test_only_what_is_not_there_yet_may_come_with_the_experiment(
    monkeypatch: pytest.MonkeyPatch, place: dict[str, Any], state: str, found: str
) -> None:
    monkeypatch.setattr("mustherd.programs.MOST_PRINTED", 1 << 20)
    monkeypatch.setattr(application, "ANSWER_S", 0.2 if place.get("command", [""])[0] == "sleep" else 60.0)
    experiment = on(metrics={"queue_length": {**place, "every_seconds": 0.2}}, objective="queue_length")
    [link] = try_metrics_and_meters(experiment, ["muster-1"])
    assert (link.state, found in link.found) == (state, True), link
    assert ("its server may start with the experiment" in link.found) == (state == "not tried")


def test_a_simulated_herd_rests_on_nothing() -> None:
    experiment = made()
    assert try_links(experiment, musters=None, listen=None, keys=None, tell=print) == []


PROGRAMS = """name: programs
herd: {local: {}}
knobs: {server-cores: [1]}
objective: answered_joules
gates: {achieved_ratio: 0}
workload:
  window_seconds: 2
  server:
    command: [no-such-server, --port, "{port}"]
    prepare: [[sh, -c, "exit 0"], [no-such-init]]
  load:
    name: command
    options:
      command: [/no/such/load, "{port}"]
      metrics: {requests: {regex: "([0-9]+)"}}
metrics:
  answered_joules: {command: [no-such-metric], every_seconds: 0.2}
  queue_length: {command: [echo, "1"], every_seconds: 0.2}
"""


def test_each_program_that_is_not_here_is_named_with_its_place(tmp_path: Path) -> None:
    experiment = loads(PROGRAMS, "programs.yml")
    tried = try_links(experiment, musters=None, listen=None, keys=None, tell=lambda _: None)
    assert [(link.name, link.found) for link in tried if link.state == "wrong"] == [
        ("metrics.answered_joules.command, line 17", "no program 'no-such-metric' is found here"),
        ("workload.server.prepare[1], line 10", "no program 'no-such-init' is found here"),
        ("workload.server.command, line 9", "no program 'no-such-server' is found here"),
        ("workload.load.options.command, line 14", "no program '/no/such/load' is found here"),
    ]
    with pytest.raises(LinksError, match=r"server.command, line 9: no program 'no-such-server' is found here"):
        ready(experiment, tmp_path / "soon", musters=None, listen=None, keys=None)


def test_what_only_the_run_knows_is_not_looked_for() -> None:
    server = {"command": ["/made/by/prepare"], "prepare": [["sh", "-c", "x"]], "populate": [["{folder}/x"], ["./x"]]}
    load = {"command": ["./load"], "metrics": {"requests": {"regex": "([0-9]+)"}}}
    workload = {"window_seconds": 2, "server": server, "load": load}
    assert list(missing(on(workload=workload, objective="energy_joules"))) == []


def test_each_declared_knob_that_is_set_is_read_once(tmp_path: Path) -> None:
    knobs = {
        "depth": ["echo", "7"],
        "fan": ["no-such-fan"],
        "odd": ["echo", "no bus"],
        "far": ["echo", "21"],
        "between": ["echo", "8"],
        "unused": ["no-such-knob"],
    }
    file = tmp_path / "knobs.toml"
    file.write_text("".join(
        f"[linux.own.{name}]\nread = {json.dumps(read)}\nwrite = ['echo', '{{value}}']\nlow = 1\nhigh = 20\n"
        f"{'step = 3' * (name == 'between')}\n"
        f"[ranges.{name}]\nlow = 1\nhigh = 20\n"
        for name, read in knobs.items()
    ))  # fmt: skip
    file.chmod(0o600)
    experiment = on(
        herd={"local": {"own": str(file)}},
        knobs={"depth": [1, 2], "fan": [1, 2], "odd": [1], "far": [1], "between": [4]},
        objective="energy_joules",
    )
    tried = try_links(experiment, musters=None, listen=None, keys=None, tell=lambda _: None)
    assert [(link.name.partition(",")[0], link.state, link.found) for link in tried] == [
        ("knob between", "wrong", "it is at 8 units, not among what linux.own.between allows: 1..20 step 3 units"),
        ("knob depth", "ok", "7 units"),
        ("knob fan", "wrong", "fan: no-such-fan is not installed, or not executable"),
        ("knob far", "wrong", "it is at 21 units, beyond what linux.own.far allows: 1..20 units"),
        ("knob odd", "wrong", "odd of node-0: it holds 'no bus', no whole number from 0 on"),
    ]
    assert tried[0].name.startswith("knob between, line ")
    assert tried[2].fix == f"see linux.own.fan in {file}"
    assert tried[3].fix == f"let linux.own.far in {file} allow 21, or set it to a value that it allows"
    file.chmod(0o666)
    with pytest.raises(DefinitionError, match=r"herd\.local\.own: "):
        planned(experiment)
    file.chmod(0o600)
    with pytest.raises(LinksError, match="fan: no-such-fan is not installed"):
        ready(experiment, tmp_path / "soon", musters=None, listen=None, keys=None)
