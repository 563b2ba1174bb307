"""What applications tell of themselves: where it comes from, and what it comes to over a window."""

import http.server
import itertools
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load.application import ApplicationMetric, Watch, check, taken, value_now
from mustherd.sampling import NotThereError, UnreadableError
from tests.waiting import until

PAGE = """\
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="get",code="200"} 3
heap_bytes 5.5e+06
broken{x="1"} NaN
"""


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = {
            "/metrics": PAGE,
            "/api/v1/query?query=up": json.dumps({"data": {"resultType": "vector", "result": [{"value": [1, "7.5"]}]}}),
            "/api/v1/query?query=scalar": json.dumps({"data": {"resultType": "scalar", "result": [1, "2"]}}),
            "/api/v1/query?query=many": json.dumps({"data": {"resultType": "vector", "result": [{}, {}]}}),
            "/api/v1/query?query=odd": "[]",
        }
        text = answers.get(self.path)
        self.send_response(200 if text is not None else 404)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def metric(**given: Any) -> ApplicationMetric:
    return msgspec.convert(given, ApplicationMetric)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("requests_total", {"endpoint": "{}/metrics", "series": "http_requests_total"}, 1030),
        ("requests_total", {"endpoint": "{}/metrics", "series": 'http_requests_total{method="get",code="200"}'}, 3),
        ("heap_bytes", {"endpoint": "{}/metrics", "series": "heap_bytes"}, 5.5e6),
        ("queue_length", {"prometheus": "{}", "query": "up"}, 7.5),
        ("latency_us", {"prometheus": "{}/", "query": "scalar", "unit": "ms"}, 2000),
    ],
)
def test_a_value_is_had_over_http(served: str, name: str, given: dict[str, Any], value: float) -> None:
    here = {key: text.replace("{}", served) if text.startswith("{}") else text for key, text in given.items()}
    check(name, metric(**here))
    assert value_now(name, metric(**here)) == value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"endpoint": "{}/metrics", "series": "none"}, "there is no series none"),
        ({"endpoint": "{}/metrics", "series": "broken"}, "is no amount"),
        ({"endpoint": "{}/nowhere", "series": "x"}, "answers 404"),
        ({"endpoint": "http://127.0.0.1:1/metrics", "series": "x"}, "refused"),
        ({"prometheus": "{}", "query": "many"}, "2 series; a query gives one, such as by sum(...)"),
        ({"prometheus": "{}", "query": "odd"}, "not an answer of Prometheus"),
        ({"file": "/nowhere/x"}, "/nowhere/x: No such file"),
    ],
)
def test_what_can_not_be_had_says_why(served: str, given: dict[str, Any], said: str) -> None:
    here = {key: text.replace("{}", served) if text.startswith("{}") else text for key, text in given.items()}
    with pytest.raises(UnreadableError) as caught:
        value_now("queue_length", metric(**here))
    assert said in str(caught.value)


@pytest.mark.timeout(20)
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "value")
    with pytest.raises(UnreadableError, match="is no number"):
        value_now("queue_length", metric(file=str(tmp_path / "value")))
    with pytest.raises(UnreadableError, match="directory"):
        value_now("queue_length", metric(file=str(tmp_path)))


def test_a_command_and_a_file_give_values(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("42.5 MiB\n".replace("MiB", "KiB"))
    assert value_now("heap_bytes", metric(file=str(tmp_path / "value"))) == 42.5 * 1024
    assert value_now("heap_bytes", metric(command=["cat", str(tmp_path / "value")])) == 42.5 * 1024
    for argv, said in ((["false"], "false ended with 1"), (["no-such-tool"], "no-such-tool: No such file")):
        with pytest.raises(UnreadableError, match=said):
            value_now("heap_bytes", metric(command=argv))


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ("redis: Connection refused", False),
        ("dial tcp 127.0.0.1:1: connect: connection refused", False),
        ("Error: connect ECONNREFUSED 127.0.0.1:1", False),
        ("the server refused the connection", False),
        ("permission refused by policy", True),
        ("request refused: no such metric", True),
    ],
)
def test_of_a_command_it_is_told_whether_its_server_is_there(said: str, there: bool) -> None:
    with pytest.raises(UnreadableError, match=said) as caught:
        value_now("queue_length", metric(command=["sh", "-c", f"echo '{said}' >&2; exit 1"]))
    assert isinstance(caught.value, NotThereError) == (not there)


