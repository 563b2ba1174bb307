"""What `gp` can be told, apart from what carries it out: scikit-optimize takes seconds to import."""

from typing import Annotated

import msgspec

from mustherd.learn.base import Problem, Search


class GpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `gp`."""

    initial: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Points laid out before the model chooses; None: as many as it sees fit."""
    stop: bool = True
    """End when the improvement that can still be expected is below the noise."""
    noise: dict[str, Annotated[float, msgspec.Meta(ge=0, lt=1)]] = {}
    """Metric to the relative standard deviation of one trial, where it was measured before."""


class GaussianProcesses:
    """The kind `gp`: a model of its own for several loads, else one that knows no context."""

    Options = GpOptions
    believes_prior = True

    @staticmethod
    def warm() -> None:
        """Import what it is carried out with, before there is anything to search."""
        import mustherd.learn.contextual  # noqa: PLC0415
        import mustherd.learn.gp  # noqa: PLC0415, F401

    def __call__(self, problem: Problem, *, seed: int, options: GpOptions) -> Search:
        from mustherd.learn.contextual import ContextSearch  # noqa: PLC0415
        from mustherd.learn.gp import GaussianProcessSearch  # noqa: PLC0415

        kind: type[GaussianProcessSearch | ContextSearch] = (
            ContextSearch if problem.space.context else GaussianProcessSearch
        )
        return kind(problem, seed=seed, initial=options.initial, stop=options.stop, noise=options.noise)


gp = GaussianProcesses()
