import pytest

from tests.docs.reference import FOLDER, TABLES, filled


@pytest.mark.parametrize("file", TABLES)
def test_the_tables_of_the_reference_are_as_the_code_has_them(file: str) -> None:
    assert (FOLDER / file).read_text(encoding="utf-8") == filled(file), "run python -m tests.docs.reference"
