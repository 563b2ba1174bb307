"""What an experiment is after, as the verdict and the reports read it out of the stored definition."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mustherd.learn.base import Constraint
from mustherd.learn.confirmation import PARALLEL, ROUNDS

GUARD = "achieved_ratio"
"""Achieved over offered load. Without a limit on it the best setting is one that leaves part of the load unsent."""

GUARD_LIMIT = 0.98


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """The best `objective` under `constraints`, the guard on the achieved load among them."""

    objective: str = "energy_joules"
    constraints: tuple[Constraint, ...] = (Constraint(GUARD, GUARD_LIMIT, True),)
    second: str = ""
    """The second objective; '' where there is only one."""
    loads: tuple[float, ...] = ()
    """Offered requests per second, ascending; empty where the definition doesn't say."""
    repeats: int = 0
    """Rounds of repeats before the winner is announced; 0: it's announced as it was found."""
    rounds: int = ROUNDS
    """Rounds at most, as long as the verdict isn't certain."""
    parallel: int = PARALLEL
    """How many settings are confirmed beside one another."""
    margin: float = 0.0
    """Share of an upper limit that is kept free for drift."""
    seed: int = 0

    @classmethod
    def of(cls, resolved: Mapping[str, Any]) -> "Goal":
        """The goal in a resolved definition; ValueError names what can't be read.

        Read are `objective`, `objectives`, `constraints` (as `read_p99_us <= 500`, or as metric, limit and at_least),
        `workload.qps`, `repeats`, `confirmation`, `search.seed` and `gates.achieved_ratio`, which becomes a constraint
        unless it is 0 or there is one on that metric already.
        """
        constraints = [_constraint(item) for item in resolved.get("constraints") or ()]
        if all(constraint.metric != GUARD for constraint in constraints):
            limit = float((resolved.get("gates") or {}).get(GUARD, GUARD_LIMIT))
            constraints += [Constraint(GUARD, limit, True)] if limit > 0 else []
        how = resolved.get("confirmation") or {}
        qps = (resolved.get("workload") or {}).get("qps") or ()
        return cls(
            objective=str(resolved.get("objective") or "energy_joules"),
            second=str([*(resolved.get("objectives") or ()), "", ""][1]),
            loads=tuple(sorted(map(float, qps if isinstance(qps, Sequence) else [qps]))),
            constraints=tuple(constraints),
            repeats=int(resolved.get("repeats") or 0),
            rounds=int(how.get("rounds") or ROUNDS),
            parallel=int(how.get("candidates") or PARALLEL),
            margin=float(how.get("margin") or 0.0),
            seed=int((resolved.get("search") or {}).get("seed") or 0),
        )

    def at(self, qps: float) -> "Goal":
        """The goal at one of its loads."""
        return msgspec.structs.replace(self, loads=(qps,))


def _constraint(item: object) -> Constraint:
    if isinstance(item, str):
        for sign, at_least in (("<=", False), (">=", True)):
            metric, found, limit = item.partition(sign)
            if found:
                return Constraint(metric.strip(), float(limit), at_least)
        raise ValueError(f"the constraint {item!r} is neither `metric <= limit` nor `metric >= limit`")
    try:
        return msgspec.convert(item, Constraint)
    except msgspec.ValidationError as error:
        raise ValueError(f"the constraint {item!r} can't be read: {error}") from error


def keeps(metrics: Mapping[str, float], constraints: Sequence[Constraint]) -> bool:
    """Whether measured values keep every limit; a value that is missing or not a number keeps none."""
    return all(c.metric in metrics and c.met_by(metrics[c.metric]) for c in constraints)


def excess(value: float, constraint: Constraint) -> float:
    """How far beyond its limit a value is, as a share of the limit; 0 or less: it keeps the limit."""
    over = constraint.limit - value if constraint.at_least else value - constraint.limit
    return over / abs(constraint.limit) if constraint.limit else over
