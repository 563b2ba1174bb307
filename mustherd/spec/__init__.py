"""The experiment file: what a user asks for, checked before anything is touched.

`load` reads a file into an Experiment or raises one SpecError that says where and how to mend it.
"""

from mustherd.spec.error import SpecError
from mustherd.spec.experiment import Experiment
from mustherd.spec.identity import changes, content, digest, dump
from mustherd.spec.plan import Plan, plan
from mustherd.spec.reading import load, loads, quickstart
from mustherd.spec.schema import json_schema
from mustherd.spec.task import check_knobs, check_policy, default_settings, given_points, problem

__all__ = [
    "Experiment",
    "Plan",
    "SpecError",
    "changes",
    "check_knobs",
    "check_policy",
    "content",
    "default_settings",
    "digest",
    "dump",
    "given_points",
    "json_schema",
    "load",
    "loads",
    "plan",
    "problem",
    "quickstart",
]
