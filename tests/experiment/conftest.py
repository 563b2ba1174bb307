"""What several tests of experiments stand on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sshd import Sshd, listening


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """An SSH server, and a home whose key it takes."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with listening(tmp_path, home) as found:
        yield found
