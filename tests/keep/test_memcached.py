"""A real memcached under traffic of others, kept for minutes: the benchmark `keep_memcached`, held to its promises.

KEEP_SECONDS says how long: five minutes in CI, an hour by night (make test-keeper SECONDS=3600).
"""

import pytest

from tests.benchmarks import keep_memcached

pytestmark = [pytest.mark.keeper, pytest.mark.process, pytest.mark.timeout(2 * keep_memcached.SECONDS + 300)]


def test_cpu_seconds_are_saved_against_interleaved_controls_and_the_limit_is_kept() -> None:
    found = keep_memcached.run()
    assert isinstance(found["saved_cpu_s"], list)
    assert isinstance(found["saved_percent"], list)
    assert found["saved_cpu_s"][0] > 0, found
    assert found["saved_percent"][0] > 0, found
    assert found["read_p95_us"] <= found["limit_us"], found  # type: ignore[operator]
    # It followed its load, and had settings in force for most of the time that it left to controls.
    assert found["kept_s"] > keep_memcached.SECONDS / 4, found  # type: ignore[operator]
