"""The picture of two objectives: the front, and the hypervolume over trials."""

from collections.abc import Mapping
from typing import Any

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.experiment.results import volumes
from mustherd.metrics import Direction
from mustherd.report import labels
from mustherd.report.plots import Marks, drawable, look_of, scale, shown
from mustherd.report.svg import BEST, INK, draw
from mustherd.report.view import View


def front_plot(view: View) -> str:
    """Every trial in the plane of both objectives with the front's stair, and beside it how what it covers grew."""
    first, second = view.goal.objective, view.goal.second
    trials = drawable(view, first, second)
    front = view.front()
    grown, reference = volumes(view.trials, view.goal)

    def paint(figure: Any) -> Mapping[str, str]:
        left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
        marks = Marks(view)
        for trial in trials:
            marks.put(
                left,
                trial,
                (shown(second, trial.metrics[second]), shown(first, trial.metrics[first])),
                look_of(trial, view),
            )
        places = sorted((shown(second, o.metrics[second]), shown(first, o.metrics[first])) for o in front)
        # The stair stands where a setting of the front is beaten: on the side where `second` is worse.
        where = "pre" if view.goal.direction(second) is Direction.MORE else "post"
        [line] = left.step(
            [x for x, _ in places], [y for _, y in places], where=where, color=BEST, linewidth=1.8, zorder=2
        )
        left.set_xlabel(metrics.of(second).title)
        left.set_ylabel(metrics.of(first).title)
        scale(left, "x", [shown(second, t.metrics[second]) for t in trials])
        scale(left, "y", [shown(first, t.metrics[first]) for t in trials])
        last = grown[-1][1] if grown else 0.0
        if last > 0:
            right.step(
                [n for n, _ in grown], [100 * v / last for _, v in grown], where="post", color=INK, linewidth=1.6
            )
        right.set_ylim(0, 105)
        right.set_xlabel("trial")
        right.set_ylabel("hypervolume (% of the last)")
        marks.legend(figure, [(line, "front")])
        return marks.hints

    ends = f"{labels.quantity(first, reference[0])} and {labels.quantity(second, reference[1])}"
    description = (
        f"{metrics.of(first).title} against {metrics.of(second).title} of {len(trials)} trials; {len(front)}"
        f" settings are on the front. The hypervolume below {ends} came to"
        f" {wording.number(grown[-1][1] if grown else 0.0)}."
    )
    return draw("front", f"{metrics.of(first).label} and {metrics.of(second).label}", description, 4.2, paint)