@pytest.mark.process
def test_a_value_that_is_none_is_told_with_its_place(tmp_path: Path, served: str) -> None:
    file = tmp_path / "queue"
    file.write_text("many")
    for told, where in (
        ({"file": str(file)}, str(file)),
        ({"command": ["cat", str(file)]}, "cat"),
        ({"endpoint": f"{served}/metrics", "series": "none"}, f"{served}/metrics: none"),
    ):
        with pytest.raises(
            UnreadableError, match=f"^{re.escape(where)}: (there is no series none|'many' is no number)$"
        ):
            value_now("queue_length", metric(**told))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "it comes from one of prometheus, endpoint, command, file"),
        ({"file": "/a", "command": ["b"]}, "it comes from one of"),
        ({"prometheus": "http://x:1"}, "prometheus and query belong together"),
        ({"file": "/a", "series": "x"}, "endpoint and series belong together"),
        ({"endpoint": "ftp://x/", "series": "x"}, "is no address"),
        ({"endpoint": "file:///etc/passwd", "series": "x"}, "is no address"),
        ({"file": "a"}, "should begin with /"),
        ({"file": "/a", "unit": "W"}, "unit 'W' is none of"),
    ],
)
def test_what_can_not_be_asked_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check("heap_bytes", metric(**given))


SAMPLES = [(float(at), 10.0 * at) for at in range(11)]


@pytest.mark.parametrize(
    ("take", "value"),
    [("mean", 50.0), ("max", 70.0), ("min", 30.0), ("last", 70.0), ("increase", 45.0), ("rate", 10.0)],
)
def test_what_values_come_to_is_of_the_window_alone(take: Any, value: float) -> None:
    assert taken(take, SAMPLES, 2.8, 7.3) == pytest.approx(value)


@given(st.lists(st.floats(0.1, 2.0), min_size=8, max_size=40), st.floats(0, 100), st.floats(0.5, 1.0))
def test_a_steady_total_grows_as_the_window_is_long(gaps: list[float], rate: float, share: float) -> None:
    times = list(itertools.accumulate(gaps))
    samples = [(at, 5 + rate * at) for at in times]
    t0, t1 = times[0], times[0] + share * (times[-1] - times[0])
    if sum(t0 <= at <= t1 for at in times) >= 3:
        assert taken("increase", samples, t0, t1) == pytest.approx(rate * (t1 - t0), abs=1e-6)


@pytest.mark.parametrize(
    ("samples", "take", "said"),
    [
        ([], "mean", "0 values in a window of 10.0 s; at least 3 are needed"),
        (SAMPLES[:2], "mean", "2 values"),
        ([(1, 5), (2, 6), (3, 0), (4, 1)], "increase", "the total went back"),
    ],
)
def test_too_little_or_a_total_set_anew_is_no_value(samples: list[tuple[float, float]], take: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        taken(take, samples, 0.0, 10.0)


def test_a_watch_asks_until_it_is_left_and_once_more() -> None:
    told = iter(range(1000))
    asked = metric(file="/x", every_seconds=0.1, take="increase")
    clock = itertools.count()
    watch = Watch({"x_total": asked}, lambda name, which: float(next(told)), lambda: float(next(clock)) / 100)
    with watch:
        until(lambda: len(watch._samples["x_total"]) >= 5)
    samples = watch._samples["x_total"]
    found, why = watch.over(samples[0][0], samples[-1][0])
    assert (found, why) == ({"x_total": len(samples) - 1.0}, {})


def test_what_a_watch_never_hears_is_told_with_its_reason() -> None:
    def unreadable(name: str, which: ApplicationMetric) -> float:
        raise UnreadableError("http://x: connection refused")

    with Watch({"x_total": metric(file="/x", every_seconds=0.1)}, unreadable) as watch:
        pass
    assert watch.over(0.0, 1e9) == ({}, {"x_total": "http://x: connection refused"})
