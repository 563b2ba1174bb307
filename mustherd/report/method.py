"""How an experiment was measured: of what its definition says, the part that was done."""

from collections.abc import Iterator, Mapping
from typing import Any

from mustherd.definition.units import duration
from mustherd.experiment import wording
from mustherd.report.view import View
from mustherd.trial import TrialKind


def method(view: View) -> Iterator[tuple[str, str]]:
    """Terms and what is said of each."""
    resolved = view.experiment.resolved
    load = load_text(view)
    if load:
        yield "load", load
    workload = resolved.get("workload") or {}
    if window := workload.get("window_seconds"):
        ramp = workload.get("ramp_seconds")
        after = f", opened {ramp:g} s after the load began" if ramp else ""
        yield (
            "window",
            f"{window:g} s{after}; energy, latency and log rows are taken over the same window, on the node's clock",
        )
    if any(trial.settings for trial in view.begun):
        yield "knobs", "set, read back before and after each window; a trial whose knobs did not hold is invalid"
    yield from _what_ran(view)
    gates = resolved.get("gates") or {}
    spelt = ", ".join(f"{key} {_gate(value)}" for key, value in gates.items())
    if spelt:
        yield "gates", spelt
    if simulated := dig(resolved, "herd", "simulated"):
        spelt = ", ".join(
            f"{k} {'on' if v else 'off'}"
            if isinstance(v, bool)
            else f"{k} {v:g}"
            if isinstance(v, float)
            else f"{k} {v}"
            for k, v in simulated.items()
            if isinstance(v, str | int | float)
        )
        yield "herd", f"simulated nodes ({spelt})"


def _what_ran(view: View) -> Iterator[tuple[str, str]]:
    """Search, default, confirmation and intervals, each as far as there are trials of it."""
    resolved = view.experiment.resolved
    search = resolved.get("search") or {}
    kinds = {trial.kind for trial in view.begun}
    if not view.compares:
        policy = resolved.get("policy")
        name = policy.get("name") if isinstance(policy, Mapping) else policy
        yield "policy", f"{name}: nothing was searched, compared or confirmed; every window is as the policy chose it"
        return
    if TrialKind.SEARCH in kinds:
        if search.get("prior"):
            yield "prior", f"{search['prior']}: believed as far as the measurements agree"
        if search.get("method"):
            seed = f", seed {search['seed']}" if search.get("seed") is not None else ""
            done = len({t.number for t in view.finished if t.kind is TrialKind.SEARCH})
            planned = view.experiment.plan.get(TrialKind.SEARCH.value) or resolved.get("trials", "?")
            yield "search", f"{search['method']}{seed}, {done} of {planned} trials"
    if TrialKind.BASELINE in kinds:
        every = dig(resolved, "baseline", "every")
        times = len({t.number for t in view.finished if t.kind is TrialKind.BASELINE})
        again = f", again after every {every} search trials" if every and times > 1 else ""
        yield "default", f"measured first{again}: {times} {'time' if times == 1 else 'times'}"
    if TrialKind.CONFIRM in kinds:
        # A step without the default is of windows that were measured again.
        rounds = len({t.round for t in view.begun if t.kind is TrialKind.CONFIRM and view.of_default(t)})
        settings = {tuple(sorted(t.settings.items())) for t in view.begun if t.kind is TrialKind.CONFIRM}
        yield (
            "confirmation",
            f"{len(settings)} settings, the default among them, were measured again in {max(rounds, 1)}"
            f" {'round' if rounds <= 1 else 'rounds'} (at least {view.goal.repeats}, at most"
            f" {max(view.goal.rounds, view.goal.repeats)}, as long as it isn't certain); the trials by which the search"
            " found them don't count towards their values",
        )
        yield (
            "intervals",
            f"95 % confidence, Student's t; the {view.goal.objectives[0].direction.improvement}'s net of what a"
            " round or a node has in common, so that drift cancels."
            " A limit is kept when the bound for each node's next window, which has a chance of 97.5 %, keeps it"
            + (f", with {100 * view.goal.margin:g} % of it left free for drift" if view.goal.margin else ""),
        )
    elif view.begun:
        yield "confirmation", "none: nothing was measured again, so nothing is certain"


def load_text(view: View) -> str:
    """The load that was asked for, in words."""
    load = view.experiment.resolved.get("workload") or {}
    qps = load.get("qps")
    if not (qps or load.get("curve")):
        return ""
    mix = f" of the {load['preset']} mix" if load.get("preset") else ""
    updates = f", {100 * load['update_ratio']:.4g} % of them updates" if load.get("update_ratio") else ""
    each = [f"{q:,.10g}" for q in (qps if isinstance(qps, list) else [qps])] if qps else []
    how_much = f"{wording.together(each)} requests per second" if each else _curve(load["curve"])
    return how_much + mix + updates


def ran_for(view: View) -> str:
    """How long it ran, in words."""
    return duration(view.wall_seconds)


def dig(value: Any, *path: str) -> Any:
    """What stands at a path of nested mappings; None where there is nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _curve(curve: Mapping[str, Any]) -> str:
    """A load that changes, in words."""
    form = next((name for name in ("steps", "sine", "step", "trace") if curve.get(name)), "curve")
    spans = "each window has the next part" if curve.get("spans") == "experiment" else "the whole of it in each window"
    said = curve.get(form)
    if isinstance(said, Mapping):
        how = ", ".join(f"{name} {value:,.10g}" for name, value in said.items())
    else:
        levels = [pair[0 if form == "steps" else 1] for pair in said or ()]
        how = f"{len(levels)} levels, {min(levels, default=0):,.10g} to {max(levels, default=0):,.10g}"
    return f"requests per second that change ({form}: {how}; {spans})"


def _gate(value: object) -> str:
    if isinstance(value, Mapping):
        if value.keys() == {"low", "high"}:
            return f"{_gate(value['low'])} to {_gate(value['high'])}"
        return f"({', '.join(f'{key} {_gate(inner)}' for key, inner in value.items())})"
    return f"{value:g}" if isinstance(value, float) else str(value)
