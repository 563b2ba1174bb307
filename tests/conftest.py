"""What every test gets."""

from collections.abc import Iterator

import pytest

from tests import running


@pytest.fixture(autouse=True)
def _nothing_outlives_its_test() -> Iterator[None]:
    yield
    running.end_all()
