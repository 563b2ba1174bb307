"""The live page's server: who may look, who may order, what a state costs, and what it says when things go wrong."""

import http.client
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mustherd.herd.membership import Presence
from mustherd.report.prometheus import exposition
from mustherd.report.state import experiment_state
from mustherd.report.view import View
from mustherd.report.web import MOST_BYTES, Server, Site, WebError
from mustherd.store.errors import StoreError
from mustherd.terms import Facts, Reading
from mustherd.wire.messages import MusterView
from tests.report.conftest import Make, book

Headers = dict[str, str]


@contextmanager
def serving(site: Site) -> Iterator[Server]:
    with Server(site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: Server, method: str, path: str, headers: Headers | None = None, body: str = "") -> tuple[int, str, Any]:
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(str(host), int(port), timeout=10)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def cookie(server: Server) -> Headers:
    status, _, headers = ask(server, "GET", f"/?token={server.site.token}")
    assert status == 303
    assert headers["Location"] == "/", "the token must leave the address"
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    return {"Cookie": headers["Set-Cookie"].split(";")[0]}


def test_on_this_machine_anybody_may_look_and_only_the_token_may_order() -> None:
    done: list[Any] = []

    def stop(asked: dict[str, Any]) -> str:
        done.append(asked)
        return "stopping"

    with serving(Site(lambda: {"name": "one"}, orders={"stop": stop})) as server:
        status, page, headers = ask(server, "GET", "/")
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert server.site.token not in page
        assert 'data-orders=""' in page
        assert json.loads(ask(server, "GET", "/state.json")[1]) == {"name": "one"}
        order = {"X-MustHerd": "order"}
        assert ask(server, "POST", "/stop", order, "{}")[0] == 403
        mine = cookie(server)
        assert 'data-orders="stop"' in ask(server, "GET", "/", mine)[1]
        assert ask(server, "POST", "/stop", mine, "{}")[0] == 403, "another page can't send our header"
        assert ask(server, "POST", "/stop", {**mine, "Cookie": mine["Cookie"] + "x", **order}, "{}")[0] == 403
        assert done == []
        assert ask(server, "POST", "/stop", {**mine, **order}, "{}")[:2] == (200, "stopping\n")
        assert done == [{}]


def test_a_page_that_plays_us_under_another_name_sees_nothing() -> None:
    with serving(Site(lambda: {"name": "one"})) as server:
        assert ask(server, "GET", "/state.json", {"Host": "evil.example:80"})[0] == 403
        assert ask(server, "GET", "/state.json", {"Host": f"localhost:{server.server_address[1]}"})[0] == 200


def test_beyond_this_machine_nobody_looks_without_the_token() -> None:
    with serving(Site(lambda: {"name": "one"}, open_=False)) as server:
        for path in ("/", "/state.json", "/report", "/?token=wrong"):
            assert ask(server, "GET", path)[0] == 403, path
        assert ask(server, "GET", "/state.json", cookie(server))[0] == 200


def test_bad_orders_are_refused_and_the_server_goes_on() -> None:
    def stop(_asked: dict[str, Any]) -> str:
        raise StoreError("it isn't running: there is nothing to stop")

    with serving(Site(lambda: {}, orders={"stop": stop})) as server:
        mine = {**cookie(server), "X-MustHerd": "order"}
        assert ask(server, "POST", "/stop", mine, "{}")[:2] == (409, "it isn't running: there is nothing to stop\n")
        assert ask(server, "POST", "/stop", mine, "[]")[0] == 400
        assert ask(server, "POST", "/stop", mine, "{")[0] == 400
        assert ask(server, "POST", "/nothing", mine, "{}")[0] == 400
        assert ask(server, "POST", "/stop", {**mine, "Content-Length": str(MOST_BYTES + 1)})[0] == 400
        assert ask(server, "GET", "/../../etc/passwd")[0] == 404
        assert ask(server, "GET", "/state.json")[0] == 200


def test_watchers_together_cost_one_reading() -> None:
    read: list[int] = []

    def state() -> dict[str, Any]:
        read.append(1)
        return {}

    with serving(Site(state)) as server:
        # Six in a row take far less than a second between them, or are too slow to be counted as together.
        for _ in range(6):
            ask(server, "GET", "/state.json")
        assert len(read) < 6


def test_readers_of_the_report_and_of_figures_cost_as_one() -> None:
    made: list[str] = []

    def report() -> str:
        made.append("report")
        return "report"

    def scrape() -> bytes:
        made.append("figures")
        return b"figures"

    with serving(Site(dict, report=report, scrape=scrape)) as server:
        for path in ("/report", "/metrics"):
            with ThreadPoolExecutor(6) as readers:
                answers = list(readers.map(lambda _, path=path: ask(server, "GET", path), range(6)))
            assert {answer[0] for answer in answers} == {200}
    assert len(made) < 6


def test_readers_of_what_cannot_be_made_cost_as_one_too() -> None:
    made: list[str] = []

    def report() -> str:
        made.append("report")
        raise StoreError("the folder is gone")

    with serving(Site(dict, report=report)) as server, ThreadPoolExecutor(6) as readers:
        answers = list(readers.map(lambda _: ask(server, "GET", "/report"), range(6)))
    assert {answer[:2] for answer in answers} == {(503, "the folder is gone\n")}
    assert len(made) < 6


