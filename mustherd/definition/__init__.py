"""The experiment file: what a user asks for, checked before anything is touched.

`load` reads a file into an Experiment or raises one DefinitionError that says where and how to fix it.
"""

from mustherd.definition.digest import changes, content, digest, dump
from mustherd.definition.errors import DefinitionError
from mustherd.definition.model import Experiment
from mustherd.definition.plan import Plan, plan
from mustherd.definition.problem import check_knobs, default_settings, given_points, goal, problem
from mustherd.definition.read import load, loads, quickstart
from mustherd.definition.schema import json_schema

__all__ = [
    "DefinitionError",
    "Experiment",
    "Plan",
    "changes",
    "check_knobs",
    "content",
    "default_settings",
    "digest",
    "dump",
    "given_points",
    "goal",
    "json_schema",
    "load",
    "loads",
    "plan",
    "problem",
    "quickstart",
]
