"""What programs print, as amounts in the unit that a metric's name says."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load.command import results
from mustherd.load.command.results import Format, Result, read
from mustherd.load.error import LoadError

WRK = """\
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   635.91us    0.89ms  12.92ms   93.69%
    Req/Sec    56.20k     8.07k   62.00k    86.54%
  Latency Distribution
     50%  250.00us
     99%    5.80ms
  112000 requests in 2.00s, 89.76MB read
Requests/sec:  56000.12
"""
CSV = '"test","rps","p50_latency_ms"\n"SET","9000.00","1.5"\n"GET","12345.00","0.255"\n'
HDR = """\
  Latency Distribution (HdrHistogram - Recorded Latency)
       Value   Percentile   TotalCount 1/(1-Percentile)

       0.161     0.000000            1         1.00
       1.250     0.500000        10000         2.00
       4.500     0.990625        19812       106.67
       9.000     1.000000        20000          inf
#[Mean    =        1.400, StdDeviation   =        0.500]
#[Max     =        9.000, Total count    =        20000]
"""
JSON = 'warming up\n{"ALL STATS": {"Gets": [{"Count": 5, "p99.00": 1.5}]}, "rate": "2.5k", "done": true, "bad": -1}\n'


@pytest.mark.parametrize(
    ("form", "text", "name", "result", "value"),
    [
        ("regex", WRK, "read_p99_us", {"at": r"99%\s+([\d.]+)(us|ms|s)"}, 5800.0),
        ("regex", WRK, "read_p50_us", {"at": r"50%\s+([\d.]+)(us|ms|s)"}, 250.0),
        ("regex", WRK, "requests", {"at": r"(\d+) requests in"}, 112000.0),
        ("regex", WRK, "window_seconds", {"at": r"requests in ([\d.]+)(s)"}, 2.0),
        ("regex", WRK, "errors", {"at": r"Socket errors: (\d+)", "otherwise": 0}, 0.0),
        ("csv", CSV, "achieved_qps", {"at": "rps", "row": {"test": "GET"}}, 12345.0),
        ("csv", CSV, "read_p50_us", {"at": "p50_latency_ms", "row": {"test": "GET"}, "unit": "ms"}, 255.0),
        ("hdr", HDR, "read_p50_us", {"at": 50, "unit": "ms"}, 1250.0),
        ("hdr", HDR, "read_p99_us", {"at": "p99", "unit": "ms"}, 4500.0),
        ("hdr", HDR, "read_avg_us", {"at": "mean", "unit": "ms"}, 1400.0),
        ("hdr", HDR, "worst_us", {"at": "max", "unit": "ms"}, 9000.0),
        ("hdr", HDR, "requests", {"at": "count"}, 20000.0),
        ("json", JSON, "answered", {"at": ["ALL STATS", "Gets", 0, "Count"]}, 5.0),
        ("json", JSON, "read_p99_us", {"at": ["ALL STATS", "Gets", 0, "p99.00"], "unit": "ms"}, 1500.0),
        ("json", JSON, "achieved_qps", {"at": "rate"}, 2500.0),
    ],
)
def test_an_amount_is_found_and_brought_into_its_unit(
    form: Format, text: str, name: str, result: dict[str, Any], value: float
) -> None:
    given_ = msgspec.convert(result, Result)
    results.check(form, name, given_)
    assert read(form, text, {name: given_}) == {name: pytest.approx(value)}


@pytest.mark.parametrize(
    ("form", "text", "result", "said"),
    [
        ("regex", WRK, {"at": r"75%\s+([\d.]+)"}, "no some_us in the load's output: nothing fits"),
        ("regex", WRK, {"at": r"([\d.]+)(us|ms)"}, "places fit"),
        ("regex", WRK, {"at": r"(Distribution)"}, "'Distribution' is no number"),
        ("regex", WRK, {"at": r"Latency +([\d.]+\w+)", "unit": "ms"}, None),
        ("regex", "", {"at": "(x)"}, "it said nothing"),
        ("regex", "took -5 ms", {"at": r"took (.*) ms"}, "'-5' is no amount"),
        ("regex", "took 5 h", {"at": r"took (.*)"}, "'h' is none of its units: ns, us"),
        ("csv", CSV, {"at": "rps"}, "2 of 2 rows fit"),
        ("csv", CSV, {"at": "p99", "row": {"test": "GET"}}, "there is no column 'p99', but test, rps"),
        ("csv", '{"p99": 5, "n": 3}', {"at": "p99"}, "no row below its headings"),
        ("csv", "", {"at": "p99"}, "it holds no headings: it said nothing"),
        ("json", '{"x": null}', {"at": "x"}, "null is no number"),
        ("json", '{"x": NaN}', {"at": "x"}, "'nan' is no amount, which is a number from 0 on"),
        ("json", '{"x": 1' + "0" * 400 + "}", {"at": "x"}, "is no amount"),
        ("json", '{"x": [5]}', {"at": "x.3"}, "'3' is not there, but 1 of a list"),
        ("hdr", WRK, {"at": 99}, "it holds no percentile spectrum"),
        ("json", JSON, {"at": "rates"}, "'rates' is not there, but ['ALL STATS'"),
        ("json", JSON, {"at": ["ALL STATS", "Gets", 3]}, "no some_us"),
        ("json", JSON, {"at": "done"}, "true is no number"),
        ("json", JSON, {"at": "bad"}, "'-1' is no amount"),
        ("json", "{broken", {"at": "x"}, "the load's output is no json"),
    ],
)
def test_what_is_not_there_is_named(form: Format, text: str, result: dict[str, Any], said: str | None) -> None:
    wanted = {"some_us": msgspec.convert(result, Result)}
    if said is None:
        assert read(form, text, wanted)["some_us"] > 0
        return
    with pytest.raises(LoadError) as caught:
        read(form, text, wanted)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("form", "name", "result", "said"),
    [
        ("regex", "some_us", {"at": "("}, "is no pattern"),
        ("regex", "some_us", {"at": "x"}, "0 groups"),
        ("regex", "some_us", {"at": "(x)", "unit": "W"}, "unit 'W' is none of ns, us"),
        ("regex", "some_us", {"at": "(x)", "row": {"a": "b"}}, "only csv has rows"),
        ("json", "some", {}, "'at' says where"),
        ("hdr", "some_us", {"at": "many"}, "neither a percentile"),
        ("hdr", "some_us", {"at": 101}, "neither a percentile"),
        ("csv", "some_us", {"at": 5}, "is no column"),
    ],
)
def test_what_no_output_can_hold_is_refused_beforehand(
    form: Format, name: str, result: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        results.check(form, name, msgspec.convert(result, Result))


@given(st.text(max_size=200), st.sampled_from(["json", "csv", "hdr", "regex"]))
def test_any_output_gives_amounts_or_one_kind_of_error(text: str, form: Format) -> None:
    result = Result(at=50 if form == "hdr" else r"(\S+)" if form == "regex" else "a")
    try:
        assert read(form, text, {"x": result})["x"] >= 0
    except LoadError:
        return


@given(st.floats(0, 1e12), st.sampled_from(["ns", "us", "ms", "s", "min"]))
def test_units_of_time_are_what_they_are_called(amount: float, unit: str) -> None:
    seconds = amount * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60}[unit]
    found = read(
        "regex", f"{amount:.17g} {unit}", {"x_us": Result(at=r"^(\S+) (\S+)$"), "x_seconds": Result(at="^(.+)$")}
    )
    assert found["x_us"] == pytest.approx(seconds * 1e6)
    assert found["x_seconds"] == pytest.approx(seconds)
