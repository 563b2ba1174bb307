"""A knob, a load and meters of one's own, each declared in a file and no code of it: on a node, to a verdict."""

import contextlib
import json
import sys
from pathlib import Path

import pytest
import yaml

from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests import running
from tests.real_herd import RealHerd, server
from tests.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.long]

BUDGET = "proc/sys/net/core/netdev_budget"
LOAD = """\
import json, socket, sys, time
host, port, seconds, qps = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
link = socket.create_connection((host, port)).makefile("rwb")
print("begins", flush=True)
begun, waits = time.monotonic(), []
while (due := begun + len(waits) / qps) < begun + seconds:
    time.sleep(max(0.0, due - time.monotonic()))
    link.write(b"version\\r\\n"); link.flush(); link.readline()
    waits.append(1e6 * (time.monotonic() - due))
waits.sort()
print(json.dumps({"count": len(waits), "p99": waits[int(0.99 * len(waits))]}))
"""
METER = """\
import pathlib, sys
print(float(sys.argv[2]) + int(pathlib.Path(sys.argv[1]).read_text()) / 10, "W")
"""


@pytest.mark.parametrize(("base_of_other", "agree"), [("100", True), ("190", False)])
def test_what_is_declared_in_files_alone_is_searched_measured_and_compared(
    tmp_path: Path, base_of_other: str, agree: bool
) -> None:
    with contextlib.ExitStack() as end:
        herd = RealHerd(tmp_path, [end.enter_context(server())])
        herd.files = {BUDGET: "600\n"}
        herd.config = (
            '[linux.own.budget]\nsysctl = "net.core.netdev_budget"\nunit = "packets"\nhigh = 2000\n'
            "[ranges.budget]\nlow = 100\nhigh = 1000\n"
        )
        end.callback(herd.stop)
        herd.start()
        file = herd.root(herd.names[0]) / BUDGET
        # The machine is the muster's: its name stands in the command.
        where = f"{tmp_path}/{{muster}}.root/{BUDGET}"
        definition = {
            "name": "own",
            "herd": {"inventory": str(herd.inventory)},
            "workload": {
                "qps": 50, "settle_seconds": 0.1, "ramp_seconds": 0, "window_seconds": 2,
                "load": {
                    "command": [sys.executable, "-c", LOAD.replace("{", "{{").replace("}", "}}"), "{host}", "{port}",
                                "{seconds}", "{qps}"],
                    "results": "json", "loop": "open", "begins": "^begins",
                    "metrics": {"requests": {"at": "count"}, "read_p99_us": {"at": "p99"}},
                },
            },
            "meters": {
                name: {"kind": "command", "command": [sys.executable, "-c", METER, where, base], "period_seconds": 0.2}
                for name, base in (("pdu", "100"), ("bmc", base_of_other))
            },
            "knobs": {"budget": [100, 300, 900]},
            "objective": "wall_joules",
            "constraints": ["read_p99_us <= 10 s"],
            "search": {"method": "grid"},
            "trials": 3,
            "repeats": 0,
            "gates": {"window_tolerance": 1, "attempts": 3, "same_failure": 3, "achieved_ratio": 0.3},
        }  # fmt: skip
        if agree:
            checked = tmp_path / "check.yml"
            checked.write_text(yaml.safe_dump(definition, sort_keys=False))
            _, out, err = running.run("experiment", "check", checked, "--json")
            found = {link["name"]: link["found"] for link in json.loads(out)}
            assert found[f"meter pdu of {herd.names[0]}"] == "160.0 W", err
        code, result, err = running.complete(
            tmp_path, yaml.safe_dump(definition, sort_keys=False), name="run", timeout_s=120
        )
        with Store.open(Path(result["folder"]), read_only=True) as store:
            trials = store.trials()
        until(lambda: file.read_text().strip() == "600")
    if not agree:
        assert code != 0
        assert {t.reason for t in trials if t.state is not TrialState.RUNNING} <= {"meters-disagree", ""}
        said = next(t.detail for t in trials if t.reason)
        assert "pdu says 160.0 W and bmc 250.0 W for the same machine" in said
        return
    assert code in (0, 1), err
    finished = [t for t in trials if t.state is TrialState.FINISHED]
    watts = {t.settings.get("budget", 600): t.metrics["wall_watts"] for t in finished}
    assert watts == pytest.approx({600: 160, 100: 110, 300: 130, 900: 190}, rel=0.02)
    best = min((t for t in finished if t.settings), key=lambda t: t.metrics["wall_joules"])
    assert best.settings == {"budget": 100}
    assert json.loads(json.dumps(best.metrics))["bmc_joules"] == pytest.approx(best.metrics["pdu_joules"], rel=0.02)
