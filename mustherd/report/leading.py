"""The setting that is ahead, in the words that page, terminal, status and report have in common."""

import msgspec

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.experiment.lead import Lead
from mustherd.metrics import Direction
from mustherd.report import labels
from mustherd.report.labels import clean
from mustherd.report.table import number_of
from mustherd.report.view import View


class Leading(msgspec.Struct, frozen=True, kw_only=True):
    """What is ahead at a load. Texts are clean; those that there is nothing to say of are empty."""

    lead: Lead
    head: str
    """How it stands: `best so far`."""
    qps: float | None
    """Of several loads the one that it is for."""
    settings: str
    knobs: dict[str, int]
    """The settings as raw values; empty where none is named."""
    value: float | None
    """Its mean of the objective, in the metric's own unit."""
    objective: str
    """The same as text with its unit."""
    saving_percent: float | None
    """By how much that is better than the default's; negative where it is worse, None where it can't be said."""
    compared: str
    """With the default: `20 % less energy than the default`."""
    limited: str
    """What it has of every metric that is limited."""
    trial: str
    """The number of the search trial that tried it first."""

    def line(self) -> str:
        """All of it in a line."""
        at = f"at {self.qps:,.0f} qps " if self.qps is not None else ""
        if not self.settings:
            return at + self.head
        rest = ", ".join(filter(None, (self.objective, self.compared, self.limited)))
        return f"{at}{self.head}: {self.settings}  {rest}"


def leading(view: View) -> list[Leading]:
    """What is ahead, at each load; nothing where nothing is compared."""
    if not view.compares:
        return []
    return [_at(view.at(qps), qps, view) for qps in view.loads] if view.loads else [_at(view, None, view)]


def _at(view: View, qps: float | None, whole: View) -> Leading:
    found, lead = view.verdict(), view.lead
    side = found.best or found.closest
    if lead in (Lead.NOTHING, Lead.DEFAULT):
        side = None
    objective, winner = view.goal.objective, view.winner()
    value = None if side is None else side.metrics.get(objective)
    saving = found.saving_percent
    limited = [
        f"{metrics.of(c.metric).label} {labels.quantity(c.metric, side.metrics.get(c.metric))}"
        for c in view.goal.constraints
        if side is not None
    ]
    return Leading(
        lead=lead,
        head=lead.called(decided=whole.stored is not None),
        qps=qps,
        settings="" if side is None else clean(wording.settings(side.knobs, view.knobs)),
        knobs={} if side is None else dict(side.knobs),
        value=value,
        objective="" if side is None else labels.quantity(objective, value),
        saving_percent=saving,
        compared="" if saving is None else f"{compared(view, saving)} than the default",
        limited=clean(", ".join(limited)),
        trial="" if winner is None else number_of(winner),
    )


def compared(view: View, percent: float) -> str:
    """By how much the objective is better or worse, in a phrase: `20.0 % less energy`."""
    more = (percent >= 0) == (view.goal.objectives[0].direction is Direction.MORE)
    return f"{labels.percent(abs(percent))} {'more' if more else 'less'} {metrics.of(view.goal.objective).label}"
