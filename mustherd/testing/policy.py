"""What every policy does: the contract of mustherd.policy.base, as a suite."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from mustherd.definition import Experiment, loads, problem
from mustherd.learn.base import Observation, Settings
from mustherd.policy.base import WAIT, Policy, Proposal, check
from mustherd.policy.base import make as make_policy

DEFINITION = """\
name: contract
herd: {simulated: {}}
workload: {qps: 600000, window_seconds: 30}
knobs:
  itr-delay: [2, 100, 200, 300, 400]
  dvfs: [1200 MHz, 1600 MHz, 2000 MHz, 2400 MHz, 2800 MHz]
constraints: [read_p99_us <= 500]
search: {method: random}
"""
"""A simulated node; a suite may add to it, or have a definition of its own."""

AS_FOUND = {"itr-delay": 1, "dvfs": 2800}
TRIALS = 12


def measured(point: Settings) -> Observation:
    """A node that gets slower with a longer delay and a lower clock, and saves energy by both."""
    whole = {**AS_FOUND, **point}
    delay, clock = max(2, whole["itr-delay"]), whole["dvfs"] / 1000
    qps = point.get("qps", 600_000)
    return Observation(
        point=point,
        metrics={
            "energy_joules": 800 + 700 * clock - 0.5 * delay,
            "read_p99_us": 80 + delay + 200 / clock**2,
            "achieved_ratio": 1.0,
            "achieved_qps": float(qps),
        },
    )


class PolicyContract:
    """What mustherd.policy.base promises, of the policy that a definition names."""

    definition: ClassVar[str] = ""
    """The whole of a definition that names the policy, such as DEFINITION + "policy: colder"."""

    @pytest.fixture
    def experiment(self) -> Experiment:
        """What the definition says."""
        return loads(self.definition, "contract.yml")

    @pytest.fixture
    def policy(self, experiment: Experiment) -> Iterator[Policy]:
        """The policy, made as a run of an experiment makes it."""
        made = make_policy(experiment, problem(experiment))
        yield made
        made.close()

    @staticmethod
    def look_at(point: Proposal, experiment: Experiment) -> Settings:
        """The point that was proposed. Fail for one that the experiment doesn't allow; {}: the node as it was found."""
        assert point is not None
        assert point is not WAIT, "with nothing under way there is nothing to wait for"
        for key, value in point.items():
            assert type(value) is int
            assert value in (experiment.workload.loads if key == "qps" else experiment.knobs[key])
        return point

    def run(self, policy: Policy, experiment: Experiment, trials: int = TRIALS) -> list[Observation]:
        """Let the policy have so many trials, as far as it wants them; gives what was measured."""
        seen: list[Observation] = []
        while len(seen) < trials and (point := policy.propose([])) is not None:
            seen.append(measured(self.look_at(point, experiment)))
            policy.observe(seen[-1:])
        return seen

    def test_takes_the_options_of_its_definition(self, experiment: Experiment) -> None:
        check(experiment)

    def test_says_whether_it_compares(self, policy: Policy) -> None:
        assert isinstance(policy, Policy)
        assert policy.compares in (True, False)

    def test_proposes_what_the_experiment_allows_and_says_why_it_ends(
        self, policy: Policy, experiment: Experiment
    ) -> None:
        seen = self.run(policy, experiment)
        assert seen
        if len(seen) < TRIALS:
            assert policy.why_enough().strip()

    def test_knows_of_trials_under_way(self, policy: Policy, experiment: Experiment) -> None:
        under_way: list[Settings] = []
        while len(under_way) < 3 and (point := policy.propose(under_way)) is not None:
            if under_way and point is WAIT:
                break
            under_way.append(self.look_at(point, experiment))
        assert under_way

    def test_has_not_enough_for_what_is_still_under_way(self, policy: Policy, experiment: Experiment) -> None:
        # None is for good: who can't tell yet answers WAIT.
        first = self.look_at(policy.propose([]), experiment)
        if policy.propose([first]) is None:
            policy.observe([measured(first)])
            assert policy.propose([]) is None, "enough for good, and then more: WAIT is the answer before"

    def test_learns_nothing_from_nothing(self, policy: Policy, experiment: Experiment) -> None:
        policy.observe([])
        assert self.run(policy, experiment, 1)

    def test_the_same_experiment_is_run_the_same_way(self, experiment: Experiment) -> None:
        ways: list[Any] = []
        for _ in range(2):
            policy = make_policy(experiment, problem(experiment))
            ways.append([seen.point for seen in self.run(policy, experiment)])
            policy.close()
        assert ways[0] == ways[1]

    def test_a_resumed_run_goes_on(self, policy: Policy, experiment: Experiment) -> None:
        seen = self.run(policy, experiment, 3)
        other = make_policy(experiment, problem(experiment))
        other.observe(seen)
        point = other.propose([])
        if point is not None:
            self.look_at(point, experiment)
        else:
            assert other.why_enough().strip()
        other.close()
