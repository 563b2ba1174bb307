"""/metrics of the daemons: what a muster tells of itself, a herd at both ends, and where it may be served."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mustherd.herd.lease import Lease
from mustherd.muster.gauges import Gauges
from mustherd.report.prometheus import told
from mustherd.scrape import ScrapeError, exposition, place, served
from mustherd.terms import Energy, Reading, Setting
from mustherd.wire import messages as m
from tests.herding import muster, shepherd
from tests.muster.test_reports import measured
from tests.waiting import until

Found = dict[str, list[tuple[dict[str, str], float]]]


def read(text: str) -> Found:
    """Gauge to its rows: labels and value."""
    found: Found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def get(address: str) -> Found:
    with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310 - our own, on loopback
        assert answer.headers["Content-Type"].startswith("text/plain")
        return read(answer.read().decode())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("9101", ("127.0.0.1", 9101)),
        (":9101", ("127.0.0.1", 9101)),
        ("10.0.0.5:0", ("10.0.0.5", 0)),
        ("[::1]:9101", ("::1", 9101)),
    ],
)
def test_a_place_is_on_loopback_unless_told(text: str, found: tuple[str, int]) -> None:
    assert place(text) == found


@pytest.mark.parametrize("text", ["", "x", "host:9101", "127.0.0.1", "127.0.0.1:", "1:99999", "9101x", "-1", "٣"])
def test_no_place(text: str) -> None:
    with pytest.raises(ScrapeError, match=r"allowed: PORT"):
        place(text)


def test_a_place_that_is_taken_is_said() -> None:
    with served("0", list) as address:
        port = address.split(":")[2].partition("/")[0]
        with pytest.raises(ScrapeError, match=f"at {port}: "), served(port, list):
            pass


def test_a_muster_tells_its_last_window_and_what_its_knobs_do() -> None:
    clock = [10.0]
    gauges = Gauges("m", lambda: clock[0])
    assert read(exposition(gauges.told).decode())["mustherd_muster_decision"] == [({"muster": "m"}, 0)]
    reading = Reading(sheep="node-0", knob="dvfs", asked=1300, applied=1300, running=None, held=True)
    energies = (Energy(zone="package-0", kind="package", joules=30.0), Energy(zone="core", kind="core", joules=9.0))
    gauges.note(
        msgspec.structs.replace(
            measured(0), t1_s=2.0, energies=energies, after=(reading,), rows={"a": 5, "b": 2}, rows_lost={"a": 1}
        )
    )
    gauges.note(m.Opened(measure=1, t0_s=0.0))
    lease = Lease(2.5)
    lease.welcome(shepherd_epoch=1, sent_s=10.0, hello_s=10.0, now=10.0)
    lease.carried_out(7, changed=True)
    gauges.stands(lease, 1, 3)
    found = read(exposition(gauges.told).decode())
    values = {name: rows[0][1] for name, rows in found.items()}
    assert values["mustherd_muster_window_power_watts"] == 15
    assert values["mustherd_muster_window_rows"] == 7
    assert values["mustherd_muster_window_rows_lost"] == 1
    assert values["mustherd_muster_windows"] == 1
    assert values["mustherd_muster_decision"] == 7
    assert values["mustherd_muster_lease_seconds"] == 2.5
    assert values["mustherd_muster_unrestored"] == 1
    assert values["mustherd_muster_log_blocks"] == 3
    assert found["mustherd_knob_asked"] == [({"muster": "m", "sheep": "node-0", "knob": "dvfs"}, 1300)]
    assert "mustherd_knob_running" not in found, "the machine can't tell"


@pytest.mark.herd
def test_a_herd_tells_of_a_decision_at_both_ends(tmp_path: Path) -> None:
    with shepherd() as (herd, ports), muster(ports, tmp_path) as member:
        until(lambda: "muster-1" in herd.musters())
        [sheep] = {knob.sheep for knob in herd.musters()["muster-1"].knobs if knob.name == "dvfs"}
        herd.decide("muster-1", (Setting(sheep=sheep, knob="dvfs", value=1300),)).result(20)
        with (
            served("0", member.gauges.told) as of_muster,
            served("0", lambda: told((None, list(herd.musters().values())))) as of_herd,
        ):
            until(lambda: get(of_muster)["mustherd_muster_decision"][0][1] > 0)
            found = get(of_muster)
            assert ({"muster": "muster-1", "sheep": sheep, "knob": "dvfs"}, 1300) in found["mustherd_knob_applied"]
            assert found["mustherd_muster_has_shepherd"][0][1] == 1
            assert 0 < found["mustherd_muster_lease_seconds"][0][1] <= 3
            assert found["mustherd_muster_decision"][0][1] == get(of_herd)["mustherd_muster_decision"][0][1]


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("of", ["shepherd", "muster"])
def test_a_daemon_answers_where_it_was_told(tmp_path: Path, of: str, free_ports: tuple[int, int, int, int]) -> None:
    port = free_ports[0]
    words = ["shepherd", "run", "--ports", "0,0,0,0", "--metrics", str(port)]
    if of == "muster":
        config = tmp_path / "muster.toml"
        config.write_text(
            f'muster = "m"\nstate = "{tmp_path}"\nmetrics = "{port}"\n[ranges]\ndvfs = {{low = 1200, high = 2600}}\n'
            "[twin]\nspeed = 1.0\n"
        )
        words = ["muster", "run", "--config", str(config)]
    with subprocess.Popen([sys.executable, "-m", "mustherd", *words], stderr=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stderr is not None
            assert next((line for line in daemon.stderr if f"127.0.0.1:{port}/metrics" in line), "")
            found = get(f"http://127.0.0.1:{port}/metrics")
            assert ("mustherd_muster_has_shepherd" in found) == (of == "muster")
        finally:
            daemon.terminate()
        assert daemon.wait(20) in {0, 4, 143, -15}
