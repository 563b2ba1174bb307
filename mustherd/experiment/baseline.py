"""What the baseline is, in a sentence: named by the definition, recorded on the node, or just found there. Pure."""

from collections.abc import Sequence

from mustherd.experiment import wording
from mustherd.terms import KnobInfo, Reading
from mustherd.trial import Trial, TrialKind, TrialState


def said(trials: Sequence[Trial], knobs: Sequence[KnobInfo]) -> str:
    """The baseline of an experiment's trials; "" before one was measured. `knobs` give values their words."""
    measured = [t for t in trials if t.kind is TrialKind.BASELINE and t.state is TrialState.FINISHED]
    if not measured:
        return ""
    if settings := measured[-1].settings:
        return f"the baseline is {wording.settings(settings, knobs)}, as the definition names it"
    recorded = _values([r for r in measured[-1].readings if r.asked is not None], knobs)
    found = _values([r for r in measured[-1].readings if r.asked is None], knobs)
    parts = [f"{recorded}, as recorded before the node was prepared"] if recorded else []
    parts += [f"{found}, as found"] if found else []
    return f"the baseline is the machine's own default: {'; '.join(parts) or wording.AS_FOUND}"


def _values(readings: Sequence[Reading], knobs: Sequence[KnobInfo]) -> str:
    """Readings in a phrase; a knob that differs from sheep to sheep, or from place to place, says so."""
    values: dict[str, set[int | None]] = {}
    for reading in readings:
        values.setdefault(reading.knob, set()).add(reading.applied)
    settings: dict[str, int] = {}
    apart = []
    for knob, held in sorted(values.items()):
        if len(held) == 1 and (one := next(iter(held))) is not None:
            settings[knob] = one
        else:
            apart.append(f"{knob} different from place to place")
    phrase = wording.settings(settings, knobs) if settings else ""
    return ", ".join(filter(None, (phrase, *apart)))
