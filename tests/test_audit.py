"""What an audit of dependencies says: none is taken for looked up that was not."""

import pytest

from tests.audit import KNOWN, UNREACHABLE, judged

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
BAD = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ([CLEAN], 0, "1 of 1 locked dependencies were looked up, 0 advisories"),
        ([CLEAN, SKIPPED], UNREACHABLE, "1 could not be looked up (b: Dependency not found"),
        ([SKIPPED, BAD], KNOWN, "c 2: PYSEC-1, fixed in 3"),
        ([], UNREACHABLE, "0 of 0"),
    ],
)
def test_what_was_not_looked_up_is_not_called_clean(
    found: list[dict[str, object]], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(found) == code
    told = capsys.readouterr()
    assert said in told.out + told.err
