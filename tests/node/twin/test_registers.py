"""The file of a twin's registers is read as one that somebody else may have made."""

import os
from pathlib import Path

import pytest

from mustherd.node.twin.registers import Registers


def test_no_pipe_is_waited_for_and_nothing_without_an_end_is_read(tmp_path: Path) -> None:
    pipe, endless = tmp_path / "pipe.json", tmp_path / "endless.json"
    os.mkfifo(pipe)
    endless.symlink_to("/dev/zero")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(1 << 33)
    for path, why in ((pipe, "not a regular file"), (endless, "not a regular file"), (large, "more than 65536 bytes")):
        with pytest.raises(OSError, match=why):
            Registers({"dvfs": 2600}, path)
