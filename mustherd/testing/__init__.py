"""Contract suites: what every implementation of an interface does, as classes of pytest tests.

The author of a plug-in subclasses a suite in a test module, names the class `Test...` and overrides its fixtures;
pytest then runs every test of the suite over that implementation. Fixtures that are callables
stand for what happens to a node from outside. MustHerd's own parts run through the same suites. They need pytest:
`pip install 'mustherd[testing]'`.
"""

import pytest

SUITES = ("clock", "knob", "load", "logger", "meter", "metric", "node", "policy", "search", "source", "wall_meter")

# Before the suites are imported: a failed assertion then shows its values, as it does in a test module.
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in SUITES))
