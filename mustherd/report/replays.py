"""The picture of a replay: which share of the seeds had come near to the optimum by which trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mustherd.learn.replay import Run

NEAR = "5 %"


def draw(runs: Mapping[str, Sequence[Run]], trials: int, file: Path) -> None:
    """Write an SVG with one line for each search: share of its runs within 5 % of the true optimum, over trials."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, of in runs.items():
        reached = [run.trials_to[NEAR] for run in of]
        shares = [100 * sum(n is not None and n <= t for n in reached) / len(of) for t in range(trials + 1)]
        axes.step(range(trials + 1), shares, where="post", label=name)
    axes.set(xlabel="trials", ylabel=f"runs within {NEAR} of the optimum (%)", ylim=(0, 102), xlim=(0, trials))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    # Without a date the same runs give the same file.
    figure.savefig(file, format="svg", metadata={"Date": None})
