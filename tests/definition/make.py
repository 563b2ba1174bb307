"""Definitions to test with."""

from typing import Any

import yaml

from mustherd.definition import DefinitionError, Experiment, loads

BASE: dict[str, Any] = {
    "name": "base",
    "herd": {"simulated": {}},
    "workload": {"qps": 600000},
    "knobs": {"itr-delay": [2, 50], "dvfs": [1200, 2600]},
}


def text(**changes: Any) -> str:
    """The smallest definition, with top-level keys replaced; one that is None is left out."""
    merged = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    return yaml.safe_dump(merged, sort_keys=False)


def made(**changes: Any) -> Experiment:
    return loads(text(**changes), "test.yml")


def error_of(definition: str) -> DefinitionError:
    try:
        found = loads(definition, "test.yml")
    except DefinitionError as error:
        return error
    raise AssertionError(f"no error, but {found}")


def refused(**changes: Any) -> DefinitionError:
    return error_of(text(**changes))