def test_what_cannot_be_read_is_told_and_not_raised() -> None:
    def state() -> dict[str, Any]:
        raise StoreError("the folder is gone")

    with serving(Site(state)) as server:
        assert json.loads(ask(server, "GET", "/state.json")[1]) == {"error": "the folder is gone"}


@pytest.mark.parametrize("listen", ["nonsense", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_told(listen: str) -> None:
    with pytest.raises(WebError, match=listen):
        Server(Site(dict), listen)


def test_the_state_of_an_experiment_is_json_and_tells_all(make: Make) -> None:
    view = View.of(make(done=False))
    state = experiment_state(view)
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert (state["status"], state["running"]) == (view.status, view.status == "running")
    assert state["planned"] == 46
    assert state["best"][0]["head"] == "Best so far"
    assert state["best"][0]["settings"] == "itr-delay 250 us, dvfs 1600 MHz"
    assert [one["label"] for one in state["now"]] == ["power", "read p99", "energy"]
    assert [one["name"] for one in state["musters"]] == ["muster-0", "muster-1"]
    assert state["trials"][0]["metrics"]
    assert state["events"][-1]["text"] == "muster-0 joined"


def test_a_prometheus_reads_an_experiment_and_its_herd(make: Make) -> None:
    view = View.of(make())
    reading = Reading(sheep="node-0", knob="dvfs", asked=1300, applied=1300, running=1299, held=True)
    muster = MusterView(
        name='m"1', presence="late", silent_s=2.5, muster_epoch=1, facts=Facts(kind="twin"), knobs=(), zones=(),
        streams=(), in_force=7, times_late=3, unrestored=0, answer_ms=None, readings=(reading,),
    )  # fmt: skip
    text = exposition((view, [muster])).decode()
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    toy = ("experiment", "toy")
    assert found["mustherd_trials_done", (toy,)] == 46
    assert found["mustherd_experiment_verdict", (toy, ("verdict", "met"))] == 1
    assert found["mustherd_experiment_verdict", (toy, ("verdict", "not met"))] == 0
    assert found["mustherd_saving_percent", (toy,)] == pytest.approx(43.4, abs=0.1)
    assert found["mustherd_window_power_watts", (toy, ("muster", "muster-0"))] > 0
    assert found["mustherd_muster_state", (("muster", 'm"1'), ("state", "late"))] == 1
    assert found["mustherd_muster_state", (("muster", 'm"1'), ("state", "alive"))] == 0
    assert found["mustherd_knob_running", (("knob", "dvfs"), ("muster", 'm"1'), ("sheep", "node-0"))] == 1299
    assert not [name for name, _ in found if name == "mustherd_muster_answer_milliseconds"], "it wasn't measured"


def test_a_scraper_brings_the_token_as_a_bearer() -> None:
    with serving(Site(dict, scrape=lambda: b"mustherd_up 1\n", open_=False)) as server:
        assert ask(server, "GET", "/metrics")[0] == 403
        assert ask(server, "GET", "/metrics", {"Authorization": "Bearer wrong"})[0] == 403
        status, text, headers = ask(server, "GET", "/metrics", {"Authorization": f"Bearer {server.site.token}"})
        assert (status, text) == (200, "mustherd_up 1\n")
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


def offered(text: str) -> dict[str, list[dict[str, str]]]:
    """Gauge to the labels of each of its rows."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def member(presence: str) -> MusterView:
    reading = Reading(sheep="node-0", knob="dvfs", asked=1300, applied=1300, running=1299, held=True)
    return MusterView(
        name="m", presence=presence, silent_s=2.5, muster_epoch=1, facts=Facts(kind="twin"), knobs=(), zones=(),
        streams=(), in_force=7, times_late=3, unrestored=0, answer_ms=1.5, readings=(reading,),
    )  # fmt: skip


@pytest.mark.parametrize("presence", Presence)
def test_a_muster_is_always_in_one_state(presence: Presence) -> None:
    found = [
        sample.labels["state"]
        for family in text_string_to_metric_families(exposition((None, [member(presence)])).decode())
        for sample in family.samples
        if sample.name == "mustherd_muster_state" and sample.value == 1
    ]
    assert found == [presence]


def test_the_dashboard_asks_for_gauges_and_labels_that_there_are(make: Make) -> None:
    dashboard = json.loads((Path(__file__).parents[2] / "examples/grafana/mustherd.json").read_text(encoding="utf-8"))
    store = make("logged")
    book(store)
    view = View.of(store)
    # What is decided, and what is left to do, in one.
    longer = msgspec.structs.replace(view.experiment, plan={"search": 2 * len(view.trials)})
    view = msgspec.structs.replace(view, status="running", wall_seconds=100.0, experiment=longer)
    told = offered(exposition((view, [member("dead")])).decode())
    asked = [
        (gauge, dict(re.findall(r'(\w+)\s*[!=~]+\s*"([^"]*)"', labels or "")))
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for gauge, labels in re.findall(r"(mustherd_\w+)(?:\{([^}]*)\})?", target["expr"])
    ]
    assert len({gauge for gauge, _ in asked}) >= 9
    for gauge, labels in asked:
        assert gauge in told, gauge
        for label, value in labels.items():
            assert value in {row[label] for row in told[gauge]}, (gauge, label)
    legends = [(t["expr"], t.get("legendFormat", "")) for panel in dashboard["panels"] for t in panel["targets"]]
    for query, legend in legends:
        [gauge] = re.findall(r"mustherd_\w+", query)
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            assert all(label in row for row in told[gauge]), (gauge, label)
