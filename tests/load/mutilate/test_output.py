import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load.error import LoadError
from mustherd.load.mutilate import output
from mustherd.reasons import Reason
from tests.shared_data import path

TAIL = """
Total QPS = 19929.5 (99648 / 5.0s)

Misses = 3 (0.0%)
Skipped TXs = 17 (0.0%)

RX   24613056 bytes :    4.7 MB/s
TX    3587328 bytes :    0.7 MB/s
"""
FORK = (
    """\
#type       avg     std     min     5th    10th    50th    90th    95th    99th
read      181.6   553.9    11.9    19.6    25.2    61.3   134.3   602.2  3431.8
update    200.5    10.0    12.0    20.0    30.0    40.0    50.0    60.0    70.0
op_q        1.0     0.0     1.0     1.0     1.0     1.0     1.0     1.1     1.1
"""
    + TAIL
)
README = (
    """\
#type       avg     min     1st     5th    10th    90th    95th    99th
read       52.4    41.0    43.1    45.2    48.1    55.8    56.6    71.5
update      0.0     0.0     0.0     0.0     0.0     0.0     0.0     0.0
op_q        1.5     1.0     1.0     1.1     1.1     1.9     2.0     2.0
"""
    + TAIL
)


MCPERF = (
    """\
#type       avg     std     min     5th    10th    50th    67th    75th    90th    95th    99th   999th  9999th
read      186.4    97.2    62.3    98.1   106.0   166.9   198.2   219.7   290.3   352.2   511.0   921.4  1876.0
update    190.0    90.0    70.0   100.0   110.0   170.0   200.0   220.0   300.0   360.0   520.0   930.0  1880.0
op_q        1.0     0.0     1.0     1.0     1.0     1.0     1.0     1.0     1.0     1.1     1.1     1.1     1.1
"""
    + TAIL.replace("Total QPS", "Total connections = 64\nTotal QPS")
    + "CPU Usage Stats (avg/min/max): 12.31%,10.00%,15.20%\n"
)
DYNAMIC = (
    """\
#type       avg     std     min      p5     p10     p50     p90     p95     p99    p999   p9999     QPS  target
read      186.4    97.2    62.3    98.1   106.0   166.9   290.3   352.2   511.0   921.4  1876.0 19929.5 20000.0
"""
    + TAIL
)
"""As mcperf, and the fork of it whose load changes, document their tables."""


def test_mcperf_has_percentiles_far_out() -> None:
    found = output.parse(MCPERF)
    assert (found.read_us["p99"], found.read_us["p999"], found.read_us["p9999"]) == (511.0, 921.4, 1876.0)
    assert found.update_us["p95"] == 360.0
    assert (found.qps, found.requests, found.misses) == (19929.5, 99648, 3)


def test_rates_beside_latencies_are_none_and_updates_may_be_missing() -> None:
    found = output.parse(DYNAMIC)
    assert found.read_us["p95"] == 352.2
    assert set(found.read_us) == {"avg", "std", "min", "p5", "p10", "p50", "p90", "p95", "p99", "p999", "p9999"}
    assert found.update_us == {}


def recorded(name: str) -> str:
    return path(f"mutilate_samples/{name}.txt").read_text()


def test_a_fork_with_a_median() -> None:
    found = output.parse(FORK)
    assert found.read_us["p50"] == 61.3
    assert found.read_us["p99"] == 3431.8
    assert found.update_us["p50"] == 40.0
    assert (found.qps, found.requests, found.seconds) == (19929.5, 99648, 5.0)
    assert (found.misses, found.skipped, found.rx_bytes, found.tx_bytes) == (3, 17, 24613056, 3587328)


def test_the_readmes_columns_are_told_apart_from_the_programs() -> None:
    found = output.parse(README)
    assert found.read_us == {
        "avg": 52.4, "min": 41.0, "p1": 43.1, "p5": 45.2, "p10": 48.1, "p90": 55.8, "p95": 56.6, "p99": 71.5,
    }  # fmt: skip
    assert "std" not in found.read_us


def test_zeros_of_an_empty_sampler_are_no_latencies() -> None:
    assert output.parse(README).update_us == {}


@pytest.mark.data
def test_recorded_plain() -> None:
    found = output.parse(recorded("plain"))
    assert found.read_us == {
        "avg": 59.2, "std": 104.5, "min": 11.9, "p5": 21.1, "p10": 27.2, "p90": 80.4, "p95": 105.0, "p99": 155.0,
    }  # fmt: skip
    assert found.update_us == {}
    assert (found.qps, found.requests, found.seconds, found.misses) == (9950.4, 49752, 5.0, 0)
    assert found.local_qps is None


@pytest.mark.data
def test_recorded_with_an_agent() -> None:
    found = output.parse(recorded("agent"))
    assert (found.read_us["p99"], found.qps) == (3431.8, 19929.5)


