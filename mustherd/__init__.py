"""MustHerd: a herd of servers on the least energy that still meets its latency limit.

One shepherd collects, learns and decides; on every server a muster reads the logs and sets the knobs of its sheep.

    import mustherd

    result = mustherd.run("mine.yml")
    print(result.best.settings, result.verdict.saving_percent)

Importing this is quick: what is behind a name is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mustherd.api import ExperimentFailedError as ExperimentFailedError
    from mustherd.api import again as again
    from mustherd.api import aresume as aresume
    from mustherd.api import arun as arun
    from mustherd.api import check as check
    from mustherd.api import list_experiments as list_experiments
    from mustherd.api import open as open
    from mustherd.api import plan as plan
    from mustherd.api import resume as resume
    from mustherd.api import run as run
    from mustherd.api import stop as stop
    from mustherd.api import watch as watch
    from mustherd.client import HerdClient as HerdClient
    from mustherd.definition import DefinitionError as DefinitionError
    from mustherd.definition import Experiment as Experiment
    from mustherd.definition import Plan as Plan
    from mustherd.errors import UserError as UserError
    from mustherd.experiment.events import Event as Event
    from mustherd.experiment.events import ExperimentEnded as ExperimentEnded
    from mustherd.experiment.events import MusterChanged as MusterChanged
    from mustherd.experiment.events import Noted as Noted
    from mustherd.experiment.events import PhaseChanged as PhaseChanged
    from mustherd.experiment.events import Progress as Progress
    from mustherd.experiment.events import TrialEnded as TrialEnded
    from mustherd.experiment.events import TrialStarted as TrialStarted
    from mustherd.experiment.events import VerdictReached as VerdictReached
    from mustherd.experiment.load_by_hand import LoadByHand as LoadByHand
    from mustherd.experiment.recorded import calibrate as calibrate
    from mustherd.experiment.recorded import replay as replay
    from mustherd.experiment.verdict import Verdict as Verdict
    from mustherd.result import Best as Best
    from mustherd.result import Result as Result
    from mustherd.trial import Trial as Trial

__version__ = "0.1.0"

_HOMES = {
    "mustherd.api": "run resume again arun aresume plan check open watch stop list_experiments ExperimentFailedError",
    "mustherd.client": "HerdClient",
    "mustherd.definition": "Experiment Plan DefinitionError",
    "mustherd.errors": "UserError",
    "mustherd.experiment.events": "Event PhaseChanged MusterChanged TrialStarted TrialEnded Progress VerdictReached"
    " ExperimentEnded Noted",
    "mustherd.experiment.load_by_hand": "LoadByHand",
    "mustherd.experiment.recorded": "replay calibrate",
    "mustherd.experiment.verdict": "Verdict",
    "mustherd.result": "Result Best",
    "mustherd.trial": "Trial",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 (names all the same)


if not TYPE_CHECKING:  # which would take it for a promise of every name

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOME[name]), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
