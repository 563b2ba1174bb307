from hypothesis import given
from hypothesis import strategies as st

from mustherd.herd.alarms import NEVER, Alarms

NAMES = st.sampled_from("abcde")
TIMES = st.one_of(st.integers(0, 30).map(float), st.just(NEVER))
STEPS = st.lists(st.one_of(st.tuples(NAMES, TIMES), st.integers(1, 5).map(float)), max_size=60)


@given(STEPS)
def test_each_is_told_of_once_at_the_earliest_time_that_was_set(steps: list[tuple[str, float] | float]) -> None:
    alarms, expected, now = Alarms(), dict[str, float](), 0.0
    for step in steps:
        if isinstance(step, tuple):
            name, at = step
            alarms.set(name, at)
            expected[name] = min(at, expected.get(name, NEVER))
        else:
            now += step
            due = sorted((at, name) for name, at in expected.items() if at <= now)
            assert [(expected.pop(name), name) for name in alarms.due(now)] == due
            assert alarms.due(now) == []
        # Too early makes somebody look for nothing, too late makes somebody wait.
        assert alarms.next() <= min(expected.values(), default=NEVER)
        assert {name: alarms.at(name) for name in "abcde"} == {name: expected.get(name, NEVER) for name in "abcde"}


def test_times_that_were_put_forward_do_not_pile_up() -> None:
    alarms = Alarms()
    for now in range(10_000):
        alarms.set("a", now + 2.0)
        alarms.set("a", now + 1.0)
        alarms.due(float(now))
    assert len(alarms._heap) <= 4