@pytest.mark.data
def test_recorded_search() -> None:
    assert output.parse(recorded("search")).qps == 6110.0


@pytest.mark.data
def test_recorded_samples() -> None:
    text = recorded("save")
    found = output.parse(text)
    lines = text.split("rc=0\n")[1].splitlines()[:-1]
    exact = output.exact(lines)
    assert exact["count"] == len(lines) == 20
    assert exact["p999"] == max(float(line.split()[1]) for line in lines)
    assert found.requests == 9961


@pytest.mark.data
def test_a_scan_is_no_run() -> None:
    with pytest.raises(LoadError):
        output.parse(recorded("scan"))


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=300))
def test_exact_percentiles_are_nearest_rank(values: list[float]) -> None:
    found = output.exact([f"0.5 {value!r}" for value in values])
    ordered = sorted(values)
    for name, share in {"p50": 0.5, "p99": 0.99}.items():
        assert found[name] == ordered[max(0, math.ceil(len(values) * share - 1e-9) - 1)]
    assert found["avg"] == pytest.approx(sum(values) / len(values))


IX = """\
11211 0.001000 50.5 GET(31)
11211 0.002000 61.5 GET(28)
11212 0.003100 99.0 GET(30)
11211 0.000500 700.0 SET(31)
"""


def test_a_fork_s_samples_are_its_reads() -> None:
    found = output.exact(IX.splitlines())
    assert found["count"] == 3
    assert (found["p50"], found["p99"]) == (61.5, 99.0)


def test_a_fork_s_samples_with_the_server_s_own_times() -> None:
    lines = ["0.1 52.4 cpu_nr= 3 recv_timestamp= 17 send_latency= -1", "0.2 60.1 cpu_nr= 0 recv_timestamp= 9"]
    assert output.exact(lines)["p99"] == 60.1


def test_a_fork_s_updates_alone_are_no_samples() -> None:
    with pytest.raises(LoadError) as caught:
        output.exact(IX.splitlines()[3:])
    assert caught.value.reason == Reason.NO_SAMPLES


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["0.1"],
        ["0.1 fast"],
        ["0.1 nan"],
        ["0.1 -5.0"],
        ["0.1 1.0", "Saving latency samples to"],
        ["0.1 1.0", "0.2 1e400"],
        ["0.1 1.7e308", "0.2 1.7e308"],
        ["0.1 1.0", "11211 0.1 1.0 GET(30)"],
        ["11211 0.1 1.0 GET(30)", "0.1 1.0"],
        ["11211 0.1 1.0 PUT(30)"],
    ],
)
def test_samples_that_cannot_be_read(lines: list[str]) -> None:
    with pytest.raises(LoadError):
        output.exact(lines)


def test_what_the_leader_sent_itself() -> None:
    found = output.parse("mutilate.cc(740): Local QPS = 1998.7 (9994 / 5.0s)\n" + FORK)
    assert (found.local_qps, found.local_requests) == (1998.7, 9994)


@pytest.mark.parametrize(
    ("printed", "expected", "requests"),
    [
        (-2094967296, 2.2e9, 2_200_000_000),
        (5032704, 4.3e9, 4_300_000_000),
        (-2094967296, 0.0, 2_200_000_000),
        (99648, 1e5, 99648),
        (99648, 3e5, 99648),
    ],
)
def test_a_counter_that_wrapped(printed: int, expected: float, requests: int) -> None:
    text = FORK.replace("19929.5 (99648 / 5.0s)", f"{printed / 4000:.1f} ({printed} / 4000.0s)")
    found = output.parse(text, expected)
    assert found.requests == requests
    assert found.qps == pytest.approx(requests / 4000, abs=0.1)


def test_when_it_started() -> None:
    assert output.started_at("mutilate.cc(979): started at 1795422810.233094\n") == 1795422810.233094
    assert output.started_at("mutilate.cc(900): Warmup start.\n") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mutilate.cc(332): sync_agent[M]: out of sync [1]",
        FORK.replace("#type", "type"),
        FORK.replace("Total QPS", "QPS"),
        FORK.replace("read ", "got  "),
        FORK.replace("  3431.8", ""),
        FORK.replace("3431.8", "-nan"),
        FORK.replace("3431.8", "slow"),
        FORK.replace("Misses = ", f"Misses = {'9' * 400}"),
        FORK.replace("99648", "9" * 400),
        FORK.replace("24613056", "9" * 400),
        FORK + FORK,
    ],
)
def test_output_that_is_not_a_whole_run(text: str) -> None:
    with pytest.raises(LoadError) as caught:
        output.parse(text)
    assert caught.value.reason == Reason.OUTPUT_UNREADABLE
