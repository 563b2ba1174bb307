"""What the plug-ins that a definition names say against their options, with file and line."""

from collections.abc import Iterator
from contextlib import contextmanager

from mustherd.definition.errors import Finding, Path
from mustherd.definition.model import Experiment
from mustherd.definition.problem import problem
from mustherd.learn import registry
from mustherd.plugins import OptionError

OWN_KEYS = {"gp": ("initial", "stop", "prior"), "one-shot": ("settings", "table")}
"""What of our searches is a key of `search` itself."""


def check_search(experiment: Experiment) -> None:
    """Raise DefinitionError, with its line, for options that the definition's search refuses.

    PluginError for a search that can't be loaded.
    """
    search, at = experiment.search, ("search", "options")
    found = registry.find(search.method)
    kind = registry.kind_of(found)
    for name in OWN_KEYS.get(search.method, ()):
        if name in (search.options or {}):
            finding = Finding((*at, name), f"'{name}' is a key of `search` itself", "", f"search.{name}", at_key=True)
            raise experiment.source.error([finding])
    if search.prior is not None and not getattr(kind, "believes_prior", False):
        finding = Finding(("search", "prior"), f"'{search.method}' believes nothing", "no prior, or gp", at_key=True)
        raise experiment.source.error([finding])
    if found.is_ours and not search.options:
        return  # the definition's own rules say all
    with refusals(experiment, at):
        registry.check(search.method, problem(experiment), search.options or {})


@contextmanager
def refusals(experiment: Experiment, at: Path) -> Iterator[None]:
    """Put what a plug-in says against its options, which are at `at`, in its place in the file."""
    try:
        yield
    except OptionError as error:
        finding = Finding((*at, *error.path), error.problem, error.allowed, error.suggestion, at_key=error.unknown)
        raise experiment.source.error([finding]) from None
    except ValueError as error:
        raise experiment.source.error([Finding(at, str(error))]) from None
