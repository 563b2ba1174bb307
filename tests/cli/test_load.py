"""Loads by hand."""

import json

import pytest

from tests import running
from tests.load.stand import served


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "here", "--qps", "5"], 2, "'here' is no server: write HOST:PORT"),
        (["run", "127.0.0.1:1", "--qps", "5"], 3, "server-unreachable: 127.0.0.1:1"),
        (["run", "127.0.0.1:1", "--qps", "0"], 2, "'0': allowed: above 0, up to 1e+09 qps"),
        (["run", "127.0.0.1:1", "--qps", "many"], 2, "'many' is no amount; allowed: a number"),
        (["run", "127.0.0.1:1", "--qps", "5", "--preset", "x"], 2, "preset x: allowed: etc, usr"),
        (["run", "127.0.0.1:1", "--qps", "5", "--agent", "a"], 2, "give --mutilate PROGRAM too"),
        (["run", "127.0.0.1:1", "--qps", "5", "--mutilate", "no-such"], 3, "tool-missing: no-such is not installed"),
        (["limit", "here"], 2, "'here' is no server: write HOST:PORT"),
        (["limit", "127.0.0.1:1", "--low", "2", "--high", "1"], 2, "low 2 is above high 1"),
        (["limit", "127.0.0.1:1"], 3, "server-unreachable: 127.0.0.1:1"),
        (["peak", "127.0.0.1:1", "--limit", "p99"], 2, "limit 'p99': allowed: (read|update)_"),
        (["peak", "127.0.0.1:1", "--limit", "read_p99_us <= 1 W"], 2, "'W' is no unit here"),
        (
            ["peak", "127.0.0.1:1", "--limit", "read_p99_us <= 1", "--low", "2", "--high", "1"],
            2,
            "low 2 is above high 1",
        ),
    ],
)
@pytest.mark.process
def test_what_cannot_be_done_is_one_line(words: list[str], code: int, said: str) -> None:
    found, out, err = running.here("load", *words)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.process
@pytest.mark.memcached
def test_the_generator_s_own_limit() -> None:
    """On a machine of any speed: a load that is tried, and why the next one wasn't carried or that none was tried."""
    code, out, err = running.run(
        "load", "limit", "--low", "200", "--high", "400", "--seconds", "0.5", "--ramp", "0.2", "--json", timeout_s=60
    )
    found = json.loads(out)
    assert code == 0, err
    assert found["workers"] == 1
    assert found["qps"] in (0, *(step["qps"] for step in found["steps"]))
    assert all(0 <= step["generator_busy"] <= 1 for step in found["steps"])
    assert found["limited_by"]


@pytest.mark.process
@pytest.mark.memcached
def test_a_load_and_a_peak_of_a_real_server() -> None:
    with served() as server:
        code, out, _ = running.run("load", "run", str(server.address), "--qps", "1k", "--seconds", "1", "--json")
        report = json.loads(out)
        assert code == 0
        assert report["requests"] > 0
        assert report["counters"]["server_cpu_seconds"] > 0
        limit = ["--limit", "read_p50_us <= 10 s", "--low", "500", "--high", "1k", "--seconds", "0.5", "--ramp", "0.2"]
        code, out, err = running.run("load", "peak", str(server.address), *limit, "--json")
        found = json.loads(out)
        assert code == 0
        assert found["steps"][0]["qps"] == 500
        assert len(err.strip().splitlines()) == len(found["steps"])
