"""The searches by name."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from mustherd.learn.base import Problem, Search, Settings
from mustherd.learn.grid import GridSearch
from mustherd.learn.oneshot import OneShotSearch
from mustherd.learn.simple import RandomSearch
from mustherd.learn.space import Space

METHODS: dict[str, tuple[str, ...]] = {
    "gp": ("stop", "noise"),
    "random": (),
    "grid": (),
    "one-shot": ("settings",),
}
"""Every method and the options it knows."""


class ModelOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The options of `gp`, as they come from a definition or over a pipe."""

    stop: bool = True
    noise: dict[str, Annotated[float, msgspec.Meta(ge=0, lt=1)]] = {}


def check(method: str, problem: Problem, *, initial: int | None, options: Mapping[str, object] | None) -> None:
    """What `make` would refuse, without importing anything heavy: ValueError as there."""
    if method not in METHODS:
        raise ValueError(f"there is no search {method!r}; allowed are {', '.join(METHODS)}")
    unknown = sorted(set(options or {}) - set(METHODS[method]))
    if unknown:
        allowed = ", ".join(METHODS[method]) or "none"
        raise ValueError(f"search {method!r} has no option {', '.join(unknown)}; allowed are {allowed}")
    if initial is not None and method != "gp":
        raise ValueError(f"search {method!r} has no initial points; only gp has")
    if initial is not None and initial < 1:
        raise ValueError(f"initial is {initial}; it must be at least 1")
    space = Space(problem.dimensions)
    if problem.default is not None and not problem.context:
        space.index(problem.default)
    if method == "one-shot":
        for point in _settings(problem, options or {}):
            space.index(point)
    _model_options(options or {})


def make(
    method: str,
    problem: Problem,
    *,
    seed: int = 0,
    initial: int | None = None,
    options: Mapping[str, object] | None = None,
) -> Search:
    """The search called `method`.

    Args:
        method: one of METHODS.
        problem: what is searched.
        seed: decides everything that is random.
        initial: how many points `gp` lays out before the model chooses; None: as many as it sees fit.
        options: by method. `one-shot`: `settings`, the point or a list of points (without it the
            problem's default). `gp`: `stop` and `noise` as mustherd.learn.gp.GaussianProcessSearch has them; for a
            problem with a context it is a mustherd.learn.contextual.ContextSearch.

    Raises:
        ValueError: names what is wrong and what is allowed.
    """
    check(method, problem, initial=initial, options=options)
    if method == "gp":
        # scikit-optimize takes seconds to import, and only this search needs it.
        from mustherd.learn.contextual import ContextSearch  # noqa: PLC0415
        from mustherd.learn.gp import GaussianProcessSearch  # noqa: PLC0415

        given = _model_options(options or {})
        kind: type[GaussianProcessSearch | ContextSearch] = ContextSearch if problem.context else GaussianProcessSearch
        return kind(problem, seed=seed, initial=initial, stop=given.stop, noise=given.noise)
    if method == "one-shot":
        return OneShotSearch(problem, _settings(problem, options or {}), seed)
    return GridSearch(problem, seed) if method == "grid" else RandomSearch(problem, seed)


def _model_options(options: Mapping[str, object]) -> ModelOptions:
    plain = msgspec.to_builtins({k: v for k, v in options.items() if k in METHODS["gp"]})
    try:
        return msgspec.convert(plain, ModelOptions)
    except msgspec.ValidationError as error:
        raise ValueError(f"search 'gp': {error}") from error


def _settings(problem: Problem, options: Mapping[str, object]) -> list[Settings]:
    settings = options.get("settings") or problem.default
    points = settings if isinstance(settings, list | tuple) else [settings]
    found = [dict(point) for point in points if isinstance(point, dict)]
    if len(found) < len(points) or not found:
        raise ValueError("search 'one-shot' needs settings: a value for each dimension")
    return found
