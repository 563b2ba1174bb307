"""Knobs that are set again within a window, while its load goes on."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, WithJsonSchema

from mustherd.definition.errors import Finding, listed, nearest
from mustherd.definition.fields import MAX_SECONDS, SETTINGS_SCHEMA, Settings
from mustherd.definition.knobs import value_text
from mustherd.definition.section import Section, as_tuple, key

if TYPE_CHECKING:
    from mustherd.definition.model import Experiment

CHANGE_FORM = "a list such as [{at_seconds: 5, itr-delay: 100}, {at_seconds: 10, itr-delay: 20}]"


def _change(raw: object) -> object:
    """A change as people write it: its time, and beside it the knobs."""
    if not isinstance(raw, Mapping) or "settings" in raw:
        return raw
    return {
        **{name: given for name, given in raw.items() if name == "at_seconds"},
        "settings": {name: given for name, given in raw.items() if name != "at_seconds"},
    }


class Change(Section):
    """What is set at a time."""

    at_seconds: float = key(..., "When, from the window's begin.", "s", gt=0, le=MAX_SECONDS)
    settings: Settings = key(..., "What is set.", allowed="a value of `knobs` for some of them")


CHANGE_SCHEMA = {
    **SETTINGS_SCHEMA,
    "required": ["at_seconds"],
    "minProperties": 2,
    "properties": {"at_seconds": {"type": "number", "exclusiveMinimum": 0}, "settings": False},
}
Written = Annotated[object, WithJsonSchema(CHANGE_SCHEMA)]
"""A change with its knobs beside its time."""
Changes = Annotated[
    tuple[Annotated[Change, BeforeValidator(_change, json_schema_input_type=Written | Change)], ...],
    BeforeValidator(as_tuple),
]


def wrong(experiment: "Experiment") -> Iterator[Finding]:
    """What changes must be beside the rest of the definition."""
    last, window_s = 0.0, experiment.workload.window_seconds
    for index, change in enumerate(experiment.changes):
        at = ("changes", index)
        if not last < change.at_seconds < window_s:
            problem = f"{change.at_seconds:g} s is not between the one before and the window's end"
            yield Finding((*at, "at_seconds"), problem, f"above {last:g} and below {window_s:g} s, in order")
        last = max(last, change.at_seconds)
        for knob, value in change.settings.items():
            if knob not in experiment.knobs:
                knobs = list(experiment.knobs)
                problem = f"'{knob}' is not among the knobs"
                yield Finding((*at, knob), problem, listed(knobs), nearest(knob, knobs), at_key=True)
            elif value not in experiment.knobs[knob]:
                problem = f"{value_text(knob, value)} is not among the knob's values"
                yield Finding((*at, knob), problem, "one of them")
    if experiment.changes and experiment.policy.name == "nop":
        yield Finding(("changes",), "policy 'nop' sets nothing", "policy: tune", at_key=True)
