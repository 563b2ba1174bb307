"""The plug-ins that an experiment names, looked at before anything is started."""

from mustherd.definition import Experiment
from mustherd.definition.plugin_options import check_load, check_search, placed
from mustherd.policy.base import check as check_policy


def check_plugins(experiment: Experiment) -> None:
    """Look whether every plug-in that the definition names is there and takes its options.

    Raises DefinitionError, with its line, for a name or an option; PluginError, with its line, for a plug-in that can't
    be loaded.
    """
    with placed(experiment, ("policy", "name")):
        check_policy(experiment)
    with placed(experiment, ("search", "method")):
        check_search(experiment)
    check_load(experiment)
